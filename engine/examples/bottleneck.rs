//! A link in real time with a rate, a delay and a queue that drops its tail: between two tap devices, or between a stack and a tap
//! device. `script/beside-linux` compares with it what our sender and the kernel's reach on the same link.
//!
//! `cargo run --release --example bottleneck -- --rate MBITS --delay MICROSECONDS --queue BYTES (--from TAP | --stack [--congestion cubic|bbr]) --to TAP`
//!
//! The rate and the queue are those of the way to the second one; both ways have the delay. It says `ready` when the devices are there,
//! so that they can be moved into other namespaces, and goes on until its standard input ends. Then it prints what became of the
//! frames, as JSON.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use oxislirp::drive::{Driver, FrameLink, MemoryLink, Stop, TapLink};
use oxislirp::{Config, Congestion, Stack};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often the queue is looked at.
const SAMPLE: Duration = Duration::from_millis(1);

/// A Mbit/s, in bits.
const MBIT: NonZeroU64 = NonZeroU64::MIN.saturating_mul(NonZeroU64::new(1_000_000).unwrap());

struct Arguments {
    /// Bits per second.
    rate: NonZeroU64,
    delay: Duration,
    /// In bytes.
    queue: u64,
    from: Option<String>,
    to: String,
    congestion: Congestion,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments {
        rate: MBIT,
        delay: Duration::ZERO,
        queue: 1 << 20,
        from: None,
        to: String::new(),
        congestion: Congestion::default(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rate") => parsed.rate = MBIT.saturating_mul(parser.value()?.parse()?),
            Long("delay") => parsed.delay = Duration::from_micros(parser.value()?.parse()?),
            Long("queue") => parsed.queue = parser.value()?.parse()?,
            Long("from") => parsed.from = Some(parser.value()?.string()?),
            Long("stack") => parsed.from = None,
            Long("congestion") => {
                parsed.congestion = match parser.value()?.string()?.as_str() {
                    "cubic" => Congestion::Cubic,
                    "bbr" => Congestion::Bbr,
                    other => return Err(format!("there is no congestion control {other}").into()),
                }
            }
            Long("to") => parsed.to = parser.value()?.string()?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    if parsed.to.is_empty() {
        return Err("--to is needed".into());
    }
    Ok(parsed)
}

/// One way. Frames wait here until they arrive.
struct Lane {
    /// Bits per second; none for a wire that takes no time.
    rate: Option<NonZeroU64>,
    queue: u64,
    delay: Duration,
    free_at: Instant,
    flying: VecDeque<(Instant, Vec<u8>)>,
    carried: u64,
    dropped: u64,
}

impl Lane {
    fn new(rate: Option<NonZeroU64>, queue: u64, delay: Duration) -> Lane {
        Lane { rate, queue, delay, free_at: Instant::now(), flying: VecDeque::new(), carried: 0, dropped: 0 }
    }

    /// What waits in front of the wire, in bytes.
    fn waiting(&self, now: Instant) -> u64 {
        let rate = self.rate.map_or(0, NonZeroU64::get);
        (self.free_at.saturating_duration_since(now).as_nanos() * u128::from(rate) / 8_000_000_000) as u64
    }

    fn take(&mut self, frame: &[u8], now: Instant) {
        if let Some(rate) = self.rate {
            if self.waiting(now) + frame.len() as u64 > self.queue {
                self.dropped += 1;
                return;
            }
            let takes = Duration::from_nanos(frame.len() as u64 * 8_000_000_000 / rate);
            self.free_at = self.free_at.max(now) + takes;
        } else {
            self.free_at = now;
        }
        self.carried += 1;
        self.flying.push_back((self.free_at + self.delay, frame.to_vec()));
    }

    /// All that a link has for us.
    fn take_all(&mut self, link: &mut dyn FrameLink, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match link.receive(buffer) {
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default(), Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a link what has arrived.
    fn give(&mut self, link: &mut dyn FrameLink) -> io::Result<()> {
        while let Some((at, frame)) = self.flying.front() {
            if *at > Instant::now() {
                return Ok(());
            }
            match link.send(frame) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A device that is not up yet.
                Err(error) if error.kind() == io::ErrorKind::Other || error.raw_os_error().is_some() => {}
                Err(error) => return Err(error),
            }
            self.flying.pop_front();
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let mut to = TapLink::open(&arguments.to)?;
    let Some(name) = &arguments.from else {
        let (ours, mut theirs) = MemoryLink::pair()?;
        let stack = Stack::new(Config::builder().tcp_congestion(arguments.congestion).build()?)?;
        let stop = Stop::new()?;
        let ended = stop.clone();
        let driving = thread::spawn(move || -> Result<(), String> {
            let mut driver = Driver::new(stack, ours).map_err(|error| error.to_string())?;
            driver.run(&stop, drop).map_err(|error| error.to_string())
        });
        println!("ready");
        carry(&mut theirs, &mut to, &arguments)?;
        ended.stop();
        return driving.join().map_err(|_| "the stack's thread panicked")?.map_err(Into::into);
    };
    let mut from = TapLink::open(name)?;
    println!("ready");
    carry(&mut from, &mut to, &arguments)
}

fn carry(from: &mut (impl FrameLink + 'static), to: &mut TapLink, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut there = Lane::new(Some(arguments.rate), arguments.queue, arguments.delay);
    let mut back = Lane::new(None, 0, arguments.delay);
    let mut buffer = vec![0; 65_600];
    let mut samples = Vec::new();
    let mut next_sample = Instant::now();
    loop {
        let now = Instant::now();
        let next = [&there, &back].into_iter().filter_map(|lane| lane.flying.front()).map(|(at, _)| *at);
        let next = next.chain([next_sample]).min().unwrap_or(next_sample);
        let sleep = Timespec::try_from(next.saturating_duration_since(now)).unwrap_or_default();
        let stdin = io::stdin();
        let ended = {
            let watch = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
            let mut watches = [watch(from.as_fd()), watch(to.as_fd()), watch(stdin.as_fd())];
            poll(&mut watches, Some(&sleep))?;
            watches.last().is_some_and(|watch| !watch.revents().is_empty())
        };
        if ended {
            break;
        }
        there.take_all(from, &mut buffer)?;
        back.take_all(to, &mut buffer)?;
        there.give(to)?;
        back.give(from)?;
        let now = Instant::now();
        if now >= next_sample {
            // Only while something is under way: the time before and after a transfer is no part of it.
            if there.waiting(now) > 0 || !there.flying.is_empty() {
                samples.push(there.waiting(now));
            }
            next_sample = now + SAMPLE;
        }
    }
    samples.sort_unstable();
    let mean = samples.iter().sum::<u64>() / (samples.len() as u64).max(1);
    let p95 = samples.get(samples.len() * 19 / 20).copied().unwrap_or_default();
    println!(
        "{{\"carried\": {}, \"dropped\": {}, \"queue_mean\": {mean}, \"queue_p95\": {p95}}}",
        there.carried, there.dropped
    );
    Ok(())
}
