//! Explicit congestion notification (RFC 3168): what is agreed on, what of the peer's was marked, and what our marks ask for.
//!
//! A queue on the way marks a packet in place of dropping it. Whoever receives it says so in each acknowledgment until it hears
//! that the other end has slowed down. Only new text is sent as capable: repetitions, bare acknowledgments and probes are
//! not (sections 6.1.4 to 6.1.6).

use super::segment::Flags;
use super::seq::SeqNumber;

/// Whether connections use explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Ecn {
    /// They do not.
    Refuse,
    /// Where the guest asks for it.
    #[default]
    Accept,
    /// They ask the guest for it as well.
    Ask,
}

/// The flags of a SYN that asks.
pub(super) const ASKS: Flags = Flags::ECE.union(Flags::CWR);

/// The sender's part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// Both ends take part.
    pub agreed: bool,
    /// The peer is to hear that less is sent.
    pub reduced: bool,
    /// Marks of what was sent before this are one event.
    pub until: SeqNumber,
}

impl Marks {
    pub(super) fn new(iss: SeqNumber) -> Marks {
        Marks { agreed: false, reduced: false, until: iss }
    }

    /// Whether an acknowledgment of `ack` that tells of marks tells of some that were not heeded yet. `max` is the end of what
    /// was sent.
    pub(super) fn is_news(&mut self, ack: SeqNumber, max: SeqNumber) -> bool {
        if !self.agreed || !ack.gt(self.until) {
            return false;
        }
        self.until = max;
        self.reduced = true;
        true
    }
}
