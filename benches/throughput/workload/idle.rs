//! What connections cost that do nothing: time per loop round, and memory.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::{Context, Outcome, soundness, text};
use crate::guest::Role;
use crate::peer::{self, Holder};
use crate::rig::{Rig, Span};
use crate::stats::{Better, Metric};
use crate::sys;

/// Descriptors that are not those of connections.
const OTHER_DESCRIPTORS: usize = 64;

/// Run `round` for `duration`; CPU nanoseconds per call.
fn time_rounds(duration: Duration, mut round: impl FnMut()) -> f64 {
    let end = Instant::now() + duration;
    let span = Span::start();
    let mut rounds = 0u64;
    while Instant::now() < end {
        // The clock is looked at once in 32 rounds, as a round may take less than reading it.
        for _ in 0..32 {
            round();
        }
        rounds += 32;
    }
    span.stop().cpu * 1e9 / rounds as f64
}

/// CPU time of a loop round with `idle` established connections: the whole round (fill, poll(2) without waiting,
/// poll), and the library's two calls alone.
/// Where the machine's limit of descriptors is lower, as many as it permits.
pub fn rounds(context: &Context, idle: usize) -> Outcome {
    let idle =
        idle.min(usize::try_from(sys::raise_descriptor_limit()).unwrap_or(idle).saturating_sub(OTHER_DESCRIPTORS));
    let mut rig = context.rig(context.shape(1500), idle)?;
    let holder = if idle > 0 { Some(Holder::start()?) } else { None };
    if let Some(holder) = &holder {
        rig.connect_idle(holder, idle)?;
    }
    rig.run_for(context.warm_up());
    let before = rig.guest.borrow().counters;
    let (instance, set) = (&rig.instance, &mut rig.set);
    let half = context.measured() / 2;
    let whole = time_rounds(half, || {
        set.clear();
        instance.fill(&mut 1000, set);
        set.wait(0);
        instance.poll(false, set);
    });
    let library = time_rounds(half, || {
        set.clear();
        instance.fill(&mut 1000, set);
        instance.poll(false, set);
    });
    let mut metrics = vec![
        Metric::new("round", "ns", Better::Lower, whole),
        Metric::new("library", "ns", Better::Lower, library),
        Metric::new("connections", "", Better::Neither, idle as f64),
        Metric::new("descriptors", "", Better::Neither, rig.set.len() as f64),
    ];
    soundness(&rig, before, None, &mut metrics)?;
    Ok(metrics)
}

/// Connections of the memory workload, and those opened before the first look so that one-time costs are not counted.
const COUNTED: usize = 4000;
const WARM: usize = 128;

fn exchange(rig: &mut Rig, indices: &[u32]) -> Result<(), String> {
    for some in indices.chunks(64) {
        let before: Vec<u64> = some.iter().map(|i| rig.guest.borrow().received(*i)).collect();
        for index in some {
            rig.guest.borrow_mut().send_kibibyte(*index);
        }
        let limit = Duration::from_secs(10);
        if !rig.run_until(limit, |g| some.iter().zip(&before).all(|(i, b)| g.received(*i) >= b + 1024)) {
            return Err("an echo of 1 KiB did not come back within 10 s".into());
        }
    }
    Ok(())
}

/// Connections of the workloads in which somebody does not read.
const STALLED: usize = 32;
/// After so long a connection stands still, and what it needed before that may have been given back.
const STANDS_STILL: Duration = Duration::from_secs(3);

/// Growth of resident anonymous memory per connection on which as much as possible was sent and nobody reads: the guest from
/// hosts that send, or the host from a guest that does.
pub fn stalled(context: &Context, guest_reads: bool) -> Outcome {
    let mut rig = context.rig(context.shape(1500), STALLED + 1)?;
    let (peer, role) = if guest_reads { (peer::deaf(), Role::Sender) } else { (peer::source(), Role::Stuck) };
    let peer = peer.map_err(text)?;
    rig.frames_per_round = 256;
    let settle = (context.warm_up() + context.measured()).max(STANDS_STILL);
    // What is used by the first connection is there for all.
    rig.connect_many(peer.port, role, 1)?;
    rig.run_for(settle);
    let before = sys::resident_anonymous().map_err(text)?;
    rig.connect_many(peer.port, role, STALLED)?;
    rig.run_for(settle);
    let after = sys::resident_anonymous().map_err(text)?;
    let each = (after as f64 - before as f64) / STALLED as f64;
    Ok(vec![Metric::new("memory", "kB each", Better::Lower, each / 1e3)])
}

/// Growth of resident anonymous memory per connection: just established, and after 1 KiB went there and back.
/// The guest's own tables are resident before the first look, and the host's ends live in another process.
pub fn memory(context: &Context) -> Outcome {
    let mut rig = context.rig(context.shape(1500), COUNTED + WARM)?;
    let holder = Holder::start()?;
    rig.frames_per_round = 64;
    let settle = Duration::from_millis(300);
    let port = holder.ports.first().copied().ok_or("no holder")?;
    let warm = rig.connect_many(port, Role::Quiet, WARM)?;
    exchange(&mut rig, &warm)?;
    rig.run_for(settle);
    let counters = rig.guest.borrow().counters;
    let before = sys::resident_anonymous().map_err(text)?;
    let indices = rig.connect_many(port, Role::Quiet, COUNTED)?;
    rig.run_for(settle);
    let established = sys::resident_anonymous().map_err(text)?;
    exchange(&mut rig, &indices)?;
    rig.run_for(settle);
    let used = sys::resident_anonymous().map_err(text)?;
    let per = |after: u64| (after as f64 - before as f64) / COUNTED as f64;
    let mut metrics = vec![
        Metric::new("established", "B each", Better::Lower, per(established)),
        Metric::new("after_echo", "B each", Better::Lower, per(used)),
    ];
    soundness(&rig, counters, None, &mut metrics)?;
    Ok(metrics)
}
