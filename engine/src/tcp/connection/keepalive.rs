//! Asking a silent peer whether it is alive (RFC 9293 section 3.8.4). Silence is not death: only a reset, or several
//! questions that got no answer, end a connection.

use super::Connection;
use crate::tcp::config::Config;
use crate::tcp::due::Due;
use crate::tcp::state::{Closed, State};
use crate::time::{Duration, Instant};

/// When a silent peer is asked, and when it is taken for gone.
#[derive(Clone, Copy, Debug)]
struct Asking {
    /// How long it may be silent.
    idle: Duration,
    /// How long it has for an answer.
    interval: Duration,
    /// So many questions without an answer mean that it is gone.
    most: u8,
}

/// A connection of which one direction has ended, and where keep-alive is configured. RFC 9293 leaves interval and number
/// to the implementation.
const OFTEN: Asking = Asking { idle: Duration::from_secs(75), interval: Duration::from_secs(75), most: 9 };
/// An open connection. A NAT may not forget one that is idle for less than two hours (RFC 5382 section 5), and people rely on
/// sessions that are idle for longer, of machines that sleep: an answer is not insisted on for as long as Linux's own NAT
/// remembers an idle connection, which is five days. A machine that was started anew answers with a reset.
const SELDOM: Asking = Asking { idle: HOURS_4, interval: HOURS_4, most: 30 };
const HOURS_4: Duration = Duration::from_secs(4 * 3600);

/// What is known of the peer's being alive.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// How long an open connection may be silent; zero where that is not configured.
    idle: Duration,
    /// Peers are asked although nothing is configured.
    watch: bool,
    asked: u8,
    /// When the peer was last heard.
    heard: Instant,
    /// When to look again.
    at: Instant,
}

impl KeepAlive {
    pub(super) fn new(config: &Config, now: Instant) -> KeepAlive {
        // RFC 9293 section 3.8.4: intervals are to be long, but nothing forbids short ones.
        let idle = config.keep_alive.map_or(Duration::ZERO, |idle| idle.max(Duration::from_secs(1)));
        KeepAlive { idle, watch: config.watch, asked: 0, heard: now, at: now }
    }

    #[inline]
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = 0;
    }

    /// Whether the question may come as the repetition of a FIN.
    pub(super) fn may_repeat(&self) -> bool {
        self.asked > 0 && self.asked.is_multiple_of(2)
    }
}

impl Connection {
    /// How a silent peer is asked now, if at all.
    fn asking(&self) -> Option<Asking> {
        let KeepAlive { idle, watch, .. } = self.keep_alive;
        let configured = idle > Duration::ZERO;
        match self.state {
            State::Established if configured => Some(Asking { idle, ..OFTEN }),
            State::Established if watch => Some(SELDOM),
            State::CloseWait | State::FinWait2 if configured => Some(Asking { idle: idle.min(OFTEN.idle), ..OFTEN }),
            State::CloseWait | State::FinWait2 if watch => Some(OFTEN),
            _ => None,
        }
    }

    /// When to look after a silent peer.
    pub(super) fn keep_alive_deadline(&self) -> Option<Instant> {
        let KeepAlive { idle, watch, at, .. } = self.keep_alive;
        let asks = watch || idle > Duration::ZERO;
        (asks && matches!(self.state, State::Established | State::CloseWait | State::FinWait2)).then_some(at)
    }

    /// The connection has come into another state of those in which a silent peer is asked.
    pub(super) fn begin_watch(&mut self, now: Instant) {
        if let Some(asking) = self.asking() {
            self.keep_alive.at = now + asking.idle;
        }
    }

    /// The time to look after a silent peer has come. Whether the connection goes on.
    pub(super) fn on_keep_alive(&mut self, now: Instant) -> bool {
        let Some(asking) = self.asking().filter(|_| self.keep_alive.at <= now) else { return true };
        // What is in flight or waits for a window is a question already.
        let pending = self.sender.is_waiting();
        let keep = &mut self.keep_alive;
        let silent_until = keep.heard + asking.idle;
        if pending || silent_until > now {
            keep.at = if silent_until > now { silent_until } else { now + asking.idle };
            return true;
        }
        if keep.asked >= asking.most {
            self.abort_because(Closed::TimedOut);
            return false;
        }
        keep.asked += 1;
        keep.at = now + asking.interval;
        self.due.insert(Due::QUESTION);
        true
    }

    /// Whether the peer is about to be asked whether it is alive.
    pub fn is_asking(&self) -> bool {
        self.due.contains(Due::QUESTION)
    }

    /// Questions that the peer has not answered, the one that is about to be sent among them.
    pub fn questions(&self) -> u8 {
        self.keep_alive.asked
    }

    /// Takes back the question that is about to be sent. Whoever has ended in order may have gone: it would answer with a
    /// reset, and what is still on its way to the host would be lost.
    pub fn take_back_question(&mut self) {
        if self.due.take(Due::QUESTION) {
            self.keep_alive.asked = self.keep_alive.asked.saturating_sub(1);
        }
    }
}
