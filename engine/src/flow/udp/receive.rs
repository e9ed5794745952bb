//! Datagrams from the host, on their way to the guest.

use std::io::ErrorKind;

use super::{ERROR_BUDGET, LIFETIME, UdpFlow};
use crate::flow::context::Context;
use crate::flow::context::RETRY;
use crate::flow::egress::Reported;
use crate::host::error_queue::QueuedError;
use crate::host::mmsg::{MAX_RECEIVE, ReceiveBuffer, Received};
use crate::ip::{icmp, icmpv6};
use crate::time::Duration;

/// Datagrams one flow may bring in one turn before others have theirs; those of one message are not parted.
const BUDGET: usize = 64;
/// Messages the first read of a flow asks for.
pub(super) const FIRST_BATCH: u8 = 2;
/// A read that asks for this many is one of a flow that carries much.
const LARGE_BATCH: u8 = 8;
/// Messages a read asks for when each of them holds several datagrams: what was read stays in the processor's caches
/// until it is on its way to the guest.
const BATCH_OF_RUNS: u8 = 2;
/// How long a flow lives after an answer from the name server.
const DNS_LIFETIME: Duration = Duration::from_secs(10);

/// Brings in what one turn may.
pub(super) fn receive(flow: &mut UdpFlow, buffer: &mut ReceiveBuffer, cx: &mut Context) {
    if std::mem::take(&mut flow.errored) {
        drain_errors(flow, cx);
    }
    let mut left = BUDGET;
    let mut failed = false;
    // What the last turn had no room for.
    while let Some(received) = buffer.next_if(cx.datagram_room() > 0) {
        left = left.saturating_sub(received.count());
        deliver(flow, &received, cx);
    }
    while left > 0 && cx.datagram_room() > 0 {
        let asked = usize::from(flow.batch).min(left);
        match buffer.receive(&flow.socket, asked) {
            Ok(count) => {
                cx.pace.on_datagrams();
                let mut datagrams = 0;
                while let Some(received) = buffer.next_if(cx.datagram_room() > 0) {
                    datagrams += received.count();
                    cx.budget.moved(received.byte_count());
                    deliver(flow, &received, cx);
                }
                flow.learn(asked, count, datagrams);
                if count < asked {
                    flow.readable = false;
                    return;
                }
                left = left.saturating_sub(datagrams);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                flow.readable = false;
                return;
            }
            // The kernel reports a queued error here once more; the queue says what it was.
            Err(_) if drain_errors(flow, cx) => left -= 1,
            // Or it is the error of a socket without a queue, which is told once. What stays is the host's own trouble.
            Err(_) if failed => {
                flow.again = Some(cx.now + RETRY);
                return;
            }
            Err(_) => failed = true,
        }
    }
}

impl UdpFlow {
    /// A read asked for some messages and got `count`, with so many datagrams in them: what the next one is to ask for.
    fn learn(&mut self, asked: usize, count: usize, datagrams: usize) {
        let count_of = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        self.batch = if datagrams > count {
            BATCH_OF_RUNS
        } else if count < asked {
            self.batch.min(count_of(2 * count)).max(FIRST_BATCH)
        } else {
            self.batch.saturating_mul(2).min(count_of(MAX_RECEIVE))
        };
        if self.batch >= LARGE_BATCH && !std::mem::replace(&mut self.prepared, true) {
            self.socket.expect_much();
        }
    }
}

/// Passes what one peer sent on to the guest.
fn deliver(flow: &mut UdpFlow, received: &Received<'_>, cx: &mut Context) {
    let Some(real) = received.sender else { return };
    if flow.forward {
        flow.meet(real, received.local, &cx.policy);
    }
    flow.used = true;
    // While the guest is not known, what comes for it is lost.
    let Some(guest) = cx.guest_behind(flow.guest) else { return };
    let source = flow.known_as(real, &cx.policy);
    let from_name_server = !flow.forward && cx.policy.is_name_server(source);
    if flow.forward {
        flow.remember(real, source);
    } else {
        flow.expires = cx.now + if from_name_server { DNS_LIFETIME } else { LIFETIME };
    }
    let one_family = source.ip.is_ipv4() == flow.guest.ip.is_ipv4();
    for payload in received.datagrams() {
        if from_name_server {
            cx.name_servers.answered(real, payload, flow.guest);
        }
        if one_family {
            cx.egress.udp(source, guest, payload, 0, cx.now);
        }
    }
}

/// Whether an error says that nothing gets to its destination, whatever was sent.
fn is_refusal(error: &QueuedError, v6: bool) -> bool {
    match error.icmp {
        Some((kind, _)) if v6 => kind == icmpv6::DESTINATION_UNREACHABLE,
        Some((kind, code)) => kind == icmp::DESTINATION_UNREACHABLE && code != icmp::FRAGMENTATION_NEEDED,
        None => error.errno != libc::EMSGSIZE,
    }
}

/// Passes on the errors the kernel kept. False when there was none.
pub(super) fn drain_errors(flow: &mut UdpFlow, cx: &mut Context) -> bool {
    let mut any = false;
    for _ in 0..ERROR_BUDGET {
        let mut payload = [0; 520];
        let Some(error) = flow.socket.queued_error(&mut payload) else { break };
        any = true;
        if flow.whole.note(&error, flow.v6, cx.now) {
            continue;
        }
        let Some(destination) = error.destination else { continue };
        if flow.forward {
            continue;
        }
        let known_as = flow.known_as(destination, &cx.policy);
        if cx.policy.is_name_server(known_as)
            && is_refusal(&error, flow.v6)
            && cx.name_servers.refused(destination, flow.guest, known_as, cx.now)
        {
            continue;
        }
        let Some((kind, code)) = error.icmp else { continue };
        // The host's own loopback is not to be seen by the guest: the address it sent to answers instead.
        let offender = error.offender.filter(|ip| !ip.is_loopback());
        let payload = payload.get(..error.quoted).unwrap_or_default();
        let reported =
            Reported { kind, code, info: error.info, offender: offender.unwrap_or(known_as.ip), v6: flow.v6 };
        cx.egress.datagram_error(reported, flow.guest, known_as, payload, cx.now);
    }
    any
}
