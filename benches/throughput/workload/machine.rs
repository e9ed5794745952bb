//! What the machine itself can do, without any library: the raw limits beside which the other rows are read. They are measured
//! as often as those, in the columns of both libraries: what differs there is the noise of the machine.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Context, Outcome, text};
use crate::peer;
use crate::rig::Span;
use crate::stats::{Better, Metric, percentile};
use crate::sys;

/// What one read takes at most, as the library's largest.
const READ: usize = 512 * 1024;
/// Two of these are larger than the caches, and two of the others fit into the second-level cache.
const MEMORY: usize = 64 << 20;
const CACHED: usize = 256 << 10;

/// One TCP connection over loopback, from the peer's thread to this one on the other CPU: what is left of a transfer when
/// the library and the guest cost nothing.
pub fn loopback(context: &Context) -> Outcome {
    let peer = peer::source().map_err(text)?;
    let mut stream = TcpStream::connect(("127.0.0.1", peer.port)).map_err(text)?;
    let mut buffer = vec![0; READ];
    let mut read_for = |time: Duration| -> Result<u64, String> {
        let (end, mut bytes) = (Instant::now() + time, 0);
        while Instant::now() < end {
            bytes += stream.read(&mut buffer).map_err(text)? as u64;
        }
        Ok(bytes)
    };
    read_for(context.warm_up())?;
    let span = Span::start();
    let bytes = read_for(context.measured())? as f64;
    let span = span.stop();
    Ok(vec![
        Metric::new("rate", "Gbit/s", Better::Neither, bytes * 8.0 / 1e9 / span.wall),
        Metric::new("cpu", "s/GB", Better::Neither, span.cpu / (bytes / 1e9)),
    ])
}

/// Copies of memory on one CPU: from and to memory, and within the second-level cache.
pub fn copies(context: &Context) -> Outcome {
    let rate = |size: usize| {
        let (from, mut to) = (vec![1u8; size], vec![2u8; size]);
        to.copy_from_slice(&from);
        let (start, mut bytes) = (Instant::now(), 0);
        while start.elapsed() < context.measured() / 2 {
            // Enough at a time that looking at the clock does not count.
            for _ in 0..(1 << 20) / size + 1 {
                to.copy_from_slice(black_box(&from));
                black_box(&mut to);
                bytes += size;
            }
        }
        bytes as f64 / 1e9 / start.elapsed().as_secs_f64()
    };
    Ok(vec![
        Metric::new("memory", "GB/s", Better::Neither, rate(MEMORY)),
        Metric::new("cached", "GB/s", Better::Neither, rate(CACHED)),
    ])
}

/// How long it takes to wake a thread that sleeps (a futex): half of the way there and back, to the other CPU and on this one.
pub fn wake_ups(context: &Context) -> Outcome {
    let half = context.measured() / 2;
    let other = trips(peer::PEER_CPU, half)?;
    let same = trips(peer::LIBRARY_CPU, half)?;
    Ok(vec![
        Metric::new("p50", "µs", Better::Neither, percentile(&other, 0.50)),
        Metric::new("p99", "µs", Better::Neither, percentile(&other, 0.99)),
        Metric::new("one_cpu", "µs", Better::Neither, percentile(&same, 0.50)),
    ])
}

/// The sorted times, in microseconds, in which one of two threads wakes the other; the other one is on `cpu`.
fn trips(cpu: usize, time: Duration) -> Result<Vec<f64>, String> {
    // Odd while the other thread is to answer.
    let turn = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let here = thread::current();
    let there = {
        let (turn, over) = (turn.clone(), over.clone());
        thread::spawn(move || {
            sys::pin(cpu);
            while !over.load(Ordering::Acquire) {
                if turn.load(Ordering::Acquire) % 2 == 1 {
                    turn.fetch_add(1, Ordering::AcqRel);
                    here.unpark();
                }
                thread::park();
            }
        })
    };
    let (end, mut trips) = (Instant::now() + time, Vec::with_capacity(1 << 18));
    while Instant::now() < end {
        let start = Instant::now();
        turn.fetch_add(1, Ordering::AcqRel);
        there.thread().unpark();
        while turn.load(Ordering::Acquire) % 2 == 1 {
            thread::park();
        }
        trips.push(start.elapsed().as_secs_f64() * 1e6 / 2.0);
    }
    over.store(true, Ordering::Release);
    there.thread().unpark();
    there.join().map_err(|_| "the thread that was woken failed".to_string())?;
    trips.sort_by(f64::total_cmp);
    Ok(trips)
}
