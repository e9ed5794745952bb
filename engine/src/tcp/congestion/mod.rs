//! How much may be in flight. Loss recovery finds out what became of what was sent and tells the controller; the controller
//! answers with a window. Neither looks into the other.
//!
//! [`Control`] is what a controller is asked and told; this file knows nothing of any one of them. `loss_based` is the one
//! that there is: `cubic` opens and closes its window, `prr` leads the window down while losses are repaired, `tolerance`
//! judges whether losses mean congestion at all. Segments, timers and the scoreboard must not come in.

mod cubic;
mod loss_based;
mod prr;
mod tolerance;

use super::rtt::RttEstimator;
use crate::time::{Duration, Instant};

/// The controller of a connection. When there is a second one, this is an enum of both that passes the calls on.
pub(super) type Controller = loss_based::LossBased;

/// What is known of the path at the moment at which a controller is told something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub now: Instant,
    pub rtt: RttEstimator,
    /// The round trip of what was delivered last.
    pub latest: Duration,
    /// The peer acknowledges selectively: what was lost, and what has left the path, is known at each moment.
    pub sack: bool,
}

/// An acknowledgment. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    /// What it newly tells to have arrived.
    pub delivered: u32,
    /// What was in flight before it came.
    pub flight: u32,
    /// What the sender will ever have in flight, whatever the path carries.
    pub most: u32,
}

/// Losses were noticed. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// No losses were being repaired before.
    pub first: bool,
    /// What was in flight before the acknowledgment came that told of them, less what was selectively acknowledged.
    pub flight: u32,
}

/// A congestion controller. Sizes are bytes.
pub(super) trait Control {
    /// What is kept of a controller at the beginning of a repair, in case the losses turn out to have been none.
    type Before: Copy + std::fmt::Debug;

    fn new(segment: u32) -> Self;

    /// What may be in flight.
    fn window(&self) -> u32;

    /// The window up to which the path is known to carry what is sent: the slow start threshold.
    fn threshold(&self) -> u32;

    /// What the send buffer should hold so that the window is used.
    fn buffer_wanted(&self) -> u32;

    /// The handshake settled the size of a full segment.
    fn begin(&mut self, segment: u32);

    /// A window and a threshold from a saved state.
    fn restore(&mut self, window: u32, threshold: u32);

    /// The path takes smaller segments than it did.
    fn set_segment(&mut self, segment: u32);

    /// Bytes were sent, for the first time or again.
    fn on_sent(&mut self, bytes: u32);

    /// Bytes are newly known to have arrived. Told before anything else about the same acknowledgment.
    fn on_delivered(&mut self, bytes: u32);

    /// Bytes are newly known to be lost. Told before [`Control::on_loss`].
    fn on_lost(&mut self, bytes: u32);

    /// An acknowledgment advanced, and the window may open: nothing is being repaired, or [`Control::has_reduced`] is false.
    fn on_ack(&mut self, ack: &Ack, path: &Path);

    /// An acknowledgment did not advance, but told of bytes that have arrived behind a hole that is being repaired.
    fn on_ack_behind_hole(&mut self, ack: &Ack, path: &Path);

    /// Losses were noticed. Whether a repair begins with them: always when they are the first, otherwise when they are more
    /// than the repair under way was begun for.
    fn on_loss(&mut self, loss: &Loss, path: &Path) -> bool;

    /// An acknowledgment that told of `delivered` bytes was taken in during a repair of a peer with selective
    /// acknowledgments, and `pipe` bytes are on their way now. `safe`: it advanced and told of no further loss.
    fn on_repair(&mut self, delivered: u32, safe: bool, pipe: u32);

    /// Whether the losses that are being repaired reduced the window: acknowledgments do not open it then.
    fn has_reduced(&self) -> bool;

    /// What was lost has arrived.
    fn on_repaired(&mut self);

    /// A single loss was repaired before it was noticed: the tail loss probe was what had been missing.
    fn on_tail_loss(&mut self);

    /// The retransmission timer expired. `again`: it is not the first time for these segments.
    fn on_timeout(&mut self, again: bool);

    /// What [`Control::take_back`] needs.
    fn before(&self) -> Self::Before;

    /// The losses since `before` was taken were none.
    fn take_back(&mut self, before: &Self::Before);
}
