//! Bulk TCP in both directions.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use super::{Context, Outcome, soundness, text};
use crate::guest::Role;
use crate::peer::{self, Holder};
use crate::rig::{Rig, Span};
use crate::stats::{Better, Metric, fairness};

fn metrics(span: &Span, bytes: u64) -> Result<Vec<Metric>, String> {
    if bytes == 0 {
        return Err("nothing was transferred in the measured time".into());
    }
    let mut metrics = vec![
        Metric::new("rate", "Gbit/s", Better::Higher, bytes as f64 * 8.0 / 1e9 / span.wall),
        Metric::new("cpu", "s/GB", Better::Lower, span.cpu / (bytes as f64 / 1e9)),
        Metric::new("busy", "%", Better::Neither, 100.0 * span.cpu / span.wall),
    ];
    metrics.extend(Metric::system_calls("per MB", span.calls, bytes as f64 / 1e6));
    Ok(metrics)
}

/// How even the streams' shares of the measured time were, where there are several.
fn push_fairness(rig: &Rig, streams: &[u32], before: &[u64], metrics: &mut Vec<Metric>) {
    if streams.len() > 1 {
        let shares: Vec<f64> =
            moved(rig, streams).iter().zip(before).map(|(now, before)| now.saturating_sub(*before) as f64).collect();
        metrics.push(Metric::new("fairness", "", Better::Neither, fairness(&shares)));
    }
}

fn moved(rig: &Rig, streams: &[u32]) -> Vec<u64> {
    streams.iter().map(|stream| rig.guest.borrow().moved(*stream)).collect()
}

pub(super) fn measure_upload(context: &Context, rig: &mut Rig, streams: usize) -> Outcome {
    let cell = usize::from(rig.guest.borrow().segment_size());
    let peer = peer::sink(if context.verify { cell } else { 0 }).map_err(text)?;
    let streams = rig.connect_many(peer.port, Role::Sender, streams)?;
    rig.begin_losing();
    rig.run_for(context.warm_up());
    let before = rig.guest.borrow().counters;
    let shares = moved(rig, &streams);
    let start = peer.counters.bytes.load(Relaxed);
    let span = rig.measure(context.measured());
    let bytes = peer.counters.bytes.load(Relaxed) - start;
    let mut metrics = metrics(&span, bytes)?;
    push_fairness(rig, &streams, &shares, &mut metrics);
    soundness(rig, before, Some(&peer), &mut metrics)?;
    Ok(metrics)
}

/// Guest to host; octets are counted where they arrive.
pub fn upload(context: &Context, mtu: usize, streams: usize) -> Outcome {
    let mut rig = context.rig(context.shape(mtu), streams)?;
    measure_upload(context, &mut rig, streams)
}

/// Guest to host in the loop of slirp4netns: one frame per round, and `select_error` set after each.
pub fn upload_one_frame(context: &Context) -> Outcome {
    let mut rig = context.rig(context.shape(1500), 1)?;
    rig.error_after_frame = true;
    rig.one_frame_per_round = true;
    measure_upload(context, &mut rig, 1)
}

pub(super) fn measure_download(context: &Context, rig: &mut Rig, streams: usize) -> Outcome {
    let peer = peer::source().map_err(text)?;
    let streams = rig.connect_many(peer.port, Role::Receiver, streams)?;
    rig.frames_per_round = 256;
    rig.begin_losing();
    rig.run_for(context.warm_up());
    let before = rig.guest.borrow().counters;
    let shares = moved(rig, &streams);
    let span = rig.measure(context.measured());
    let bytes = rig.guest.borrow().counters.bytes - before.bytes;
    let mut metrics = metrics(&span, bytes)?;
    push_fairness(rig, &streams, &shares, &mut metrics);
    soundness(rig, before, Some(&peer), &mut metrics)?;
    Ok(metrics)
}

/// Host to guest; octets are counted in order at the guest.
pub fn download(context: &Context, mtu: usize, streams: usize) -> Outcome {
    let mut rig = context.rig(context.shape(mtu), streams)?;
    measure_download(context, &mut rig, streams)
}

/// Host to guest on one stream beside `idle` connections that do nothing.
pub fn download_beside(context: &Context, idle: usize) -> Outcome {
    let mut rig = context.rig(context.shape(1500), idle + 1)?;
    let holder = Holder::start()?;
    rig.connect_idle(&holder, idle)?;
    measure_download(context, &mut rig, 1)
}
