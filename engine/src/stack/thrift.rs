//! When the memory that a load has left behind is given back to the system.
//!
//! That takes milliseconds, and what is given back has to be fetched again by the next load. So it is done once after a
//! peak worth it, when the buffers have held little of it, and next to nothing has come, for a while. The application comes
//! round often enough for that by itself: no deadline is needed.

use crate::host::memory::{give_back, trim};
use crate::tcp::Pool;
use crate::time::{Duration, Instant};

/// A peak of so many bytes in buffers is worth it.
const PEAK: usize = 8 << 20;
/// What part of a peak is little.
const PART: usize = 4;
/// Fewer bytes in one round are next to nothing.
const LITTLE: usize = 512 << 10;
/// How long it must have been quiet: it happens less often than that, too.
const QUIET: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Thrift {
    quiet_since: Option<Instant>,
}

impl Thrift {
    /// Before the application's sleep, when `brought` bytes have come from hosts since the last one.
    #[inline]
    pub(super) fn before_sleep(&mut self, brought: usize, pool: &mut Pool, now: Instant) {
        if pool.peak() > PEAK {
            self.after_peak(brought, pool, now);
        }
    }

    #[cold]
    fn after_peak(&mut self, brought: usize, pool: &mut Pool, now: Instant) {
        if pool.lent() >= pool.peak() / PART || brought >= LITTLE {
            self.quiet_since = None;
        } else if now - *self.quiet_since.get_or_insert(now) >= QUIET {
            self.quiet_since = None;
            pool.free_all(give_back);
            trim();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::SendBuffer;

    #[test]
    fn memory_is_given_back_once_after_a_quiet_second() {
        let (mut pool, mut thrift) = (Pool::new(), Thrift::default());
        let mut buffer = SendBuffer::default();
        const LEAST_HELD: usize = 16 << 10;
        let mut held = SendBuffer::default();
        held.push(b"x", Pool::MAX_BUFFER, &mut pool);
        let at = |millis| Instant::from_millis(millis);
        buffer.push(&vec![1; PEAK + 1], Pool::MAX_BUFFER, &mut pool);
        let peak = pool.peak();
        thrift.before_sleep(0, &mut pool, at(0));
        thrift.before_sleep(0, &mut pool, at(5000));
        assert_eq!(pool.peak(), peak, "it is in use");
        buffer.release(&mut pool);
        thrift.before_sleep(0, &mut pool, at(6000));
        thrift.before_sleep(LITTLE, &mut pool, at(6500));
        thrift.before_sleep(0, &mut pool, at(7000));
        thrift.before_sleep(0, &mut pool, at(7999));
        assert_eq!(pool.peak(), peak, "it was not quiet for long enough");
        thrift.before_sleep(0, &mut pool, at(8000));
        assert_eq!(pool.peak(), pool.lent());
        // A connection that stands still is no reason to keep the rest, nor to look for more again.
        assert_eq!(pool.lent(), LEAST_HELD);
    }
}
