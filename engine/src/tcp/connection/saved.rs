//! What is kept of a connection in a saved state, and the way back.

use super::recovery::Recovery;
use super::{Config, Connection, State};
use crate::tcp::congestion::Control;
use crate::tcp::pool::Pool;
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

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

impl Connection {
    /// The variables as they are now, or `None` when the handshake is not complete or the connection is closed.
    pub fn save(&self) -> Option<Saved> {
        if !self.established || self.state == State::Closed || self.aborting.is_some() {
            return None;
        }
        Some(Saved {
            state: self.state,
            iss: self.iss,
            snd_una: self.snd_una,
            snd_max: self.snd_max,
            snd_wl1: self.snd_wl1,
            snd_wl2: self.snd_wl2,
            snd_wnd: self.snd_wnd,
            max_snd_wnd: self.max_snd_wnd,
            snd_scale: self.snd_scale,
            irs: self.receiver.irs(),
            rcv_nxt: self.rcv_nxt(),
            rcv_adv: self.receiver.edge(),
            rcv_scale: self.receiver.scale(),
            mss: self.mss,
            cwnd: self.cwnd(),
            ssthresh: self.ssthresh(),
            srtt: self.srtt(),
            rttvar: self.rttvar(),
        })
    }

    /// A connection from saved variables and the bytes its two buffers held: `received` is what the host had not taken,
    /// `unacknowledged` what the peer had not acknowledged. What was in flight is sent again. `None` when the variables
    /// cannot belong together, or there is no memory for the bytes; source: docs/contract/state.md section 6.
    pub fn restore(
        config: &Config,
        saved: &Saved,
        received: &[u8],
        unacknowledged: &[u8],
        now: Instant,
        pool: &mut Pool,
    ) -> Option<Connection> {
        let mut connection = Connection::new(config, saved.iss, saved.state, now);
        let (peer_finished, closed) = (saved.state.peer_has_ended(), saved.state.has_ended());
        if saved.state != State::Established && !peer_finished && !closed {
            return None;
        }
        let fin_in_flight = matches!(saved.state, State::FinWait1 | State::Closing | State::LastAck);
        let flight = saved.snd_max.distance(saved.snd_una) as usize;
        let in_order = saved.snd_una.le(saved.snd_max) && saved.rcv_nxt.le(saved.rcv_adv + 1);
        let all_acked = matches!(saved.state, State::FinWait2 | State::TimeWait);
        if !in_order
            || flight > unacknowledged.len() + usize::from(fin_in_flight)
            || (all_acked && (flight > 0 || !unacknowledged.is_empty()))
            || saved.rcv_adv.distance(saved.rcv_nxt) > 1 << 30
        {
            return None;
        }
        connection.established = true;
        connection.learn_options();
        connection.snd_una = saved.snd_una;
        connection.snd_nxt = saved.snd_una;
        connection.rtt_next = saved.snd_una;
        connection.scoreboard.clear(saved.snd_una);
        connection.recovery = Recovery::new(saved.snd_una);
        connection.snd_max = saved.snd_max;
        // The last window update came from the past, else none would count for a long time.
        let recent = |number: SeqNumber, last: SeqNumber| number.le(last) && last.distance(number) < 1 << 30;
        connection.snd_wl1 = if recent(saved.snd_wl1, saved.rcv_nxt) { saved.snd_wl1 } else { saved.rcv_nxt };
        connection.snd_wl2 = if recent(saved.snd_wl2, saved.snd_una) { saved.snd_wl2 } else { saved.snd_una };
        connection.snd_scale = saved.snd_scale.min(super::MAX_SHIFT);
        // No window is larger than its field and the shift can say.
        let offered = |shift: u8| u32::from(u16::MAX) << shift;
        connection.snd_wnd = saved.snd_wnd.min(offered(connection.snd_scale));
        connection.max_snd_wnd = saved.max_snd_wnd.min(offered(connection.snd_scale)).max(connection.snd_wnd);
        connection.window_scale = saved.snd_scale > 0 || saved.rcv_scale > 0;
        let window = saved.rcv_adv.distance(saved.rcv_nxt);
        let scale = (saved.rcv_scale.min(super::MAX_SHIFT), connection.window_scale);
        connection.receiver.restore(saved.irs, saved.rcv_nxt, window, scale, peer_finished);
        // The link may be another one than where the state was saved.
        connection.mss = saved.mss.max(super::MIN_MSS).min(config.mss).max(1);
        connection.controller.begin(u32::from(connection.payload_mss()));
        connection.controller.restore(saved.cwnd, saved.ssthresh);
        if let Some((srtt, rttvar)) = saved.srtt.zip(saved.rttvar) {
            connection.rtt.restore(srtt, rttvar);
        }
        let stored = connection.receiver.push(received, pool) == received.len()
            && connection.send.push(unacknowledged, Pool::MAX_BUFFER, pool) == unacknowledged.len();
        if !stored {
            connection.release(pool);
            return None;
        }
        if closed {
            connection.send.close();
            // FIN_WAIT_1 and its like say that the FIN was sent, or may be sent again.
            connection.fin_sent = true;
        }
        connection.begin_watch(now);
        if saved.state == State::TimeWait {
            connection.enter_time_wait(now);
        }
        Some(connection)
    }
}
