//! The states of a connection, and how it came to the last one.

/// The states of RFC 9293 section 3.3.2, with one more before the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// A SYN has arrived and is not answered: it is not known yet whether the host side can be connected.
    Opening,
    /// Our SYN was sent.
    SynSent,
    /// The peer's SYN was answered with ours, which is not acknowledged.
    SynReceived,
    /// Bytes go both ways.
    Established,
    /// Our FIN was sent and is not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged; the peer may still send.
    FinWait2,
    /// The peer has sent its FIN; we may still send.
    CloseWait,
    /// Both FINs were sent, and ours is not acknowledged.
    Closing,
    /// As `Closing`, and the peer was first.
    LastAck,
    /// Both directions have ended; what is still on its way dies out.
    TimeWait,
    /// There is no connection any more.
    Closed,
}

impl State {
    /// Our direction has ended: the FIN is on its way, or will be.
    pub fn has_ended(self) -> bool {
        matches!(self, State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait)
    }

    /// Our direction has ended, and the peer has acknowledged all of it.
    pub fn has_all_acked(self) -> bool {
        matches!(self, State::FinWait2 | State::TimeWait)
    }

    /// The peer's direction has ended.
    pub fn peer_has_ended(self) -> bool {
        matches!(self, State::CloseWait | State::Closing | State::LastAck | State::TimeWait)
    }
}

/// Why a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// Both directions ended in order, or the time to wait for the peer's end is over.
    Finished,
    ResetByPeer,
    /// The peer did not answer.
    TimedOut,
    /// By [`Connection::abort`](super::Connection::abort).
    Aborted,
}
