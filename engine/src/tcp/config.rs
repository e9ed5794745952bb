//! How connections behave.

use super::congestion::Congestion;
use super::ecn::Ecn;
#[cfg(doc)]
use super::pool::Pool;
use crate::time::Duration;

/// How a connection behaves. All but `stamp_offset` is what the connections of a stack have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The segment size we advertise, in bytes.
    pub mss: u16,
    /// The most that is kept of what the peer sent and the host has not taken, in bytes, at most [`Pool::MAX_BUFFER`].
    pub recv_limit: usize,
    /// What the receive window begins with, in bytes: it doubles up to `recv_limit` each time when the peer has filled it and
    /// the host keeps up. No more than `recv_limit` counts.
    pub recv_first: usize,
    /// The most that is kept of what the peer has not acknowledged, in bytes, at most [`Pool::MAX_BUFFER`].
    pub send_limit: usize,
    /// What `recv_limit` grows to when the round trip to the peer is so long that it would hold the peer back. Less than
    /// `recv_limit`: it does not grow.
    pub recv_max: usize,
    /// What `send_limit` grows to in the same way.
    pub send_max: usize,
    /// How much is in flight.
    pub congestion: Congestion,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: Ecn,
    /// Offer and accept window scaling (RFC 7323 section 2).
    pub window_scale: bool,
    /// Offer and accept selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Offer and accept timestamps (RFC 7323 section 3).
    pub timestamps: bool,
    /// What the clock of the timestamps starts from, different for each connection (RFC 7323 section 5.4): its values
    /// must not tell how long the host has been up.
    pub stamp_offset: u32,
    /// How long an established connection may be silent before the peer is asked whether it is alive (RFC 9293 section
    /// 3.8.4).
    pub keep_alive: Option<Duration>,
    /// Ask a peer that has been silent for long although `keep_alive` does not say so: soon where one direction has ended,
    /// seldom where none has. Without both it may be silent for ever.
    pub watch: bool,
}

impl Default for Config {
    /// Ethernet's segment size and windows of 256 KiB that do not grow, all options, no keep-alive.
    fn default() -> Config {
        Config {
            mss: 1460,
            recv_limit: 256 << 10,
            recv_first: 256 << 10,
            send_limit: 256 << 10,
            recv_max: 0,
            send_max: 0,
            congestion: Congestion::default(),
            ecn: Ecn::default(),
            window_scale: true,
            sack: true,
            timestamps: true,
            stamp_offset: 0,
            keep_alive: None,
            watch: false,
        }
    }
}
