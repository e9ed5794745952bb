//! Markers: small questions that the guest's system answers by itself, at once and always. Behind frames that nothing else
//! answers (datagrams, bare acknowledgments) one of them goes out now and then; its answer proves that they were read.
//!
//! Over IPv4 it is an ARP request for the address that the last frame went to (RFC 826), over IPv6 a neighbor solicitation
//! (RFC 4861 section 7.2.2), each sent to that guest alone, as RFC 1122 section 2.3.2.1 has it for a cache that is kept fresh.
//! The virtual host that asks is the gateway and the name server in turn, so that a late answer is not taken for the next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::EthernetAddress;

use crate::time::Instant;
use crate::wire::header::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// Who asks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub asker: IpAddr,
    pub guest: IpAddr,
}

/// A question on its way.
#[derive(Debug)]
pub struct Marker {
    /// Its answer proves that everything up to this position was read.
    pub position: u64,
    pub sent: Instant,
    pub question: Question,
}

/// The guest that a frame of ours goes to. `None` where that is a group, or no IP packet.
pub fn guest_of(frame: &[u8]) -> Option<(EthernetAddress, IpAddr)> {
    let mac = EthernetAddress(*frame.first_chunk::<6>()?);
    if !mac.is_unicast() {
        return None;
    }
    let kind = u16::from_be_bytes(*frame.get(12..14)?.first_chunk::<2>()?);
    let packet = frame.get(ETHERNET_LEN..)?;
    let guest: IpAddr = match kind {
        ETHERTYPE_IPV4 => Ipv4Addr::from(*packet.get(16..20)?.first_chunk::<4>()?).into(),
        ETHERTYPE_IPV6 => Ipv6Addr::from(*packet.get(24..40)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    let alone = match guest {
        IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_multicast() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    };
    alone.then_some((mac, guest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_of_a_frame() {
        let mut frame = vec![0; 60];
        frame[0..6].copy_from_slice(&[0x52, 0x54, 0, 1, 2, 3]);
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        frame[30..34].copy_from_slice(&[10, 0, 2, 15]);
        let mac = EthernetAddress([0x52, 0x54, 0, 1, 2, 3]);
        assert_eq!(guest_of(&frame), Some((mac, Ipv4Addr::new(10, 0, 2, 15).into())));
        frame[30..34].copy_from_slice(&[255; 4]);
        assert_eq!(guest_of(&frame), None);
        frame[30..34].copy_from_slice(&[10, 0, 2, 15]);
        frame[0] = 1;
        assert_eq!(guest_of(&frame), None);
        frame[0] = 0x52;
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
        frame[38..54].copy_from_slice(&"fec0::15".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(guest_of(&frame), Some((mac, "fec0::15".parse::<Ipv6Addr>().unwrap().into())));
        for cut in 0..54 {
            assert_eq!(guest_of(&frame[..cut]), None);
        }
    }
}
