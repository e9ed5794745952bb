//! How much may be in flight, and how fast it is sent. Loss recovery finds out what became of what was sent and tells the
//! controller; the controller answers with a window and a rate. Neither looks into the other.
//!
//! [`Control`] is what a controller is asked and told; `select` makes the one that the configuration names.
//!
//! - `loss_based`: CUBIC. `cubic` opens and closes its window, `hystart` ends slow start before a queue overflows, `search` looks for what it has left, `prr` leads
//!   the window down while losses are repaired, `sounding` finds out how long the path is without its own queue, `company` whether
//!   others fill that queue, `lossy` whether losses mean congestion at all.
//! - `bbr`: a model of the path, of the rate at which it delivers and its least round trip.
//!
//! `max_rate` is common to both. Segments, timers and the scoreboard must not come in.

mod bbr;
mod company;
mod cubic;
mod hystart;
mod loss_based;
mod lossy;
mod max_rate;
mod prr;
mod search;
mod select;
mod sounding;

use super::rtt::RttEstimator;
use crate::time::{Duration, Instant};

pub(super) use max_rate::MaxRate;
pub use select::Congestion;
pub(super) use select::Controller;

/// The window never grows past this, in bytes; it is the most that RFC 7323 lets a peer offer.
const MAX_WINDOW: u32 = 1 << 30;

/// What is known of the path at the moment at which a controller is told something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub now: Instant,
    pub rtt: RttEstimator,
    /// The round trip of what was delivered last.
    pub latest: Duration,
    /// The peer acknowledges selectively: what was lost, and what has left the path, is known at each moment.
    pub sack: bool,
    /// What the sender will have in flight at most, in bytes, whatever the controller says.
    pub most: u32,
    /// What fits on the path without a queue, in bytes; 0 before it was measured.
    pub fits: u32,
    /// What of ours may stand in a queue on the way once slow start is over, in bytes.
    pub queue: u32,
    /// What is sent is spread over the round trip.
    pub paced: bool,
}

/// An acknowledgment. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    /// What it newly tells to have arrived.
    pub delivered: u32,
    /// What was in flight before it came.
    pub flight: u32,
}

/// What an acknowledgment tells of the path, once all of it was taken in. Sizes are bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Sample {
    /// The rate of delivery in bytes a second, where it could be measured.
    pub rate: Option<u64>,
    /// What arrived, as [`Ack::delivered`].
    pub delivered: u32,
    /// What arrived since the newest of it was sent.
    pub volume: u32,
    /// All that has arrived on this connection, and what had when the newest of it was sent; both wrap.
    pub total: u32,
    pub prior: u32,
    /// What was in flight when the newest was sent, and what is now.
    pub in_flight: u32,
    pub pipe: u32,
    /// What was found lost since the newest was sent.
    pub lost: u32,
    /// The host had no more to send: the rate is no measure of the path.
    pub app_limited: bool,
    /// A round trip has ended: what arrived was sent after the last one began.
    pub round_start: bool,
}

/// Losses were noticed. Sizes are bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// No losses were being repaired before.
    pub first: bool,
    /// What was in flight before the acknowledgment came that told of them, less what was selectively acknowledged.
    pub flight: u32,
}

/// Bytes were found lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Missing {
    pub bytes: u32,
    /// What was in flight when the first of them was sent, and what was found lost since.
    pub in_flight: u32,
    pub lost: u32,
    /// As [`Sample::total`].
    pub total: u32,
    pub app_limited: bool,
}

/// A congestion controller. Sizes are bytes, rates bytes a second.
pub(super) trait Control {
    /// What is kept of a controller at the beginning of a repair, in case the losses turn out to have been none.
    type Before: Copy + std::fmt::Debug;

    /// What may be in flight.
    fn window(&self) -> u32;

    /// The window up to which the path is known to carry what is sent: the slow start threshold.
    fn threshold(&self) -> u32;

    /// What the send buffer should hold so that the window is used.
    fn buffer_wanted(&self) -> u32;

    /// How fast it is to be sent, where it is paced; `None` where nothing is known yet.
    fn rate(&self, path: &Path) -> Option<u64>;

    /// The handshake settled the size of a full segment.
    fn begin(&mut self, segment: u32);

    /// A window and a threshold from a saved state.
    fn restore(&mut self, window: u32, threshold: u32);

    /// The path takes smaller segments than it did.
    fn set_segment(&mut self, segment: u32);

    /// Bytes were sent, for the first time or again.
    fn on_sent(&mut self, bytes: u32);

    /// Sending begins anew: nothing is in flight.
    fn on_restart(&mut self, now: Instant);

    /// Bytes are newly known to be lost. Told before [`Control::on_loss`].
    fn on_lost(&mut self, missing: &Missing, now: Instant);

    /// An acknowledgment advanced, and the window may open: nothing is being repaired, or [`Control::has_reduced`] is false.
    fn on_ack(&mut self, ack: &Ack, path: &Path);

    /// Bytes have arrived; told last about the same acknowledgment.
    fn on_sample(&mut self, sample: &Sample, path: &Path);

    /// A queue on the way has marked what was sent (RFC 3168). Told once a round trip.
    fn on_marked(&mut self, now: Instant);

    /// Losses were noticed. Whether a repair begins with them, as it does with the first.
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

/// RFC 6928 section 2.
fn initial_window(segment: u32) -> u32 {
    segment.saturating_mul(10).min(segment.saturating_mul(2).max(14600))
}
