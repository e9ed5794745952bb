//! The work, the same for all stacks. Whatever a run needs is started here; the process ends after it.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cpu::Servers;
use crate::guest::{Guest, Role, Shape};
use crate::link::Impairment;
use crate::network::{Network, Variant};
use crate::peer::{self, Holder, Peer};
use crate::stats::{Better, Metric, percentile};
use crate::sys;

const MTU: usize = 1500;
/// One way, so that a round trip takes 10 ms.
const DELAY: Duration = Duration::from_millis(5);
const LOSS: f64 = 0.01;
const SEED: u64 = 1;
/// Octets from one PSH to the next, as a Linux guest has it that writes so much at a time.
const BURST: usize = 65_536;
const IDLE: usize = 1000;
/// Connections in the handshake at once, and exchanges at once.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
/// An exchange that takes longer is given up and begun anew.
const STUCK: Duration = Duration::from_secs(2);
/// Time for what a stack does once.
const WARM_UP: Duration = Duration::from_millis(400);
/// With loss: for windows to grow and shrink.
const WARM_UP_LOSSY: Duration = Duration::from_secs(1);

pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    /// The metric that is compared first.
    pub metric: &'static str,
    /// How many times as good as each of the others this stack is to be, where a bar was set.
    pub bar: Option<f64>,
    run: fn(&Setting) -> Result<Vec<Metric>, String>,
}

/// One run.
pub struct Setting {
    pub variant: Variant,
    pub measured: Duration,
    pub verify: bool,
}

pub const ALL: [Workload; 9] = [
    Workload { name: "up", about: "one upload", metric: "rate", bar: Some(3.0), run: |s| upload(s, false) },
    Workload { name: "down", about: "one download", metric: "rate", bar: Some(3.0), run: |s| download(s, false, 0) },
    Workload {
        name: "up_loss_1",
        about: "one upload, 1 % lost, 10 ms round trip",
        metric: "rate",
        bar: Some(10.0),
        run: |s| upload(s, true),
    },
    Workload {
        name: "down_loss_1",
        about: "one download, 1 % lost, 10 ms round trip",
        metric: "rate",
        bar: Some(10.0),
        run: |s| download(s, true, 0),
    },
    Workload {
        name: "down_beside_1000",
        about: "one download beside 1,000 idle connections",
        metric: "rate",
        bar: None,
        run: |s| download(s, false, IDLE),
    },
    Workload { name: "idle_1000", about: "1,000 connections that do nothing", metric: "cpu", bar: None, run: idle },
    Workload {
        name: "exchange",
        about: "one byte there and back, one at a time",
        metric: "rate",
        bar: None,
        run: |s| round_trips(s, 0),
    },
    Workload {
        name: "exchange_beside_1000",
        about: "the same beside 1,000 idle connections",
        metric: "rate",
        bar: None,
        run: |s| round_trips(s, IDLE),
    },
    Workload {
        name: "connections",
        about: "connect, 64 octets, answer of 1,024, close; 16 at once",
        metric: "rate",
        bar: None,
        run: connections,
    },
];

impl Workload {
    pub fn run(&self, setting: &Setting) -> Result<Vec<Metric>, String> {
        (self.run)(setting)
    }
}

/// A link that delays and, when it is told to, loses.
fn impairment() -> Impairment {
    Impairment { delay: DELAY, loss: LOSS, seed: SEED, ..Impairment::default() }
}

pub fn shape(verify: bool, lossy: bool) -> Shape {
    Shape {
        mtu: MTU,
        burst: (BURST / (MTU - 40)) as u32,
        push_each: false,
        ack_every: 0,
        verify,
        impairment: lossy.then(impairment),
    }
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

/// A stretch of time that is measured.
struct Span<'a> {
    servers: &'a Servers,
    started: Instant,
    cpu: f64,
}

impl<'a> Span<'a> {
    fn start(servers: &'a Servers) -> Result<Span<'a>, String> {
        Ok(Span { servers, cpu: servers.cpu_of_others().map_err(text)?, started: Instant::now() })
    }

    /// Seconds that passed, and seconds of CPU time.
    fn stop(self) -> Result<(f64, f64), String> {
        let wall = self.started.elapsed().as_secs_f64();
        Ok((wall, self.servers.cpu_of_others().map_err(text)? - self.cpu))
    }
}

fn run_for(network: &mut dyn Network, time: Duration) {
    network.run(time, Box::new(|_| false));
}

fn on_guest<T>(network: &mut dyn Network, mut look: impl FnMut(&mut Guest) -> T) -> T {
    let mut seen = None;
    network.with(&mut |cable| seen = Some(look(&mut cable.guest)));
    seen.unwrap_or_else(|| unreachable!("the action is always carried out"))
}

/// Opens `count` connections, some at a time.
fn connect(network: &mut dyn Network, port: u16, role: Role, count: usize) -> Result<Vec<u32>, String> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let some = (count - all.len()).min(AT_ONCE);
        let want = on_guest(network, |guest| {
            all.extend((0..some).map(|_| guest.connect(port, role)));
            guest.counters.established + some as u64
        });
        if !network.run(PATIENCE, Box::new(move |guest| guest.counters.established >= want)) {
            let counters = on_guest(network, |guest| guest.counters);
            let missing = want.saturating_sub(counters.established);
            let resets = counters.resets;
            return Err(format!("of {} connections {missing} did not come about, {resets} were reset", all.len()));
        }
    }
    Ok(all)
}

/// Opens [`IDLE`] connections to a process of its own.
fn connect_idle(network: &mut dyn Network, holder: &Holder, count: usize) -> Result<(), String> {
    for port in &holder.ports {
        connect(network, *port, Role::Quiet, count / holder.ports.len())?;
    }
    Ok(())
}

/// Refuses a run in which something was wrong with the bytes, and tells how often things were sent again.
fn soundness(network: &mut dyn Network, peer: Option<&Peer>, metrics: &mut Vec<Metric>) -> Result<(), String> {
    let (counters, lost) = on_guest(network, |guest| (guest.counters, guest.link.as_ref().map_or(0, |link| link.lost)));
    let wrong = counters.corrupt + peer.map_or(0, |peer| peer.counters.corrupt.load(Relaxed));
    if wrong > 0 {
        return Err(format!("{wrong} times wrong bytes or checksums"));
    }
    let seen = [
        ("lost", lost),
        ("retransmitted", counters.retransmitted),
        ("resets", counters.resets),
        ("stuck", counters.stuck),
    ];
    metrics.extend(seen.iter().map(|(name, count)| Metric::new(name, "", Better::Neither, *count as f64)));
    let resident = sys::resident_anonymous().map_err(text)? as f64 / 1e6;
    metrics.push(Metric::new("resident", "MB", Better::Lower, resident));
    Ok(())
}

fn bulk((wall, cpu): (f64, f64), octets: u64) -> Vec<Metric> {
    let mut metrics = vec![
        Metric::new("rate", "Mbit/s", Better::Higher, octets as f64 * 8.0 / 1e6 / wall),
        Metric::new("busy", "%", Better::Neither, 100.0 * cpu / wall),
    ];
    if octets > 0 {
        metrics.push(Metric::new("cpu", "ms/GB", Better::Lower, cpu * 1e3 / (octets as f64 / 1e9)));
    }
    metrics
}

fn begin_losing(network: &mut dyn Network, lossy: bool) {
    network.with(&mut |cable| cable.begin_losing());
    run_for(network, if lossy { WARM_UP_LOSSY } else { WARM_UP });
}

/// Octets count where they arrive, at the host's server.
fn upload(setting: &Setting, lossy: bool) -> Result<Vec<Metric>, String> {
    let mut servers = Servers::default();
    let peer = servers.start(|| peer::sink(if setting.verify { MTU - 40 } else { 0 })).map_err(text)?;
    let network = setting.variant.start(shape(setting.verify, lossy), 1)?;
    connect(network, peer.port, Role::Sender, 1)?;
    begin_losing(network, lossy);
    let before = peer.counters.bytes.load(Relaxed);
    let span = Span::start(&servers)?;
    run_for(network, setting.measured);
    let octets = peer.counters.bytes.load(Relaxed) - before;
    let mut metrics = bulk(span.stop()?, octets);
    soundness(network, Some(&peer), &mut metrics)?;
    Ok(metrics)
}

/// Gbit/s of a thread on the stacks' CPU that writes to the server of the uploads without a stack in between. The thread is its
/// own, because a child must not inherit that CPU.
pub fn loopback_alone(measured: Duration) -> Result<f64, String> {
    let mut servers = Servers::default();
    let peer = servers.start(|| peer::sink(0)).map_err(text)?;
    let port = peer.port;
    let written = std::thread::spawn(move || -> std::io::Result<f64> {
        sys::pin(peer::LIBRARY_CPU);
        let mut host = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let piece = vec![0; 256 * 1024];
        let mut write_for = |time: Duration| -> std::io::Result<f64> {
            let (mut octets, started) = (0, Instant::now());
            while started.elapsed() < time {
                host.write_all(&piece)?;
                octets += piece.len();
            }
            Ok(octets as f64 * 8.0 / 1e9 / started.elapsed().as_secs_f64())
        };
        write_for(WARM_UP)?;
        write_for(measured)
    });
    written.join().map_err(|_| "the thread that writes ended".to_owned())?.map_err(text)
}

/// Octets count where they arrive in order, at the guest.
fn download(setting: &Setting, lossy: bool, idle: usize) -> Result<Vec<Metric>, String> {
    let mut servers = Servers::default();
    let peer = servers.start(peer::source).map_err(text)?;
    let holder = if idle > 0 { Some(Holder::start()?) } else { None };
    let network = setting.variant.start(shape(setting.verify, lossy), idle + 1)?;
    if let Some(holder) = &holder {
        connect_idle(network, holder, idle)?;
    }
    connect(network, peer.port, Role::Receiver, 1)?;
    begin_losing(network, lossy);
    let before = on_guest(network, |guest| guest.counters.bytes);
    let span = Span::start(&servers)?;
    run_for(network, setting.measured);
    let octets = on_guest(network, |guest| guest.counters.bytes) - before;
    let mut metrics = bulk(span.stop()?, octets);
    soundness(network, Some(&peer), &mut metrics)?;
    Ok(metrics)
}

/// What connections cost that do nothing: time, and memory beside what the first 16 took.
fn idle(setting: &Setting) -> Result<Vec<Metric>, String> {
    let servers = Servers::default();
    let holder = Holder::start()?;
    let network = setting.variant.start(shape(setting.verify, false), IDLE + AT_ONCE)?;
    connect(network, holder.ports[0], Role::Quiet, AT_ONCE)?;
    let before = sys::resident_anonymous().map_err(text)?;
    connect_idle(network, &holder, IDLE)?;
    run_for(network, WARM_UP);
    let after = sys::resident_anonymous().map_err(text)?;
    let span = Span::start(&servers)?;
    run_for(network, setting.measured);
    let (wall, cpu) = span.stop()?;
    let mut metrics = vec![
        Metric::new("cpu", "ms/s", Better::Lower, cpu * 1e3 / wall),
        Metric::new("memory", "kB each", Better::Lower, after.saturating_sub(before) as f64 / 1e3 / IDLE as f64),
    ];
    soundness(network, None, &mut metrics)?;
    Ok(metrics)
}

fn exchanges((wall, cpu): (f64, f64), count: u64) -> Result<Vec<Metric>, String> {
    if count == 0 {
        return Err("no exchange came to its end".into());
    }
    Ok(vec![
        Metric::new("rate", "1/s", Better::Higher, count as f64 / wall),
        Metric::new("cpu", "µs each", Better::Lower, cpu * 1e6 / count as f64),
    ])
}

fn round_trips(setting: &Setting, idle: usize) -> Result<Vec<Metric>, String> {
    let mut servers = Servers::default();
    let peer = servers.start(|| peer::echo(false)).map_err(text)?;
    let holder = if idle > 0 { Some(Holder::start()?) } else { None };
    let network = setting.variant.start(shape(setting.verify, false), idle + 1)?;
    if let Some(holder) = &holder {
        connect_idle(network, holder, idle)?;
    }
    let index = connect(network, peer.port, Role::Quiet, 1)?.first().copied().ok_or("no connection")?;
    let trips = Arc::new(Mutex::new(Vec::with_capacity(1 << 20)));
    let mut measure = |time: Duration| {
        let kept = trips.clone();
        let mut want = on_guest(network, |guest| {
            guest.send_byte(index);
            guest.received(index) + 1
        });
        let mut sent = Instant::now();
        let end = sent + time;
        let ended = network.run(
            time + PATIENCE,
            Box::new(move |guest| {
                if guest.received(index) < want {
                    return false;
                }
                let now = Instant::now();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((now - sent).as_secs_f64() * 1e6);
                if now >= end {
                    return true;
                }
                guest.send_byte(index);
                (want, sent) = (want + 1, now);
                false
            }),
        );
        if ended { Ok(()) } else { Err("a byte did not come back") }
    };
    measure(WARM_UP)?;
    trips.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let span = Span::start(&servers)?;
    measure(setting.measured)?;
    let spent = span.stop()?;
    let mut trips = std::mem::take(&mut *trips.lock().unwrap_or_else(PoisonError::into_inner));
    trips.sort_by(f64::total_cmp);
    let mut metrics = exchanges(spent, trips.len() as u64)?;
    metrics.push(Metric::new("p50", "µs", Better::Lower, percentile(&trips, 0.5)));
    metrics.push(Metric::new("p99", "µs", Better::Lower, percentile(&trips, 0.99)));
    soundness(network, None, &mut metrics)?;
    Ok(metrics)
}

fn connections(setting: &Setting) -> Result<Vec<Metric>, String> {
    let mut servers = Servers::default();
    let (ports, _peer) = servers.start(|| peer::request_server(8, false)).map_err(text)?;
    let network = setting.variant.start(shape(setting.verify, false), 1024)?;
    on_guest(network, |guest| {
        for port in ports.iter().cycle().take(AT_ONCE) {
            guest.connect(*port, Role::Client);
        }
    });
    run_for(network, WARM_UP);
    let before = on_guest(network, |guest| guest.counters.completed);
    let span = Span::start(&servers)?;
    let end = Instant::now() + setting.measured;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        run_for(network, left.min(Duration::from_millis(500)));
        on_guest(network, |guest| guest.replace_stuck(STUCK));
    }
    let count = on_guest(network, |guest| guest.counters.completed) - before;
    let mut metrics = exchanges(span.stop()?, count)?;
    soundness(network, None, &mut metrics)?;
    Ok(metrics)
}
