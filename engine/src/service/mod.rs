//! Services the virtual network offers to the guest: DHCP, TFTP, NC-SI, DNS relay policy. A service is a value fed with
//! payloads and the time; it never touches a socket and knows no other service.

#![forbid(unsafe_code)]

pub(crate) mod dhcp;
pub(crate) mod dhcpv6;
pub(crate) mod dns;
pub(crate) mod ncsi;
pub(crate) mod tftp;

use crate::time::{Duration, Instant};

/// The time from `since` to `now`, zero when the clock has gone back. (`Instant - Instant` gives the distance, whichever
/// of the two is the later one.)
pub(crate) fn elapsed(since: Instant, now: Instant) -> Duration {
    let micros = now.total_micros().saturating_sub(since.total_micros()).max(0);
    Duration::from_micros(micros.unsigned_abs())
}
