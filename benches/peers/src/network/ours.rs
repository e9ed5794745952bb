//! This stack, in the loop of a program that has nothing but it: frames in, events, output, sleep.

use std::time::{Duration, Instant as Wall};

use oxislirp::{Caller, Config, Glance, Instant, Output, Stack};

use super::Network;
use crate::cable::{Cable, Hook, Medium, until};
use crate::guest::Shape;
use crate::sys::{self, PollSet};

/// Frames of the guest that are handed over in one round of the loop, at most.
const FRAMES_PER_ROUND: u32 = 64;
/// `POLLIN` as [`PollSet`] has it.
const READABLE: libc::c_int = 1;

pub struct Ours {
    stack: Stack,
    cable: Cable,
    set: PollSet,
}

fn now() -> Instant {
    Instant::from_micros(sys::monotonic_ns() / 1000)
}

impl Ours {
    pub fn new(shape: Shape, capacity: usize) -> Result<Ours, String> {
        let config = Config::builder().mtu(shape.mtu).build().map_err(|error| error.to_string())?;
        let stack = Stack::new(config).map_err(|error| error.to_string())?;
        let cable = Cable::new(shape, capacity, Medium::Ethernet);
        Ok(Ours { stack, cable, set: PollSet::default() })
    }

    /// One round; sleeps at most for `longest`.
    fn round(&mut self, longest: Duration) {
        let mut sleep = loop {
            match self.stack.poll_output(now()) {
                Output::Frame(frame) => self.cable.arrive(frame),
                Output::Timeout(sleep) => break sleep.min(longest),
                // Nobody but this loop is to be told anything.
                _ => {}
            }
        };
        let due = self.cable.tick();
        sleep = if self.cable.has_next() { Duration::ZERO } else { sleep.min(until(due)) };
        self.set.clear();
        if let Some(descriptor) = self.stack.descriptor() {
            self.set.add(descriptor, READABLE);
        }
        // poll(2) counts milliseconds: rounded up, as a round too early would find nothing to do.
        let ready = self.set.wait(sleep.as_micros().div_ceil(1000) as u32);
        let now = now();
        for _ in 0..FRAMES_PER_ROUND {
            let Some(frame) = self.cable.next() else { break };
            self.stack.input(frame, Caller::Loop, now);
        }
        self.stack.handle_events(if ready > 0 { Glance::News } else { Glance::Quiet }, now);
    }
}

impl Network for Ours {
    fn run(&mut self, limit: Duration, hook: Hook) -> bool {
        let end = Wall::now() + limit;
        self.cable.watch(hook);
        loop {
            let left = end.saturating_duration_since(Wall::now());
            if self.cable.is_done() || left.is_zero() {
                return self.cable.unwatch();
            }
            self.round(left);
        }
    }

    fn with(&mut self, action: &mut dyn FnMut(&mut Cable)) {
        action(&mut self.cable);
    }
}
