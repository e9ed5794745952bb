//! Loops for programs that have none: they sleep, carry frames between a *link* and a stack, and run the stack's rounds.
//!
//! A link ([`FrameLink`]) is what the guest is at the other end of: a tap or tun device, a Unix datagram socket, another part
//! of the same program. [`Driver`] runs a stack on one with `poll(2)`; with the feature `tokio`, `AsyncDriver` does so as a
//! task. Both do nothing that a program could not do with the methods of [`Stack`](crate::Stack) and its descriptor.
//! [`GuestListener`] gives out the connections of guests to this program as streams.
#![forbid(unsafe_code)]
// `link` and its neighbors are the links (`ending` tells their ends), `station` is what both drivers share: one round; `turns` who has
// the stack, and `guest_stream` makes streams of guests' connections. What waits for descriptors is in `driver` and `asynchronous`, and nowhere else. No protocol may come in here, but for
// what a device without Ethernet lacks (`tun`).

#[cfg(feature = "tokio")]
mod asynchronous;
mod datagram;
mod driver;
mod ending;
mod error;
mod guest_stream;
mod handle;
mod link;
mod memory;
mod station;
mod stop;
mod tap;
#[cfg(test)]
mod test_guest;
#[cfg(test)]
mod tests;
mod tun;
mod turns;

pub use crate::clock::Clock;
#[cfg(feature = "tokio")]
pub use asynchronous::AsyncDriver;
pub use datagram::DatagramLink;
pub use driver::Driver;
pub use error::{DriveError, NotDriven};
pub use guest_stream::{GuestCalls, GuestListener, GuestStream};
pub use handle::{Reentered, StackHandle};
pub use link::FrameLink;
pub use memory::MemoryLink;
pub use station::Counts;
pub use stop::Stop;
pub use tap::TapLink;
pub use tun::TunLink;
