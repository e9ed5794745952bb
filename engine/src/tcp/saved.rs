//! What is kept of a connection in a saved state.

use super::seq::SeqNumber;
use super::state::State;
use crate::time::Duration;

/// The variables of a connection whose handshake is complete, without its buffers. Windows and sizes are bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saved {
    /// Any state from [`State::Established`] on, [`State::Closed`] excepted.
    pub state: State,
    pub iss: SeqNumber,
    pub snd_una: SeqNumber,
    pub snd_max: SeqNumber,
    pub snd_wl1: SeqNumber,
    pub snd_wl2: SeqNumber,
    pub snd_wnd: u32,
    pub max_snd_wnd: u32,
    pub snd_scale: u8,
    pub irs: SeqNumber,
    pub rcv_nxt: SeqNumber,
    pub rcv_adv: SeqNumber,
    pub rcv_scale: u8,
    /// The segment size towards the peer.
    pub mss: u16,
    pub cwnd: u32,
    pub ssthresh: u32,
    pub srtt: Option<Duration>,
    pub rttvar: Option<Duration>,
}
