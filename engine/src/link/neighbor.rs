//! The neighbor table: which Ethernet address the guest uses for an IP address (docs/contract/ethernet-arp-ndp.md
//! sections 3 and 4), and which of its addresses is the one to use.
//!
//! Each IP version has 16 slots. A known address is updated in its slot; a new one takes a free slot, else that of the
//! address that was not heard of for longest. Nothing goes because of its age alone: an address that nobody answers for is
//! *silent* until it is heard of again, which matters only where there is another one to use in its place.
//!
//! What a saved state says of who has which address is *hearsay*: it tells where the guest may be, and whose Ethernet
//! addresses there are, but no frame goes there on its word. The neighbor is resolved like one that is not known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

use super::addresses::multicast_mac_of_ipv6;
use crate::time::{Duration, Instant};
use crate::wire::subnet::Ipv4Subnet;

/// Slots per IP version.
pub(crate) const SLOTS: usize = 16;
/// How long a neighbor may take to answer when it is asked whether it is still there.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How long what was heard of a neighbor is taken for true (RFC 4861 section 10, REACHABLE_TIME).
const REACHABLE_TIME: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
struct Neighbor<A> {
    address: A,
    mac: EthernetAddress,
    /// Where it is was read in a saved state: nobody has answered there.
    hearsay: bool,
    /// Grows with each neighbor that is heard of, as a clock may stand still.
    order: u64,
    /// When it was last heard of; `None` when it is only known from a saved state.
    heard: Option<Instant>,
    /// When it was asked whether it is there, while it may still answer.
    asked: Option<Instant>,
    /// It was asked and has not answered.
    silent: bool,
}

#[derive(Debug, Clone)]
struct Slots<A> {
    slots: [Option<Neighbor<A>>; SLOTS],
}

impl<A: Copy + PartialEq> Slots<A> {
    const fn new() -> Self {
        Slots { slots: [None; SLOTS] }
    }

    /// Enters a neighbor; says whether that changes whose Ethernet addresses are known. Without a time it is hearsay.
    fn learn(&mut self, address: A, mac: EthernetAddress, order: u64, heard: Option<Instant>) -> bool {
        let mut neighbor =
            Neighbor { address, mac, hearsay: heard.is_none(), order, heard, asked: None, silent: false };
        if let Some(known) = self.get_mut(address) {
            let changed = known.mac != mac;
            // Hearsay of what is known already says nothing against it.
            neighbor.hearsay &= known.hearsay || changed;
            *known = neighbor;
            return changed;
        }
        // An empty slot counts as one that was never heard of.
        let place = self.slots.iter_mut().min_by_key(|slot| slot.as_ref().map_or(0, |neighbor| neighbor.order));
        if let Some(slot) = place {
            *slot = Some(neighbor);
        }
        true
    }

    fn get(&self, address: A) -> Option<&Neighbor<A>> {
        self.iter().find(|neighbor| neighbor.address == address)
    }

    fn get_mut(&mut self, address: A) -> Option<&mut Neighbor<A>> {
        self.slots.iter_mut().flatten().find(|neighbor| neighbor.address == address)
    }

    fn iter(&self) -> impl Iterator<Item = &Neighbor<A>> + '_ {
        self.slots.iter().flatten()
    }

    fn heard(&mut self, address: A, order: u64, now: Instant) {
        if let Some(known) = self.get_mut(address) {
            *known = Neighbor { order, heard: Some(now), asked: None, silent: false, ..*known };
        }
    }

    /// Whether it is time to ask for a neighbor that is not known to be there; notes that it is asked.
    fn ask(&mut self, address: A, now: Instant) -> bool {
        match self.get_mut(address) {
            Some(known) if known.asked.is_none() => {
                known.asked = Some(now);
                true
            }
            _ => false,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.iter().filter_map(|neighbor| neighbor.asked).min().map(|asked| asked + ANSWER_TIME)
    }

    fn on_deadline(&mut self, now: Instant) {
        for neighbor in self.slots.iter_mut().flatten() {
            if neighbor.asked.is_some_and(|asked| asked + ANSWER_TIME <= now) {
                neighbor.asked = None;
                neighbor.silent = true;
            }
        }
    }

    /// Whether `address` should be asked for before it is relied upon: it was not heard of for a while, or one that could
    /// stand in its place was heard of since.
    fn is_doubtful(&self, address: A, now: Instant, instead: impl Fn(A) -> bool) -> bool {
        let Some(known) = self.get(address) else { return false };
        known.heard.is_none_or(|heard| heard + REACHABLE_TIME < now)
            || self.iter().any(|other| !other.silent && other.order > known.order && instead(other.address))
    }
}

/// Neighbors on the virtual link.
#[derive(Debug, Clone)]
pub(crate) struct NeighborTable {
    ipv4: Slots<Ipv4Addr>,
    ipv6: Slots<Ipv6Addr>,
    /// How many neighbors were heard of.
    order: u64,
    /// How many times frames to an address have begun to go somewhere else.
    changes: u64,
    /// When the next answer is overdue.
    deadline: Option<Instant>,
}

impl Default for NeighborTable {
    fn default() -> Self {
        NeighborTable::new()
    }
}

impl NeighborTable {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        NeighborTable { ipv4: Slots::new(), ipv6: Slots::new(), order: 0, changes: 0, deadline: None }
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Stores that `address` is reached at `mac` and tells whether it did. Without a time it is hearsay of a saved state.
    ///
    /// 0.0.0.0 and broadcast addresses are never stored, nor are addresses for which `is_ours` is true: the guest must
    /// not take over a virtual host.
    pub(crate) fn learn_ipv4(
        &mut self,
        address: Ipv4Addr,
        mac: EthernetAddress,
        subnet: &Ipv4Subnet,
        is_ours: impl Fn(Ipv4Addr) -> bool,
        heard: Option<Instant>,
    ) -> bool {
        if address.is_unspecified() || subnet.is_broadcast(address) || is_ours(address) {
            return false;
        }
        let order = self.next_order();
        self.changes += u64::from(self.ipv4.learn(address, mac, order, heard));
        true
    }

    /// As [`learn_ipv4`](Self::learn_ipv4) for IPv6: `::` and multicast addresses are never stored.
    pub(crate) fn learn_ipv6(
        &mut self,
        address: Ipv6Addr,
        mac: EthernetAddress,
        is_ours: impl Fn(Ipv6Addr) -> bool,
        now: Instant,
    ) -> bool {
        if address.is_unspecified() || address.is_multicast() || is_ours(address) {
            return false;
        }
        let order = self.next_order();
        self.changes += u64::from(self.ipv6.learn(address, mac, order, Some(now)));
        true
    }

    /// The guest has begun something from `address`: it is there.
    pub(crate) fn heard(&mut self, address: IpAddr, now: Instant) {
        let order = self.next_order();
        match address {
            IpAddr::V4(address) => self.ipv4.heard(address, order, now),
            IpAddr::V6(address) => self.ipv6.heard(address, order, now),
        }
    }

    /// Where a packet to `address` goes: broadcast for 0.0.0.0 and broadcast addresses, else what was learned. `None`
    /// when the address has to be resolved first, as that of a neighbor known from hearsay.
    pub(crate) fn destination_ipv4(&self, address: Ipv4Addr, subnet: &Ipv4Subnet) -> Option<EthernetAddress> {
        // Neither 0.0.0.0 nor a broadcast address is ever learned.
        match self.ipv4.get(address) {
            Some(neighbor) => (!neighbor.hearsay).then_some(neighbor.mac),
            None if address.is_unspecified() || subnet.is_broadcast(address) => Some(EthernetAddress::BROADCAST),
            None => None,
        }
    }

    /// Where a packet to `address` goes: the group address for multicast, broadcast for `::`, else what was learned.
    /// `None` when the address has to be resolved first.
    pub(crate) fn destination_ipv6(&self, address: Ipv6Addr) -> Option<EthernetAddress> {
        if address.is_multicast() {
            return Some(multicast_mac_of_ipv6(address));
        }
        if address.is_unspecified() {
            return Some(EthernetAddress::BROADCAST);
        }
        self.ipv6.get(address).map(|neighbor| neighbor.mac)
    }

    /// The IPv4 entries in slot order, without hearsay.
    pub(crate) fn iter_ipv4(&self) -> impl Iterator<Item = (Ipv4Addr, EthernetAddress)> + '_ {
        self.ipv4.iter().filter(|neighbor| !neighbor.hearsay).map(|neighbor| (neighbor.address, neighbor.mac))
    }

    /// The IPv6 entries in slot order.
    pub(crate) fn iter_ipv6(&self) -> impl Iterator<Item = (Ipv6Addr, EthernetAddress)> + '_ {
        self.ipv6.iter().map(|neighbor| (neighbor.address, neighbor.mac))
    }

    /// The address that stands for the guest: `first` as long as it answers, else the one heard of last among those that
    /// qualify and are not silent. When none answers, the one heard of last of all, and `first` when there is none.
    pub(crate) fn guest_ipv4(&self, first: Ipv4Addr, qualifies: impl Fn(Ipv4Addr) -> bool) -> Ipv4Addr {
        let rank = |neighbor: &&Neighbor<Ipv4Addr>| {
            let preferred = !neighbor.silent && neighbor.address == first;
            (preferred, !neighbor.silent, neighbor.order)
        };
        let known = self.ipv4.iter().filter(|neighbor| qualifies(neighbor.address)).max_by_key(rank);
        known.map_or(first, |neighbor| neighbor.address)
    }

    /// The address that stands for the guest: of those that are not silent one that is preferred, else any (usually a
    /// link-local one, as guests solicit a router first), and of several the one heard of last. When none answers, of all.
    pub(crate) fn guest_ipv6(&self, preferred: impl Fn(Ipv6Addr) -> bool) -> Option<Ipv6Addr> {
        let rank = |neighbor: &&Neighbor<Ipv6Addr>| (!neighbor.silent, preferred(neighbor.address), neighbor.order);
        self.ipv6.iter().max_by_key(rank).map(|neighbor| neighbor.address)
    }

    /// Whether something is to be sent to `address` of which it is not certain that anybody is there. `instead` tells the
    /// addresses that could stand in its place.
    pub(crate) fn is_doubtful(&self, address: IpAddr, now: Instant, instead: impl Fn(IpAddr) -> bool) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.is_doubtful(address, now, |other| instead(other.into())),
            IpAddr::V6(address) => self.ipv6.is_doubtful(address, now, |other| instead(other.into())),
        }
    }

    /// Notes that a known neighbor is asked for, and tells whether the caller has to send the request: an earlier one may
    /// still be answered, and one that is not known is resolved anyway.
    pub(crate) fn ask(&mut self, address: IpAddr, now: Instant) -> bool {
        let ask = match address {
            IpAddr::V4(address) => self.ipv4.ask(address, now),
            IpAddr::V6(address) => self.ipv6.ask(address, now),
        };
        if ask && self.deadline.is_none() {
            self.deadline = Some(now + ANSWER_TIME);
        }
        ask
    }

    /// The addresses of one family that were asked for and have not answered.
    pub(crate) fn silent(&self, v6: bool) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 =
            self.ipv4.iter().filter(move |neighbor| neighbor.silent && !v6).map(|neighbor| neighbor.address.into());
        let v6 = self.ipv6.iter().filter(move |neighbor| neighbor.silent && v6).map(|neighbor| neighbor.address.into());
        v4.chain(v6)
    }

    /// When [`on_deadline`](Self::on_deadline) has to be called next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whoever was asked and has not answered in time is silent.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        self.ipv4.on_deadline(now);
        self.ipv6.on_deadline(now);
        self.deadline = crate::time::earliest(self.ipv4.deadline(), self.ipv6.deadline());
    }

    /// Grows whenever it changes which Ethernet addresses are neighbors'.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether `address` is at `mac`, be it by hearsay.
    pub(crate) fn is_at(&self, address: IpAddr, mac: EthernetAddress) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.get(address).is_some_and(|known| known.mac == mac),
            IpAddr::V6(address) => self.ipv6.get(address).is_some_and(|known| known.mac == mac),
        }
    }

    /// Whether `mac` is the Ethernet address of a neighbor, be it by hearsay.
    pub(crate) fn is_neighbor(&self, mac: EthernetAddress) -> bool {
        self.ipv4.iter().any(|known| known.mac == mac) || self.ipv6.iter().any(|known| known.mac == mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(1_000_000_000);

    fn subnet() -> Ipv4Subnet {
        Ipv4Subnet::new(Ipv4Addr::new(10, 0, 2, 0), Ipv4Addr::new(255, 255, 255, 0))
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 2, last)
    }

    fn mac(last: u8) -> EthernetAddress {
        EthernetAddress([0x52, 0x54, 0, 0, 0, last])
    }

    fn learn(table: &mut NeighborTable, address: Ipv4Addr, mac: EthernetAddress) -> bool {
        table.learn_ipv4(address, mac, &subnet(), |address| address == ip(2), Some(NOW))
    }

    #[test]
    fn the_17th_and_18th_distinct_sender_replace_slots_0_and_1() {
        let mut table = NeighborTable::new();
        for n in 101..=118 {
            assert!(learn(&mut table, ip(n), mac(n)));
        }
        let order: Vec<u8> = table.iter_ipv4().map(|(address, _)| address.octets()[3]).collect();
        assert_eq!(order, [117, 118, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116]);
        assert_eq!(table.destination_ipv4(ip(101), &subnet()), None);
        assert_eq!(table.destination_ipv4(ip(117), &subnet()), Some(mac(117)));
    }

    #[test]
    fn a_known_address_is_updated_in_its_slot() {
        let mut table = NeighborTable::new();
        learn(&mut table, ip(15), mac(1));
        learn(&mut table, ip(16), mac(2));
        assert!(learn(&mut table, ip(15), mac(3)));
        assert!(table.iter_ipv4().eq([(ip(15), mac(3)), (ip(16), mac(2))]));
    }

    #[test]
    fn unspecified_broadcast_and_our_own_addresses_are_never_stored() {
        let mut table = NeighborTable::new();
        for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, ip(255), ip(2)] {
            assert!(!learn(&mut table, address, mac(1)), "{address}");
        }
        assert_eq!(table.iter_ipv4().count(), 0);
        assert!(learn(&mut table, Ipv4Addr::new(8, 8, 8, 8), mac(1)));
    }

    #[test]
    fn broadcast_destinations_need_no_entry() {
        let table = NeighborTable::new();
        for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, ip(255)] {
            assert_eq!(table.destination_ipv4(address, &subnet()), Some(EthernetAddress::BROADCAST), "{address}");
        }
        assert_eq!(table.destination_ipv4(ip(15), &subnet()), None);
    }

    #[test]
    fn who_was_not_heard_of_for_longest_makes_room() {
        let mut table = NeighborTable::new();
        for n in 101..=116 {
            learn(&mut table, ip(n), mac(n));
        }
        // Three are heard of again, in three ways.
        learn(&mut table, ip(101), mac(101));
        learn(&mut table, ip(102), mac(99));
        table.heard(ip(103).into(), NOW);
        learn(&mut table, ip(117), mac(117));
        assert_eq!(table.destination_ipv4(ip(104), &subnet()), None);
        for n in [101, 102, 103, 105, 116, 117] {
            assert!(table.destination_ipv4(ip(n), &subnet()).is_some(), "{n}");
        }
        // Of one that is not known nothing is noted.
        table.heard(ip(104).into(), NOW);
        assert_eq!(table.iter_ipv4().count(), SLOTS);
    }

    #[test]
    fn the_guest_is_who_answers() {
        let any = |_| true;
        let mut table = NeighborTable::new();
        assert_eq!(table.guest_ipv4(ip(15), any), ip(15));
        // Without the first address, the one heard of last.
        learn(&mut table, ip(16), mac(1));
        learn(&mut table, ip(17), mac(2));
        assert_eq!(table.guest_ipv4(ip(15), any), ip(17));
        assert_eq!(table.guest_ipv4(ip(15), |address| address != ip(17)), ip(16));
        learn(&mut table, ip(15), mac(3));
        learn(&mut table, ip(16), mac(1));
        assert_eq!(table.guest_ipv4(ip(15), any), ip(15));
        // Another one was heard of since, so it is asked; once a second at most.
        assert!(table.is_doubtful(ip(15).into(), NOW, |_| true) && !table.is_doubtful(ip(15).into(), NOW, |_| false));
        assert!(table.ask(ip(15).into(), NOW) && !table.ask(ip(15).into(), NOW));
        assert_eq!(table.deadline(), Some(NOW + ANSWER_TIME));
        table.on_deadline(NOW + ANSWER_TIME);
        assert_eq!((table.guest_ipv4(ip(15), any), table.deadline()), (ip(16), None));
        // When nobody answers, the one heard of last.
        for n in [16, 17] {
            table.ask(ip(n).into(), NOW);
        }
        table.on_deadline(NOW + ANSWER_TIME);
        assert_eq!(table.guest_ipv4(ip(15), any), ip(16));
        table.heard(ip(15).into(), NOW);
        assert_eq!(table.guest_ipv4(ip(15), any), ip(15));
        assert!(!table.is_doubtful(ip(15).into(), NOW + REACHABLE_TIME, |_| true));
        assert!(table.is_doubtful(ip(15).into(), NOW + REACHABLE_TIME + ANSWER_TIME, |_| true));
        // What a saved state says is nothing that was heard.
        table.learn_ipv4(ip(20), mac(9), &subnet(), |_| false, None);
        assert!(table.is_doubtful(ip(20).into(), NOW, |_| false));
        // An answer in time.
        assert!(table.ask(ip(20).into(), NOW));
        learn(&mut table, ip(20), mac(9));
        table.on_deadline(NOW + ANSWER_TIME);
        assert_eq!(table.guest_ipv4(ip(20), any), ip(20));
    }

    #[test]
    fn no_frame_goes_where_only_hearsay_says() {
        let mut table = NeighborTable::new();
        let hear = |table: &mut NeighborTable, n, at| table.learn_ipv4(ip(n), mac(at), &subnet(), |_| false, None);
        let known = |table: &NeighborTable, n| table.destination_ipv4(ip(n), &subnet());
        assert!(hear(&mut table, 16, 1));
        // The guest may be there, and the Ethernet address is somebody's.
        assert_eq!((known(&table, 16), table.iter_ipv4().count()), (None, 0));
        assert!(table.is_neighbor(mac(1)) && table.guest_ipv4(ip(15), |_| true) == ip(16));
        // What comes from there shows that somebody is there, not at which station.
        table.heard(ip(16).into(), NOW);
        assert_eq!(known(&table, 16), None);
        learn(&mut table, ip(16), mac(2));
        assert_eq!(known(&table, 16), Some(mac(2)));
        // Of what is known hearsay makes no doubt unless it says otherwise.
        hear(&mut table, 16, 2);
        assert_eq!(known(&table, 16), Some(mac(2)));
        assert!(table.is_doubtful(ip(16).into(), NOW, |_| false));
        hear(&mut table, 16, 3);
        assert_eq!(known(&table, 16), None);
    }

    #[test]
    fn changes_are_counted_where_frames_go_elsewhere() {
        let mut table = NeighborTable::new();
        let mut steps = Vec::new();
        for (address, at) in [(15, 1), (15, 1), (16, 1), (15, 2), (15, 2)] {
            learn(&mut table, ip(address), mac(at));
            steps.push(table.changes());
        }
        assert_eq!(steps, [1, 1, 2, 3, 3]);
        assert!(table.is_neighbor(mac(1)) && table.is_neighbor(mac(2)) && !table.is_neighbor(mac(3)));
    }

    #[test]
    fn ipv6_has_slots_of_its_own_and_prefers_what_was_heard_last() {
        let address = |n: u16| Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, n);
        let mut table = NeighborTable::new();
        assert!(!table.learn_ipv6(Ipv6Addr::UNSPECIFIED, mac(1), |_| false, NOW));
        assert!(!table.learn_ipv6("ff02::1".parse().unwrap(), mac(1), |_| false, NOW));
        assert!(!table.learn_ipv6(address(2), mac(1), |address| address.segments()[7] == 2, NOW));
        assert_eq!(table.guest_ipv6(|_| true), None);
        for n in 100..117 {
            assert!(table.learn_ipv6(address(n), mac(9), |_| false, NOW));
        }
        assert_eq!(table.destination_ipv6(address(100)), None);
        assert_eq!(table.iter_ipv6().next(), Some((address(116), mac(9))));
        assert_eq!(table.destination_ipv6(address(116)), Some(mac(9)));
        let group = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(table.destination_ipv6("ff02::1".parse().unwrap()), Some(group));
        assert_eq!(table.destination_ipv6(Ipv6Addr::UNSPECIFIED), Some(EthernetAddress::BROADCAST));
        assert_eq!(table.iter_ipv4().count(), 0);
        // The one heard of last, unless another is preferred or it is silent.
        assert_eq!(table.guest_ipv6(|_| false), Some(address(116)));
        assert_eq!(table.guest_ipv6(|ip| ip == address(105)), Some(address(105)));
        assert!(table.is_neighbor(mac(9)) && !table.is_neighbor(mac(1)));
        table.ask(address(116).into(), NOW);
        table.on_deadline(NOW + ANSWER_TIME);
        assert_eq!(table.guest_ipv6(|_| true), Some(address(115)));
        table.heard(address(116).into(), NOW);
        assert_eq!(table.guest_ipv6(|_| true), Some(address(116)));
    }
}
