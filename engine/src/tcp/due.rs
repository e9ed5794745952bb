//! What is due: everything that a connection may have to send besides new bytes, as one set.
//!
//! Each part marks what is its own, so that recovery cannot owe an acknowledgment and the receiver cannot have anything sent
//! again; [`Connection`](super::Connection) looks at the union, and sends what is in it in the order of this list.

use bitflags::bitflags;

bitflags! {
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub(super) struct Due: u8 {
        /// An acknowledgment, now.
        const ACK = 1 << 0;
        /// An acknowledgment, which may wait for the end of the batch.
        const BATCHED_ACK = 1 << 1;
    }
}

impl Due {
    /// What the receiver marks.
    pub const RECEIVER: Due = Due::ACK.union(Due::BATCHED_ACK);
}
