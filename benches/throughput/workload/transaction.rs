//! Short exchanges: connections that carry one request, and round trips of one byte.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Context, Outcome, soundness, text};
use crate::guest::{Guest, LISTEN_BASE, LISTEN_COUNT, Role};
use crate::peer::{self, Holder};
use crate::rig::{Rig, Span};
use crate::stats::{Better, Metric, percentile};
use crate::wire;

/// A client connection older than this counts as stuck and is replaced.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than upstream keeps a connection that has ended.
const STEADY: Duration = Duration::from_secs(11);
/// The guest's port and the size in octets of datagrams that go there and back.
const DATAGRAM_PORT: u16 = 5000;
const DATAGRAM: usize = 8;

fn metrics(span: &Span, count: u64) -> Result<Vec<Metric>, String> {
    if count == 0 {
        return Err("no transaction was completed in the measured time".into());
    }
    let mut metrics = vec![
        Metric::new("rate", "1/s", Better::Higher, count as f64 / span.wall),
        Metric::new("cpu", "µs each", Better::Lower, span.cpu * 1e6 / count as f64),
        Metric::new("busy", "%", Better::Neither, 100.0 * span.cpu / span.wall),
    ];
    metrics.extend(Metric::system_calls("each", span.calls, count as f64));
    Ok(metrics)
}

/// The guest is the client, with `at_once` connections open at any time; the peer on the library's CPU or not.
pub fn crr_guest(context: &Context, at_once: usize, same_cpu: bool) -> Outcome {
    let mut rig = context.rig(context.shape(1500), 1024)?;
    let (ports, _peer) = peer::request_server(usize::from(LISTEN_COUNT), same_cpu).map_err(text)?;
    for port in ports.iter().cycle().take(at_once) {
        rig.guest.borrow_mut().connect(*port, Role::Client);
    }
    rig.frames_per_round = 64;
    rig.run_for(context.warm_up());
    let before = rig.guest.borrow().counters;
    let span = Span::start();
    let end = Instant::now() + context.measured();
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        rig.run_for(left.min(Duration::from_millis(500)));
        rig.guest.borrow_mut().replace_stuck(PATIENCE);
    }
    let span = span.stop();
    let mut metrics = metrics(&span, rig.guest.borrow().counters.completed - before.completed)?;
    soundness(&rig, before, None, &mut metrics)?;
    Ok(metrics)
}

/// The host is the client, through forwards to the guest, with `at_once` connections open at any time.
pub fn crr_forward(context: &Context, at_once: usize) -> Outcome {
    let mut rig = context.rig(context.shape(1500), 1024)?;
    rig.guest.borrow_mut().listen();
    let ports = free_ports(usize::from(LISTEN_COUNT)).map_err(text)?;
    for (port, guest) in ports.iter().zip(LISTEN_BASE..) {
        if !rig.instance.add_hostfwd(*port, guest) {
            return Err(format!("slirp_add_hostfwd refused: {}", std::io::Error::last_os_error()));
        }
    }
    rig.frames_per_round = 64;
    let peer = peer::request_clients(ports, at_once);
    rig.run_for(context.warm_up());
    let before = rig.guest.borrow().counters;
    let (done, failed) = (peer.counters.completed.load(Relaxed), peer.counters.failed.load(Relaxed));
    let span = rig.measure(context.measured());
    let done = peer.counters.completed.load(Relaxed) - done;
    let failed = peer.counters.failed.load(Relaxed) - failed;
    let mut metrics = metrics(&span, done)?;
    metrics.push(Metric::new("failed", "", Better::Neither, failed as f64));
    soundness(&rig, before, None, &mut metrics)?;
    Ok(metrics)
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>()?;
    listeners.iter().map(|l| l.local_addr().map(|a| a.port())).collect()
}

/// As [`crr_forward`], measured only when the connections that end have come into balance with those that are made: a
/// library that keeps closed connections for a while has all of them by then.
pub fn crr_forward_steady(context: &Context, at_once: usize) -> Outcome {
    crr_forward(&Context { warm_up: Some(STEADY), ..context.clone() }, at_once)
}

/// One datagram of 8 octets there and back, one at a time; the peer on the library's CPU or not.
pub fn datagram_round_trips(context: &Context, same_cpu: bool) -> Outcome {
    let mut rig = context.rig(context.shape(1500), 1)?;
    let peer = peer::datagram_echo(same_cpu).map_err(text)?;
    measure_trips(
        context,
        &mut rig,
        |guest| {
            guest.open_udp(DATAGRAM_PORT, peer.port, DATAGRAM);
            guest.counters.datagrams + 1
        },
        |guest| guest.counters.datagrams,
    )
}

/// One byte there and back, one at a time, beside `idle` connections that do nothing; the peer on the library's CPU or not.
pub fn round_trips(context: &Context, idle: usize, same_cpu: bool) -> Outcome {
    let mut rig = context.rig(context.shape(1500), idle + 1)?;
    let holder = if idle > 0 { Some(Holder::start()?) } else { None };
    if let Some(holder) = &holder {
        rig.connect_idle(holder, idle)?;
    }
    let peer = peer::echo(same_cpu).map_err(text)?;
    let indices = rig.connect_many(peer.port, Role::Quiet, 1)?;
    let index = indices.first().copied().ok_or("no connection")?;
    measure_trips(
        context,
        &mut rig,
        |guest| {
            guest.send_byte(index);
            guest.received(index) + 1
        },
        |guest| guest.received(index),
    )
}

/// One byte there and back on each of `at_once` connections, again and again; the peer on the library's CPU or not.
pub fn many_round_trips(context: &Context, at_once: usize, same_cpu: bool) -> Outcome {
    let mut rig = context.rig(context.shape(1500), at_once)?;
    rig.frames_per_round = at_once as u32;
    measure_many_round_trips(context, &mut rig, at_once, same_cpu)
}

/// The same in the loop of slirp4netns: one frame per round, and `select_error` set after each. The peer is on another CPU.
pub fn many_round_trips_one_frame(context: &Context, at_once: usize) -> Outcome {
    let mut rig = context.rig(context.shape(1500), at_once)?;
    rig.error_after_frame = true;
    rig.one_frame_per_round = true;
    measure_many_round_trips(context, &mut rig, at_once, false)
}

fn measure_many_round_trips(context: &Context, rig: &mut Rig, at_once: usize, same_cpu: bool) -> Outcome {
    let peer = peer::echoes(same_cpu).map_err(text)?;
    let indices = rig.connect_many(peer.port, Role::Quiet, at_once)?;
    let mut wanted: Vec<u64> = vec![1; at_once];
    indices.iter().for_each(|index| rig.guest.borrow_mut().send_byte(*index));
    let mut exchange = |rig: &mut Rig, duration: Duration| {
        let (mut count, end) = (0, Instant::now() + duration);
        while Instant::now() < end {
            rig.round(100);
            let mut guest = rig.guest.borrow_mut();
            for (index, wanted) in indices.iter().zip(&mut wanted) {
                if guest.received(*index) >= *wanted {
                    guest.send_byte(*index);
                    *wanted += 1;
                    count += 1;
                }
            }
        }
        count
    };
    exchange(rig, context.warm_up());
    let before = rig.guest.borrow().counters;
    let span = Span::start();
    let count = exchange(rig, context.measured());
    let span = span.stop();
    let mut metrics = metrics(&span, count)?;
    soundness(rig, before, None, &mut metrics)?;
    Ok(metrics)
}

/// An ARP request and an ICMP echo to the gateway, a round each: nothing of it leaves the library.
pub fn ping(context: &Context) -> Outcome {
    let mut arp = Vec::new();
    wire::arp_frame(&mut arp, 1, [0; 6], wire::HOST_IP);
    answered_inside(context, &[arp, wire::echo_request(1)], |guest| guest.counters.echoes)
}

/// DISCOVER, OFFER, REQUEST and ACK of DHCP, a round each.
pub fn dhcp(context: &Context) -> Outcome {
    let frames = [wire::dhcp_frame(wire::DHCP_DISCOVER, 1), wire::dhcp_frame(wire::DHCP_REQUEST, 1)];
    answered_inside(context, &frames, |guest| guest.counters.leases.min(guest.counters.offers))
}

/// Frames that the library answers by itself, a round each, again and again; `answered` counts the whole exchanges.
fn answered_inside(context: &Context, frames: &[Vec<u8>], answered: impl Fn(&Guest) -> u64) -> Outcome {
    let mut rig = context.rig(context.shape(1500), 1)?;
    let exchange = |rig: &mut Rig, duration: Duration| {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            // The clock is looked at once in 16 exchanges, as reading it is not what is measured.
            for _ in 0..16 {
                frames.iter().for_each(|frame| rig.round_of_frame(frame));
            }
        }
    };
    exchange(&mut rig, context.warm_up());
    let before = rig.guest.borrow().counters;
    let count = answered(&rig.guest.borrow());
    let span = Span::start();
    exchange(&mut rig, context.measured());
    let span = span.stop();
    let mut metrics = metrics(&span, answered(&rig.guest.borrow()) - count)?;
    soundness(&rig, before, None, &mut metrics)?;
    Ok(metrics)
}

/// Round trips one at a time: `send` starts one and says what `received` is to give when it has come back.
fn measure_trips(
    context: &Context,
    rig: &mut Rig,
    mut send: impl FnMut(&mut Guest) -> u64,
    received: impl Fn(&Guest) -> u64,
) -> Outcome {
    let mut trips: Vec<f64> = Vec::with_capacity(1 << 18);
    let warm = Instant::now() + context.warm_up();
    let before = rig.guest.borrow().counters;
    let mut span = Span::start();
    let mut measuring = false;
    let mut end = Instant::now() + context.warm_up() + context.measured();
    loop {
        let start = Instant::now();
        if !measuring && start >= warm {
            measuring = true;
            trips.clear();
            span = Span::start();
            end = start + context.measured();
        }
        if start >= end {
            break;
        }
        let want = send(&mut rig.guest.borrow_mut());
        if !rig.run_until(Duration::from_secs(2), |guest| received(guest) >= want) {
            return Err("a round trip did not end within 2 s".into());
        }
        trips.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let span = span.stop();
    let count = trips.len() as f64;
    trips.sort_by(f64::total_cmp);
    let mut metrics = vec![
        Metric::new("p50", "µs", Better::Lower, percentile(&trips, 0.50)),
        Metric::new("p99", "µs", Better::Lower, percentile(&trips, 0.99)),
        Metric::new("rate", "1/s", Better::Higher, count / span.wall),
        Metric::new("cpu", "µs each", Better::Lower, span.cpu * 1e6 / count),
    ];
    metrics.extend(Metric::system_calls("each", span.calls, count));
    soundness(rig, before, None, &mut metrics)?;
    Ok(metrics)
}
