//! Rounds of the application's loop that pass like the one before: a stack in which nothing has happened, nothing waits and
//! nothing is due is left alone but for its clock, and what such a round would have counted is counted when the next one
//! that is not alike begins.
//!
//! Whether a stack is at rest is looked at when a round without any event ends. From then on only a call that does something
//! else can change that, so whoever uses these rounds tells of each by [`Stack::disturb`]; the engine's own parts do.

use super::Stack;
use super::rounds::{LONGEST_SLEEP, SHORTEST_SLEEP};
use crate::pace::Glance;
use crate::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(super) struct Quiet {
    /// So many rounds may still pass; none when the stack is not at rest. The poller is to be asked after them.
    left: u8,
    /// So many have passed and are not counted yet.
    passed: u8,
    /// When something is due.
    until: Instant,
    /// A round from then on is looked at, although nothing is due.
    counts_at: Instant,
    /// Where the frames made stood when the last round began.
    made: u64,
}

impl Default for Quiet {
    fn default() -> Quiet {
        Quiet { left: 0, passed: 0, until: Instant::ZERO, counts_at: Instant::ZERO, made: u64::MAX }
    }
}

impl Stack {
    /// [`Stack::prepare_sleep`] in a stack at rest; `None` when it is none, and nothing was done.
    #[inline]
    #[doc(hidden)]
    pub fn sleep_on(&mut self, told: u32, now: Instant) -> Option<u32> {
        if self.quiet.left == 0 || told <= SHORTEST_SLEEP || self.loop_state.is_asleep() {
            return None;
        }
        let now = self.in_rest(now)?;
        let sleep = sleep_until(self.quiet.until, told.min(LONGEST_SLEEP), now);
        self.cx.now = now;
        self.loop_state.fall_asleep(now + Duration::from_millis(u64::from(sleep)));
        Some(sleep)
    }

    /// [`Stack::handle_events`] and all turns of the round in a stack at rest. False when it is none, and nothing was done.
    #[inline]
    #[doc(hidden)]
    pub fn pass_round(&mut self, seen: Glance, now: Instant) -> bool {
        if self.quiet.left == 0 || seen != Glance::Quiet {
            return false;
        }
        let Some(now) = self.in_rest(now).filter(|now| *now < self.quiet.counts_at) else { return false };
        self.cx.now = now;
        self.loop_state.wake_for_nothing();
        self.quiet.left -= 1;
        self.quiet.passed += 1;
        true
    }

    /// The engine's time at a moment of the application's clock, if that goes on as it should and nothing is due.
    #[inline]
    fn in_rest(&self, now: Instant) -> Option<Instant> {
        let own = self.own_time(now);
        (own >= self.cx.now && own < self.quiet.until && !self.is_gap(own)).then_some(own)
    }

    /// Something else than the rounds of the loop is about to happen.
    #[inline]
    #[doc(hidden)]
    pub fn disturb(&mut self) {
        if self.quiet.left > 0 || self.quiet.passed > 0 {
            self.end_quiet();
        }
    }

    fn end_quiet(&mut self) {
        let passed = std::mem::take(&mut self.quiet.passed);
        self.quiet.left = 0;
        self.cx.pace.pass(passed);
        self.cx.egress.handover.pass(passed);
    }

    /// A round begins that is looked at.
    #[inline]
    pub(super) fn begin_looking(&mut self, made: u64) {
        self.disturb();
        self.quiet.made = made;
    }

    /// The application is about to sleep after a round, when frames were made up to a position: whether the next rounds may pass
    /// if nothing happens. `calm`: there was nothing to be told of the pace, and nothing keeps the application awake.
    #[inline]
    pub(super) fn look_for_rest(&mut self, calm: bool, made: u64, next: Option<Instant>) {
        if calm && made == self.quiet.made && self.cx.egress.handover.is_at_rest(made) {
            self.come_to_rest(next);
        }
    }

    fn come_to_rest(&mut self, next: Option<Instant>) {
        let waits = self.has_backlog()
            || self.has_output()
            || self.loop_state.may_save(&self.cx.pool)
            || self.tcp.needs_relief(&self.cx.pool);
        if waits || !self.udp.is_at_rest(&self.cx) || self.cx.poller.is_none() {
            return;
        }
        self.quiet.left = self.cx.pace.rounds_unasked();
        self.quiet.until = next.unwrap_or(Instant::from_micros(i64::MAX));
        self.quiet.counts_at = self.cx.pace.counts_at(self.cx.now);
    }
}

/// Milliseconds until a deadline that has not come, `most` at most.
#[inline]
pub(super) fn sleep_until(deadline: Instant, most: u32, now: Instant) -> u32 {
    let left = deadline - now;
    // Nearly always it is further away, which is found out without a division.
    if left >= Duration::from_millis(u64::from(most)) {
        return most;
    }
    u32::try_from(left.total_micros().div_ceil(1000)).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Caller, Config};

    const GUEST: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// The guest asks for the hardware address of the gateway, or, as an answer to come, for one that nobody has.
    fn arp_request(target: u8) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend_from_slice(&GUEST);
        frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend_from_slice(&GUEST);
        frame.extend_from_slice(&[10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, target]);
        frame
    }

    /// A datagram to a port of the host.
    fn datagram(port: u16) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
        let mut sum = crate::wire::checksum::Checksum::new();
        sum.add(&ip);
        ip[10..12].copy_from_slice(&sum.finish().to_be_bytes());
        let mut frame = vec![0x52, 0x55, 10, 0, 2, 2];
        frame.extend_from_slice(&GUEST);
        frame.extend_from_slice(&[8, 0]);
        frame.extend(ip);
        frame.extend_from_slice(&4000_u16.to_be_bytes());
        frame.extend_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(&[0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    /// A loop as the C library has it, which lets rounds pass or looks at each.
    struct Loop {
        stack: Stack,
        passes: bool,
        passed: u32,
    }

    impl Loop {
        fn new(passes: bool) -> Loop {
            Loop { stack: Stack::new(Config::default()).unwrap(), passes, passed: 0 }
        }

        fn fill(&mut self, told: u32, now: Instant) -> Option<u32> {
            let passed = self.passes.then(|| self.stack.sleep_on(told, now)).flatten();
            passed.or_else(|| self.stack.prepare_sleep(told, now))
        }

        fn poll(&mut self, seen: Glance, now: Instant) {
            if self.passes && self.stack.pass_round(seen, now) {
                self.passed += 1;
                return;
            }
            self.stack.handle_events(seen, now);
            while self.stack.take_turns() {}
        }

        /// What the round has left behind, and what its frames were.
        fn state(&mut self) -> (String, usize) {
            let mut handing = Default::default();
            self.stack.hand_over(&mut handing);
            let frames = handing.count();
            self.stack.handed_over(&mut handing, None);
            let Stack { cx, udp, loop_state, .. } = &self.stack;
            let (pace, handover, rests) = (&cx.pace, &cx.egress.handover, udp.is_at_rest(cx));
            (format!("{pace:?} {handover:?} {loop_state:?} {} {rests} {}", cx.now, udp.has_staged()), frames)
        }
    }

    #[test]
    fn rounds_that_pass_leave_behind_what_looking_at_them_does() {
        let (mut one, mut other, mut now) = (Loop::new(true), Loop::new(false), Instant::from_secs(1));
        let hosts = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let ports = hosts.each_ref().map(|host| host.local_addr().unwrap().port());
        let mut random = 1_u64;
        for _ in 0..100_000 {
            // The generator of Knuth's MMIX; its upper bits are good.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let what = random >> 32;
            // Not 0: an application that may mean for ever by it has a timer of the kernel set, and real time says which of the two
            // loops finds that it has gone off.
            let told = if what & 31 == 0 { 1 + ((what >> 5) as u32 & 3) } else { 1000 };
            let slept = one.fill(told, now);
            assert_eq!(slept, other.fill(told, now));
            now += Duration::from_micros(if what >> 8 & 63 == 0 { 7_000_000 } else { what >> 14 & 0x7ff });
            if what >> 8 & 63 == 1 {
                now = now - Duration::from_micros(what >> 14 & 0x1f_ffff);
            }
            if what >> 1 & 15 == 0 {
                for (each, port) in [&mut one, &mut other].into_iter().zip(ports) {
                    let frame = match what >> 5 & 3 {
                        0 => arp_request(2),
                        1 => arp_request(77),
                        _ => datagram(port),
                    };
                    each.stack.disturb();
                    each.stack.input_foreign(&(&frame[..]).into(), Caller::Loop, now);
                }
            }
            let seen = if what >> 20 & 31 == 0 { Glance::News } else { Glance::Quiet };
            let passed = one.passed;
            one.poll(seen, now);
            other.poll(seen, now);
            if one.passed == passed {
                assert_eq!(one.state(), other.state());
            }
        }
        assert!(one.passed > 10_000, "{}", one.passed);
    }

    #[test]
    fn a_stack_at_rest_sleeps_until_something_is_due() {
        let mut quiet = Loop::new(true);
        let at = Instant::from_millis;
        quiet.stack.set_now(at(0));
        quiet.stack.cx.timers.set(crate::flow::timers::Own::Tftp, Some(at(6)));
        let mut sleeps = Vec::new();
        for round in 0..7 {
            sleeps.push(quiet.fill(1000, at(round)));
            quiet.poll(Glance::Quiet, at(round) + Duration::from_micros(500));
        }
        assert_eq!(sleeps, [6, 5, 4, 3, 2, 1, 1000].map(Some));
        assert!(quiet.passed > 0);
    }
}
