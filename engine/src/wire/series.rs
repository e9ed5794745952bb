//! Full TCP segments of one burst: frames that differ in their sequence number, the identification of IPv4 and their payload, and in the
//! checksums over these. The headers of the first are kept, with the sums of all that stays.

use super::checksum::{Checksum, copy_and_sum};
use super::header::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, PROTOCOL_TCP, Payload, TCP_LEN, TCP_OPTIONS_MAX,
};

/// The longest headers: Ethernet, IPv6, TCP with all its options. A frame of a series is no shorter.
const HEADERS: usize = ETHERNET_LEN + IPV6_LEN + TCP_LEN + TCP_OPTIONS_MAX;

/// See the module.
pub(crate) struct Series {
    /// The headers of the first frame without what differs, and what followed on them.
    headers: [u8; HEADERS],
    /// Where the TCP header begins, and the payload.
    tcp: usize,
    body: usize,
    /// The sums of the IPv4 header, if it is one, and of the pseudo-header and the TCP header.
    ipv4: Option<Checksum>,
    segment: Checksum,
}

impl Series {
    /// What follows on a frame that carries `payload` bytes from the number `seq` on; `None` where it is another frame, or too short.
    pub(crate) fn of(frame: &[u8], payload: usize, seq: u32) -> Option<Series> {
        let mut headers = *frame.first_chunk::<HEADERS>()?;
        let body = frame.len().checked_sub(payload)?;
        let kind = u16::from_be_bytes(*headers.get(12..)?.first_chunk()?);
        let mut ipv4 = None;
        let (tcp, mut segment) = match (kind, headers.get(ETHERNET_LEN)?) {
            // Without options.
            (ETHERTYPE_IPV4, 0x45) if *headers.get(ETHERNET_LEN + 9)? == PROTOCOL_TCP => {
                let tcp = ETHERNET_LEN + IPV4_LEN;
                let header = headers.get_mut(ETHERNET_LEN..tcp)?;
                header.get_mut(4..6)?.fill(0);
                header.get_mut(10..12)?.fill(0);
                ipv4.insert(Checksum::new()).add(header);
                let (source, destination) =
                    (*header.get(12..)?.first_chunk::<4>()?, *header.get(16..)?.first_chunk::<4>()?);
                let length = u16::try_from(frame.len() - tcp).ok()?;
                (tcp, Checksum::pseudo_ipv4(source.into(), destination.into(), PROTOCOL_TCP, length))
            }
            (ETHERTYPE_IPV6, _) if *headers.get(ETHERNET_LEN + 6)? == PROTOCOL_TCP => {
                let tcp = ETHERNET_LEN + IPV6_LEN;
                let header = headers.get(ETHERNET_LEN..tcp)?;
                let (source, destination) =
                    (*header.get(8..)?.first_chunk::<16>()?, *header.get(24..)?.first_chunk::<16>()?);
                let length = u32::try_from(frame.len() - tcp).ok()?;
                (tcp, Checksum::pseudo_ipv6(source.into(), destination.into(), PROTOCOL_TCP, length))
            }
            _ => return None,
        };
        let header = headers.get_mut(tcp..body)?;
        let own = usize::from(*header.get(12)? >> 4) * 4;
        if own != header.len() || *header.get(4..)?.first_chunk()? != seq.to_be_bytes() {
            return None;
        }
        header.get_mut(4..8)?.fill(0);
        header.get_mut(16..18)?.fill(0);
        segment.add(header);
        Some(Series { headers, tcp, body, ipv4, segment })
    }

    /// How long each of the frames is with this payload.
    pub(crate) fn length(&self, payload: usize) -> usize {
        self.body + payload
    }

    /// Whether the packets are those of IPv4, of which each has an identification.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.ipv4.is_some()
    }

    /// Writes one of the frames into a place of its length. The identification counts where there is one.
    #[inline(always)]
    pub(crate) fn write(&self, frame: &mut [u8], seq: u32, id: u16, payload: &Payload<'_>) -> Option<()> {
        // All of it, as its length is known here; the payload covers what is too much.
        *frame.first_chunk_mut::<HEADERS>()? = self.headers;
        let (head, body) = frame.split_at_mut_checked(self.body)?;
        let sum = match payload.1 {
            [] => copy_and_sum(body.get_mut(..payload.0.len())?, payload.0),
            _ => payload.copy_and_sum(body).ok()?,
        };
        let mut segment = self.segment;
        segment.add_u32(seq);
        segment.add_partial(sum);
        let tcp = head.get_mut(self.tcp..)?.first_chunk_mut::<TCP_LEN>()?;
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        tcp[16..18].copy_from_slice(&segment.finish().to_be_bytes());
        if let Some(mut header) = self.ipv4 {
            header.add_u16(id);
            let ip = head.get_mut(ETHERNET_LEN..)?.first_chunk_mut::<IPV4_LEN>()?;
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            ip[10..12].copy_from_slice(&header.finish().to_be_bytes());
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::{Ethernet, Ipv4, Ipv6, Tcp, tcp_ipv4_frame, tcp_ipv6_frame};
    use proptest::prelude::*;

    const LINK: Ethernet = Ethernet {
        dst: smoltcp::wire::EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        src: smoltcp::wire::EthernetAddress([0x52, 0x55, 10, 0, 2, 2]),
    };

    /// A frame as it is made by itself.
    fn frame(ipv6: bool, seq: u32, id: u16, options: &[u8], payload: Payload<'_>) -> Vec<u8> {
        let tcp = Tcp { src_port: 80, dst_port: 40_000, seq, ack: 77, flags: 0x10, window: 501, urgent: 0, options };
        let mut frame = vec![0; 4096];
        let length = if ipv6 {
            let (src, dst) = ("2001:db8::1".parse().unwrap(), "fec0::15".parse().unwrap());
            tcp_ipv6_frame(&mut frame, &LINK, &Ipv6 { src, dst, hop_limit: 64, traffic_class: 0 }, &tcp, payload)
        } else {
            let (src, dst) = ([192, 0, 2, 7].into(), [10, 0, 2, 15].into());
            tcp_ipv4_frame(&mut frame, &LINK, &Ipv4 { src, dst, ttl: 64, tos: 8, id }, &tcp, payload)
        };
        frame.truncate(length.unwrap());
        frame
    }

    proptest! {
        /// The frames of a series are those that would have been made one by one.
        #[test]
        fn a_frame_of_a_series_is_what_it_would_be_by_itself(
            ipv6: bool, stamped: bool, seq: u32, next: u32, id: u16, bytes in prop::collection::vec(any::<u8>(), 600..1500), cut in 0..600usize,
        ) {
            let options: &[u8] = if stamped { &[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] } else { &[] };
            let first = frame(ipv6, seq, id, options, bytes.as_slice().into());
            let series = Series::of(&first, bytes.len(), seq).unwrap();
            prop_assert_eq!((series.length(bytes.len()), series.is_ipv4()), (first.len(), !ipv6));
            let (front, back) = bytes.split_at(cut);
            let other: Vec<u8> = [back, front].concat();
            for payload in [Payload(&other, &[]), Payload(back, front)] {
                let mut place = vec![0xff; first.len()];
                series.write(&mut place, next, id.wrapping_add(1), &payload).unwrap();
                let wanted = frame(ipv6, next, id.wrapping_add(1), options, Payload(&other, &[]));
                // A sum of nothing but zeros may be written in two ways.
                prop_assert_eq!(place, wanted);
            }
        }

        #[test]
        fn what_is_no_such_frame_begins_no_series(bytes in prop::collection::vec(any::<u8>(), 0..300), payload in 0..300usize, seq: u32) {
            let _ = Series::of(&bytes, payload, seq);
        }
    }

    #[test]
    fn another_frame_begins_none() {
        let bytes = [7; 600];
        let first = frame(false, 5, 1, &[], bytes.as_slice().into());
        assert!(Series::of(&first, 600, 5).is_some());
        assert!(Series::of(&first, 600, 6).is_none() && Series::of(&first, 599, 5).is_none());
        let mut other = first.clone();
        other[23] = 17;
        assert!(Series::of(&other, 600, 5).is_none());
        assert!(Series::of(&first[..100], 46, 5).is_none());
    }
}
