//! The memory of all connections' buffers: how much there is, who gets how much of it, and what is kept for the next.

use std::fmt;

/// The least that the pool lends, in bytes. It lends this, doubled any number of times.
pub(super) const LEAST: usize = 16 << 10;
/// How many sizes there are.
const SIZES: usize = 12;
/// How many bytes of slabs are kept when they come back, however few were ever lent.
const LEAST_KEPT: usize = 8 << 20;
/// What a few buffers share, and what many do, as parts of the budget; and how many are few.
const SHARED_BY_FEW: usize = 16;
const SHARED_BY_MANY: usize = 32;
const FEW: usize = 128;

/// What a pool could not lend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lack {
    /// It has lent whatever was asked for.
    #[default]
    Nothing,
    /// A slab of more than the smallest size.
    Room,
    /// Any slab.
    Memory,
}

/// Lends slabs of memory to the buffers of all connections of a stack.
///
/// The buffers that hold bytes share a part of the budget: [`Pool::share`] is what one of them may hold, less the more
/// there are, and never less than the smallest slab. One that holds more when others come takes nothing until it holds less,
/// and changes to a smaller slab then.
///
/// What is lent is bounded as well: above the budget only slabs of the smallest size are lent, above twice the budget none.
/// A buffer that gets none takes no bytes; the peer sends them again later.
///
/// Slabs that come back are kept for the next buffers, in all not more than were lent at a time: a load goes on as it began,
/// and fetching the memory anew each time would cost more than filling it. [`Pool::free_unused`] ends that for those that nobody took for a
/// while: the last that came back is the first to be lent.
pub struct Pool {
    pub(super) free: [Vec<Vec<u8>>; SIZES],
    /// How many bytes are kept.
    pub(super) kept: usize,
    /// The fewest slabs of each size that were kept at a time since [`Pool::free_unused`]: so many were not used.
    unused: [usize; SIZES],
    lent: usize,
    /// The most that was lent at a time since [`Pool::free_unused`], or what was left then.
    peak: usize,
    /// How many slabs are lent.
    pub(super) slabs: usize,
    share: usize,
    /// With from one to the other number of slabs the share stays what it is, so that it need not be computed.
    steady: (usize, usize),
    budget: usize,
    /// What was asked for in vain since this was last looked at.
    lack: Lack,
    lanes: Lanes,
}

/// What one connection may have under way each way, in bytes, while both ways are busy; `u32::MAX` where they are not. The
/// connections of a stack share the link to the guest as they share the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lanes {
    /// From the guest: the receive window.
    pub up: u32,
    /// To the guest, where the round trip is short: what is in flight. On a long path what is measured bounds it.
    pub down: u32,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes { up: u32::MAX, down: u32::MAX }
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.free.each_ref().map(Vec::len);
        f.debug_struct("Pool").field("lent", &self.lent).field("free", &free).finish()
    }
}

impl Pool {
    /// The largest buffer there can be, in bytes.
    pub const MAX_BUFFER: usize = 32 << 20;
    /// What a pool lends in all unless told otherwise, in bytes.
    pub const DEFAULT_BUDGET: usize = 512 << 20;

    /// A pool with a budget of 512 MiB. Nothing is allocated until it is lent.
    pub fn new() -> Pool {
        Pool::with_budget(Pool::DEFAULT_BUDGET)
    }

    /// A pool that lends `budget` bytes, and up to as much again in slabs of the smallest size.
    pub fn with_budget(budget: usize) -> Pool {
        let mut pool = Pool {
            free: Default::default(),
            kept: 0,
            unused: [0; SIZES],
            lent: 0,
            peak: 0,
            slabs: 0,
            share: LEAST,
            steady: (1, 1),
            budget,
            lack: Lack::Nothing,
            lanes: Lanes::default(),
        };
        pool.share = pool.share_of(1);
        pool
    }

    /// What one buffer may hold now, in bytes: a power of two.
    pub fn share(&self) -> usize {
        self.share
    }

    /// See [`Lanes`].
    #[inline]
    pub(crate) fn lanes(&self) -> Lanes {
        self.lanes
    }

    /// Connections heed it from their next segment on.
    pub(crate) fn set_lanes(&mut self, lanes: Lanes) {
        self.lanes = lanes;
    }

    fn share_of(&self, slabs: usize) -> usize {
        let part = if slabs <= FEW { SHARED_BY_FEW } else { SHARED_BY_MANY };
        let share = (self.budget / part / slabs.max(1)).clamp(LEAST, Pool::MAX_BUFFER);
        1 << share.ilog2()
    }

    /// There are more slabs than there were.
    fn fewer_share(&mut self) {
        let share = self.share_of(self.slabs);
        if share < self.share {
            self.share = share;
            self.steady.0 = self.slabs;
        }
        self.steady.1 = self.slabs;
    }

    /// There are fewer. The share grows only when it would not shrink again with the next few slabs.
    fn more_share(&mut self) {
        let slabs = self.slabs + self.slabs / 8;
        let share = self.share_of(slabs);
        if share > self.share {
            self.share = share;
            self.steady.1 = slabs;
        }
        self.steady.0 = self.slabs;
    }

    /// What it lends in all, in bytes; up to as much again in slabs of the smallest size.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// How many bytes are lent at this moment.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// The most bytes that were lent at a time since [`Pool::free_unused`], or what was lent and kept then.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// How many bytes are kept for the next buffers.
    #[inline]
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Hands out what was kept all the time since the last call, for the caller to free: how many bytes. The peak begins anew.
    pub fn free_unused(&mut self, mut free: impl FnMut(Vec<u8>)) -> usize {
        let mut freed = 0;
        for (class, (slabs, unused)) in self.free.iter_mut().zip(&mut self.unused).enumerate() {
            let old = (*unused).min(slabs.len());
            slabs.drain(..old).for_each(&mut free);
            freed += old * (LEAST << class);
            *unused = slabs.len();
        }
        self.kept = self.kept.saturating_sub(freed);
        self.peak = self.lent.saturating_add(self.kept);
        freed
    }

    /// What was asked for in vain since [`Pool::take_lack`] was called.
    #[inline]
    pub(crate) fn lack(&self) -> Lack {
        self.lack
    }

    /// The same, which begins anew.
    pub(crate) fn take_lack(&mut self) -> Lack {
        std::mem::take(&mut self.lack)
    }

    /// Whether not even a slab of the smallest size is left.
    pub fn is_used_up(&self) -> bool {
        self.lent.saturating_add(LEAST) > self.budget.saturating_mul(2)
    }

    /// Whether less than half of the budget is lent: buffers may grow.
    pub(super) fn has_plenty(&self) -> bool {
        self.lent < self.budget / 2
    }

    /// Lends a slab of at least `size` bytes. The slab's length tells how much of it was written before.
    pub(super) fn take(&mut self, size: usize) -> Option<(Vec<u8>, usize)> {
        let (class, bytes) = class_of(size)?;
        let bound = if class == 0 { self.budget.saturating_mul(2) } else { self.budget };
        let Some(lent) = self.lent.checked_add(bytes).filter(|&lent| lent <= bound) else { return self.lacks(class) };
        let slab = match self.take_kept(class, bytes) {
            Some(slab) => slab,
            None => {
                let mut slab = Vec::new();
                if slab.try_reserve_exact(bytes).is_err() {
                    return self.lacks(class);
                }
                slab
            }
        };
        self.count_lent(lent);
        Some((slab, bytes))
    }

    #[cold]
    fn lacks<T>(&mut self, class: usize) -> Option<T> {
        self.lack = self.lack.max(if class == 0 { Lack::Memory } else { Lack::Room });
        None
    }

    /// Lends one of the smallest slabs that are kept, if there is one.
    #[inline]
    pub(super) fn take_least(&mut self) -> Option<Vec<u8>> {
        let lent = self.lent + LEAST;
        if lent > self.budget {
            return None;
        }
        let slab = self.take_kept(0, LEAST)?;
        self.count_lent(lent);
        Some(slab)
    }

    #[inline]
    fn take_kept(&mut self, class: usize, bytes: usize) -> Option<Vec<u8>> {
        let slabs = self.free.get_mut(class)?;
        let slab = slabs.pop()?;
        let left = slabs.len();
        if let Some(unused) = self.unused.get_mut(class) {
            *unused = (*unused).min(left);
        }
        self.kept = self.kept.saturating_sub(bytes);
        Some(slab)
    }

    #[inline]
    fn count_lent(&mut self, lent: usize) {
        self.lent = lent;
        self.peak = self.peak.max(lent);
        self.slabs += 1;
        if self.slabs > self.steady.1 {
            self.fewer_share();
        }
    }

    pub(super) fn give(&mut self, slab: Vec<u8>, capacity: usize) {
        self.lent = self.lent.saturating_sub(capacity);
        self.slabs = self.slabs.saturating_sub(1);
        if self.slabs < self.steady.0 {
            self.more_share();
        }
        if let Some((class, _)) = class_of(capacity)
            && let Some(free) = self.free.get_mut(class)
            && self.kept + capacity <= self.peak.max(LEAST_KEPT)
        {
            self.kept += capacity;
            free.push(slab);
        }
    }
}

/// Which size of slab holds `size` bytes: its number and its bytes. `None` above the largest.
#[inline]
fn class_of(size: usize) -> Option<(usize, usize)> {
    if size <= LEAST {
        return Some((0, LEAST));
    }
    let bytes = size.max(LEAST).checked_next_power_of_two()?;
    let class = (bytes / LEAST).ilog2() as usize;
    (class < SIZES).then_some((class, bytes))
}
