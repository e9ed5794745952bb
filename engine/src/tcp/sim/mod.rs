//! The simulator: a connection of ours and another end, joined by a link that loses, repeats, delays, reorders and is
//! slow, in virtual time. A seed names a run for ever: the link, both ends, what their applications do and every
//! decision of the link follow from it.
//!
//! `scenario` draws what a seed means, `end` is what the simulator asks of an end, `ours` and `smol` are the two kinds
//! (the other end is our own connection or smoltcp's socket), `app` is the application behind an end, `link` is the
//! link, `watch` checks every segment on the wire, `run` brings them together.
//!
//! What must hold in every run, whatever the seed:
//!
//! - bytes arrive once, in order and unchanged, on the wire as in the applications;
//! - nothing is sent beyond the right edge of the window that the receiver has announced, but for the one byte of a
//!   probe; our right edge never moves left;
//! - no segment is larger than the other end's segment size allows;
//! - memory stays within its bounds and all of it is given back;
//! - no deadline fires without end at one moment, and both connections end;
//! - where nothing is lost or late, nothing waits for a timer.

mod app;
mod contests;
mod controllers;
mod dumbbell;
mod end;
mod link;
mod ours;
mod random;
mod run;
mod scenario;
mod smol;
mod tests;
mod watch;
