//! The neighbor table: which Ethernet address the guest uses for an IP address (contract/ethernet-arp-ndp.md sections
//! 3 and 4).
//!
//! Each IP version has 16 slots. A known address is updated in its slot; a new one overwrites the slots round robin,
//! beginning with slot 0. Nothing ages.

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

use super::addresses::multicast_mac_of_ipv6;
use crate::wire::subnet::Ipv4Subnet;

/// Slots per IP version.
pub const SLOTS: usize = 16;

#[derive(Debug, Clone)]
struct Slots<A> {
    slots: [Option<(A, EthernetAddress)>; SLOTS],
    /// Slot that the next new address takes.
    next: usize,
}

impl<A: Copy + PartialEq> Slots<A> {
    const fn new() -> Self {
        Slots { slots: [None; SLOTS], next: 0 }
    }

    fn learn(&mut self, address: A, mac: EthernetAddress) {
        if let Some((_, known)) = self.slots.iter_mut().flatten().find(|(known, _)| *known == address) {
            *known = mac;
            return;
        }
        if let Some(slot) = self.slots.get_mut(self.next) {
            *slot = Some((address, mac));
        }
        self.next = (self.next + 1) % SLOTS;
    }

    fn lookup(&self, address: A) -> Option<EthernetAddress> {
        self.iter().find(|(known, _)| *known == address).map(|(_, mac)| mac)
    }

    fn iter(&self) -> impl Iterator<Item = (A, EthernetAddress)> + '_ {
        self.slots.iter().flatten().copied()
    }
}

/// Neighbors on the virtual link.
#[derive(Debug, Clone)]
pub struct NeighborTable {
    ipv4: Slots<Ipv4Addr>,
    ipv6: Slots<Ipv6Addr>,
    first_ipv6: Option<Ipv6Addr>,
}

impl Default for NeighborTable {
    fn default() -> Self {
        NeighborTable::new()
    }
}

impl NeighborTable {
    /// An empty table.
    pub const fn new() -> Self {
        NeighborTable { ipv4: Slots::new(), ipv6: Slots::new(), first_ipv6: None }
    }

    /// Stores that `address` is reached at `mac` and tells whether it did.
    ///
    /// 0.0.0.0 and broadcast addresses are never stored, nor are addresses for which `is_ours` is true: the guest must
    /// not take over a virtual host.
    pub fn learn_ipv4(
        &mut self,
        address: Ipv4Addr,
        mac: EthernetAddress,
        subnet: &Ipv4Subnet,
        is_ours: impl Fn(Ipv4Addr) -> bool,
    ) -> bool {
        if address.is_unspecified() || subnet.is_broadcast(address) || is_ours(address) {
            return false;
        }
        self.ipv4.learn(address, mac);
        true
    }

    /// As [`learn_ipv4`](Self::learn_ipv4) for IPv6: `::` and multicast addresses are never stored.
    pub fn learn_ipv6(&mut self, address: Ipv6Addr, mac: EthernetAddress, is_ours: impl Fn(Ipv6Addr) -> bool) -> bool {
        if address.is_unspecified() || address.is_multicast() || is_ours(address) {
            return false;
        }
        self.ipv6.learn(address, mac);
        self.first_ipv6.get_or_insert(address);
        true
    }

    /// Where a packet to `address` goes: broadcast for 0.0.0.0 and broadcast addresses, else what was learned. `None`
    /// when the address has to be resolved first.
    pub fn destination_ipv4(&self, address: Ipv4Addr, subnet: &Ipv4Subnet) -> Option<EthernetAddress> {
        if address.is_unspecified() || subnet.is_broadcast(address) {
            return Some(EthernetAddress::BROADCAST);
        }
        self.ipv4.lookup(address)
    }

    /// Where a packet to `address` goes: the group address for multicast, broadcast for `::`, else what was learned.
    /// `None` when the address has to be resolved first.
    pub fn destination_ipv6(&self, address: Ipv6Addr) -> Option<EthernetAddress> {
        if address.is_multicast() {
            return Some(multicast_mac_of_ipv6(address));
        }
        if address.is_unspecified() {
            return Some(EthernetAddress::BROADCAST);
        }
        self.ipv6.lookup(address)
    }

    /// The IPv4 entries in slot order.
    pub fn iter_ipv4(&self) -> impl Iterator<Item = (Ipv4Addr, EthernetAddress)> + '_ {
        self.ipv4.iter()
    }

    /// The IPv6 entries in slot order.
    pub fn iter_ipv6(&self) -> impl Iterator<Item = (Ipv6Addr, EthernetAddress)> + '_ {
        self.ipv6.iter()
    }

    /// The address that stands for the guest: the first in the table that is preferred, else the first ever learned
    /// (usually a link-local one, as guests solicit a router first).
    pub fn guest_ipv6(&self, preferred: impl Fn(Ipv6Addr) -> bool) -> Option<Ipv6Addr> {
        self.ipv6.iter().map(|(address, _)| address).find(|address| preferred(*address)).or(self.first_ipv6)
    }

    /// The first IPv6 address ever learned. It is kept when its slot is overwritten.
    pub fn first_ipv6(&self) -> Option<Ipv6Addr> {
        self.first_ipv6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        table.learn_ipv4(address, mac, &subnet(), |address| address == ip(2))
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
    fn ipv6_has_slots_of_its_own_and_remembers_the_first_address() {
        let address = |n: u16| Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, n);
        let mut table = NeighborTable::new();
        assert!(!table.learn_ipv6(Ipv6Addr::UNSPECIFIED, mac(1), |_| false));
        assert!(!table.learn_ipv6("ff02::1".parse().unwrap(), mac(1), |_| false));
        assert!(!table.learn_ipv6(address(2), mac(1), |address| address.segments()[7] == 2));
        assert_eq!(table.first_ipv6(), None);
        for n in 100..117 {
            assert!(table.learn_ipv6(address(n), mac(9), |_| false));
        }
        assert_eq!(table.first_ipv6(), Some(address(100)));
        assert_eq!(table.destination_ipv6(address(100)), None);
        assert_eq!(table.iter_ipv6().next(), Some((address(116), mac(9))));
        assert_eq!(table.destination_ipv6(address(116)), Some(mac(9)));
        let group = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(table.destination_ipv6("ff02::1".parse().unwrap()), Some(group));
        assert_eq!(table.destination_ipv6(Ipv6Addr::UNSPECIFIED), Some(EthernetAddress::BROADCAST));
        assert_eq!(table.iter_ipv4().count(), 0);
    }
}
