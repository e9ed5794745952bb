//! An IPv4 network with its mask, as configured for the virtual link.

use std::net::Ipv4Addr;

/// An IPv4 network. Unlike a prefix length the mask is kept as configured, because applications pass it as a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv4Subnet {
    /// The network address; bits outside the mask are zero.
    network: Ipv4Addr,
    /// The network mask.
    mask: Ipv4Addr,
}

impl Ipv4Subnet {
    /// The network that holds `address` under `mask`.
    pub(crate) fn new(address: Ipv4Addr, mask: Ipv4Addr) -> Self {
        Ipv4Subnet { network: address & mask, mask }
    }

    /// The directed broadcast address: all host bits one.
    pub(crate) fn broadcast(&self) -> Ipv4Addr {
        self.network | !self.mask
    }

    /// Whether `address` lies in this network.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.mask == self.network
    }

    /// Whether `address` is the limited broadcast (255.255.255.255) or this network's directed broadcast.
    pub(crate) fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address.is_broadcast() || address == self.broadcast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_address_is_masked_and_the_broadcast_has_all_host_bits() {
        let subnet = Ipv4Subnet::new(Ipv4Addr::new(10, 0, 2, 77), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(subnet.network, Ipv4Addr::new(10, 0, 2, 0));
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(10, 0, 2, 255));
        assert!(subnet.contains(Ipv4Addr::new(10, 0, 2, 3)));
        assert!(!subnet.contains(Ipv4Addr::new(10, 0, 3, 3)));
        assert!(subnet.is_broadcast(Ipv4Addr::BROADCAST));
        assert!(subnet.is_broadcast(Ipv4Addr::new(10, 0, 2, 255)));
        assert!(!subnet.is_broadcast(Ipv4Addr::new(10, 0, 3, 255)));
    }
}
