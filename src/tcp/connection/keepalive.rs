//! Asking a silent peer whether it is alive (RFC 9293 section 3.8.4), where the configuration wants that. Without it an
//! idle connection stays for ever.

use super::{Closed, Connection, State};
use crate::time::{Duration, Instant};

/// The interval between questions, and how many without an answer mean that the peer is gone. RFC 9293 leaves both to the
/// implementation.
const INTERVAL: Duration = Duration::from_secs(75);
const QUESTIONS: u8 = 9;

/// Exists where keep-alive is configured.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// How long the peer may be silent.
    idle: Duration,
    /// When it was last heard.
    heard: Instant,
    /// When to look again.
    at: Instant,
    asked: u8,
    /// A question is to be sent.
    pub due: bool,
}

impl KeepAlive {
    pub fn new(idle: Duration, now: Instant) -> Box<KeepAlive> {
        // RFC 9293 section 3.8.4: intervals are to be long, but nothing forbids short ones.
        let idle = idle.max(Duration::from_secs(1));
        Box::new(KeepAlive { idle, heard: now, at: now + idle, asked: 0, due: false })
    }

    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = 0;
    }

    pub fn deadline(&self) -> Instant {
        self.at
    }
}

impl Connection {
    /// The time to look after a silent peer has come. Whether the connection goes on.
    pub(super) fn on_keep_alive(&mut self, now: Instant) -> bool {
        let open = matches!(self.state, State::Established | State::CloseWait | State::FinWait2);
        // What is in flight or waits for a window is a question already.
        let asking = self.timer.is_some();
        let Some(keep) = self.keep_alive.as_mut().filter(|keep| keep.at <= now) else { return true };
        let silent_until = keep.heard + keep.idle;
        if !open || asking || silent_until > now {
            keep.at = if silent_until > now { silent_until } else { now + keep.idle };
            return true;
        }
        if keep.asked >= QUESTIONS {
            self.abort_because(Closed::TimedOut);
            return false;
        }
        keep.asked += 1;
        keep.due = true;
        keep.at = now + INTERVAL;
        true
    }
}
