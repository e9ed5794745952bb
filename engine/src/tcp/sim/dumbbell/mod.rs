//! Several flows through one bottleneck, in virtual time: senders on one side, guests that acknowledge on the other, between
//! them a queue of so many bytes in front of a wire of a certain rate. What comes of it are figures: how much of each flow
//! arrived, what was dropped, how long the queue was.
//!
//! `packet` is what travels, `bottleneck` the queue and what it does when it is long, `path` the rest of the way and its bad
//! luck, `guest` the receiver. `sender` is what the simulator asks of a sender; `ours` is our connection, `model` a plain Reno
//! and a plain CUBIC that have nothing in common with `tcp/congestion/`, so that they can be the neighbors that ours has to
//! leave something to. `run` brings them together, `figures` are the results.
//!
//! The bytes of a stream are not looked at here, the simulator beside this room does that. `benches/goodput` takes this
//! folder in as its own module, so that `cfg(test)` and what only the engine's tests can reach must not come in.

mod bottleneck;
mod figures;
mod guest;
mod model;
mod ours;
mod packet;
mod path;
mod run;
mod sender;

pub(crate) use bottleneck::Discipline;
pub(crate) use figures::{Figures, jain};
pub(crate) use path::Luck;
pub(crate) use run::{Kind, Setup, run};

use super::random::Random;

/// Nanoseconds of so many milliseconds.
pub(crate) const fn millis(count: i64) -> packet::Nanos {
    count * 1_000_000
}
