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

    /// The first IPv6 address ever learned. It is kept when its slot is overwritten.
    pub fn first_ipv6(&self) -> Option<Ipv6Addr> {
        self.first_ipv6
    }
}
