//! Sans-IO TCP (RFC 9293): one `Connection` is the protocol state towards the guest. No socket, clock or frame may come in:
//! segments and the time are arguments, segments to send are results.
//!
//! The owner of a [`Connection`] hands in what arrives with [`Connection::on_segment`], says when time has passed with
//! [`Connection::on_deadline`], moves bytes through [`Connection::send_mut`] and [`Connection::recv`], and after each
//! of these asks [`Connection::poll_transmit`] until it has nothing more to send. Buffers take their memory from a [`Pool`]
//! while they hold bytes and give it back when they are empty.
//!
//! `connection` joins `sender` and `receiver`, which do not know each other; `sender` stands on `congestion`. Under them lie
//! `buffer` on `ring` on `pool`, `rtt` and `capacity` (what is known and believed of a path), the formats `segment`, `seq` and
//! `timestamps`, and what all parts have in common: `config`, `state`, `saved`, `due`, `ecn`. `sim` and `properties` are tests.

#![forbid(unsafe_code)]

mod buffer;
mod capacity;
mod config;
mod congestion;
mod connection;
mod due;
mod ecn;
mod pool;
#[cfg(test)]
mod properties;
mod receiver;
mod ring;
mod rtt;
mod saved;
mod segment;
mod sender;
mod seq;
#[cfg(test)]
mod sim;
mod state;
mod timestamps;

#[cfg(test)]
pub(crate) use buffer::SendBuffer;
pub use config::Config;
pub use congestion::Congestion;
pub use connection::Connection;
pub(crate) use connection::HANDSHAKE_PATIENCE;
pub use ecn::Ecn;
pub use pool::Pool;
pub(crate) use pool::{Lack, Lanes};
pub(crate) use saved::Saved;
pub use segment::{Flags, OPTIONS_MAX, Options, Segment, Transmit};
pub use seq::SeqNumber;
pub(crate) use state::Closed;
pub use state::State;
