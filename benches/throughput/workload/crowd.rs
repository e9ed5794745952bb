//! Many downloads with an upload beside them: what one call of the library may take, in time, in frames and in memory, and
//! what is left for the upload. The guest takes turns between acknowledgments and the upload's segments, as the queue of a
//! network card does that several connections feed.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Context, Outcome, text};
use crate::guest::Role;
use crate::peer;
use crate::rig::{Rig, Worst};
use crate::stats::{Better, Metric};
use crate::sys;

/// Frames that the guest hands over in one round, as QEMU's virtio card does.
const FRAMES: u32 = 256;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

fn megabytes_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

/// `downloads` beside one upload: alone, beside them, and after the guest has reset them.
pub fn downloads(context: &Context, downloads: usize) -> Outcome {
    let mut rig = context.rig(context.shape(1500), downloads + 1)?;
    rig.guest.borrow_mut().takes_turns = true;
    rig.frames_per_round = FRAMES;
    let sink = peer::sink(0).map_err(text)?;
    let source = peer::source().map_err(text)?;
    rig.connect_many(sink.port, Role::Sender, 1)?;
    let span = |rig: &mut Rig, time: Duration, worst: &mut Worst| -> Result<(u64, u64, u64, Duration), String> {
        let (start, up, down) = (Instant::now(), sink.counters.bytes.load(Relaxed), rig.guest.borrow().counters.bytes);
        let (mut peak, mut looked) = (sys::resident_anonymous().map_err(text)?, start);
        while start.elapsed() < time {
            rig.watched_round(100, worst);
            if looked.elapsed() >= LOOK {
                peak = peak.max(sys::resident_anonymous().map_err(text)?);
                looked = Instant::now();
            }
        }
        let (up, down) = (sink.counters.bytes.load(Relaxed) - up, rig.guest.borrow().counters.bytes - down);
        Ok((up, down, peak, start.elapsed()))
    };
    span(&mut rig, context.warm_up(), &mut Worst::default())?;
    let (alone, _, _, alone_time) = span(&mut rig, Duration::from_secs(1), &mut Worst::default())?;
    let before = sys::resident_anonymous().map_err(text)?;
    let mut worst = Worst::default();
    rig.connect_many(source.port, Role::Receiver, downloads)?;
    let (up, down, peak, time) = span(&mut rig, context.measured(), &mut worst)?;
    let counters = rig.guest.borrow().counters;
    rig.guest.borrow_mut().abort_receivers();
    let (after, _, _, after_time) = span(&mut rig, Duration::from_secs(1), &mut Worst::default())?;
    // What is left behind may take a moment to go, and has to go beside what goes on.
    span(&mut rig, Duration::from_secs(2), &mut Worst::default())?;
    let left = sys::resident_anonymous().map_err(text)?;
    let mega = |bytes: u64| bytes.saturating_sub(before) as f64 / 1e6;
    let mut metrics = vec![
        Metric::new("alone", "MB/s", Better::Higher, megabytes_per_second(alone, alone_time)),
        Metric::new("upload", "MB/s", Better::Higher, megabytes_per_second(up, time)),
        Metric::new("after", "MB/s", Better::Higher, megabytes_per_second(after, after_time)),
        Metric::new("downloads", "MB/s", Better::Higher, megabytes_per_second(down, time)),
        Metric::new("worst_fill", "ms", Better::Lower, worst.fill as f64 / 1e6),
        Metric::new("worst_poll", "ms", Better::Lower, worst.poll as f64 / 1e6),
        Metric::new("worst_input", "ms", Better::Lower, worst.input as f64 / 1e6),
        Metric::new("most_frames", "a call", Better::Lower, worst.frames as f64),
        Metric::new("memory_peak", "MB", Better::Lower, mega(peak)),
        Metric::new("memory_after", "MB", Better::Lower, mega(left)),
    ];
    if counters.gaps + counters.retransmitted > 0 {
        metrics.push(Metric::new("gaps", "", Better::Neither, (counters.gaps + counters.retransmitted) as f64));
    }
    Ok(metrics)
}
