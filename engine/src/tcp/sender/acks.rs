//! Acknowledgments that arrive, in the order in which what they tell is taken in.

use super::{Fin, Sender, Timer};
use crate::tcp::congestion::{Ack, Control, Sample};
use crate::tcp::due::Due;
use crate::tcp::pool::Pool;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;
use crate::time::{Duration, Instant};

use super::recovery::Phase;
use super::scoreboard::Delivered;

impl Sender {
    /// Whether an acknowledgment answers our SYN.
    pub(crate) fn acks_syn(&self, ack: SeqNumber) -> bool {
        ack.gt(self.una) && !ack.gt(self.max)
    }

    /// Whether an acknowledgment is of what was sent, and not older than the largest window (RFC 5961 section 5.2).
    #[inline]
    pub(crate) fn is_acceptable(&self, ack: SeqNumber) -> bool {
        !ack.gt(self.max) && !ack.lt(self.una - self.max_wnd)
    }

    /// Whether a segment brings no news: it acknowledges what was acknowledged, and nothing lies beyond a hole.
    #[inline]
    pub(crate) fn expects(&self, header: &Segment<'_>) -> bool {
        header.ack == self.una && self.scoreboard.sacked() == 0 && header.options.sack[0].is_none()
    }

    /// Whether a segment brings no news but, at most, that everything has arrived that was sent, on a short path on which nothing is
    /// being repaired.
    #[inline]
    pub(crate) fn expects_plainly(&self, header: &Segment<'_>) -> bool {
        if header.ack == self.una {
            return self.expects(header);
        }
        header.ack == self.max
            && header.options.sack[0].is_none()
            && self.fin == Fin::Unsent
            && !self.measures
            && !self.is_long()
            && !self.controller.is_model()
            && self.recovery.phase == Phase::Open
            && self.recovery.probe.is_none()
            && self.search.is_none()
            && self.scoreboard.whole().is_some_and(|whole| whole.end == header.ack)
    }

    /// Whether a segment acknowledges what was not.
    #[inline]
    pub(crate) fn acknowledges_more(&self, header: &Segment<'_>) -> bool {
        header.ack != self.una
    }

    /// [`Sender::on_ack`] where everything has arrived; see [`Sender::expects_plainly`].
    pub(crate) fn take_whole_ack(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) {
        let Some(newest) = self.scoreboard.whole() else { return };
        let acked = self.max.distance(self.una);
        self.scoreboard.acked_whole(segment.ack);
        self.buffer.consume(self.buffer.len().min(acked as usize), pool);
        self.una = segment.ack;
        self.nxt = segment.ack;
        self.due.remove(Due::FORCED | Due::FIRST_LOST);
        self.rack.note(&Delivered { bytes: acked, newest: Some(newest), once: Some(newest.end) }, newest, now);
        if newest.end.ge(self.rtt_next) {
            self.rtt.sample(newest.sent, now);
            self.rtt_next = self.max;
        }
        self.recovery.duplicates = 0;
        self.recovery.left = 0;
        if !self.controller.on_unused_window(acked) {
            let ack = Ack { delivered: acked, flight: acked };
            self.controller.on_ack(&ack, &self.path(now));
        }
        self.forget_waits();
        self.timer = None;
        self.take_window(segment);
    }

    /// Takes an acceptable acknowledgment. Whether our FIN is acknowledged with it for the first time.
    #[inline]
    pub(crate) fn on_ack(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) -> bool {
        if self.is_probing_window() {
            // The peer is alive: its window is asked for as long as it takes.
            self.tries = 0;
            self.waited = Duration::ZERO;
        }
        if segment.flags.contains(Flags::ECE) {
            self.on_echo(segment, now);
        }
        if segment.ack.gt(self.una) {
            return self.on_new_ack(segment, now, pool);
        }
        if segment.ack == self.una {
            self.on_same_ack(segment, now);
        }
        false
    }

    /// Something that was sent had been marked (RFC 3168 section 6.1.2).
    #[cold]
    fn on_echo(&mut self, segment: &Segment<'_>, now: Instant) {
        if self.marks.is_news(segment.ack, self.max) && self.recovery.phase == Phase::Open {
            self.controller.on_marked(now);
        }
    }

    fn on_new_ack(&mut self, segment: &Segment<'_>, now: Instant, pool: &mut Pool) -> bool {
        let ack = segment.ack;
        self.look_for_silence();
        let flight = self.max.distance(self.una);
        let acked = ack.distance(self.una);
        let bytes = (acked as usize).min(self.buffer.len());
        // The FIN comes after all bytes.
        let fin_acked = self.fin == Fin::Sent && acked as usize > bytes;
        if fin_acked {
            self.fin = Fin::Acked;
        }
        let mut delivered = self.scoreboard.acked(ack);
        self.buffer.consume(bytes, pool);
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        if self.search.is_some() {
            self.judge_length(acked, now);
        }
        self.due.remove(Due::FORCED | Due::FIRST_LOST);
        let twice = self.take_sack(segment, &mut delivered);
        if delivered.newest.is_none_or(|newest| newest.resent) {
            self.measure_echo(segment, now);
        }
        let sample = self.on_delivered(&delivered, now);
        self.detect_by_echo(segment);
        self.detect_by_new_data(&delivered, true);
        if let Some(twice) = twice {
            self.on_duplicate_report(twice);
        }
        self.judge_probe(segment, true, twice.is_some());
        self.on_progress(delivered.bytes, acked, flight, now);
        self.restart_timer(now);
        let lost = self.detect_losses(delivered.bytes, now);
        self.repair(delivered.bytes, !lost);
        self.conclude(sample, &delivered, now);
        // What acknowledges more was sent later, also where its sequence number is an older one. Its window counts from its
        // acknowledgment: with the window of before, the right edge would lie further on than the peer ever said.
        self.take_window(segment);
        fin_acked
    }

    fn on_same_ack(&mut self, segment: &Segment<'_>, now: Instant) {
        let window = self.wnd;
        self.update_window(segment);
        // RFC 5681 section 2. The answers to probes of a closed window look the same and mean something else.
        let duplicate = segment.is_empty()
            && self.wnd == window
            && self.max != self.una
            && self.timer.is_some_and(|(timer, _)| timer != Timer::Persist);
        if !self.sack {
            if duplicate {
                self.on_duplicate_ack(now);
            }
            return;
        }
        self.look_for_silence();
        let mut delivered = Delivered::default();
        let twice = self.take_sack(segment, &mut delivered);
        if let Some(twice) = twice {
            self.on_duplicate_report(twice);
        }
        self.judge_probe(segment, false, twice.is_some());
        if delivered.bytes > 0 {
            self.recovery.probes = 0;
            let sample = self.on_delivered(&delivered, now);
            self.detect_by_new_data(&delivered, false);
            self.detect_losses(delivered.bytes, now);
            self.repair(delivered.bytes, false);
            self.conclude(sample, &delivered, now);
            if self.timer.is_some_and(|(timer, _)| timer == Timer::Probe) {
                // What is known now to be missing is found by its time or by the retransmission timer.
                self.rearm(now);
            }
        }
    }

    /// The host brings more. What it brings in the turns of one moment was there at once; where a time has passed since all of it was
    /// sent, the host was too slow.
    #[inline]
    pub(crate) fn on_more(&mut self, now: Instant) {
        if self.measures && self.sent_at < now {
            self.look_for_silence();
        }
    }

    /// Marks what is sent from now on where the host has no more to send, or the peer takes no more, and the congestion window
    /// would let more go: it does not measure the path (draft-ietf-ccwg-bbr section 4.1.2.4). Asked when the host brings more, before an
    /// acknowledgment is taken in, and when a timer has expired.
    #[inline]
    pub(super) fn look_for_silence(&mut self) {
        if !self.measures {
            return;
        }
        let closed = self.wnd < self.flight().saturating_add(u32::from(self.mss));
        if (self.unsent() == 0 || closed) && self.scoreboard.lost() == 0 {
            let pipe = self.pipe();
            if pipe < self.controller.window() {
                self.meter.on_nothing_to_send(pipe);
            }
        }
    }

    /// The end of the work on an acknowledgment: what it tells of the path.
    #[inline]
    fn conclude(&mut self, sample: Option<Sample>, delivered: &Delivered, now: Instant) {
        let Some((mut sample, newest)) = sample.zip(delivered.newest) else { return };
        sample.pipe = self.pipe();
        sample.lost = self.meter.lost_since(&newest.snapshot);
        let path = self.path(now);
        self.controller.on_sample(&sample, &path);
        let rate = if path.paced || self.is_behind_queue() { self.controller.rate(&path) } else { None };
        self.pacer.set_rate(rate, u32::from(self.payload_mss()), now);
    }
}
