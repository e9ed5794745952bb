//! Who gives way when the process has no descriptor left.
//!
//! What met the limit got a descriptor of the reserve. To pay it back, so many flows of datagrams are given up that
//! some descriptors are left for the next ones. Of UDP and ping the one with more flows gives up its least used ones,
//! so that a flood of either costs the flood. Connections stay: whoever has one would lose it, while a datagram flow is
//! made anew by its next datagram. What can wait (clients of a forward, the target of a guest forward) is tried again,
//! and everything else is refused, for as long as nobody gives way.

use super::Stack;
use crate::flow::warnings::Subject;

/// Flows that go at once.
const SPARE: usize = 4;

impl Stack {
    /// A step is over in which descriptors may have run out.
    #[inline]
    pub(super) fn end_shortage(&mut self) {
        if self.cx.reserve.was_met() {
            self.make_room();
        }
    }

    #[cold]
    fn make_room(&mut self) {
        self.cx.warn(Subject::Lack, || {
            "the process has no descriptor left: what the guest uses least gives way for what it asks for".into()
        });
        for _ in 0..SPARE {
            let (udp, icmp) = (self.udp.flows.giving_way(), self.icmp.flows.giving_way());
            // The last one may be the one that all this is about.
            if udp.max(icmp) <= 1 {
                return;
            }
            self.cx.reserve.pay_back();
            if udp >= icmp {
                self.udp.evict(&mut self.cx);
            } else {
                self.icmp.evict(&mut self.cx);
            }
        }
    }
}
