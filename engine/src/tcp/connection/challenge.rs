//! Segments that may be made up by others, and a peer that has started anew.
//!
//! What does not fit is answered with the current numbers (RFC 5961), which a peer that is out of step can tell its own
//! from. RFC 5961 section 4.2 has a SYN in a connection answered in the same way, and a peer that knows nothing of the
//! connection answers that by a reset. Some stacks are silent there, and would be shut out for as long as they use this port. So a
//! SYN that comes again counts, unless the peer has shown in between that it lives: with the acknowledgment goes a question
//! (RFC 9293 section 3.8.4) that whoever has the connection must answer, and has time for that. Frames that the link
//! doubles, old ones and those that others make up end no connection of a live peer.

use super::Connection;
use crate::tcp::due::Due;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::tcp::state::State;
use crate::time::{Duration, Instant};

/// Challenge acknowledgments per second and connection (RFC 5961 section 7).
const CHALLENGES: u8 = 10;
/// The least time that a peer has for its answer. No stack repeats a SYN sooner.
const ANSWER: Duration = Duration::from_millis(500);

/// The challenges of the current second, and the SYN that came last.
#[derive(Debug)]
pub(super) struct Challenges {
    since: Instant,
    count: u8,
    /// When a SYN came in the connection and was answered, while nothing was heard of the peer since.
    knock: Option<Instant>,
    /// The next number expected at that moment: bytes in order show a live peer as well.
    knock_nxt: SeqNumber,
}

impl Challenges {
    pub(super) fn new(now: Instant) -> Challenges {
        Challenges { since: now, count: 0, knock: None, knock_nxt: SeqNumber(0) }
    }

    /// When a SYN came last, if nothing was heard of the peer since; `nxt` is the next number expected now.
    fn knocked(&self, nxt: SeqNumber) -> Option<Instant> {
        self.knock.filter(|_| self.knock_nxt == nxt)
    }

    /// The peer has shown that it has this connection.
    #[inline]
    pub(super) fn heard(&mut self) {
        self.knock = None;
    }

    /// Whether one more is allowed.
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        if now < self.since || now - self.since >= Duration::from_secs(1) {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count <= CHALLENGES
    }
}

fn is_bare_syn(segment: &Segment<'_>) -> bool {
    segment.flags & (Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN) == Flags::SYN
}

impl Connection {
    /// Answers with the current numbers. The number of such answers is bounded.
    pub(super) fn challenge(&mut self, now: Instant) {
        if self.challenges.allow(now) {
            self.receiver.owe();
        }
    }

    /// Answers a SYN in a connection that is past it.
    pub(super) fn challenge_syn(&mut self, segment: &Segment<'_>, now: Instant) {
        if !self.challenges.allow(now) {
            return;
        }
        self.receiver.owe();
        let nxt = self.receiver.nxt();
        if is_bare_syn(segment) && self.challenges.knocked(nxt).is_none() {
            self.challenges.knock = Some(now);
            self.challenges.knock_nxt = nxt;
            // In the handshake our repeated SYN is the question.
            if self.is_established() {
                self.due.insert(Due::QUESTION);
            }
        }
    }

    /// Whether `syn` shows that the peer has started anew: it is the second one, and the peer had time to show between them
    /// that it has this connection. The caller drops the connection then and opens a new one.
    pub fn reopened_by(&self, syn: &Segment<'_>, now: Instant) -> bool {
        let Some(knock) = self.challenges.knocked(self.receiver.nxt()) else { return false };
        is_bare_syn(syn)
            && self.state != State::Closed
            && !self.due.contains(Due::RESET)
            && now >= knock + self.rto().max(ANSWER)
    }
}
