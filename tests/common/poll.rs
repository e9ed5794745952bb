//! The application's loop: fill, poll(2), pollfds_poll, in the manners of the known consumers; and waiting for events
//! with an overall deadline.

use super::ffi::*;
use super::frame::*;
use super::instance::{Instance, LoopStyle};
use super::library::library;
use super::system::{Socket, poll};
use std::ffi::{c_int, c_void};
use std::time::{Duration, Instant as Wall};

/// How long a test waits for something that must happen.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// The longest sleep in one turn, so that host-side effects that no descriptor reports are looked at again.
const NAP: Duration = Duration::from_millis(20);

/// What pollfds_fill asked for.
#[derive(Debug, Default)]
pub struct Filled {
    /// The timeout it left, in milliseconds.
    pub timeout: u32,
    /// Descriptor and SLIRP_POLL_* events, in the order of the calls.
    pub wanted: Vec<(Socket, c_int)>,
}

/// What get_revents answers and how often each index was asked for.
struct Answers {
    revents: Vec<c_int>,
    asked: Vec<usize>,
}

unsafe extern "C" fn add_poll_socket(fd: Socket, events: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: the opaque pointer is fill's vector.
    let wanted = unsafe { &mut *opaque.cast::<Vec<(Socket, c_int)>>() };
    wanted.push((fd, events));
    // The index is opaque to the library, so it is not the position.
    wanted.len() as c_int + 99
}

unsafe extern "C" fn add_poll(fd: c_int, events: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: as the caller says. A descriptor is no longer than a socket is.
    unsafe { add_poll_socket(fd as Socket, events, opaque) }
}

unsafe extern "C" fn get_revents(index: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: the opaque pointer is poll's Answers.
    let answers = unsafe { &mut *opaque.cast::<Answers>() };
    let position = usize::try_from(index - 100).expect("an index that add_poll returned");
    assert!(position < answers.revents.len(), "get_revents({index}) was never given out in the latest fill");
    answers.asked[position] += 1;
    answers.revents[position]
}

impl Instance {
    /// slirp_pollfds_fill with the application's own `timeout` in milliseconds.
    pub fn fill(&self, timeout: u32) -> Filled {
        let mut filled = Filled { timeout, wanted: Vec::new() };
        let l = library();
        // SAFETY: both pointers are valid during the call.
        unsafe {
            let (handle, opaque) = (self.slirp.get(), (&raw mut filled.wanted).cast());
            match l.slirp_pollfds_fill_socket {
                Some(fill) => fill(handle, &mut filled.timeout, add_poll_socket, opaque),
                None => (l.slirp_pollfds_fill)(handle, &mut filled.timeout, add_poll, opaque),
            }
        }
        filled
    }

    /// slirp_pollfds_poll with these answers (one for each entry of `Filled::wanted`), and how often each was asked for.
    pub fn poll_with(&self, select_error: bool, revents: &[c_int]) -> Vec<usize> {
        let mut answers = Answers { revents: revents.to_vec(), asked: vec![0; revents.len()] };
        // SAFETY: the opaque pointer is valid during the call.
        unsafe {
            let opaque = (&raw mut answers).cast();
            (library().slirp_pollfds_poll)(self.slirp.get(), select_error.into(), get_revents, opaque);
        }
        answers.asked
    }

    /// One turn of the loop in the instance's style, sleeping at most `wait`; true when a descriptor was ready or a
    /// frame went in.
    pub fn turn(&self, wait: Duration) -> bool {
        let style = self.style.get();
        let frames_waiting = !self.to_input.borrow().is_empty();
        let filled = self.fill(u32::MAX);
        let limit =
            Duration::from_millis(filled.timeout.into()).min(if frames_waiting { Duration::ZERO } else { wait });
        let (ready, revents) = poll(&filled.wanted, limit);
        let mut select_error = ready < 0;
        match style {
            LoopStyle::OneFrameSelectError => {
                let frame = self.to_input.borrow_mut().pop_front();
                select_error |= ready == 0 || frame.is_some();
                frame.inspect(|f| self.input(f));
            }
            _ => {
                let frames = self.to_input.take();
                frames.iter().for_each(|f| self.input(f));
            }
        }
        if !(style == LoopStyle::SkipPollOnTimeout && ready == 0 && !frames_waiting) {
            self.poll_with(select_error, &revents);
        }
        ready > 0 || frames_waiting
    }

    /// One turn that does not sleep and hands nothing in: the most frames that one of its calls made.
    #[allow(dead_code)]
    pub fn busiest_call_of_a_turn(&self) -> usize {
        let start = self.frame_count.get();
        let filled = self.fill(u32::MAX);
        let between = self.frame_count.get();
        let (_, revents) = poll(&filled.wanted, Duration::ZERO);
        self.poll_with(false, &revents);
        (between - start).max(self.frame_count.get() - between)
    }

    /// Turns without sleeping until three in a row did nothing: everything that can happen now has happened.
    pub fn settle(&self) {
        let end = Wall::now() + DEADLINE;
        let mut quiet = 0;
        while quiet < 3 {
            let before = self.frame_count.get();
            let busy = self.turn(Duration::from_millis(1));
            let silent = !busy && self.frame_count.get() == before;
            quiet = if silent { quiet + 1 } else { 0 };
            // Upstream reports some descriptors as ready for ever, so a library that only spins is not an error.
            if Wall::now() > end {
                return;
            }
        }
    }

    /// Settles and returns what came out.
    pub fn settled(&self) -> Vec<Frame> {
        self.settle();
        self.drain()
    }

    /// Asserts that nothing comes out.
    pub fn expect_silence(&self) {
        for _ in 0..4 {
            self.turn(Duration::from_millis(2));
        }
        let frames = self.drain();
        assert!(frames.is_empty(), "expected silence, got {frames:?}");
    }

    /// Turns the loop until `check` gives a value; panics with `what` after [`DEADLINE`].
    pub fn until<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let end = Wall::now() + DEADLINE;
        loop {
            if let Some(value) = check() {
                return value;
            }
            if Wall::now() > end {
                let waiting: Vec<Frame> = self.drain();
                panic!("waited in vain for {what}; frames: {waiting:?}; flows:\n{}", self.connection_info());
            }
            self.turn(NAP);
        }
    }

    /// Turns the loop until a frame for which `pick` gives a value came out; other frames stay queued.
    pub fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Frame) -> Option<T>) -> T {
        self.until(what, || self.take(&mut pick))
    }

    /// The first queued frame for which `pick` gives a value; it leaves the queue.
    pub fn take<T>(&self, mut pick: impl FnMut(&Frame) -> Option<T>) -> Option<T> {
        let mut frames = self.drain_raw();
        let found = frames.iter().enumerate().find_map(|(i, f)| pick(&Frame::parse(f)).map(|v| (i, v)));
        let value = found.map(|(i, v)| {
            frames.remove(i);
            v
        });
        self.put_back(frames);
        value
    }

    pub fn wait_icmp(&self, what: &str) -> (Packet, Icmp) {
        self.wait(what, |f| Some((f.ip()?.clone(), f.icmp()?)))
    }

    pub fn wait_udp(&self, what: &str) -> (Packet, Datagram) {
        self.wait(what, |f| Some((f.ip()?.clone(), f.udp()?)))
    }

    pub fn wait_tcp(&self, what: &str) -> (Packet, Segment) {
        self.wait(what, |f| Some((f.ip()?.clone(), f.tcp()?)))
    }

    /// Moves the virtual clock by `by` in steps of half a second or less, with a turn after each step, as a program
    /// does that polls twice a second. Frames are collected as always.
    pub fn advance(&self, by: Duration) {
        let step = Duration::from_millis(500);
        let mut left = by;
        while !left.is_zero() {
            let now = left.min(step);
            self.move_clock(now);
            self.turn(Duration::ZERO);
            left -= now;
        }
    }

    /// The same in steps of five seconds, for hours and days.
    pub fn pass(&self, by: Duration) {
        let mut left = by;
        while !left.is_zero() {
            let now = left.min(Duration::from_secs(5));
            self.move_clock(now);
            self.turn(Duration::ZERO);
            left -= now;
        }
    }

    /// Moves the virtual clock in steps of 100 ms until `pick` finds a frame, and returns how much time that took; None
    /// after `limit`.
    pub fn advance_until<T>(
        &self,
        limit: Duration,
        mut pick: impl FnMut(&Frame) -> Option<T>,
    ) -> Option<(Duration, T)> {
        let step = Duration::from_millis(100);
        let mut spent = Duration::ZERO;
        while spent <= limit {
            if let Some(value) = self.take(&mut pick) {
                return Some((spent, value));
            }
            self.move_clock(step);
            spent += step;
            self.turn(Duration::ZERO);
        }
        None
    }
}
