//! The application: one library instance, one guest, and the loop fill → poll(2) → frames in → poll.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ffi::Instance;
use crate::guest::{Guest, Role, Shape, Transmit};
use crate::peer::Holder;
use crate::sys::{self, PollSet};
use crate::syscalls;

/// After this long without anything from the library the guest retransmits or probes.
const STALL: Duration = Duration::from_millis(200);

pub struct Rig {
    pub instance: Instance,
    pub guest: &'static RefCell<Guest>,
    pub transmit: Transmit,
    pub set: PollSet,
    /// Frames handed over in one loop round, at most.
    pub frames_per_round: u32,
    /// Hand over one frame per round whatever `frames_per_round` says.
    pub one_frame_per_round: bool,
    /// Report `select_error` = 1 in rounds that brought a frame or where poll timed out, as slirp4netns does.
    pub error_after_frame: bool,
    seen_progress: u64,
    stalled_since: Instant,
}

/// The most that one call took: CPU time of this thread in nanoseconds, and frames that came out.
#[derive(Clone, Copy, Default, Debug)]
pub struct Worst {
    pub fill: i64,
    pub input: i64,
    pub poll: i64,
    pub frames: u64,
}

/// A measured stretch of time.
pub struct Span {
    started: Instant,
    cpu_started: i64,
    /// Wall time in seconds.
    pub wall: f64,
    /// CPU time of this thread in seconds.
    pub cpu: f64,
    calls_started: Option<u64>,
    /// System calls of this thread, where they are counted.
    pub calls: Option<u64>,
}

impl Span {
    pub fn start() -> Span {
        Span {
            started: Instant::now(),
            cpu_started: sys::thread_cpu_ns(),
            wall: 0.0,
            cpu: 0.0,
            calls_started: syscalls::count(),
            calls: None,
        }
    }

    pub fn stop(mut self) -> Span {
        self.wall = self.started.elapsed().as_secs_f64();
        self.calls = syscalls::count().zip(self.calls_started).map(|(now, then)| now.wrapping_sub(then));
        self.cpu = (sys::thread_cpu_ns() - self.cpu_started) as f64 / 1e9;
        self
    }
}

impl Rig {
    /// Open the library and introduce the guest to it. `capacity`: connections whose memory is made resident now.
    pub fn new(library: &Path, shape: Shape, capacity: usize) -> Result<Rig, String> {
        // Leaked: the library keeps its address as the callbacks' opaque pointer until the process ends.
        let guest: &'static RefCell<Guest> = Box::leak(Box::new(RefCell::new(Guest::new(shape, capacity))));
        let transmit = guest.borrow().transmit();
        let instance = Instance::new(library, shape.mtu, guest)?;
        let mut rig = Rig {
            instance,
            guest,
            transmit,
            set: PollSet::touched(capacity.max(64) + 64),
            frames_per_round: shape.burst.max(1),
            one_frame_per_round: false,
            error_after_frame: false,
            seen_progress: 0,
            stalled_since: Instant::now(),
        };
        rig.guest.borrow_mut().announce();
        rig.round(0);
        rig.round(0);
        Ok(rig)
    }

    /// One turn of the loop; sleeps at most `longest` milliseconds.
    pub fn round(&mut self, longest: u32) {
        if self.guest.borrow().link.is_some() {
            return self.impaired_round(longest);
        }
        let mut timeout = self.tick(longest);
        self.set.clear();
        self.instance.fill(&mut timeout, &mut self.set);
        if self.guest.borrow().has_frame() {
            timeout = 0;
        } else if timeout > 0 {
            timeout = timeout.min(self.until_stall());
        }
        let result = self.set.wait(timeout);
        let most = if self.one_frame_per_round { 1 } else { self.frames_per_round };
        let mut frames = 0;
        while frames < most {
            let Some(slot) = self.guest.borrow_mut().next_frame(&mut self.transmit) else { break };
            self.instance.input(self.transmit.frame(&slot));
            frames += 1;
        }
        let error = result < 0 || (self.error_after_frame && (frames > 0 || result == 0));
        self.instance.poll(error, &self.set);
    }

    /// The guest looks at its clock, if it has one. `longest` milliseconds, or less if it is to look again sooner.
    pub fn tick(&self, longest: u32) -> u32 {
        let mut guest = self.guest.borrow_mut();
        // Reading the clock is left out where nobody asks for the time.
        if guest.is_linux() {
            return guest.tick(sys::monotonic_ns()).map_or(longest, |next| next.min(longest));
        }
        longest
    }

    /// One turn of the loop that hands over one given frame, behind what the guest itself has to say, and does not sleep.
    pub fn round_of_frame(&mut self, frame: &[u8]) {
        self.set.clear();
        self.instance.fill(&mut 100, &mut self.set);
        let result = self.set.wait(0);
        loop {
            let Some(slot) = self.guest.borrow_mut().next_frame(&mut self.transmit) else { break };
            self.instance.input(self.transmit.frame(&slot));
        }
        self.instance.input(frame);
        self.instance.poll(result < 0, &self.set);
    }

    /// As [`Rig::round`], with an eye on what each call takes.
    pub fn watched_round(&mut self, longest: u32, worst: &mut Worst) {
        let guest = self.guest;
        let mut most = 0;
        let mut watched = |call: &mut dyn FnMut()| {
            let (cpu, frames) = (sys::thread_cpu_ns(), guest.borrow().counters.frames);
            call();
            most = most.max(guest.borrow().counters.frames - frames);
            sys::thread_cpu_ns() - cpu
        };
        let mut timeout = self.tick(longest);
        self.set.clear();
        worst.fill = worst.fill.max(watched(&mut || self.instance.fill(&mut timeout, &mut self.set)));
        if self.guest.borrow().has_frame() {
            timeout = 0;
        }
        let result = self.set.wait(timeout);
        for _ in 0..self.frames_per_round {
            let Some(slot) = self.guest.borrow_mut().next_frame(&mut self.transmit) else { break };
            worst.input = worst.input.max(watched(&mut || self.instance.input(self.transmit.frame(&slot))));
        }
        worst.poll = worst.poll.max(watched(&mut || self.instance.poll(result < 0, &self.set)));
        worst.frames = worst.frames.max(most);
        self.until_stall();
    }

    /// Milliseconds until the guest's patience ends; retransmits when it has ended.
    pub fn until_stall(&mut self) -> u32 {
        let now = Instant::now();
        let mut guest = self.guest.borrow_mut();
        if guest.progress != self.seen_progress {
            self.seen_progress = guest.progress;
            self.stalled_since = now;
        }
        let left = STALL.saturating_sub(now.duration_since(self.stalled_since));
        if left.is_zero() {
            guest.on_stall();
            self.stalled_since = now;
            return 0;
        }
        left.as_micros().div_ceil(1000) as u32
    }

    /// Run the loop for `duration`.
    pub fn run_for(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.round(100);
        }
    }

    /// Run the loop for `duration` and measure it.
    pub fn measure(&mut self, duration: Duration) -> Span {
        let span = Span::start();
        self.run_for(duration);
        span.stop()
    }

    /// Run the loop until `done`, at most for `limit`; whether it came to pass.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Guest) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            if done(&self.guest.borrow()) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            self.round(100);
        }
    }

    /// Open `count` connections to a host port, at most 64 at a time in the handshake; their indices.
    pub fn connect_many(&mut self, port: u16, role: Role, count: usize) -> Result<Vec<u32>, String> {
        self.connect_in_turn(port, role, count, 64)
    }

    fn connect_in_turn(&mut self, port: u16, role: Role, count: usize, at_once: usize) -> Result<Vec<u32>, String> {
        let mut indices = Vec::with_capacity(count);
        let frames = std::mem::replace(&mut self.frames_per_round, at_once as u32);
        while indices.len() < count {
            let before = self.guest.borrow().counters.established;
            let some = (count - indices.len()).min(at_once);
            for _ in 0..some {
                let index = self.guest.borrow_mut().connect(port, role);
                indices.push(index);
            }
            let want = before + some as u64;
            if !self.run_until(Duration::from_secs(10), |g| g.counters.established >= want) {
                let have = self.guest.borrow().counters.established;
                return Err(format!("only {have} connections were established within 10 s of the last request"));
            }
        }
        // The last acknowledgements of the handshakes leave, and the library takes them in.
        for _ in 0..4 {
            self.round(0);
        }
        self.frames_per_round = frames;
        Ok(indices)
    }

    /// Open `count` connections that do nothing to the holder, spread over its ports; their indices. Up to 512 at a time
    /// are in the handshake, as with 64 the rounds of upstream's library would take a minute for the largest numbers.
    pub fn connect_idle(&mut self, holder: &Holder, count: usize) -> Result<Vec<u32>, String> {
        let mut indices = Vec::with_capacity(count);
        for (done, port) in holder.ports.iter().enumerate() {
            let share = (count - indices.len()) / (holder.ports.len() - done);
            indices.extend(self.connect_in_turn(*port, Role::Quiet, share, 512)?);
        }
        Ok(indices)
    }
}
