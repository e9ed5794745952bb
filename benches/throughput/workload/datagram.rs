//! UDP in both directions, offered as fast as the sender can: what arrives is counted, what is lost is reported.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use super::{Context, Outcome, soundness, text};
use crate::peer;
use crate::rig::{Rig, Span};
use crate::stats::{Better, Metric};

const GUEST_PORT: u16 = 5000;
/// Datagrams that the guest hands over in one loop round.
const PER_ROUND: u32 = 64;

fn metrics(span: &Span, offered: u64, arrived: u64, handled: u64) -> Result<Vec<Metric>, String> {
    if arrived == 0 {
        return Err("no datagram arrived in the measured time".into());
    }
    let lost = 100.0 * (1.0 - arrived as f64 / offered.max(1) as f64);
    let mut metrics = vec![
        Metric::new("rate", "kpps", Better::Higher, arrived as f64 / 1e3 / span.wall),
        Metric::new("cpu", "µs each", Better::Lower, span.cpu * 1e6 / handled.max(1) as f64),
        Metric::new("lost", "%", Better::Neither, lost.max(0.0)),
        Metric::new("busy", "%", Better::Neither, 100.0 * span.cpu / span.wall),
    ];
    metrics.extend(Metric::system_calls("each", span.calls, handled.max(1) as f64));
    Ok(metrics)
}

/// Guest to host: the rate is of datagrams that reached the peer, the CPU time is per datagram given to the library.
pub fn upload(context: &Context, size: usize) -> Outcome {
    let mut rig = context.rig(context.shape(1500), 1)?;
    let peer = peer::datagram_sink(size, context.verify).map_err(text)?;
    rig.frames_per_round = PER_ROUND;
    rig.guest.borrow_mut().stream_udp(&mut rig.transmit, GUEST_PORT, peer.port, size);
    rig.run_for(context.warm_up());
    let before = rig.guest.borrow().counters;
    let (sent, arrived) = (rig.guest.borrow().udp_sent(), peer.counters.datagrams.load(Relaxed));
    let span = rig.measure(context.measured());
    let arrived = peer.counters.datagrams.load(Relaxed) - arrived;
    let sent = rig.guest.borrow().udp_sent() - sent;
    let mut metrics = metrics(&span, sent, arrived, sent)?;
    soundness(&rig, before, Some(&peer), &mut metrics)?;
    Ok(metrics)
}

/// Host to guest: the peer sends without pause, `run` datagrams in one piece.
pub fn download(context: &Context, size: usize, run: usize) -> Outcome {
    let mut rig = context.rig(context.shape(1500), 1)?;
    let peer = peer::datagram_source(size, run).map_err(text)?;
    rig.guest.borrow_mut().open_udp(GUEST_PORT, peer.port, size);
    rig.run_for(context.warm_up());
    let before = rig.guest.borrow().counters;
    let sent = peer.counters.datagrams.load(Relaxed);
    let span = rig.measure(context.measured());
    let sent = peer.counters.datagrams.load(Relaxed) - sent;
    let arrived = rig.guest.borrow().counters.datagrams - before.datagrams;
    let mut metrics = metrics(&span, sent, arrived, arrived)?;
    soundness(&rig, before, Some(&peer), &mut metrics)?;
    Ok(metrics)
}
