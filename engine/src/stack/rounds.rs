//! The application's loop seen from inside: fill, sleep, frames, poll. Source: docs/contract/poll-and-timers.md.
//!
//! When bytes staged for the host may wait: from one frame of a burst to the next, and from round to round while the
//! guest's frames come one a round; never while the application may be asleep without having been told, and never for a
//! timer.

use super::Stack;
use super::quiet::sleep_until;
use super::thrift::Thrift;
use crate::flow::Effect;
use crate::flow::token::{self, Kind};
use crate::host::handle::RawSocket;
use crate::host::poller::Readiness;
use crate::link::handover::handing::Handing;
use crate::link::handover::trust::Switches;
use crate::pace::{Glance, Totals};
use crate::tcp::{Lanes, Pool};
use crate::time::{Duration, Instant, earliest};

/// The longest sleep the application is left, in milliseconds; source: docs/contract/poll-and-timers.md section 2.
pub(super) const LONGEST_SLEEP: u32 = 1000;
/// Sleeps up to this length, in milliseconds, are left alone.
pub(super) const SHORTEST_SLEEP: u32 = 2;
/// Turns that one round takes at most, whatever they have come to.
const MAX_TURNS: u32 = 1024;
/// How many sockets' datagrams come before the streams when they found no room in the round before.
const DATAGRAM_TURNS: usize = 64;

/// The longest segment, in bytes, of which a connection may have two under way while the link is busy both ways.
const ALONE: u32 = 16 << 10;

/// Where the application is in its loop.
#[derive(Debug, Default)]
pub(super) struct LoopState {
    /// Fill has returned and poll was not entered since: the application may be asleep.
    asleep: bool,
    /// It was told that there is something to do.
    notified: bool,
    /// The poller's descriptor was made readable for it.
    woken: bool,
    /// When it will wake by itself, at the latest.
    wakes: Option<Instant>,
    /// When the poller's descriptor becomes readable for one that may sleep without a limit.
    alarm: Option<Instant>,
    thrift: Thrift,
    pub(super) looked_for_lost: Option<Instant>,
    /// Turns that this round may still take.
    turns: u32,
}

impl LoopState {
    #[inline]
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// The application sleeps until then at the latest.
    #[inline]
    pub(super) fn fall_asleep(&mut self, until: Instant) {
        (self.asleep, self.notified, self.woken) = (true, false, false);
        self.wakes = Some(until);
    }

    /// A round has passed in which there was nothing to do.
    #[inline]
    pub(super) fn wake_for_nothing(&mut self) {
        self.asleep = false;
        self.turns = 0;
    }

    /// Whether memory waits for a quiet time to be given back.
    pub(super) fn may_save(&self, pool: &Pool) -> bool {
        !self.thrift.is_done(pool)
    }
}

/// What the application is to watch in direct mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The host socket.
    pub descriptor: RawSocket,
    /// Names the socket in [`Stack::report`].
    pub token: u64,
    /// Whether it is watched for bytes or connections to take.
    pub read: bool,
    /// Whether it is watched for room to write.
    pub write: bool,
    /// Whether it is watched for urgent data.
    pub priority: bool,
}

impl Stack {
    /// Before the application's sleep, which it means to be `told` milliseconds long: how long it may be, which is never
    /// longer. Sleeps of up to two milliseconds stay as they are, unless there is something to do at once. Source:
    /// docs/contract/poll-and-timers.md section 2.
    ///
    /// `None` when the last sleep was not followed by a round, as by an application that skips its poll when the sleep ran
    /// out: the round has been begun, and its turns are to be taken first.
    #[doc(hidden)]
    pub fn prepare_sleep(&mut self, told: u32, now: Instant) -> Option<u32> {
        if self.loop_state.asleep {
            self.handle_events(Glance::Unknown, now);
            return None;
        }
        self.disturb();
        self.set_now(now);
        #[cfg(feature = "capture")]
        self.look_after_records();
        let next = self.run_deadlines();
        let calm = told > SHORTEST_SLEEP && self.cx.pace.is_calm();
        let mut sleep = told;
        if told > SHORTEST_SLEEP {
            sleep = self.sleep_left(told.min(LONGEST_SLEEP), next);
        } else if self.may_go_on() {
            sleep = 0;
        }
        let rest = self.cx.pace.before_sleep(told, self.cx.now);
        self.loop_state.thrift.before_sleep(&mut self.cx.pool, self.cx.now);
        if rest.awake {
            sleep = 0;
        }
        let mut next = next;
        if self.tcp.needs_relief(&self.cx.pool)
            && let Some(most) = self.tcp.relieve(&mut self.cx)
        {
            sleep = sleep.min(u32::try_from(most.total_millis()).unwrap_or(LONGEST_SLEEP));
            next = earliest(next, Some(self.cx.now + most));
        }
        let made = self.cx.egress.position();
        sleep = self.cx.egress.handover.before_sleep(made, sleep, self.cx.now);
        if rest.for_ever {
            self.keep_from_sleeping_for_ever(self.cx.egress.handover.waits(made) || self.may_go_on(), next);
        }
        self.loop_state.fall_asleep(self.cx.now + Duration::from_millis(u64::from(sleep)));
        self.look_for_rest(calm && sleep > 0, made, next);
        Some(sleep)
    }

    /// An application that may sleep without a limit comes round at once, or when something is due.
    fn keep_from_sleeping_for_ever(&mut self, at_once: bool, next: Option<Instant>) {
        let now = self.cx.now;
        let Some(poller) = self.cx.poller.as_mut() else { return };
        if at_once {
            return poller.wake(token::STACK);
        }
        let Some(deadline) = next else { return };
        // No later than other applications come round: of a longer time without any call only some seconds would count, as
        // after a jump of the clock.
        let latest = now + Duration::from_millis(u64::from(LONGEST_SLEEP));
        let at = deadline.clamp(now, latest);
        // One that goes off before is left as it is: the application comes round then, and it is set anew.
        if self.loop_state.alarm.is_none_or(|set| set <= now || set > at) {
            poller.wake_after(std::time::Duration::from_micros((at - now).total_micros()), token::STACK);
            self.loop_state.alarm = Some(at);
        }
    }

    /// Milliseconds until something is due, `most` at most; the next deadline is known.
    fn sleep_left(&self, most: u32, next: Option<Instant>) -> u32 {
        if self.may_go_on() {
            return 0;
        }
        let Some(deadline) = next else { return most };
        if deadline <= self.cx.now {
            return 0;
        }
        sleep_until(deadline, most, self.cx.now)
    }

    /// Whether there is something to do that need not wait for room on the way to the guest.
    fn may_go_on(&self) -> bool {
        let turns = self.backlog() > 0 && !self.cx.egress.handover.is_refused();
        turns || self.tcp.has_staged() || self.udp.has_staged()
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.tcp.has_staged() || self.udp.has_staged() || self.backlog() > 0
    }

    /// After the application's sleep, and after the frames that came meanwhile: deadlines, what the guest's flows have
    /// staged for the hosts, and what the host sockets have to say. `seen` is what the caller saw of the descriptor that it
    /// watches. What follows from it all is done by [`Stack::poll_output`], turn by turn.
    pub fn handle_events(&mut self, seen: Glance, now: Instant) {
        self.set_now(now);
        self.loop_state.asleep = false;
        self.loop_state.turns = MAX_TURNS;
        #[cfg(feature = "control")]
        (self.attendance.attended = false);
        let made = self.cx.egress.position();
        self.begin_looking(made);
        self.cx.egress.begin_round(self.cx.now);
        self.begin_ration();
        self.share_link();
        self.run_deadlines();
        let round = self.cx.pace.begin_round(seen, self.cx.now);
        if self.tcp.has_staged() {
            self.in_half_of_round(|stack| stack.tcp.flush(round.hold, &mut stack.cx));
        }
        self.udp.begin_round(round.hold, &mut self.cx);
        if self.cx.poller.is_none() {
            self.look_for_lost();
        }
        if !round.asks {
            return;
        }
        let mut any = false;
        let Some(poller) = self.cx.poller.as_mut() else { return };
        let (tcp, udp, icmp, forwards) = (&mut self.tcp, &mut self.udp, &mut self.icmp, &mut self.tcp_forwards);
        let alarm = &mut self.loop_state.alarm;
        #[cfg(feature = "control")]
        let mut own = false;
        poller.wait(|token, ready| {
            any = true;
            match token::unpack(token) {
                (Kind::Tcp, key) => tcp.flows.on_ready(key.into(), ready),
                (Kind::Udp, key) => udp.flows.on_ready(key.into(), ready),
                (Kind::Icmp, key) => icmp.flows.on_ready(key.into(), ready),
                (Kind::TcpListener, key) => forwards.flows.on_ready(key.into(), ready),
                // It may have gone off a little before the application's clock is there.
                (Kind::Stack, _) => {
                    *alarm = None;
                    #[cfg(feature = "control")]
                    (own = true);
                }
            }
        });
        self.cx.pace.on_asked(any, self.cx.now);
        // The stack has woken itself, or one of the attendant's sockets has news.
        #[cfg(feature = "control")]
        if own {
            self.attend();
        }
    }

    /// Uploads and downloads make room for each other.
    #[inline]
    fn share_link(&mut self) {
        let (tcp, handover) = (&self.cx.tcp_config, &self.cx.egress.handover);
        let shares = self.cx.pace.sharing.begin_round(self.cx.now, || {
            let segment = u32::from(tcp.mss);
            // A segment that is half of what a queue holds goes alone.
            let (least, enough) = if segment > ALONE { (1, 1) } else { (2, 4) };
            let (least, enough) = (segment.saturating_mul(least), segment.saturating_mul(enough));
            let bytes = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
            if handover.counts() {
                let limit = handover.limit();
                return Totals { up: bytes(limit), down: bytes(limit), least, enough, handed: true };
            }
            Totals {
                up: bytes(tcp.recv_limit as u64),
                down: bytes(tcp.send_limit as u64),
                least,
                enough,
                handed: false,
            }
        });
        if let Some(shares) = shares {
            self.cx.pool.set_lanes(Lanes { up: shares.up, down: shares.down });
        }
    }

    /// What the application says of a socket it watches in direct mode.
    pub fn report(&mut self, token: u64, ready: Readiness) {
        match token::unpack(token) {
            (Kind::Tcp, key) => self.tcp.flows.on_ready(key.into(), ready),
            (Kind::Udp, key) => self.udp.flows.on_ready(key.into(), ready),
            (Kind::Icmp, key) => self.icmp.flows.on_ready(key.into(), ready),
            (Kind::TcpListener, key) => self.tcp_forwards.flows.on_ready(key.into(), ready),
            (Kind::Stack, _) => {
                #[cfg(feature = "control")]
                self.attend();
            }
        }
    }

    /// What the application is to watch in direct mode.
    pub fn interests(&self, mut interest: impl FnMut(Interest)) {
        let mut watch = |token, descriptor, read, write, priority| {
            interest(Interest { descriptor, token, read, write, priority });
        };
        self.tcp_forwards.flows.interests(|token, socket, read, write| watch(token, socket, read, write, false));
        self.tcp.flows.interests(|token, socket, read, write| watch(token, socket, read, write, read));
        self.udp.flows.interests(|token, socket, read, write| watch(token, socket, read, write, false));
        self.icmp.flows.interests(|token, socket, read, write| watch(token, socket, read, write, false));
        #[cfg(feature = "control")]
        if let Some(attendant) = &self.attendant {
            attendant.interests(&mut |token, socket, read, write| watch(token, socket, read, write, false));
        }
    }

    /// How many turns there are to take.
    fn backlog(&self) -> usize {
        self.tcp_forwards.flows.backlog() + self.tcp.flows.backlog() + self.udp.backlog() + self.icmp.flows.backlog()
    }

    /// Takes one turn of everything that has something to do; the frames it makes are to be taken out before the next.
    /// False when there is nothing left to do, this round has made as much as one may, or there is no room for more on the
    /// way to the guest: the next one goes on.
    #[doc(hidden)]
    pub fn take_turns(&mut self) -> bool {
        let turns = self.loop_state.turns.saturating_sub(1);
        let more = turns > 0 && self.take_turn();
        self.loop_state.turns = if more { turns } else { 0 };
        more
    }

    /// Whether the turns of a round have been begun and not all been taken.
    pub(super) fn is_in_round(&self) -> bool {
        self.loop_state.turns > 0
    }

    fn take_turn(&mut self) -> bool {
        if self.backlog() == 0 || self.cx.is_spent() {
            return false;
        }
        let first = self.cx.pace.datagrams_first();
        // Most rounds are those of streams alone.
        let datagrams = self.datagram_backlog() > 0;
        if first && datagrams {
            self.icmp.work(&mut self.cx);
            // Each turn is one socket's.
            for _ in 0..DATAGRAM_TURNS.min(self.udp.backlog()) {
                self.udp.work(&mut self.cx);
                if self.cx.egress.handover.is_refused() || self.cx.pace.datagrams_left() == 0 {
                    break;
                }
            }
        }
        if self.tcp_forwards.flows.backlog() > 0 {
            self.tcp_forwards.work(&mut self.tcp, &mut self.cx);
        }
        self.tcp.work(&mut self.cx);
        if !first && datagrams {
            self.udp.work(&mut self.cx);
            self.icmp.work(&mut self.cx);
        }
        self.end_shortage();
        let streams = self.tcp_forwards.flows.backlog() + self.tcp.flows.backlog();
        streams + self.datagram_backlog() > 0 && !self.cx.egress.handover.is_refused()
    }

    /// The flows of datagrams that have something to do in this round.
    fn datagram_backlog(&self) -> usize {
        let udp = if self.cx.pace.datagrams_left() > 0 { self.udp.backlog() } else { 0 };
        udp + self.icmp.flows.backlog()
    }

    /// Takes out what the application can take now. False when that is nothing.
    #[doc(hidden)]
    pub fn hand_over(&mut self, handing: &mut Handing) -> bool {
        let any = self.cx.egress.hand_over(handing, self.cx.now);
        #[cfg(feature = "capture")]
        if any && self.recording.captures() {
            self.capture_output(handing);
        }
        any
    }

    /// What [`Stack::hand_over`] gave is with the application, and so are the effects that were taken out before; `switches`
    /// are those of its thread, where it was watched.
    #[doc(hidden)]
    pub fn handed_over(&mut self, handing: &mut Handing, switches: Option<Switches>) {
        if let Some(switches) = switches {
            self.cx.egress.handover.on_watched(handing.bytes(), switches, self.cx.now);
        }
        handing.done(self.cx.egress.handover.counts());
        self.cx.reserve.take_back();
    }

    /// Has a loop that sleeps come round, by making the stack's descriptor readable. For whoever does something to a stack while
    /// another thread, or another task, may be asleep on that; [`Stack::input`] does it by itself for a caller from elsewhere. In
    /// direct mode there is no such descriptor, and nothing happens.
    pub fn wake(&mut self) {
        if !self.loop_state.asleep || std::mem::replace(&mut self.loop_state.woken, true) {
            return;
        }
        if let Some(poller) = self.cx.poller.as_mut() {
            poller.wake(token::STACK);
        }
    }

    /// Sees to it that the application comes round when a frame, or a call between fill and poll, left something to do.
    pub(super) fn after_input(&mut self) {
        self.cx.pace.on_frame();
        self.wake_application();
    }

    pub(super) fn wake_application(&mut self) {
        // The application's loop is not asleep when it calls, and ends its round before it sleeps.
        if !self.loop_state.asleep || self.loop_state.notified || self.cx.in_loop() {
            return;
        }
        #[cfg(feature = "capture")]
        self.look_after_records();
        let due_sooner = match (self.next_deadline(), self.loop_state.wakes) {
            (Some(deadline), Some(wakes)) => deadline < wakes,
            _ => false,
        };
        if self.has_backlog() || due_sooner {
            self.loop_state.notified = true;
            self.cx.effects.push(Effect::Notify);
        }
    }
}
