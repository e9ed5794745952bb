//! Connections one of whose ends has gone without a word. The connection itself asks a silent guest whether it is alive
//! ([`crate::tcp::Connection::is_asking`]); meanwhile the host's side is looked after here, as long as it is half
//! closed.

use super::TcpFlow;
use crate::flow::context::Context;
use crate::host::socket::Stream;
use crate::tcp::State;

/// Questions without an answer after which the guest may have moved to another station: the link is asked for it.
const DOUBT: u8 = 3;

impl TcpFlow {
    /// The guest is about to be asked whether it is alive.
    pub(super) fn look_after(&mut self, cx: &mut Context) {
        if self.is_behind() {
            self.conn.take_back_question();
            return;
        }
        if self.conn.questions() >= DOUBT {
            cx.egress.ask(self.key.guest.ip, cx.now);
        }
        let Some(stream) = self.host.stream() else { return };
        if self.conn.state() == State::Established {
            return;
        }
        stream.ask_peer();
        if !stream.is_broken() {
            return;
        }
        if self.host.has_finished() {
            // It has closed, and nobody reads what the guest might still send.
            self.conn.abort(cx.now);
        } else {
            self.host.hear_out();
            let read = self.pull(cx);
            cx.budget.moved(read);
        }
    }

    /// Whether the host has not got all yet that the guest has sent.
    fn is_behind(&self) -> bool {
        !self.conn.recv().is_empty() || self.host.stream().is_some_and(|stream| self.has_unsent(stream))
    }

    /// Whether the host's kernel has bytes of the guest left. The end of the stream counts for one of them.
    fn has_unsent(&self, stream: &Stream) -> bool {
        stream.unsent() > usize::from(self.host.is_shut())
    }

    /// The guest is gone, or has given the connection up: the host peer is to see a reset, not an end. But where the guest
    /// had ended in order, what it sent before still gets to the host.
    pub(super) fn break_off(&self) {
        if let Some(stream) = self.host.stream()
            && !(self.host.is_shut() && self.has_unsent(stream))
        {
            stream.reset_on_close();
        }
    }
}
