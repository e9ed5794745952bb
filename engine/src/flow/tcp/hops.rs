//! The guest's time to live on the host's side. This library is a router on the guest's way: what comes with `n` goes
//! on with `n - 1`, and what comes with one ends here (RFC 1812 section 5.3.1). So a guest can trace the way to a host
//! by TCP, as it can by UDP and pings.

use std::net::SocketAddr;

use super::TcpFlow;
use super::table::FromGuest;
use crate::flow::context::Context;
use crate::flow::egress::Reported;
use crate::host::socket::{Hops, Stream};
use crate::ip::{icmp, icmpv6};
use crate::tcp::Segment;

/// A SYN with no more hops than this may be lost on the way: what routers say of it is asked for. No guest's default is less.
const FEW: u8 = 32;

impl Hops {
    /// How a connection to `destination` is to go out whose SYN has come with `ttl`. `None`: not at all.
    pub(super) fn of(ttl: u8, destination: SocketAddr) -> Option<Hops> {
        // On the host itself there are no routers; the virtual host and name server are such destinations.
        if destination.ip().is_loopback() || destination.ip().is_unspecified() {
            return Some(Hops::Default);
        }
        match ttl {
            0 | 1 => None,
            2..=FEW => Some(Hops::Few(ttl - 1)),
            _ => Some(Hops::Enough(ttl - 1)),
        }
    }
}

impl TcpFlow {
    /// A segment came with another time to live than the last one. Whether it goes on.
    #[cold]
    pub(super) fn change_ttl(&mut self, segment: &Segment<'_>, from: &FromGuest<'_>, cx: &mut Context) -> bool {
        if from.ttl <= 1 {
            cx.egress.time_exceeded(from.packet, cx.now);
            return false;
        }
        // Only what is next in order is believed to be the guest's.
        if segment.seq == self.conn.rcv_nxt()
            && let Some(stream) = self.host.stream()
        {
            self.ttl = from.ttl;
            stream.set_hops(self.key.remote.ip.is_ipv6(), from.ttl - 1);
        }
        true
    }

    /// Passes on what a router said of the SYN. Whether it was that the SYN had come to the end of its time.
    pub(super) fn report(&self, stream: &Stream, packet: &[u8], cx: &mut Context) -> Option<bool> {
        let error = stream.queued_error()?;
        let (kind, code) = error.icmp?;
        let remote = self.key.remote.ip;
        let v6 = remote.is_ipv6();
        let offender = error.offender.filter(|ip| !ip.is_loopback()).unwrap_or(remote);
        cx.egress.packet_error(Reported { kind, code, info: error.info, offender, v6 }, remote, packet, cx.now);
        Some(kind == if v6 { icmpv6::TIME_EXCEEDED } else { icmp::TIME_EXCEEDED })
    }
}
