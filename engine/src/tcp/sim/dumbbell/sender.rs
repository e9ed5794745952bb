//! What the simulator asks of a sender, which always has something to send.

use super::packet::{Ack, Packet};
use crate::time::Instant;

pub(super) trait Sender {
    fn on_ack(&mut self, ack: &Ack, now: Instant);
    /// The next segment that is due now.
    fn poll(&mut self, now: Instant) -> Option<Packet>;
    fn deadline(&self) -> Option<Instant>;
    fn on_deadline(&mut self, now: Instant);
    /// What is not acknowledged, in bytes.
    fn flight(&self) -> u64;
    /// The congestion window, in bytes.
    fn window(&self) -> u64;
}
