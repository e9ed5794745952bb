//! What the guest did and how much, written down: its frames as a capture (pcapng), and what became of its flows as a log of
//! JSON lines. `pcapng` makes the blocks of a capture, `frames` decides what of a frame goes into it, `filter` (with `choice`) which frames
//! do, `ends` says whose a frame is, `notes` what is known of that; `log` makes the lines, `sink` is the bounded way of both into
//! their files, `ring` says which files these are, `torn` what of a block a full disk has taken.
//!
//! Nothing here can keep the network waiting or end it: what does not fit is counted, and an error ends the record. No table
//! of flows is looked at, and nothing of a frame is judged; whoever has something to record or to note brings it.
#![forbid(unsafe_code)]

mod choice;
pub(crate) mod ends;
#[cfg(feature = "policy")]
pub(crate) mod filter;
pub(crate) mod frames;
pub(crate) mod log;
pub(crate) mod notes;
pub(crate) mod options;
pub(crate) mod pcapng;
pub(crate) mod ring;
pub(crate) mod sink;
mod torn;
pub(crate) mod unopened;
mod wall_clock;
