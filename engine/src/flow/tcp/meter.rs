//! Streams of which each byte is asked whether it may pass: those of HTTP whose requests are judged (`requests`), and those under a limit: they are slowed, and nothing of them is lost. What the host may not be given stays in the connection's
//! receive buffer, so that the guest's window closes; what may not come to the guest is not read, so that the peer's does.

use super::TcpFlow;
use crate::flow::context::Context;
use crate::flow::meter::Way;
#[cfg(feature = "policy")]
use crate::time::Instant;

impl TcpFlow {
    /// How many bytes the host may be given now.
    #[inline]
    pub(super) fn may_give(&mut self, cx: &mut Context) -> usize {
        if self.host.is_watched() { self.may_give_watched(cx) } else { usize::MAX }
    }

    /// How many of the bytes that there is room for may be read now.
    #[inline]
    pub(super) fn may_read(&mut self, room: usize, cx: &mut Context) -> usize {
        if !self.host.is_watched() { room } else { self.may_carry(Way::Down, room, cx).min(room) }
    }

    /// The host has got so many, or the guest will.
    #[inline]
    pub(super) fn carried(&mut self, way: Way, bytes: usize, cx: &mut Context) {
        if self.host.is_watched() {
            self.count(way, bytes, cx);
        }
    }
}

#[cfg(feature = "policy")]
impl TcpFlow {
    #[cold]
    fn may_give_watched(&mut self, cx: &mut Context) -> usize {
        let clear = self.clear_requests(cx).min(self.conn.recv().len());
        if clear == 0 { 0 } else { self.may_carry(Way::Up, clear, cx).min(clear) }
    }

    /// Nothing where it has to wait, of which a deadline will remind it.
    #[cold]
    fn may_carry(&mut self, way: Way, wanted: usize, cx: &mut Context) -> usize {
        use crate::flow::journal::End;
        use crate::flow::meter::Allowed;

        let (Some(limits), Some(meter)) = (&mut cx.limits, self.host.meter_mut()) else { return wanted };
        match limits.may(meter, way, wanted, cx.now) {
            Allowed::Bytes(bytes) => return bytes,
            Allowed::At(until) => self.wait(way, until),
            Allowed::Never => {
                self.host.account.ends(End::Limit);
                self.reset_both(cx);
            }
        }
        0
    }

    fn wait(&mut self, way: Way, until: Instant) {
        match way {
            Way::Up => self.host.pause_writes(until),
            Way::Down => self.host.pause_reads(until),
        }
    }

    #[cold]
    fn count(&mut self, way: Way, bytes: usize, cx: &mut Context) {
        if let (Some(limits), Some(meter)) = (&mut cx.limits, self.host.meter_mut()) {
            limits.carried(meter, way, bytes);
        }
        match way {
            Way::Up => self.note_passed(bytes),
            Way::Down => self.note_answer(bytes, cx),
        }
    }
}

/// No stream has a meter.
#[cfg(not(feature = "policy"))]
impl TcpFlow {
    fn may_give_watched(&mut self, _: &mut Context) -> usize {
        usize::MAX
    }

    fn may_carry(&mut self, _: Way, wanted: usize, _: &mut Context) -> usize {
        wanted
    }

    fn count(&mut self, _: Way, _: usize, _: &mut Context) {}
}

/// The first so many bytes of two parts.
#[inline]
pub(super) fn first_of<'a>((first, second): (&'a [u8], &'a [u8]), most: usize) -> (&'a [u8], &'a [u8]) {
    let behind = most.saturating_sub(first.len());
    (first.get(..most).unwrap_or(first), second.get(..behind).unwrap_or(second))
}
