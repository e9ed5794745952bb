//! The timestamps option (RFC 7323 sections 3 to 5): the clock of our values, and how values are compared.

use crate::time::Instant;

/// The option's length in bytes, with the padding in front.
pub(super) const OPTION_LEN: u16 = 12;

/// The clock of our values: milliseconds (RFC 7323 section 5.4).
pub(super) fn clock(now: Instant) -> u32 {
    now.total_millis() as u32
}

/// Whether a value comes before another one; they wrap.
pub(super) fn is_older(value: u32, than: u32) -> bool {
    (value.wrapping_sub(than) as i32) < 0
}
