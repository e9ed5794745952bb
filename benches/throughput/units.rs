//! Unit tests of the benchmark's own parts. The benchmark itself has no test harness, so this target carries them.
// Not every function of the shared modules is used where only their tests run.
#![allow(dead_code)]

mod args;
mod bars;
mod guest;
mod link;
mod report;
mod stats;
mod sys;
mod wire;
