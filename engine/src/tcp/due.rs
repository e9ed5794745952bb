//! What is due: everything that a connection may have to send besides new bytes, as one set.
//!
//! Each part marks what is its own, so that recovery cannot owe an acknowledgment and the receiver cannot have anything sent
//! again; [`Connection`](super::Connection) looks at the union, and sends what is in it in the order of this list.

use bitflags::bitflags;

bitflags! {
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub(super) struct Due: u16 {
        /// A reset, after which the connection is closed.
        const RESET = 1 << 0;
        /// A reset that answers a segment that must not be believed; the connection stays.
        const STRAY_RESET = 1 << 1;
        /// Our SYN.
        const SYN = 1 << 2;
        /// The first lost segment, whatever the congestion window says.
        const FIRST_LOST = 1 << 3;
        /// A tail loss probe (RFC 8985 section 7.3).
        const TAIL_PROBE = 1 << 4;
        /// A segment, whatever the windows say: the probe of a closed window.
        const FORCED = 1 << 5;
        /// An acknowledgment.
        const ACK = 1 << 6;
        /// An acknowledgment that may wait for the end of the batch.
        const BATCHED_ACK = 1 << 7;
        /// The question whether a silent peer is alive.
        const QUESTION = 1 << 8;
    }
}

impl Due {
    /// What the sender marks.
    pub(super) const SENDER: Due = Due::FIRST_LOST.union(Due::TAIL_PROBE).union(Due::FORCED);
    /// What the receiver marks.
    pub(super) const RECEIVER: Due = Due::ACK.union(Due::BATCHED_ACK);

    /// Takes `what` out. Whether any of it was due.
    #[inline]
    pub(super) fn take(&mut self, what: Due) -> bool {
        let was = self.intersects(what);
        self.remove(what);
        was
    }
}
