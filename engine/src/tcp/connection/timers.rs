//! What passing time means: whose deadline has come, and the ends of FIN_WAIT_2 and TIME_WAIT.

use super::Connection;
use crate::tcp::state::{Closed, State};
use crate::time::{Duration, Instant, earliest};

/// How long a peer may take to end its direction when nobody listens to it any more.
const FIN_WAIT_2: Duration = Duration::from_secs(60);
/// The time to wait for stray segments; source: docs/contract/tcp.md section 6.
const TIME_WAIT: Duration = Duration::from_secs(10);

impl Connection {
    /// The next moment at which [`Connection::on_deadline`] has something to do. Cheap.
    pub fn deadline(&self) -> Option<Instant> {
        let part = match &self.handshake {
            Some(handshake) => handshake.deadline(),
            None => self.sender.deadline(),
        };
        let kept = self.keep_alive_deadline();
        if self.lifetime.is_none() && kept.is_none() { part } else { earliest(earliest(part, self.lifetime), kept) }
    }

    /// Handles the deadline that has come. One call handles one: when the clock has jumped, what follows is armed from
    /// `now` on, so that a machine that was paused does not find its connections timed out.
    pub fn on_deadline(&mut self, now: Instant) {
        if self.lifetime.is_some_and(|end| end <= now) {
            self.close(Closed::Finished);
            return;
        }
        if !self.on_keep_alive(now) {
            return;
        }
        if self.handshake.is_some() {
            self.on_handshake_deadline(now);
        } else if !self.sender.on_deadline(now) {
            self.abort_because(Closed::TimedOut);
        }
    }

    pub(super) fn enter_time_wait(&mut self, now: Instant) {
        self.state = State::TimeWait;
        self.sender.stop();
        self.lifetime = Some(now + TIME_WAIT);
    }

    /// Bounds FIN_WAIT_2 once nobody listens to the peer.
    pub(super) fn bound_fin_wait_2(&mut self, now: Instant) {
        if self.state == State::FinWait2 && self.receiver.discards() && self.lifetime.is_none() {
            self.lifetime = Some(now + FIN_WAIT_2);
        }
    }
}
