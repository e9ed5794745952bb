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
//! (an acknowledgment of a segment, an answer to a [`marker`]) proves that everything given before that one was read. More
//! is given only in a trial, at a moment at which the other end cannot be asleep: after a whole round of the application's
//! loop that neither slept, nor brought a frame, nor gave one. `trust` says how trials teach whether the application
//! sleeps at all. docs/architecture.md has the reasons at length.
//!
//! Everything is counted in *cost* ([`super::outbox::cost`]), and every frame has a *position*: the cost of all frames made
//! up to its end. What waits keeps its order. Knows nothing of sockets, flows or the application itself.

pub mod handing;
pub mod marker;
#[cfg(test)]
mod sim;
pub mod trust;

use marker::Marker;
use trust::{Drain, Switches, Trust};

use crate::time::{Duration, Instant};

/// What waits for a proof longer than this goes without one where the moment allows it.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same in rounds, for a clock that stands still.
const PATIENT_ROUNDS: u32 = 4096;
/// Rounds without a frame, one behind the other, in which the application could sleep: the first of them slept its time out,
/// and the other end had nothing better to do than to read.
const CALM_ROUNDS: u32 = 2;
/// Rounds in which what waits has nothing but segments to prove that it was read, before a marker goes out.
const UNMARKED_ROUNDS: u32 = 8;
/// A marker that was not answered for so long is followed by another.
const MARKER_LIFETIME: Duration = Duration::from_secs(1);
/// A larger frame does not fit into an empty pipe, so that it has to be read while it is written.
const LARGEST_UNREAD: u64 = 60 * 1024;
/// The most payload of a segment for an application that may sleep.
const LONGEST_SEGMENT: u16 = 30 * 1024;
/// A frame of an Ethernet.
const FULL_FRAME: u64 = 1514;
/// So many frames of the guest, while nothing was given, are twice what the queue towards us can hold: the other end has
/// put in the second half meanwhile, and as it carries frames both ways, it has taken out whatever the other one held.
const ALL_CARRIED: u32 = 2048;
/// A frame of the guest longer than this is one of a bulk transfer, and how many shorter ones show that it has ended.
const LONGEST_SHORT: usize = 600;
const HEAVY: u16 = 256;
/// The longest sleep while frames wait for a proof, in milliseconds.
const SLEEP: u32 = 20;

/// See the module.
#[derive(Debug)]
pub struct Handover {
    /// Frames are counted. Without this (a caller that takes frames itself) everything may be made.
    engaged: bool,
    trust: Trust,
    drain: Drain,
    /// Position up to which frames were given to the application.
    given: u64,
    /// Position up to which they are proven read.
    read: u64,
    /// Position up to which they may be made and given.
    ceiling: u64,
    /// Position up to which some segment will prove them read.
    provable: u64,
    marker: Option<Marker>,
    markers: u32,
    /// Something was not made for want of room in this round.
    refused: bool,
    /// Among it were bytes for the guest, in this round, or the one before.
    short: bool,
    was_short: bool,
    /// Since when something has waited without any proof, and rounds since then.
    stalled: Option<(Instant, u32)>,
    /// A trial is being made.
    trial: Option<Trial>,
    /// Where an idle round has let `given` stand: whatever its length, one frame may go.
    step: Option<u64>,
    /// A trial is being waited for: proofs do not raise the ceiling.
    draining: bool,
    /// Rounds without a frame, before which the application could sleep, one behind the other.
    calm: u32,
    /// Something waits for longer than proofs take.
    overdue: bool,
    /// Frames from the guest since anything was given.
    unanswered: u32,
    /// Frames from the guest since the last round.
    frames: u32,
    /// So many of the guest's frames from now on have to be short before a trial is made: one that sends in bulk soon
    /// fills the queue towards us.
    heavy: u16,
    /// The last round had none.
    quiet: bool,
    /// Where `given` stood at the last round, and whether the application could sleep since.
    round_given: u64,
    slept: bool,
}

/// A burst whose whole length is what it tests.
#[derive(Debug)]
struct Trial {
    /// Where `given` stood when the thread last left its processor, or when it began.
    from: u64,
    /// The application was watched the whole time.
    watched: bool,
}

/// What may be given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How many frames.
    pub frames: usize,
    /// Whether it is to be found out if the application sleeps in it.
    pub watched: bool,
}

impl Default for Handover {
    fn default() -> Handover {
        let trust = Trust::default();
        Handover {
            engaged: false,
            ceiling: trust.limit(),
            trust,
            drain: Drain::default(),
            given: 0,
            read: 0,
            provable: 0,
            marker: None,
            markers: 0,
            refused: false,
            short: false,
            was_short: false,
            stalled: None,
            trial: None,
            step: None,
            draining: false,
            calm: 0,
            overdue: false,
            unanswered: 0,
            frames: 0,
            heavy: 0,
            quiet: true,
            round_given: 0,
            slept: true,
        }
    }
}

impl Handover {
    /// Counts from now on what is made and given.
    pub fn engage(&mut self) {
        self.engaged = true;
    }

    /// Position up to which frames were given.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Whether a frame of this cost may be made when those before it end at position `start`.
    pub fn fits(&self, start: u64, cost: u64) -> bool {
        !self.engaged
            || start + cost <= self.ceiling
            || self.step == Some(start)
            // One frame may always go when everything was read.
            || (start == self.read && !self.draining && (cost <= LARGEST_UNREAD || self.quiet))
    }

    /// The most payload that a segment is to carry: two of them always fit into a pipe, so that there is room for a marker.
    pub fn longest(&self) -> u16 {
        if self.engaged && !self.trust.is_full() { LONGEST_SEGMENT } else { u16::MAX }
    }

    /// Whether a bare answer of this cost may be made at once. Those of a guest that sends in bulk would else take all there
    /// is, as they come before the turns of a round: while bytes for the guest wait, answers have a quarter.
    pub fn fits_beside(&self, start: u64, cost: u64) -> bool {
        let kept = if self.is_short() { self.trust.limit() / 4 * 3 } else { 0 };
        self.fits(start, cost + kept)
    }

    /// Something is not made for want of room, which ends the turns of this round. `bytes` tells whether it has some for the
    /// guest.
    pub fn refuse(&mut self, bytes: bool) {
        self.refused = true;
        self.short |= bytes;
    }

    /// Bytes for the guest wait for room.
    pub fn is_short(&self) -> bool {
        self.short || self.was_short
    }

    /// Something was refused in this round.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// What was made without asking for room is as much as may wait for a trial: no trial, then.
    pub fn on_many_waiting(&mut self) {
        if self.draining {
            self.draining = false;
            self.drain.give_up();
            self.ceiling = self.ceiling.max(self.read + self.trust.limit());
        }
    }

    /// Whether something waits, where frames were made up to a position.
    pub fn waits(&self, made: u64) -> bool {
        self.engaged && (self.refused || made > self.given)
    }

    /// A frame of the guest has come, of so many bytes.
    pub fn on_frame(&mut self, length: usize) {
        self.frames = self.frames.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered >= ALL_CARRIED {
            self.unanswered = 0;
            self.read_up_to(self.given);
        }
        self.heavy = if length > LONGEST_SHORT { HEAVY } else { self.heavy.saturating_sub(1) };
    }

    /// A segment that was given, or waits, will prove that everything up to this position was read.
    pub fn will_prove(&mut self, position: u64) {
        self.provable = self.provable.max(position);
    }

    /// Everything up to this position was read.
    pub fn read_up_to(&mut self, position: u64) {
        let position = position.min(self.given);
        if position <= self.read {
            return;
        }
        self.read = position;
        self.stalled = None;
        if self.marker.as_ref().is_some_and(|marker| marker.position <= position) {
            self.marker = None;
        }
        if !self.draining {
            self.ceiling = self.ceiling.max(self.read + self.trust.limit());
        }
    }

    /// A round of the application's loop begins; frames were made up to position `made`.
    pub fn begin_round(&mut self, made: u64, now: Instant) {
        let frames = std::mem::take(&mut self.frames);
        self.quiet = frames == 0;
        let idle = self.quiet && !self.slept && self.given == self.round_given;
        self.calm = if self.quiet && self.slept { self.calm.saturating_add(1) } else { 0 };
        let waits = self.waits(made);
        self.refused = false;
        self.was_short = std::mem::take(&mut self.short);
        self.grade_trial();
        self.round_given = self.given;
        self.draining = false;
        self.step = None;
        self.ceiling = self.read + self.trust.limit();
        self.overdue = false;
        if !waits {
            self.stalled = None;
            self.drain.forget();
            return;
        }
        let (since, rounds) = self.stalled.get_or_insert((now, 0));
        *rounds += 1;
        self.overdue = now - *since >= PATIENCE || *rounds >= PATIENT_ROUNDS;
        if self.calm >= CALM_ROUNDS || (self.overdue && idle) {
            // Nobody proves anything, as may be the way of this guest; but the other end had all the time it needs.
            self.marker = None;
            self.calm = 0;
            self.read_up_to(self.given);
        }
        if self.trust.may_try(now) && (self.heavy == 0 || self.trust.is_full()) {
            if idle {
                self.drain.done();
                self.begin_trial();
            } else if !self.trust.is_full() && self.drain.holds() {
                self.draining = true;
                self.ceiling = self.given;
            }
        }
    }

    fn begin_trial(&mut self) {
        self.step = Some(self.given);
        self.trial = Some(Trial { from: self.given, watched: false });
        // What was given before may be unread as well; without proofs a few more frames may go after each idle round.
        self.ceiling = self.ceiling.max(self.read + self.trust.burst()).max(self.given + self.trust.step());
    }

    fn grade_trial(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        if trial.watched && (self.given - trial.from) * 4 >= self.trust.burst() * 3 {
            self.trust.on_burst();
        }
    }

    /// Before the application's sleep of so many milliseconds at most: how long it may sleep while something waits.
    pub fn before_sleep(&mut self, made: u64, sleep: u32, now: Instant) -> u32 {
        let mut sleep = sleep;
        if self.waits(made) {
            // A round without a frame has a marker go out, whose answer wakes the application.
            let soon =
                !self.quiet || self.overdue || (self.trust.may_try(now) && (self.heavy == 0 || self.trust.is_full()));
            sleep = sleep.min(if soon { 0 } else { SLEEP });
        }
        self.slept = sleep > 0;
        sleep
    }

    /// How many of the frames with these costs, in order, may be given now, when the last ends at position `end`. They count
    /// as given from now on.
    pub fn grant(&mut self, end: u64, costs: impl ExactSizeIterator<Item = u64>) -> Grant {
        let before = self.given;
        let mut frames = 0;
        if !self.engaged || end <= self.ceiling {
            frames = costs.len();
            self.given = end;
        } else {
            for cost in costs {
                if !self.fits(self.given, cost) {
                    break;
                }
                self.given += cost;
                frames += 1;
            }
        }
        if frames > 0 {
            self.unanswered = 0;
        }
        let watched = self.engaged
            && ((self.trial.is_some() && !self.trust.is_full())
                || self.trust.is_worth_watching(self.given - self.read, self.given - before));
        Grant { frames, watched }
    }

    /// Whether a marker is to follow what was just given, where frames were made up to position `made`.
    pub fn wants_marker(&self, made: u64, now: Instant) -> bool {
        // A queue that may be full has no room for a marker either.
        let unread = self.given - self.read;
        if !self.engaged || unread == 0 || unread > LARGEST_UNREAD.max(self.trust.limit()) {
            return false;
        }
        let unproven = self.given.saturating_sub(self.read.max(self.provable));
        let half = unproven >= self.trust.limit() / 2 && (self.frames > 0 || !self.quiet);
        // Where the guest has nothing to say, its acknowledgment may well be one of those that are put off.
        let late = self.quiet || self.stalled.is_some_and(|(_, rounds)| rounds >= UNMARKED_ROUNDS);
        let stuck = self.waits(made) && (self.provable <= self.read || late);
        (half || stuck) && self.marker.as_ref().is_none_or(|marker| now - marker.sent >= MARKER_LIFETIME)
    }

    /// The marker that follows what was just given; its number tells it from the one before.
    pub fn mark(&mut self, now: Instant, number: impl FnOnce(u32) -> marker::Question) {
        self.markers = self.markers.wrapping_add(1);
        self.marker = Some(Marker { position: self.given, sent: now, question: number(self.markers) });
    }

    /// The guest has answered a question.
    pub fn on_answer(&mut self, question: &marker::Question) {
        if let Some(marker) = self.marker.take_if(|marker| marker.question == *question) {
            self.read_up_to(marker.position);
        }
    }

    /// Frames that were watched are given; `switches` are those that the application's thread made meanwhile.
    pub fn on_watched(&mut self, switches: Switches, now: Instant) {
        let slept = switches.slept > 0;
        if let Some(trial) = &mut self.trial {
            trial.watched = true;
            if switches.preempted > 0 {
                trial.from = self.given;
            }
        }
        let tried = self.trial.is_some();
        // What a trial has put into the queues may still be there; that the next frame had to wait for it says nothing.
        let within = self.given - self.read <= self.trust.limit() + FULL_FRAME;
        if slept && (tried || within) {
            self.trial = None;
            self.trust.on_sleep(self.given - self.read, tried, now);
            self.drain.forget();
            self.ceiling = self.read + self.trust.limit();
        }
    }
}
