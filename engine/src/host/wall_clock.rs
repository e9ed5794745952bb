//! The time of day, which a capture asks for in every round: where that is possible it is asked of the system at once, without the parts
//! and the comparison that the standard library makes of it.

/// Nanoseconds since the first of January 1970, without leap seconds. Before 1970 it is always 1970.
#[cfg(all(unix, target_pointer_width = "64"))]
#[inline]
pub(crate) fn time_of_day() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is one for a time, and is only written to.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut at) };
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    if got == 0 { part(at.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(at.tv_nsec)) } else { 0 }
}

/// The same where the system's own type may end with the year 2038.
#[cfg(not(all(unix, target_pointer_width = "64")))]
pub(crate) fn time_of_day() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn it_is_the_time_that_the_standard_library_tells() {
        let told = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        // The clock may be set back meanwhile, but not each time.
        let agrees = (0..10).any(|_| {
            let (before, here, after) = (told(), time_of_day(), told());
            before <= here && here <= after
        });
        assert!(agrees);
    }
}
