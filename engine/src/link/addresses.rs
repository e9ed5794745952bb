//! Ethernet addresses of the virtual hosts on the link (docs/contract/ethernet-arp-ndp.md section 2).

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

/// The address of a virtual IPv4 host: 52:55 and the four bytes of its IPv4 address.
pub(crate) fn mac_of_ipv4(address: Ipv4Addr) -> EthernetAddress {
    let [a, b, c, d] = address.octets();
    EthernetAddress([0x52, 0x55, a, b, c, d])
}

/// The address of a virtual IPv6 host: 52:56 and the last four bytes of its IPv6 address.
pub(crate) fn mac_of_ipv6(address: Ipv6Addr) -> EthernetAddress {
    let [.., a, b, c, d] = address.octets();
    EthernetAddress([0x52, 0x56, a, b, c, d])
}

/// The group address of an IPv6 multicast address: 33:33 and its last four bytes (RFC 2464 section 7).
pub(crate) fn multicast_mac_of_ipv6(group: Ipv6Addr) -> EthernetAddress {
    let [.., a, b, c, d] = group.octets();
    EthernetAddress([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_ipv4_hosts_are_52_55_and_their_address() {
        assert_eq!(mac_of_ipv4(Ipv4Addr::new(10, 0, 2, 2)).to_string(), "52-55-0a-00-02-02");
        assert_eq!(mac_of_ipv4(Ipv4Addr::new(192, 168, 100, 3)).to_string(), "52-55-c0-a8-64-03");
    }

    #[test]
    fn fe80_2_and_fec0_2_are_both_52_56_00_00_00_02() {
        for (address, mac) in [
            ("fe80::2", "52-56-00-00-00-02"),
            ("fec0::2", "52-56-00-00-00-02"),
            ("::1", "52-56-00-00-00-01"),
            ("fec0::1234:5678", "52-56-12-34-56-78"),
        ] {
            assert_eq!(mac_of_ipv6(address.parse().unwrap()).to_string(), mac, "{address}");
        }
    }

    #[test]
    fn multicast_is_33_33_and_the_last_four_bytes() {
        assert_eq!(multicast_mac_of_ipv6("ff02::1".parse().unwrap()).to_string(), "33-33-00-00-00-01");
        assert_eq!(multicast_mac_of_ipv6("ff02::1:ff12:3456".parse().unwrap()).to_string(), "33-33-ff-12-34-56");
    }
}
