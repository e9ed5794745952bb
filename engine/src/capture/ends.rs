//! Whose frame it is: the two ends of what it carries, as far as its headers say so. Nothing of it is judged here: a frame that is
//! malformed has no ends, or those that it claims.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::pcapng::Direction;
use crate::wire::header::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP,
};

/// How many extension headers of IPv6 are passed over.
const MOST_EXTENSIONS: usize = 8;

/// What carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Carrier {
    Tcp,
    Udp,
    /// Of either family.
    Icmp,
}

/// The ends of a flow, or of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub carrier: Carrier,
    pub guest: IpAddr,
    /// As the guest knows it.
    pub remote: IpAddr,
    /// The guest's and the other end's, in host byte order. Pings have none, nor has a fragment but the first.
    pub ports: Option<(u16, u16)>,
}

impl Ends {
    /// Those of a frame of which at least the headers are here.
    pub(super) fn of(frame: &[u8], direction: Direction) -> Option<Ends> {
        let packet = frame.get(ETHERNET_LEN..)?;
        let (source, destination, protocol, payload) = match number(frame.get(12..)?)? {
            ETHERTYPE_IPV4 => of_ipv4(packet)?,
            ETHERTYPE_IPV6 => of_ipv6(packet)?,
            _ => return None,
        };
        let carrier = match protocol {
            PROTOCOL_TCP => Carrier::Tcp,
            PROTOCOL_UDP => Carrier::Udp,
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => Carrier::Icmp,
            _ => return None,
        };
        let payload = payload.filter(|_| carrier != Carrier::Icmp);
        let ports = payload.and_then(|payload| Some((number(payload)?, number(payload.get(2..)?)?)));
        Some(match direction {
            Direction::Inbound => Ends { carrier, guest: source, remote: destination, ports },
            Direction::Outbound => {
                Ends { carrier, guest: destination, remote: source, ports: ports.map(|(from, to)| (to, from)) }
            }
        })
    }
}

fn number(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_be_bytes)
}

/// Source, destination, protocol, and the payload where it begins here.
type Parts<'a> = (IpAddr, IpAddr, u8, Option<&'a [u8]>);

fn of_ipv4(packet: &[u8]) -> Option<Parts<'_>> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let address = |at: usize| Some(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?));
    let length = usize::from(header.first()? & 15) * 4;
    let is_first = number(header.get(6..)?)? & 0x1fff == 0;
    let payload = packet.get(length..).filter(|_| is_first);
    Some((address(12)?.into(), address(16)?.into(), *header.get(9)?, payload))
}

fn of_ipv6(packet: &[u8]) -> Option<Parts<'_>> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let address = |at: usize| Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?));
    let (source, destination) = (address(8)?.into(), address(24)?.into());
    let (mut next, mut rest) = (*header.get(6)?, packet.get(40..)?);
    for _ in 0..MOST_EXTENSIONS {
        let length = match next {
            // Hop by hop, routing, destination options (RFC 8200 section 4).
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            // Fragment.
            44 if number(rest.get(2..)?)? & 0xfff8 != 0 => return Some((source, destination, *rest.first()?, None)),
            44 => 8,
            _ => break,
        };
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    Some((source, destination, next, Some(rest)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame of IPv4 with ports.
    pub(in crate::capture) fn frame(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend(from.0);
        frame.extend(to.0);
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend([0; 16]);
        frame
    }

    #[test]
    fn ends_are_those_of_guest_and_remote_in_either_direction() {
        let (guest, remote) = ([10, 0, 2, 15], [192, 0, 2, 1]);
        let ends = Ends { carrier: Carrier::Udp, guest: guest.into(), remote: remote.into(), ports: Some((4000, 53)) };
        assert_eq!(Ends::of(&frame(17, (guest, 4000), (remote, 53)), Direction::Inbound), Some(ends));
        assert_eq!(Ends::of(&frame(17, (remote, 53), (guest, 4000)), Direction::Outbound), Some(ends));
        let ping = Ends::of(&frame(1, (guest, 8), (remote, 0)), Direction::Inbound).unwrap();
        assert_eq!((ping.carrier, ping.ports), (Carrier::Icmp, None));
        assert_eq!(Ends::of(&frame(2, (guest, 8), (remote, 0)), Direction::Inbound), None);
        // A fragment that is not the first.
        let mut later = frame(17, (guest, 4000), (remote, 53));
        later[21] = 1;
        assert_eq!(Ends::of(&later, Direction::Inbound), Some(Ends { ports: None, ..ends }));
    }

    #[test]
    fn ports_of_ipv6_are_found_behind_extensions() {
        let (source, destination) = ([0xfd; 16], [0xfe; 16]);
        let of = |first: u8, rest: &[u8]| {
            let mut frame = vec![0; 12];
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, first, 64]);
            frame.extend(source);
            frame.extend(destination);
            frame.extend(rest);
            Ends::of(&frame, Direction::Inbound)
        };
        let ports = [0, 7, 1, 0, 0, 0, 0, 0];
        let plain = of(6, &ports).unwrap();
        assert_eq!((plain.carrier, plain.ports), (Carrier::Tcp, Some((7, 256))));
        assert_eq!((plain.guest, plain.remote), (source.into(), destination.into()));
        let behind = [&[60, 1][..], &[0; 14], &[44, 0, 0, 0, 0, 0, 0, 0], &[6, 0, 0, 1, 0, 0, 0, 9], &ports].concat();
        assert_eq!(of(0, &behind), Some(plain));
        let later = [&[6, 0, 0, 8, 0, 0, 0, 9][..], &ports].concat();
        assert_eq!(of(44, &later), Some(Ends { ports: None, ..plain }));
        // What never ends is left.
        assert_eq!(of(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(100)), None);
        assert_eq!(of(60, &[6, 200, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn what_is_cut_has_no_ends_or_no_ports() {
        let whole = frame(6, ([10, 0, 2, 15], 1), ([192, 0, 2, 1], 2));
        for length in 0..whole.len() {
            let ends = Ends::of(&whole[..length], Direction::Inbound);
            assert_eq!((ends.is_some(), ends.is_some_and(|ends| ends.ports.is_some())), (length >= 34, length >= 38));
        }
    }
}
