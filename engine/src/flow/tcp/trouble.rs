//! What becomes of a flow whose reads or writes on the host's side fail.
//!
//! A host that lacks memory for the moment is asked again (`again`). A peer that has closed takes no more: the guest gets what it had sent before, and is then reset. Everything else ends
//! the flow with a reset on both sides: bytes that were acknowledged are not to be lost behind an orderly end.

use super::TcpFlow;
use crate::flow::context::Context;
use crate::flow::journal::End;
use crate::tcp::State;

impl TcpFlow {
    /// Resets both sides.
    pub(super) fn reset_both(&mut self, cx: &mut Context) {
        self.host.account.ends(End::HostReset);
        self.host.break_off();
        self.conn.discard_received(&mut cx.pool);
        self.conn.abort(cx.now);
    }

    /// A host that lacked memory may have some again: what waits for it is tried.
    pub(super) fn ask_again(&mut self, cx: &mut Context) {
        if self.has_unflushed() {
            self.flush(cx);
        }
        let read = self.pull(cx);
        cx.budget.moved(read);
        self.reset_when_delivered(cx);
    }

    /// Where the host takes no more and has ended, a guest that has all that was sent before is told that nobody reads
    /// what it sends (RFC 9293 section 3.6.1).
    pub(super) fn reset_when_delivered(&mut self, cx: &mut Context) {
        if !self.host.refuses() || !self.host.has_finished() {
            return;
        }
        let delivered = match self.conn.state() {
            State::FinWait2 => true,
            // The end was not passed on: the reset takes its place.
            State::Established | State::CloseWait => self.conn.send().is_empty(),
            _ => false,
        };
        if delivered {
            self.host.account.ends(End::HostReset);
            self.conn.abort(cx.now);
        }
    }
}
