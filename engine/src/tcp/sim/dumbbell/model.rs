//! A plain Reno (RFC 5681) and a plain CUBIC (RFC 9438) that always have a full segment to send. They share nothing with the
//! engine: they stand for the neighbors in the network. Losses are found by what was sent later and has arrived (as RFC 8985
//! does, with three segments in place of a time), and repaired with selective acknowledgments.

use std::collections::VecDeque;

use super::packet::{Ack, Ecn, Packet};
use super::sender::Sender;
use crate::tcp::SeqNumber;
use crate::time::{Duration, Instant};

/// The payload of a segment in bytes, beside timestamps.
const MSS: u32 = 1448;
/// A segment is lost when so many that were sent later have arrived.
const LATER: u64 = 3;
/// The least retransmission timeout, as Linux has it.
const RTO_MIN: u64 = 200_000;
/// CUBIC's constants (RFC 9438 section 5).
const BETA: f64 = 0.7;
const C: f64 = 0.4;

/// How the window moves. In segments and seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Law {
    Reno,
    Cubic { w_max: f64, epoch: Option<Instant>, k: f64, w_est: f64 },
}

/// A segment in flight.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The number of its last sending.
    order: u64,
    sacked: bool,
    lost: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    law: Law,
    ecn: bool,
    iss: SeqNumber,
    established: bool,
    syn_due: bool,
    /// The first segment that is not acknowledged, and the next new one: numbers of segments from 0.
    una: u64,
    nxt: u64,
    flying: VecDeque<Sent>,
    /// Segments in the order in which they were sent, with the number of the sending.
    sendings: VecDeque<(u64, u64)>,
    order: u64,
    /// The latest sending that is known to have arrived.
    newest: u64,
    lost: VecDeque<u64>,
    /// Segments on their way.
    pipe: u64,
    cwnd: f64,
    ssthresh: f64,
    /// No second reduction before this is acknowledged.
    recover: u64,
    /// Segments that may be sent while losses are repaired: no more than twice what arrives, so that a repair does not come
    /// in bursts that are lost again (the slow start bound of RFC 9937).
    allowed: u64,
    reduced: bool,
    srtt: f64,
    rttvar: f64,
    backoff: u32,
    timer: Option<Instant>,
    stamp: u32,
}

impl Model {
    fn new(law: Law, ecn: bool, iss: u32) -> Model {
        Model {
            law,
            ecn,
            iss: SeqNumber(iss),
            established: false,
            syn_due: true,
            una: 0,
            nxt: 0,
            flying: VecDeque::new(),
            sendings: VecDeque::new(),
            order: 0,
            newest: 0,
            lost: VecDeque::new(),
            pipe: 0,
            cwnd: 10.0,
            ssthresh: f64::INFINITY,
            recover: 0,
            allowed: 0,
            reduced: false,
            srtt: 0.0,
            rttvar: 0.0,
            backoff: 0,
            timer: None,
            stamp: 0,
        }
    }

    pub(super) fn reno(ecn: bool, iss: u32) -> Model {
        Model::new(Law::Reno, ecn, iss)
    }

    pub(super) fn cubic(ecn: bool, iss: u32) -> Model {
        Model::new(Law::Cubic { w_max: 0.0, epoch: None, k: 0.0, w_est: 0.0 }, ecn, iss)
    }

    fn rearm(&mut self, now: Instant) {
        let rto = ((self.srtt + 4.0 * self.rttvar) as u64).max(RTO_MIN) << self.backoff.min(8);
        self.timer = (!self.flying.is_empty()).then(|| now + Duration::from_micros(rto));
    }

    fn measure(&mut self, echo: u32, now: Instant) {
        let rtt = f64::from((now.total_micros() as u32).wrapping_sub(echo));
        if self.srtt == 0.0 {
            (self.srtt, self.rttvar) = (rtt, rtt / 2.0);
        } else {
            self.rttvar = 0.75 * self.rttvar + 0.25 * (self.srtt - rtt).abs();
            self.srtt = 0.875 * self.srtt + 0.125 * rtt;
        }
    }

    /// The segment that ends at a sequence number: its number.
    fn number(&self, end: SeqNumber) -> u64 {
        let first = self.iss + 1 + (self.una as u32).wrapping_mul(MSS);
        self.una + u64::from(end.distance(first) / MSS)
    }

    /// A segment has arrived. Whether that is news.
    fn arrived(&mut self, number: u64) -> bool {
        let Some(sent) = number.checked_sub(self.una).and_then(|at| self.flying.get_mut(at as usize)) else {
            return false;
        };
        if sent.sacked {
            return false;
        }
        sent.sacked = true;
        self.newest = self.newest.max(sent.order);
        if !sent.lost {
            self.pipe -= 1;
        }
        true
    }

    /// Whether losses were found.
    fn find_losses(&mut self) -> bool {
        let before = self.lost.len();
        while let Some(&(order, number)) = self.sendings.front()
            && order + LATER <= self.newest
        {
            self.sendings.pop_front();
            let Some(sent) = number.checked_sub(self.una).and_then(|at| self.flying.get_mut(at as usize)) else {
                continue;
            };
            if sent.order == order && !sent.sacked && !sent.lost {
                sent.lost = true;
                self.pipe -= 1;
                self.lost.push_back(number);
            }
        }
        self.lost.len() > before
    }

    /// RFC 5681 section 3.1 and RFC 9438 sections 4.6 and 4.7.
    fn reduce(&mut self) {
        self.recover = self.nxt;
        self.reduced = true;
        let before = self.cwnd;
        self.ssthresh = match &mut self.law {
            Law::Reno => before / 2.0,
            Law::Cubic { w_max, epoch, .. } => {
                *w_max = if before < *w_max { before * (1.0 + BETA) / 2.0 } else { before };
                *epoch = None;
                before * BETA
            }
        }
        .max(2.0);
        self.cwnd = self.ssthresh;
    }

    fn grow(&mut self, segments: f64, now: Instant) {
        if self.cwnd < self.ssthresh {
            self.cwnd += segments;
            return;
        }
        let cwnd = self.cwnd;
        match &mut self.law {
            Law::Reno => self.cwnd += segments / cwnd,
            Law::Cubic { w_max, epoch, k, w_est } => {
                let since = *epoch.get_or_insert_with(|| {
                    *w_max = w_max.max(cwnd);
                    *k = ((*w_max - cwnd) / C).cbrt();
                    *w_est = cwnd;
                    now
                });
                let elapsed = (now - since).total_micros() as f64 / 1e6 + self.srtt / 1e6;
                let target = (*w_max + C * (elapsed - *k).powi(3)).clamp(cwnd, 1.5 * cwnd);
                let alpha = if *w_est >= *w_max { 1.0 } else { 3.0 * (1.0 - BETA) / (1.0 + BETA) };
                *w_est += alpha * segments / cwnd;
                self.cwnd = (cwnd + (target - cwnd) / cwnd * segments).max(*w_est);
            }
        }
    }

    fn packet(&mut self, number: u64, now: Instant) -> Packet {
        self.order += 1;
        self.sendings.push_back((self.order, number));
        let sent = Sent { order: self.order, sacked: false, lost: false };
        let at = (number - self.una) as usize;
        match self.flying.get_mut(at) {
            Some(slot) => *slot = sent,
            None => self.flying.push_back(sent),
        }
        self.pipe += 1;
        if self.timer.is_none() {
            self.rearm(now);
        }
        Packet {
            seq: self.iss + 1 + (number as u32).wrapping_mul(MSS),
            len: MSS,
            syn: false,
            stamps: Some((now.total_micros() as u32, self.stamp)),
            ecn: if self.ecn { Ecn::Capable } else { Ecn::Incapable },
            reduced: std::mem::take(&mut self.reduced),
        }
    }
}

impl Sender for Model {
    fn on_ack(&mut self, ack: &Ack, now: Instant) {
        if let Some((value, echo)) = ack.stamps {
            self.stamp = value;
            self.measure(echo, now);
        }
        if ack.syn {
            self.established = true;
            self.timer = None;
            return;
        }
        let mut news = 0;
        let upto = self.number(ack.ack).min(self.nxt);
        let advanced = upto > self.una;
        for number in self.una..upto {
            news += u64::from(self.arrived(number));
        }
        for (from, to) in ack.sack.into_iter().flatten() {
            if from.lt(ack.ack) {
                continue;
            }
            // From the end of a block backwards, up to what was known.
            let mut number = self.number(to);
            let first = self.number(from);
            while number > first && self.arrived(number - 1) {
                number -= 1;
                news += 1;
            }
        }
        for _ in self.una..upto {
            self.flying.pop_front();
        }
        self.una = upto;
        let lost = self.find_losses();
        if (lost || (ack.echo && self.ecn)) && self.una >= self.recover {
            self.reduce();
        } else if self.una >= self.recover || self.cwnd < self.ssthresh {
            // After a timeout the window opens while the rest is repaired.
            self.grow(news as f64, now);
        }
        self.allowed = self.allowed.min(LATER) + 2 * news;
        if advanced {
            self.backoff = 0;
        }
        // What arrives behind a hole shows as well that the path is alive; Linux restarts the timer with it.
        if advanced || news > 0 {
            self.rearm(now);
        }
    }

    fn poll(&mut self, now: Instant) -> Option<Packet> {
        if !self.established {
            if !std::mem::take(&mut self.syn_due) {
                return None;
            }
            self.timer = Some(now + Duration::from_secs(1));
            let stamps = Some((now.total_micros() as u32, 0));
            return Some(Packet { seq: self.iss, len: 0, syn: true, stamps, ecn: Ecn::Incapable, reduced: false });
        }
        let repairs = self.una < self.recover;
        if self.pipe as f64 + 1.0 > self.cwnd || (repairs && self.allowed == 0) {
            return None;
        }
        self.allowed = self.allowed.saturating_sub(1);
        while let Some(number) = self.lost.pop_front() {
            let sent = number.checked_sub(self.una).and_then(|at| self.flying.get(at as usize));
            if sent.is_some_and(|sent| sent.lost && !sent.sacked) {
                return Some(self.packet(number, now));
            }
        }
        let number = self.nxt;
        self.nxt += 1;
        Some(self.packet(number, now))
    }

    fn deadline(&self) -> Option<Instant> {
        self.timer
    }

    /// RFC 5681 section 3.1, equation 4, and RFC 6298 section 5.
    fn on_deadline(&mut self, now: Instant) {
        if self.timer.is_none_or(|at| at > now) {
            return;
        }
        self.timer = None;
        if !self.established {
            self.syn_due = true;
            return;
        }
        if self.una >= self.recover {
            self.reduce();
        }
        self.cwnd = 1.0;
        self.allowed = 1;
        self.pipe = 0;
        self.lost.clear();
        self.sendings.clear();
        for (at, sent) in self.flying.iter_mut().enumerate() {
            if !sent.sacked {
                sent.lost = true;
                self.lost.push_back(self.una + at as u64);
            }
        }
        self.backoff += 1;
        self.rearm(now);
    }

    fn flight(&self) -> u64 {
        (self.nxt - self.una) * u64::from(MSS)
    }

    fn window(&self) -> u64 {
        (self.cwnd * f64::from(MSS)) as u64
    }
}
