//! Errors about segments that were too large for the way to the guest: a router before it, or a tunnel in it, carries less
//! than the link (RFC 1191, RFC 8201). They are believed as RFC 5927 section 7 has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::table::TcpTable;
use crate::flow::context::Context;
use crate::flow::key::{Endpoint, FlowKey};
use crate::tcp::SeqNumber;
use crate::wire::header::{IPV4_LEN, IPV4_TAKEN_BY_ALL, IPV6_LEAST_MTU, IPV6_LEN, PROTOCOL_TCP, TCP_LEN};

/// What a router that does not name its MTU is likely to have (RFC 1191 section 7), in bytes.
const PLATEAUS: [usize; 7] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006];

impl TcpTable {
    /// An IPv4 packet of ours, of which `quoted` is the beginning, was too large for a link of `mtu` bytes; 0 when the
    /// router does not say.
    pub(crate) fn on_too_big4(&mut self, quoted: &[u8], mtu: u16, cx: &mut Context) {
        let Some(
            &[first, _, high, low, _, _, offset_high, offset_low, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3],
        ) = quoted.first_chunk::<IPV4_LEN>()
        else {
            return;
        };
        let later_fragment = u16::from_be_bytes([offset_high & 0x1f, offset_low]) != 0;
        if first >> 4 != 4 || protocol != PROTOCOL_TCP || later_fragment {
            return;
        }
        let Some(tcp) = quoted.get(usize::from(first & 15) * 4..) else { return };
        let sent = usize::from(u16::from_be_bytes([high, low]));
        let mtu = match usize::from(mtu) {
            0 => PLATEAUS.into_iter().find(|&plateau| plateau < sent).unwrap_or(IPV4_TAKEN_BY_ALL),
            mtu => mtu,
        };
        let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
        // Our packets may be fragmented, so that smaller paths carry this.
        let mss = mtu.max(IPV4_TAKEN_BY_ALL) - IPV4_LEN - TCP_LEN;
        self.on_too_big((source.into(), destination.into()), tcp, mss, cx);
    }

    /// The same of an IPv6 packet.
    pub(crate) fn on_too_big6(&mut self, quoted: &[u8], mtu: u32, cx: &mut Context) {
        let Some((header, tcp)) = quoted.split_first_chunk::<IPV6_LEN>() else { return };
        let address = |at: usize| Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?));
        let (Some(source), Some(destination)) = (address(8), address(24)) else { return };
        // We send no extension headers.
        if header[0] >> 4 != 6 || header[6] != PROTOCOL_TCP {
            return;
        }
        let mss = (mtu as usize).clamp(IPV6_LEAST_MTU, 1 << 16) - IPV6_LEN - TCP_LEN;
        self.on_too_big((source.into(), destination.into()), tcp, mss, cx);
    }

    fn on_too_big(&mut self, (source, destination): (IpAddr, IpAddr), tcp: &[u8], mss: usize, cx: &mut Context) {
        let Some(&[r0, r1, g0, g1, q0, q1, q2, q3]) = tcp.first_chunk::<8>() else { return };
        let key = FlowKey {
            guest: Endpoint { ip: destination, port: u16::from_be_bytes([g0, g1]) },
            remote: Endpoint { ip: source, port: u16::from_be_bytes([r0, r1]) },
        };
        let Some(id) = self.find(&key) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.conn.on_too_big(SeqNumber(u32::from_be_bytes([q0, q1, q2, q3])), mss.min(usize::from(u16::MAX)) as u16);
        flow.transmit(cx);
        self.settle(id, cx);
    }
}
