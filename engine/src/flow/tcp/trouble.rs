//! What becomes of a flow whose reads or writes on the host's side fail.
//!
//! A host that lacks memory for the moment is asked again after a while; meanwhile the window closes and nothing is lost. A
//! peer that has closed takes no more: the guest gets what it had sent before, and is then reset. Everything else ends
//! the flow with a reset on both sides: bytes that were acknowledged are not to be lost behind an orderly end.

use std::io::{self, ErrorKind};

use super::{Side, TcpFlow};
use crate::flow::context::Context;
use crate::host::lack::is_lack;
use crate::tcp::State;
use crate::time::{Duration, Instant};

/// The first wait before a host that lacked memory is asked again. Each further one is twice as long, up to 128 times.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const MAX_DOUBLINGS: u8 = 7;

/// A wait for the host to have memory again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// When it is asked.
    at: Option<Instant>,
    /// A read failed, not only writes.
    reading: bool,
    waits: u8,
}

impl Again {
    fn wait(&mut self, now: Instant) {
        self.at = Some(now + Duration::from_micros(FIRST_WAIT.total_micros() << self.waits.min(MAX_DOUBLINGS)));
        self.waits = self.waits.saturating_add(1);
    }

    pub(super) fn at(self) -> Option<Instant> {
        self.at
    }

    /// Whether writes wait; what the poller says of them does not matter then.
    pub(super) fn holds_writes(self) -> bool {
        self.at.is_some()
    }

    pub(super) fn holds_reads(self) -> bool {
        self.at.is_some() && self.reading
    }

    /// The host has done what was asked.
    pub(super) fn done(&mut self) {
        self.waits = 0;
    }
}

impl TcpFlow {
    /// A write to the host failed.
    pub(super) fn on_write_error(&mut self, error: &io::Error, cx: &mut Context) {
        match error.raw_os_error() {
            _ if error.kind() == ErrorKind::WouldBlock => self.writable = false,
            Some(libc::EINTR) => {}
            _ if is_lack(error) => {
                self.writable = false;
                self.again.wait(cx.now);
            }
            Some(libc::EPIPE | libc::ECONNRESET | libc::ETIMEDOUT | libc::ENOTCONN) => {
                // The peer has closed, or is gone, or reads no more. What it sends may still be read; its end then ends the
                // flow.
                self.write_failed = true;
                self.readable = true;
                self.read_closed = true;
                self.conn.discard_received(&mut cx.pool);
                if let Side::Host(stream) = &self.side {
                    stream.reset_on_close();
                }
            }
            _ => self.reset_both(cx),
        }
    }

    /// A read from the host failed.
    pub(super) fn on_read_error(&mut self, error: &io::Error, cx: &mut Context) {
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            _ if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                self.urgent = false;
            }
            _ if is_lack(error) => {
                self.readable = false;
                self.again.reading = true;
                self.again.wait(cx.now);
            }
            // Reset, timed out or unreachable: whatever it is, the host's side of the connection is gone.
            _ => self.reset_both(cx),
        }
    }

    /// Resets both sides.
    pub(super) fn reset_both(&mut self, cx: &mut Context) {
        self.readable = false;
        self.writable = false;
        self.write_failed = true;
        self.host_finished = true;
        self.conn.discard_received(&mut cx.pool);
        self.conn.abort(cx.now);
        if let Side::Host(stream) = &self.side {
            stream.reset_on_close();
        }
    }

    /// The time has come to ask the host again, which may have memory now.
    pub(super) fn ask_again(&mut self, cx: &mut Context) {
        self.again.at = None;
        self.again.reading = false;
        self.readable = true;
        self.writable = true;
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
        if !self.write_failed || !self.host_finished {
            return;
        }
        let delivered = match self.conn.state() {
            State::FinWait2 => true,
            // The end was not passed on: the reset takes its place.
            State::Established | State::CloseWait => self.conn.send().is_empty(),
            _ => false,
        };
        if delivered {
            self.conn.abort(cx.now);
        }
    }
}
