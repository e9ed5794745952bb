//! When the memory that a load has left behind is given back to the system.
//!
//! What is given back has to be fetched again by the next load. So it is done when enough is kept, and only with what nobody has used for a
//! second, whether a load goes on beside it or not. After a large load the C library is asked for more, which takes milliseconds. The
//! application comes round often enough for all that by itself: no deadline is needed.

use crate::host::memory::{give_back, trim};
use crate::tcp::Pool;
use crate::time::{Duration, Instant};

/// So many bytes that are kept are enough.
const ENOUGH: usize = 512 << 10;
/// A load that used so many bytes, or that leaves so many behind, is a large one.
const LARGE: usize = 8 << 20;
/// How long it must not have been used: it happens less often than that, too.
const QUIET: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Thrift {
    /// Since when it is looked at what is used.
    since: Option<Instant>,
    /// All was used in the second before, or a part of it.
    used: bool,
    /// There was a large load since the C library was last asked for more.
    large: bool,
}

impl Thrift {
    /// Before the application's sleep.
    #[inline]
    pub(super) fn before_sleep(&mut self, pool: &mut Pool, now: Instant) {
        if !self.is_done(pool) && self.after_load(pool, now) {
            trim();
        }
    }

    /// Whether too little is kept to be given back.
    #[inline]
    pub(super) fn is_done(&self, pool: &Pool) -> bool {
        self.since.is_none() && pool.kept() < ENOUGH
    }

    /// Whether the C library is to be asked for more.
    #[cold]
    fn after_load(&mut self, pool: &mut Pool, now: Instant) -> bool {
        let Some(since) = self.since else {
            // What was not used before, when little was kept, is not much either.
            pool.free_unused(give_back);
            (self.since, self.used) = (Some(now), false);
            return false;
        };
        if now - since < QUIET {
            return false;
        }
        self.large |= pool.peak() > LARGE;
        let freed = pool.free_unused(give_back);
        // Once it is looked at, all goes that is not used, however little is left. What was used in one second may not be in the next.
        let used = freed == 0;
        let done = pool.kept() == 0 || (used && self.used && pool.kept() < ENOUGH);
        self.since = (!done).then_some(now);
        self.used = used;
        let trims = freed > LARGE || (self.large && freed > 0 && pool.kept() == 0);
        self.large &= !trims;
        trims
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
        buffer.push(&vec![1; LARGE + 1], Pool::MAX_BUFFER, &mut pool);
        let peak = pool.peak();
        thrift.before_sleep(&mut pool, at(0));
        thrift.before_sleep(&mut pool, at(5000));
        assert_eq!(pool.peak(), peak, "it is in use");
        buffer.release(&mut pool);
        thrift.before_sleep(&mut pool, at(6000));
        buffer.push(&vec![1; LARGE + 1], Pool::MAX_BUFFER, &mut pool);
        buffer.release(&mut pool);
        thrift.before_sleep(&mut pool, at(7000));
        thrift.before_sleep(&mut pool, at(7999));
        assert_eq!(pool.peak(), peak, "it was used meanwhile, and then not for long enough");
        thrift.before_sleep(&mut pool, at(8000));
        assert_eq!(pool.peak(), pool.lent());
        // A connection that stands still is no reason to keep the rest, nor to look for more again.
        assert_eq!(pool.lent(), LEAST_HELD);
    }

    /// What connections that stand still hold is not given back; what they used before they did is.
    #[test]
    fn connections_that_stand_still_leave_nothing_beside_what_they_hold() {
        let (mut pool, mut thrift) = (Pool::new(), Thrift::default());
        let mut held: Vec<_> = (0..32).map(|_| SendBuffer::default()).collect();
        for size in [1, 16 << 10, 32 << 10, 64 << 10] {
            held.iter_mut().for_each(|buffer| assert_eq!(buffer.push(&vec![1; size], 1 << 20, &mut pool), size));
        }
        assert!(pool.kept() >= ENOUGH);
        thrift.before_sleep(&mut pool, Instant::from_millis(0));
        thrift.before_sleep(&mut pool, Instant::from_millis(1000));
        assert_eq!((pool.kept(), pool.lent()), (0, 32 * (128 << 10)));
    }

    /// What remains in use beside a load that has ended is little in the end, and goes with the rest once nobody uses it.
    #[test]
    fn what_a_load_leaves_goes_whole() {
        let (mut pool, mut thrift) = (Pool::new(), Thrift::default());
        let mut load: Vec<_> = (0..64).map(|_| SendBuffer::default()).collect();
        let mut kept = Vec::new();
        for half_second in 0..7 {
            // All buffers in the first round, and eight of them up to the fourth.
            let used = [64, 8, 8, 8, 0, 0, 0][half_second];
            let now = load.iter_mut().take(used);
            now.for_each(|buffer| assert_eq!(buffer.push(&[1; 9000], 1 << 20, &mut pool), 9000));
            load.iter_mut().take(used).for_each(|buffer| buffer.release(&mut pool));
            thrift.before_sleep(&mut pool, Instant::from_millis(500 * half_second as i64));
            kept.push(pool.kept() >> 14);
        }
        assert_eq!(kept.first(), Some(&64));
        assert!(kept.contains(&8), "{kept:?}");
        assert_eq!(kept.last(), Some(&0), "{kept:?}");
    }

    /// The C library is asked for more once after a large load, when the last of it goes, and after none that is small.
    #[test]
    fn the_c_library_is_asked_after_large_loads_alone() {
        for (size, asked) in [(LARGE + 1, 1), (LARGE / 2, 0)] {
            let (mut pool, mut thrift) = (Pool::new(), Thrift::default());
            let mut buffer = SendBuffer::default();
            buffer.push(&vec![1; size], Pool::MAX_BUFFER, &mut pool);
            buffer.release(&mut pool);
            let rounds = (0..50).filter(|round| {
                !thrift.is_done(&pool) && thrift.after_load(&mut pool, Instant::from_millis(100 * round))
            });
            assert_eq!((rounds.count(), pool.kept()), (asked, 0), "{size}");
        }
    }

    /// A load that goes on uses what it has left behind again, however little that is in one round.
    #[test]
    fn a_load_that_goes_on_keeps_its_memory() {
        let (mut pool, mut thrift) = (Pool::new(), Thrift::default());
        for millis in 0..5000 {
            let mut buffers: Vec<_> = (0..4).map(|_| SendBuffer::default()).collect();
            buffers.iter_mut().for_each(|buffer| assert_eq!(buffer.push(&[1; 200_000], 1 << 20, &mut pool), 200_000));
            buffers.iter_mut().for_each(|buffer| buffer.release(&mut pool));
            thrift.before_sleep(&mut pool, Instant::from_millis(millis));
            assert_eq!(pool.kept(), 4 * (256 << 10));
        }
    }

    /// A crowd has left behind much more than the load that goes on takes: that goes, and no more than that.
    #[test]
    fn what_a_crowd_has_left_goes_while_a_load_goes_on() {
        let (mut pool, mut thrift) = (Pool::new(), Thrift::default());
        let mut crowd: Vec<_> = (0..500).map(|_| SendBuffer::default()).collect();
        crowd.iter_mut().for_each(|buffer| assert!(buffer.push(&[1; 30_000], 1 << 20, &mut pool) > 0));
        crowd.iter_mut().for_each(|buffer| buffer.release(&mut pool));
        let before = pool.kept();
        let mut upload = SendBuffer::default();
        for millis in 0..2002 {
            assert_eq!(upload.push(&[1; 200_000], 1 << 20, &mut pool), 200_000);
            upload.release(&mut pool);
            thrift.before_sleep(&mut pool, Instant::from_millis(millis));
        }
        assert!(before >= 500 * (16 << 10) && pool.kept() == 256 << 10, "{before}, {}", pool.kept());
    }
}
