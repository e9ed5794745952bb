//! What is kept of a connection in a saved state, and the way back.

use super::Connection;
use crate::tcp::config::Config;
use crate::tcp::congestion::Control;
use crate::tcp::due::Due;
use crate::tcp::pool::Pool;
use crate::tcp::saved::Saved;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::state::State;
use crate::time::Instant;

impl Connection {
    /// The variables as they are now, or `None` when the handshake is not complete or the connection is closed.
    pub fn save(&self) -> Option<Saved> {
        if !self.is_established() || self.state == State::Closed || self.due.contains(Due::RESET) {
            return None;
        }
        let (sender, receiver) = (&self.sender, &self.receiver);
        let (snd_wl1, snd_wl2) = sender.window_from();
        Some(Saved {
            state: self.state,
            iss: sender.iss(),
            snd_una: sender.una(),
            snd_max: sender.max(),
            snd_wl1,
            snd_wl2,
            snd_wnd: sender.window(),
            max_snd_wnd: sender.max_window(),
            snd_scale: sender.scale(),
            irs: receiver.irs(),
            rcv_nxt: receiver.nxt(),
            rcv_adv: receiver.edge(),
            rcv_scale: receiver.scale(),
            mss: sender.believed_mss(),
            cwnd: sender.controller().window(),
            ssthresh: sender.controller().threshold(),
            srtt: sender.rtt().srtt(),
            rttvar: sender.rtt().rttvar(),
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
        let state = saved.state;
        let (peer_finished, closed) = (state.peer_has_ended(), state.has_ended());
        if state != State::Established && !peer_finished && !closed {
            return None;
        }
        let fin_in_flight = matches!(state, State::FinWait1 | State::Closing | State::LastAck);
        let flight = saved.snd_max.distance(saved.snd_una) as usize;
        let in_order = saved.snd_una.le(saved.snd_max) && saved.rcv_nxt.le(saved.rcv_adv + 1);
        if !in_order
            || flight > unacknowledged.len() + usize::from(fin_in_flight)
            || (state.has_all_acked() && (flight > 0 || !unacknowledged.is_empty()))
            || saved.rcv_adv.distance(saved.rcv_nxt) > 1 << 30
        {
            return None;
        }
        let mut connection = Connection::new(config, saved.iss, state, now);
        connection.handshake = None;
        connection.learning = true;
        let stored = connection.receiver.restore(saved, received, pool)
            && connection.sender.restore(saved, config, unacknowledged, pool);
        if !stored {
            connection.release(pool);
            return None;
        }
        connection.begin_watch(now);
        if state == State::TimeWait {
            connection.enter_time_wait(now);
        }
        Some(connection)
    }

    /// A saved state does not tell which options were agreed on; the peer's segments do. Takes up those that the peer goes on
    /// to use. Only a segment that could be taken counts: an old SYN offers what was never agreed on, and others could make
    /// one up.
    #[cold]
    pub(super) fn learn(&mut self, segment: &Segment<'_>, now: Instant) {
        let controls = Flags::SYN | Flags::RST | Flags::ACK;
        let (nxt, edge) = (self.receiver.nxt(), self.receiver.nxt() + self.receiver.window());
        let inside = segment.seq.ge(nxt) && segment.seq.le(edge);
        if segment.flags & controls != Flags::ACK || !inside || !self.sender.is_acceptable(segment.ack) {
            return;
        }
        if segment.options.sack.iter().any(Option::is_some) {
            self.sender.allow_sack();
            self.receiver.allow_sack();
        }
        if let Some((value, echo)) = segment.options.timestamps
            && !self.sender.stamps()
        {
            self.sender.continue_stamps(echo, now);
            self.receiver.begin_stamps(Some(value), now);
        }
    }
}
