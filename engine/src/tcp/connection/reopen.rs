//! A peer that has started anew and opens the connection a second time.
//!
//! RFC 5961 section 4.2 has a SYN in a connection answered by an acknowledgment, which a peer that knows nothing of the
//! connection answers by a reset. Some stacks are silent there, and would be shut out for as long as they use this port. So a
//! SYN that comes again counts, unless the peer has shown in between that it lives: with the acknowledgment goes a question
//! (RFC 9293 section 3.8.4) that whoever has the connection must answer, and has time for that. Frames that the link
//! doubles, old ones and those that others make up end no connection of a live peer.

use super::{Connection, State};
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

/// The least time that a peer has for its answer. No stack repeats a SYN sooner.
const ANSWER: Duration = Duration::from_millis(500);

/// A SYN that came in a connection and was answered; nothing was heard of the peer since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knock {
    at: Instant,
    /// Bytes in order show a live peer as well.
    rcv_nxt: SeqNumber,
}

fn is_bare_syn(segment: &Segment<'_>) -> bool {
    segment.flags & (Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN) == Flags::SYN
}

impl Connection {
    /// Answers a SYN in a connection that is past it.
    pub(super) fn challenge_syn(&mut self, segment: &Segment<'_>, now: Instant) {
        if !self.may_challenge(now) {
            return;
        }
        self.receiver.owe();
        if is_bare_syn(segment) && self.knock.is_none_or(|knock| knock.rcv_nxt != self.rcv_nxt()) {
            self.knock = Some(Knock { at: now, rcv_nxt: self.rcv_nxt() });
            // In the handshake our repeated SYN is the question.
            self.keep_alive.due = self.established;
        }
    }

    /// Whether `syn` shows that the peer has started anew: it is the second one, and the peer had time to show between them
    /// that it has this connection. The caller drops the connection then and opens a new one.
    pub fn reopened_by(&self, syn: &Segment<'_>, now: Instant) -> bool {
        let Some(knock) = self.knock else { return false };
        is_bare_syn(syn)
            && self.state != State::Closed
            && self.aborting.is_none()
            && knock.rcv_nxt == self.rcv_nxt()
            && now >= knock.at + self.rto().max(ANSWER)
    }
}
