//! What others may see of a connection.

use super::Connection;
use crate::tcp::congestion::Control;
use crate::tcp::due::Due;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::tcp::state::{Closed, State};
use crate::time::Duration;

impl Connection {
    /// Where the connection is between its opening and its end.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why the connection is closed, once it is. A connection that ended in order counts as open as long as bytes wait in
    /// [`Connection::recv`]: they were acknowledged and must reach the host.
    pub fn closed(&self) -> Option<Closed> {
        let told = |reason| reason != Closed::Finished || self.receiver.is_drained();
        self.closed.filter(|&reason| self.state == State::Closed && told(reason))
    }

    /// Whether the handshake is complete; stays true in all later states.
    #[inline]
    pub fn is_established(&self) -> bool {
        self.handshake.is_none()
    }

    /// Whether the peer's FIN is in order: what is in [`Connection::recv`] is the last of its bytes.
    pub fn peer_finished(&self) -> bool {
        self.receiver.is_finished()
    }

    /// Whether the next deadline is that of something that waits for its pace.
    #[cfg(test)]
    pub(crate) fn is_paced(&self) -> bool {
        self.is_established() && self.sender.is_paced()
    }

    /// How many bytes the send buffer may hold now.
    pub fn send_limit(&self) -> usize {
        self.sender.limit()
    }

    /// How many more bytes the send buffer may take; 0 after [`Connection::close_send`].
    pub fn send_room(&self) -> usize {
        if self.send().is_closed() || self.due.contains(Due::RESET) || self.state == State::Closed {
            return 0;
        }
        self.send_limit().saturating_sub(self.send().len())
    }

    /// Whether the peer has acknowledged everything that was handed in, the FIN included.
    pub fn send_idle(&self) -> bool {
        self.sender.is_idle()
    }

    /// How many bytes of the send buffer were not sent, or are to be sent again after a timeout.
    pub fn unsent(&self) -> usize {
        self.sender.unsent()
    }

    /// Whether it is the peer's window that keeps the next full segment back.
    pub fn is_held_by_window(&self) -> bool {
        self.unsent() > 0 && (self.snd_edge().distance(self.snd_max()) as usize) < self.effective_mss()
    }

    /// The most payload of a segment to the peer, in bytes, where it is tried out how long segments may be.
    pub fn longest_payload(&self) -> usize {
        usize::from(self.sender.longest_payload())
    }

    /// The payload of a full segment to the peer, in bytes.
    pub fn effective_mss(&self) -> usize {
        usize::from(self.sender.payload_mss())
    }

    /// Whether `syn` may take this connection's place: the connection is in TIME_WAIT and the SYN is newer than all that
    /// it received (RFC 1122 section 4.2.2.13), by its number or by its timestamp (RFC 6191). The caller drops this
    /// connection then and opens a new one with an initial sequence number after [`Connection::snd_nxt`].
    pub fn reusable_by(&self, syn: &Segment<'_>) -> bool {
        let controls = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
        self.state == State::TimeWait
            && self.recv().is_empty()
            && syn.flags & controls == Flags::SYN
            && (syn.seq.gt(self.rcv_nxt()) || self.receiver.is_newer(syn))
    }

    /// The oldest number that is not acknowledged.
    pub fn snd_una(&self) -> SeqNumber {
        self.sender.una()
    }

    /// Two numbers of which one changes when the peer takes bytes, the other when the host does.
    pub fn progress(&self) -> [SeqNumber; 2] {
        [self.sender.una(), self.receiver.nxt() - self.recv().len() as u32]
    }

    /// The next number to send.
    pub fn snd_nxt(&self) -> SeqNumber {
        self.sender.nxt()
    }

    /// The number after the last one ever sent.
    pub fn snd_max(&self) -> SeqNumber {
        self.sender.max()
    }

    /// The peer's window in bytes.
    pub fn snd_wnd(&self) -> u32 {
        self.sender.window()
    }

    /// The right edge of the peer's window: it moves on when the peer's program reads.
    #[inline]
    pub fn snd_edge(&self) -> SeqNumber {
        self.sender.una() + self.sender.window()
    }

    /// The next number expected from the peer.
    pub fn rcv_nxt(&self) -> SeqNumber {
        self.receiver.nxt()
    }

    /// The window the peer was told, from [`Connection::rcv_nxt`] on, in bytes.
    pub fn rcv_wnd(&self) -> u32 {
        self.receiver.window()
    }

    /// The congestion window in bytes.
    pub fn cwnd(&self) -> u32 {
        self.sender.controller().window()
    }

    /// The slow start threshold in bytes.
    pub fn ssthresh(&self) -> u32 {
        self.sender.controller().threshold()
    }

    /// How many segments were sent again since this was last asked.
    #[inline]
    pub fn take_resent(&mut self) -> u16 {
        self.sender.take_resent()
    }

    /// The smoothed round-trip time, once one was measured.
    pub fn srtt(&self) -> Option<Duration> {
        self.sender.rtt().srtt()
    }

    /// The round-trip time's variation, once one was measured.
    pub fn rttvar(&self) -> Option<Duration> {
        self.sender.rtt().rttvar()
    }

    /// Timeouts in a row that the peer has not answered.
    pub fn timeouts(&self) -> u8 {
        match &self.handshake {
            Some(handshake) => handshake.timeouts(),
            None => self.sender.timeouts(),
        }
    }

    /// The retransmission timeout without doublings.
    pub fn rto(&self) -> Duration {
        self.sender.rtt().rto(0)
    }
}
