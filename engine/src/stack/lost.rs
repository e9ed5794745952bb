//! Sockets that the program has closed by mistake, in direct mode, where it watches them. Neither `poll` nor `select` makes an event
//! of one that every program passes on: `select` fails as a whole, and a program that knows no POLLNVAL sees nothing, each time at
//! once. So the library looks by itself, or both would spin for as long as the flow lives.

use super::Stack;
use crate::time::Duration;

/// How often. It is a system call for each socket, of which the program makes one in every round.
const EVERY: Duration = Duration::from_secs(1);

impl Stack {
    /// Has flows whose socket is gone find that out, once in a while.
    pub(super) fn look_for_lost(&mut self) {
        let now = self.cx.now;
        // A clock that was set back is no reason to wait.
        let lately = self.loop_state.looked_for_lost.is_some_and(|at| at <= now && now - at < EVERY);
        if lately {
            return;
        }
        self.loop_state.looked_for_lost = Some(now);
        let forwards = self.tcp_forwards.flows.report_lost();
        let flows = self.tcp.flows.report_lost();
        let datagrams = self.udp.flows.report_lost();
        let pings = self.icmp.flows.report_lost();
        if forwards || flows || datagrams || pings {
            self.cx.tell_of_lost();
        }
    }
}
