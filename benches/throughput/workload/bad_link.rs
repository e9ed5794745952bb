//! Bulk TCP over a link that delays and loses frames.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Context, Outcome, bulk};
use crate::link::Impairment;
use crate::rig::Rig;
use crate::stats::{Better, Metric};

/// Measured seconds at least, as one timeout of upstream can take more than a second.
const LEAST_WITH_LOSS: f64 = 4.0;
/// Time for slow start to reach what the path carries.
const WARM_UP: Duration = Duration::from_secs(2);

fn rig(context: &Context, delay: u64, loss: f64) -> Result<(Context, Rig), String> {
    let delay = Duration::from_millis(delay);
    let mut shape = context.shape(1500);
    shape.impairment = Some(Impairment { delay, loss, ..Impairment::default() });
    let mut rig = context.rig(shape, 1)?;
    rig.run_for(2 * delay);
    let warm_up = if delay.is_zero() { None } else { Some(WARM_UP) };
    let seconds = if loss > 0.0 { context.seconds.max(LEAST_WITH_LOSS) } else { context.seconds };
    Ok((Context { warm_up, seconds, ..context.clone() }, rig))
}

fn with_losses(rig: &Rig, outcome: Outcome) -> Outcome {
    let mut metrics = outcome?;
    let lost = rig.guest.borrow().link.as_ref().map_or(0, |link| link.lost);
    metrics.push(Metric::new("lost", "", Better::Neither, lost as f64));
    Ok(metrics)
}

/// Guest to host with `delay` milliseconds each way and this share of frames lost.
pub fn upload(context: &Context, delay: u64, loss: f64) -> Outcome {
    let (context, mut rig) = rig(context, delay, loss)?;
    let outcome = bulk::measure_upload(&context, &mut rig, 1);
    with_losses(&rig, outcome)
}

/// Host to guest with `delay` milliseconds each way and this share of frames lost.
pub fn download(context: &Context, delay: u64, loss: f64) -> Outcome {
    let (context, mut rig) = rig(context, delay, loss)?;
    let outcome = bulk::measure_download(&context, &mut rig, 1);
    with_losses(&rig, outcome)
}
