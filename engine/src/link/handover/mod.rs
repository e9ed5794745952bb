//! The hand-over: how much may be given to the application without it ever sleeping in `send_packet` while the other end of
//! its link sleeps in a write towards us.
//!
//! Some applications (VDE, reSLIRP) pass frames through queues with blocking writes in both directions. When the queue to
//! the guest is full the application sleeps in `send_packet`, and reads nothing meanwhile; when the queue from the guest is
//! full as well, its other end sleeps too, and nobody ever wakes. So what was given and is not *proven read* stays below a
//! limit that such a queue holds.
//!
//! *The invariant.* While frames of the guest keep coming, what was given less what is proven read is at most
//! [`Trust::limit`], or one frame. Queues are first in, first out: a frame of the guest that answers one of ours
//! (an acknowledgment of a segment, an answer to a [`marker`]) proves that everything given before that one was read, and
//! so do enough frames of the guest, whatever they are (`guest`). More is given only in a trial, at a moment at which the
//! other end cannot be asleep: after a whole round of the application's loop that neither slept, nor brought a frame, nor
//! gave one. `trust` says how trials teach whether the application sleeps at all; for one that does not, nothing is counted
//! any more. docs/architecture.md has the reasons at length.
//!
//! Everything is counted in *cost* ([`Pricing`]), as the queue counts that the application may have, and every frame has a *position*: the cost of all frames made
//! up to its end. What waits keeps its order. Knows nothing of sockets, flows or the application itself.

mod guest;
pub(crate) mod handing;
pub(crate) mod marker;
mod round;
#[cfg(test)]
mod sim;
mod stance;
#[cfg(test)]
mod tests;
pub(crate) mod trust;

use guest::Guest;
use marker::Markers;
use round::{Round, Since};
use stance::{Drains, Stance, Trial};
use trust::{Switches, Trust};

use super::outbox::Pricing;
use crate::time::{Duration, Instant};

/// Rounds in which what waits has nothing but segments to prove that it was read, before a marker goes out.
const UNMARKED_ROUNDS: u32 = 8;
/// A larger frame does not fit into an empty pipe, so that it has to be read while it is written.
const LARGEST_UNREAD: u64 = 60 * 1024;
/// What a frame has besides its payload, at most: Ethernet, IP and TCP headers.
const HEADERS: usize = 14 + 60 + 60;
/// The most payload of a segment for an application that may sleep.
const LONGEST_SEGMENT: u16 = 30 * 1024;
/// What a queue may hold that is found after all the trials.
const LARGEST_QUEUE: u64 = 384 * 1024;
/// A frame of an Ethernet.
const FULL_FRAME: u64 = 1514;
/// The longest sleep while frames wait for a proof, in milliseconds; and while a marker may go out that was not answered.
const SLEEP: u32 = 20;
const SHORT_SLEEP: u32 = 1;

/// So long must nothing have been given before more is than is proven read, where the guest is far away: the other end has
/// read what was, and the guest is only late to say so. (One that is near has its reasons.)
const SETTLED: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Handover {
    stance: Stance,
    trust: Trust,
    drains: Drains,
    /// Position up to which frames were given to the application.
    given: u64,
    /// Position up to which they are proven read.
    read: u64,
    /// Position up to which they may be made and given, as the stance has it.
    ceiling: u64,
    /// Half of what may be given and not be proven read, as the stance has it.
    much: u64,
    /// Frames up to this position may have cost less than they do since the application slept.
    cheap: u64,
    /// Position up to which some segment will prove them read.
    provable: u64,
    markers: Markers,
    guest: Guest,
    /// How long the guest's frames may be.
    longest_of_guest: usize,
    /// How long those may be that bytes for it go in.
    longest_frame: usize,
    round: Round,
    /// Something was not made for want of room in this round.
    refused: bool,
    /// Among it were bytes for the guest, in this round, or the one before.
    short: bool,
    was_short: bool,
    /// Since when something has waited without any proof.
    waiting: Option<Since>,
}

/// What may be given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// How many frames.
    pub frames: usize,
    /// Whether it is to be found out if the application sleeps in it.
    pub watched: bool,
}

impl Default for Handover {
    fn default() -> Handover {
        Handover {
            stance: Stance::Off,
            trust: Trust::default(),
            drains: Drains::default(),
            given: 0,
            read: 0,
            ceiling: u64::MAX,
            much: u64::MAX,
            cheap: 0,
            provable: 0,
            markers: Markers::default(),
            guest: Guest::default(),
            longest_of_guest: 0,
            longest_frame: 0,
            round: Round::default(),
            refused: false,
            short: false,
            was_short: false,
            waiting: None,
        }
    }
}

impl Handover {
    /// Counts from now on what is made and given, where the guest's frames have so many bytes at most. Without this (a caller
    /// that takes frames itself) everything may be made.
    pub(crate) fn engage(&mut self, longest_of_guest: usize) {
        self.longest_of_guest = longest_of_guest;
        self.longest_frame = longest_of_guest.min(usize::from(LONGEST_SEGMENT) + HEADERS);
        self.bind();
    }

    /// Whether it matters what was given and what was read.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self.stance, Stance::Off | Stance::Free)
    }

    fn bind(&mut self) {
        self.stance = Stance::Bound;
        let limit = self.limit();
        self.ceiling = self.read + limit;
        self.much = limit / 2;
    }

    /// How frames are counted that are made from now on.
    pub(crate) fn pricing(&self) -> Pricing {
        if self.counts() { self.trust.pricing() } else { Pricing::Any }
    }

    /// The least that frames cost which carry so many bytes, of those that were made and are not proven read.
    pub(crate) fn least(&self, bytes: u64) -> u64 {
        let pricing = if self.read < self.cheap { Pricing::Sockets } else { self.trust.pricing() };
        pricing.least(bytes, self.longest_frame)
    }

    /// Whether a frame of this cost may be made when those before it end at position `start`.
    pub(crate) fn fits(&self, start: u64, cost: u64) -> bool {
        start + cost <= self.ceiling || self.fits_alone(start, cost)
    }

    /// Whether a frame may go beyond the ceiling.
    fn fits_alone(&self, start: u64, cost: u64) -> bool {
        match &self.stance {
            Stance::Off | Stance::Free => true,
            Stance::Draining(_) => false,
            // One frame may go whatever its length.
            Stance::Step(from) if *from == start => true,
            Stance::Trial(trial) if trial.fits(start, cost) => true,
            // And always when everything was read.
            Stance::Bound | Stance::Step(_) | Stance::Trial(_) => {
                start == self.read && (cost <= LARGEST_UNREAD || self.round.quiet)
            }
        }
    }

    /// The most payload that a segment is to carry: two of them always fit into a pipe, so that there is room for a marker.
    pub(crate) fn longest(&self) -> u16 {
        if self.counts() { LONGEST_SEGMENT } else { u16::MAX }
    }

    /// Whether a bare answer of this cost may be made at once. Those of a guest that sends in bulk would else take all there
    /// is, as they come before the turns of a round: while bytes for the guest wait, answers have a quarter.
    pub(crate) fn fits_beside(&self, start: u64, cost: u64) -> bool {
        let kept = if self.is_short() { self.limit() / 4 * 3 } else { 0 };
        self.fits(start, cost + kept)
    }

    /// Something is not made for want of room, which ends the turns of this round. `bytes` tells whether it has some for the
    /// guest.
    pub(crate) fn refuse(&mut self, bytes: bool) {
        self.refused = true;
        self.short |= bytes;
    }

    /// Bytes for the guest wait for room.
    pub(crate) fn is_short(&self) -> bool {
        self.short || self.was_short
    }

    /// Something was refused in this round.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// What was made without asking for room is as much as may wait for a trial: no trial, then.
    pub(crate) fn on_many_waiting(&mut self, now: Instant) {
        if matches!(self.stance, Stance::Draining(_)) {
            self.drains.give_up(now);
            self.bind();
        }
    }

    /// Whether something waits, where frames were made up to a position.
    pub(crate) fn waits(&self, made: u64) -> bool {
        self.counts() && (self.refused || made > self.given)
    }

    /// A frame of the guest has come, of so many bytes.
    pub(crate) fn on_frame(&mut self, length: usize) {
        if !self.counts() {
            return;
        }
        if let Some(position) = self.guest.on_frame(length, self.given, self.read) {
            self.read_up_to(position);
        }
    }

    /// Whether a burst goes out that may tell what the application is.
    #[inline]
    pub(crate) fn is_trying(&self) -> bool {
        matches!(self.stance, Stance::Trial(_))
    }

    /// There are more bytes for the guest, and its window is full.
    pub(crate) fn on_full_window(&mut self) {
        if let Stance::Trial(trial) = &mut self.stance {
            trial.on_full_window();
        }
    }

    /// What may be given without a proof that it was read, in cost.
    pub(crate) fn limit(&self) -> u64 {
        // No frame costs four times what it may have cost before.
        if self.read < self.cheap { self.trust.limit() / 4 } else { self.trust.limit() }
    }

    /// A segment that was given, or waits, will prove that everything up to this position was read.
    pub(crate) fn will_prove(&mut self, position: u64) {
        self.provable = self.provable.max(position);
    }

    /// Everything up to this position was read.
    pub(crate) fn read_up_to(&mut self, position: u64) {
        let position = position.min(self.given);
        if position <= self.read {
            return;
        }
        self.read = position;
        self.waiting = None;
        if !matches!(self.stance, Stance::Draining(_)) {
            self.ceiling = self.ceiling.max(self.read + self.limit());
        }
    }

    /// A round of the application's loop begins; frames were made up to position `made`.
    pub(crate) fn begin_round(&mut self, made: u64, now: Instant) {
        let waits = self.waits(made);
        self.refused = false;
        self.was_short = std::mem::take(&mut self.short);
        if !self.counts() {
            return;
        }
        self.cheap = self.cheap.min(made);
        let idle = self.end_round(now);
        if let Stance::Trial(trial) = &self.stance {
            let proof = self.trust.proof();
            if trial.is_short(proof) && !self.markers.is_far() {
                // The guest's windows do not allow for more yet: frames are not held again for that at once. (For a guest that
                // is far away it is the trials that fill its windows.)
                self.drains.rest_after(trial.is_ended_by_window(), now);
            } else {
                self.drains.done();
            }
            if trial.is_passed(proof) {
                self.trust.on_burst(now);
            }
            if self.trust.is_full() {
                self.stance = Stance::Free;
                self.ceiling = u64::MAX;
                self.much = u64::MAX;
                return;
            }
        }
        let drain = self.stance.drain();
        self.bind();
        if !waits {
            self.waiting = None;
            return;
        }
        let waiting = self.waiting.get_or_insert(Since::new(now));
        waiting.rounds += 1;
        let calm = self.round.calm.as_ref().is_some_and(|since| since.is_calm(now));
        if calm || (idle && waiting.is_overdue(now)) {
            // Nobody proves anything, as may be the way of this guest; but the other end had all the time it needs.
            self.round.calm = None;
            self.read_up_to(self.given);
            if calm {
                self.markers.all_came();
            }
        }
        if !self.may_step(now) {
            return;
        }
        let may_try = self.trust.may_try(now);
        let settled = self.is_settled(now);
        if may_try && idle && (self.read == self.given || settled) {
            self.drains.end(drain, now);
            let beyond = self.trust.beyond(self.longest_of_guest);
            let held = self.trust.held().min(self.trust.burst());
            self.stance = Stance::Trial(Trial::new(self.given, held, self.trust.burst(), beyond, self.trust.pricing()));
        } else if may_try && let Some(drain) = self.drains.hold(drain, now) {
            self.stance = Stance::Draining(drain);
            self.ceiling = self.given;
        } else if idle && settled {
            // So little of a full queue is read before the one towards us is full.
            self.stance = Stance::Step(self.given);
            self.ceiling = self.ceiling.max(self.given + self.trust.step());
        }
    }

    /// Whether a round in which nothing happens would change nothing but a count, when frames were made up to position `made`.
    #[inline]
    pub(crate) fn is_at_rest(&self, made: u64) -> bool {
        if self.refused || self.short || self.was_short {
            return false;
        }
        if !self.counts() {
            return true;
        }
        let proven = self.given == made && self.given - self.read < self.much && self.waiting.is_none();
        let still = self.is_quiet() && self.round.given == made && self.round.calm.is_some();
        matches!(self.stance, Stance::Bound) && proven && still
    }

    /// So many rounds have passed in which nothing happened.
    pub(crate) fn pass(&mut self, rounds: u8) {
        if self.counts()
            && let Some(calm) = &mut self.round.calm
        {
            calm.rounds = calm.rounds.saturating_add(rounds.into());
        }
    }

    /// A round has ended: whether it neither slept, nor brought a frame, nor gave one.
    fn end_round(&mut self, now: Instant) -> bool {
        self.round.quiet = self.guest.end_round() == 0;
        let gave = std::mem::replace(&mut self.round.given, self.given) != self.given;
        if gave {
            self.round.gave = now;
        }
        let still = self.round.quiet && !gave;
        match self.round.sleeps {
            Some(since) if still => self.round.calm.get_or_insert(Since::new(since)).rounds += 1,
            _ => self.round.calm = None,
        }
        still && self.round.sleeps.is_none()
    }

    fn may_step(&self, now: Instant) -> bool {
        !self.guest.is_heavy() && self.trust.may_step(now)
    }

    /// Whether the other end has read what was given, as far as can be known of one whose guest is far away.
    fn is_settled(&self, now: Instant) -> bool {
        self.given == self.round.given && now - self.round.gave >= SETTLED && self.markers.is_far()
    }

    /// Before the application's sleep of so many milliseconds at most: how long it may sleep while something waits.
    pub(crate) fn before_sleep(&mut self, made: u64, sleep: u32, now: Instant) -> u32 {
        if !self.counts() {
            return sleep;
        }
        let mut sleep = sleep;
        if self.waits(made) {
            let overdue = self.waiting.as_ref().is_some_and(|waiting| waiting.is_overdue(now));
            let moment = self.may_step(now) && (self.read == self.given || self.is_settled(now));
            let soon = !self.round.quiet || overdue || moment;
            // A round without a frame has a marker go out, whose answer wakes the application.
            let longest = if self.markers.has_place(self.round.quiet, now) { SHORT_SLEEP } else { SLEEP };
            sleep = sleep.min(if soon { 0 } else { longest });
        }
        self.round.sleeps = (sleep > 0).then_some(now);
        sleep
    }

    /// How many of the frames with these costs, in order, may be given now, when the last ends at position `end`. They count
    /// as given from now on.
    pub(crate) fn grant(&mut self, end: u64, costs: impl ExactSizeIterator<Item = u64>) -> Grant {
        let before = self.given;
        let mut frames = 0;
        if end <= self.ceiling && !matches!(self.stance, Stance::Trial(_)) {
            frames = costs.len();
            self.given = end;
        } else {
            for cost in costs {
                if !self.fits(self.given, cost) {
                    break;
                }
                self.given += cost;
                frames += 1;
                if let Stance::Trial(trial) = &mut self.stance {
                    trial.given(cost);
                }
            }
        }
        let given = self.given - before;
        let watched = match self.stance {
            Stance::Off => false,
            Stance::Trial(_) => given > 0,
            _ => self.trust.is_worth_watching(self.given - self.read, given),
        };
        Grant { frames, watched }
    }

    /// Nothing of the guest has come in the last round, nor in this one yet.
    fn is_quiet(&self) -> bool {
        self.round.quiet && !self.guest.has_come()
    }

    /// Whether a marker is to follow what was just given, where frames were made up to position `made`.
    #[inline]
    pub(crate) fn wants_marker(&self, made: u64, now: Instant) -> bool {
        let unread = self.given - self.read;
        let little = unread < self.much && made <= self.given && !self.refused;
        if unread == 0 || little || !self.counts() {
            return false;
        }
        self.misses_proof(made, unread, now)
    }

    /// The same where much is unread, or something waits.
    fn misses_proof(&self, made: u64, unread: u64, now: Instant) -> bool {
        let quiet = self.is_quiet();
        // A queue that may be full has no room for a marker either; but in a round without a frame its reader is awake, and a
        // guest that sends no bulk does not put it to sleep at once.
        if unread > LARGEST_UNREAD.max(self.limit()) && (!quiet || self.guest.is_heavy()) {
            return false;
        }
        let unproven = self.given.saturating_sub(self.read.max(self.provable).max(self.markers.covers(now)));
        let half = unproven >= self.limit() / 2 && !quiet;
        // Where the guest has nothing to say, its acknowledgment may well be one of those that are put off.
        let late = quiet || self.waiting.as_ref().is_some_and(|waiting| waiting.rounds >= UNMARKED_ROUNDS);
        let stuck = || self.waits(made) && (self.provable <= self.read || late) && self.markers.is_late(now);
        (half || stuck()) && self.markers.has_place(quiet, now)
    }

    /// The marker that follows what was just given: `question` makes the question of a virtual host, of which there are two. False
    /// when there is none to ask.
    pub(crate) fn mark(&mut self, now: Instant, question: impl FnOnce(usize) -> marker::Question) -> bool {
        self.markers.ask(self.given, self.is_quiet(), now, question)
    }

    /// The guest has answered a question.
    pub(crate) fn on_answer(&mut self, question: &marker::Question, now: Instant) {
        if let Some(position) = self.markers.answered(question, now) {
            self.read_up_to(position);
        }
    }

    /// Frames of so many bytes that were watched are given; `switches` are those that the application's thread made
    /// meanwhile.
    pub(crate) fn on_watched(&mut self, bytes: usize, switches: Switches, now: Instant) {
        let tried = match &mut self.stance {
            Stance::Trial(trial) => {
                trial.on_taken(bytes, switches.preempted > 0);
                true
            }
            _ => false,
        };
        if switches.slept == 0 {
            return;
        }
        let unread = self.given - self.read;
        match self.stance {
            Stance::Off => {}
            Stance::Free => {
                // It was woken by room, so its queue is full but for that.
                self.read = self.given.saturating_sub(LARGEST_QUEUE);
                self.trust.on_sleep(None, now);
                self.bind();
            }
            _ => {
                // What a trial has put into the queues may still be there; that the next frame had to wait for it says nothing.
                let within = unread <= self.limit() + FULL_FRAME;
                if tried || within {
                    if self.trust.pricing() == Pricing::Sockets {
                        // Up to where the next round begins.
                        self.cheap = u64::MAX;
                    }
                    self.trust.on_sleep(within.then_some(unread), now);
                    self.bind();
                }
            }
        }
    }
}
