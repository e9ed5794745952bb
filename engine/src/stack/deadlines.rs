//! Deadlines: all are in one queue, and what has become due is done here.

use super::Stack;
use super::ration::DEADLINE;
use crate::flow::timers::{Due, Own};
use crate::flow::token::{self, Kind};
use crate::time::{Instant, earliest};

impl Stack {
    /// The next moment at which something is due without any event.
    #[inline]
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        // Whatever makes frames may wait for a neighbor, and has no access to the queue.
        self.cx.timers.set(Own::Neighbors, self.cx.egress.deadline());
        self.cx.timers.next()
    }

    /// Does what is due, and gives the next deadline.
    pub(super) fn run_deadlines(&mut self) -> Option<Instant> {
        let next = self.next_deadline();
        if next.is_none_or(|deadline| deadline > self.cx.now) {
            return next;
        }
        self.in_half_of_round(Stack::on_deadlines);
        self.next_deadline()
    }

    #[cold]
    fn on_deadlines(&mut self) {
        // What a deadline puts in anew is later than now, so this ends; the bound is for a clock that stands still.
        for _ in 0..self.tcp.flows.len() + self.udp.flows.len() + 1024 {
            if self.cx.room() == 0 {
                break;
            }
            let Some(due) = self.cx.timers.pop_due(self.cx.now) else { break };
            self.cx.budget.moved(DEADLINE);
            match due {
                Due::Own(Own::Neighbors) => self.cx.egress.on_deadline(self.cx.now),
                Due::Own(Own::Fragments) => self.expire_fragments(),
                Due::Own(Own::Tftp) => self.tftp_deadline(),
                Due::Own(Own::Advertisement) => self.advertisement_due(),
                #[cfg(feature = "capture")]
                Due::Own(Own::Records) => self.write_records(),
                #[cfg(feature = "control")]
                Due::Own(Own::Attendant) => self.attend(),
                Due::Flow(token) => self.on_deadline_of(token),
            }
        }
    }

    fn on_deadline_of(&mut self, flow: u64) {
        match token::unpack(flow) {
            (Kind::Tcp, key) => self.tcp.on_deadline(key.into(), &mut self.cx),
            (Kind::Udp, key) => self.udp.on_deadline(key.into(), &mut self.cx),
            (Kind::Icmp, key) => self.icmp.on_deadline(key.into(), &mut self.cx),
            (Kind::TcpListener, key) => self.tcp_forwards.on_deadline(key.into(), &mut self.cx),
            (Kind::Stack, _) => {}
        }
    }

    /// Gives up the datagrams whose missing fragments did not come in time.
    pub(super) fn expire_fragments(&mut self) {
        let (now, egress) = (self.cx.now, &mut self.cx.egress);
        if self.reassembly.deadline().is_some_and(|deadline| deadline <= now) {
            self.reassembly.on_deadline(now, |first| egress.reassembly_timed_out(first, now));
        }
        if self.reassembly6.deadline().is_some_and(|deadline| deadline <= now) {
            self.reassembly6.on_deadline(now, |first| egress.reassembly_timed_out(first, now));
        }
        self.await_fragments();
    }

    /// To be called when a fragment has come.
    pub(super) fn await_fragments(&mut self) {
        let deadline = earliest(self.reassembly.deadline(), self.reassembly6.deadline());
        self.cx.timers.set(Own::Fragments, deadline);
    }
}
