//! Ethernet addresses of the virtual hosts on the link (contract/ethernet-arp-ndp.md section 2).

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

/// The address of a virtual IPv4 host: 52:55 and the four bytes of its IPv4 address.
pub fn mac_of_ipv4(address: Ipv4Addr) -> EthernetAddress {
    let [a, b, c, d] = address.octets();
    EthernetAddress([0x52, 0x55, a, b, c, d])
}

/// The address of a virtual IPv6 host: 52:56 and the last four bytes of its IPv6 address.
pub fn mac_of_ipv6(address: Ipv6Addr) -> EthernetAddress {
    let [.., a, b, c, d] = address.octets();
    EthernetAddress([0x52, 0x56, a, b, c, d])
}

/// The group address of an IPv6 multicast address: 33:33 and its last four bytes (RFC 2464 section 7).
pub fn multicast_mac_of_ipv6(group: Ipv6Addr) -> EthernetAddress {
    let [.., a, b, c, d] = group.octets();
    EthernetAddress([0x33, 0x33, a, b, c, d])
}
