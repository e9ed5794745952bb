//! How the send space begins: with a handshake, or from a saved state.

use super::rack::Rack;
use super::recovery::Recovery;
use super::{Fin, Sender};
use crate::tcp::config::Config;
use crate::tcp::congestion::Control;
use crate::tcp::pool::Pool;
use crate::tcp::saved::Saved;
use crate::tcp::segment::{MAX_SHIFT, Segment};
use crate::tcp::seq::SeqNumber;
use crate::time::Instant;

/// The least segment size that a peer's option is believed, in bytes; source: docs/contract/tcp.md section 2.3.
pub(super) const MIN_MSS: u16 = 32;
/// The segment size that every peer takes (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;

impl Sender {
    /// Takes over what the peer's SYN says: its window, segment size and options. `ours` is the segment size that we
    /// advertise, `scaled` and `sack` what was agreed on.
    pub(crate) fn begin(&mut self, syn: &Segment<'_>, ours: u16, (scaled, sack): (bool, bool), now: Instant) {
        self.wnd = u32::from(syn.window);
        self.max_wnd = self.wnd;
        self.wl1 = syn.seq;
        self.wl2 = self.iss;
        self.mss = match syn.options.mss {
            Some(mss) => mss.max(MIN_MSS).min(ours),
            // Upstream sends 1440 bytes to such a guest at an MTU of 1500. RFC 9293 section 3.7.1 would have 536; guests
            // without the option are not known to exist on a real network, so that what upstream does is kept.
            None => ours.saturating_sub(20).max(DEFAULT_MSS).min(ours),
        }
        .max(1);
        self.sack = sack;
        self.stamps = self.stamps.filter(|_| syn.options.timestamps.is_some());
        self.controller.choose(self.congestion, u32::from(self.payload_mss()), sack, now);
        if let Some(shift) = syn.options.window_scale
            && scaled
        {
            self.scale = shift.min(MAX_SHIFT);
        }
    }

    /// Our SYN goes out. Whether for the first time.
    pub(crate) fn send_syn(&mut self) -> bool {
        let first = self.max == self.iss;
        self.nxt = self.iss + 1;
        self.max = self.nxt;
        first
    }

    /// Our SYN is to be sent again.
    pub(crate) fn rewind_syn(&mut self) {
        self.nxt = self.iss;
    }

    /// Our SYN was acknowledged. `sent` is when it was sent, if it was sent once; `repeated` when a timeout had it sent again.
    pub(crate) fn establish(&mut self, ack: SeqNumber, sent: Option<Instant>, repeated: bool, now: Instant) {
        if repeated {
            self.rtt.syn_was_lost();
        }
        if let Some(sent) = sent {
            self.rtt.sample(sent, now);
        }
        self.una = ack;
        self.nxt = ack;
        self.rtt_next = ack;
        self.scoreboard.clear(ack);
        self.recovery = Recovery::new(ack);
        self.rack = Rack::new(ack);
    }

    /// The variables of a saved state, and the bytes that the peer had not acknowledged. What was in flight is sent again.
    /// False when there is no memory for the bytes.
    pub(crate) fn restore(&mut self, saved: &Saved, config: &Config, unacknowledged: &[u8], pool: &mut Pool) -> bool {
        self.una = saved.snd_una;
        self.nxt = saved.snd_una;
        self.rtt_next = saved.snd_una;
        self.scoreboard.clear(saved.snd_una);
        self.recovery = Recovery::new(saved.snd_una);
        self.rack = Rack::new(saved.snd_una);
        self.max = saved.snd_max;
        // The last window update came from the past, else none would count for a long time.
        let recent = |number: SeqNumber, last: SeqNumber| number.le(last) && last.distance(number) < 1 << 30;
        self.wl1 = if recent(saved.snd_wl1, saved.rcv_nxt) { saved.snd_wl1 } else { saved.rcv_nxt };
        self.wl2 = if recent(saved.snd_wl2, saved.snd_una) { saved.snd_wl2 } else { saved.snd_una };
        self.scale = saved.snd_scale.min(MAX_SHIFT);
        // No window is larger than its field and the shift can say.
        let offered = u32::from(u16::MAX) << self.scale;
        self.wnd = saved.snd_wnd.min(offered);
        self.max_wnd = saved.max_snd_wnd.min(offered).max(self.wnd);
        // The link may be another one than where the state was saved.
        self.mss = saved.mss.max(MIN_MSS).min(config.mss).max(1);
        // Which options were agreed on, the state does not tell.
        self.sack = false;
        self.stamps = None;
        self.controller.begin(u32::from(self.payload_mss()));
        self.controller.restore(saved.cwnd, saved.ssthresh);
        if let Some((srtt, rttvar)) = saved.srtt.zip(saved.rttvar) {
            self.rtt.restore(srtt, rttvar);
        }
        if self.buffer.push(unacknowledged, Pool::MAX_BUFFER, pool) < unacknowledged.len() {
            return false;
        }
        if saved.state.has_ended() {
            self.buffer.close();
            // FIN_WAIT_1 and its like say that the FIN was sent, or may be sent again.
            self.fin = if saved.state.has_all_acked() { Fin::Acked } else { Fin::Sent };
        }
        true
    }
}
