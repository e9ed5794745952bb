//! How uploads and downloads share the way between the guest and the library.
//!
//! Both share queues: acknowledgments of what goes one way wait behind what comes the other way. So each direction gets what it
//! has under way, by what both have under way. Left alone, that is whatever their windows have grown to, and how many connections
//! there are: one upload beside eight downloads, or downloads beside any upload where the hand-over lets 32 KiB go, would
//! have hardly anything. So while both are busy, each direction may have as much under way as the other one, and its connections
//! share that evenly.
//!
//! What a connection brings in a span of some milliseconds tells that it is busy; the verdict holds for the next span.

use crate::time::{Duration, Instant};

/// How long is counted before it is judged.
const SPAN: Duration = Duration::from_millis(10);
/// A connection that carries less than this in a span, in bytes, is none that others have to make room for.
const BUSY: u16 = 4096;

/// What one connection has carried in a span. Lives in the flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    span: u16,
    up: u16,
    down: u16,
    held: bool,
}

/// What a direction may have under way in all, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub up: u32,
    pub down: u32,
    /// What a connection may have in any case.
    pub least: u32,
    /// What it needs so that frames and acknowledgments do not go one by one: as far as the total is no more than doubled by it.
    pub enough: u32,
    /// What is under way to the guest is bounded already, by the hand-over: only that it holds something back makes a contest.
    pub handed: bool,
}

/// What one connection may have under way each way, in bytes; `u32::MAX` where the other direction is not busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub up: u32,
    pub down: u32,
}

impl Default for Shares {
    fn default() -> Shares {
        Shares { up: u32::MAX, down: u32::MAX }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    span: u16,
    ends: Option<Instant>,
    /// Busy connections of this span, each way, and how many are held back by the hand-over.
    up: u32,
    down: u32,
    held: u32,
    shares: Shares,
}

impl Sharing {
    /// A connection has brought so many bytes of the guest.
    #[inline]
    pub(crate) fn on_up(&mut self, part: &mut Part, bytes: usize) {
        // What is busy already need not be counted.
        if part.span != self.span || part.up < BUSY {
            part.renew(self.span);
            self.up += u32::from(add(&mut part.up, bytes));
        }
    }

    /// A connection has sent the guest so many bytes.
    #[inline]
    pub(crate) fn on_down(&mut self, part: &mut Part, bytes: usize) {
        if part.span != self.span || part.down < BUSY {
            part.renew(self.span);
            self.down += u32::from(add(&mut part.down, bytes));
        }
    }

    /// A connection has bytes for the guest for which there is no room on the way.
    pub(crate) fn on_held(&mut self, part: &mut Part) {
        part.renew(self.span);
        self.held += u32::from(!std::mem::replace(&mut part.held, true));
    }

    /// What holds now.
    #[cfg(test)]
    fn shares(&self) -> Shares {
        self.shares
    }

    /// When the span ends.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// A round begins. The new shares, when a span has ended with it and they are others than before.
    #[inline]
    pub(crate) fn begin_round(&mut self, now: Instant, totals: impl FnOnce() -> Totals) -> Option<Shares> {
        if self.ends.is_some_and(|ends| now < ends) {
            return None;
        }
        self.ends = Some(now + SPAN);
        if self.up == 0 && self.shares == Shares::default() {
            // Nothing is sent, or it all goes one way.
            self.down = 0;
            self.held = 0;
            self.span = self.span.wrapping_add(1);
            return None;
        }
        self.judge(totals())
    }

    fn judge(&mut self, totals: Totals) -> Option<Shares> {
        let (up, down, held) = (self.up, self.down, self.held);
        (self.up, self.down, self.held) = (0, 0, 0);
        self.span = self.span.wrapping_add(1);
        let others = if totals.handed { held } else { down };
        let shares = if up == 0 || others == 0 {
            Shares::default()
        } else {
            let share = |total: u32, among: u32| {
                let even = total / among;
                even.max(even.saturating_mul(2).min(totals.enough)).max(totals.least)
            };
            // What the hand-over lets go is shared by turns.
            let down = if totals.handed { u32::MAX } else { share(totals.down, down) };
            Shares { up: share(totals.up, up), down }
        };
        (std::mem::replace(&mut self.shares, shares) != shares).then_some(shares)
    }
}

impl Part {
    #[inline]
    fn renew(&mut self, span: u16) {
        if self.span != span {
            *self = Part { span, ..Part::default() };
        }
    }
}

/// Counts bytes; true when with them the connection has become busy.
#[inline]
fn add(count: &mut u16, bytes: usize) -> bool {
    let before = *count;
    *count = before.saturating_add(u16::try_from(bytes).unwrap_or(u16::MAX));
    before < BUSY && *count >= BUSY
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Totals = Totals { up: 800_000, down: 400_000, least: 2920, enough: 5840, handed: false };
    const HANDED: Totals = Totals { up: 32_768, down: 32_768, least: 2920, enough: 5840, handed: true };

    /// A span in which so many connections each carry so many bytes each way.
    fn span(
        sharing: &mut Sharing,
        parts: &mut [Part],
        bytes: &[(usize, usize)],
        held: usize,
        totals: Totals,
        now: &mut Instant,
    ) -> Shares {
        for (part, (up, down)) in parts.iter_mut().zip(bytes) {
            sharing.on_up(part, *up);
            sharing.on_down(part, *down);
        }
        for part in parts.iter_mut().take(held) {
            sharing.on_held(part);
            sharing.on_held(part);
        }
        *now += SPAN;
        sharing.begin_round(*now, || totals);
        sharing.shares()
    }

    #[test]
    fn directions_have_as_much_under_way_and_connections_share_it() {
        let (mut sharing, mut parts, mut now) = (Sharing::default(), [Part::default(); 9], Instant::ZERO);
        let mut one_up_eight_down = [(10, 30_000); 9];
        one_up_eight_down[0] = (9000, 10);
        let shares = span(&mut sharing, &mut parts, &one_up_eight_down, 0, FREE, &mut now);
        assert_eq!(shares, Shares { up: 800_000, down: 50_000 });
        let shares = span(&mut sharing, &mut parts, &one_up_eight_down, 8, HANDED, &mut now);
        assert_eq!(shares, Shares { up: 32_768, down: u32::MAX });
        let many = [(9000, 9000); 9];
        assert_eq!(span(&mut sharing, &mut parts, &many, 9, HANDED, &mut now).up, 5840);
        assert_eq!(span(&mut sharing, &mut parts, &many, 9, Totals { up: 9000, ..HANDED }, &mut now).up, 2920);
        let shares = span(&mut sharing, &mut parts, &many, 9, Totals { least: 131_072, ..HANDED }, &mut now);
        assert_eq!(shares, Shares { up: 131_072, down: u32::MAX });
    }

    #[test]
    fn one_direction_alone_has_all_and_has_it_again_after_a_contest() {
        let (mut sharing, mut parts, mut now) = (Sharing::default(), [Part::default(); 2], Instant::ZERO);
        let free = Shares::default();
        assert_eq!(span(&mut sharing, &mut parts, &[(1 << 20, 100), (1 << 20, 100)], 0, FREE, &mut now), free);
        assert_eq!(span(&mut sharing, &mut parts, &[(100, 1 << 20), (100, 1 << 20)], 0, FREE, &mut now), free);
        assert_ne!(span(&mut sharing, &mut parts, &[(1 << 20, 0), (0, 1 << 20)], 0, FREE, &mut now), free);
        assert_eq!(span(&mut sharing, &mut parts, &[(1 << 20, 0), (0, 100)], 0, FREE, &mut now), free);
    }

    #[test]
    fn what_the_hand_over_does_not_hold_back_is_no_contest() {
        let (mut sharing, mut parts, mut now) = (Sharing::default(), [Part::default(); 2], Instant::ZERO);
        let both = [(1 << 20, 10), (10, 20_000)];
        assert_eq!(span(&mut sharing, &mut parts, &both, 0, HANDED, &mut now), Shares::default());
        assert_ne!(span(&mut sharing, &mut parts, &both, 1, HANDED, &mut now), Shares::default());
    }

    #[test]
    fn small_pieces_add_up_within_a_span_and_not_beyond() {
        let (mut sharing, mut part, mut now) = (Sharing::default(), Part::default(), Instant::ZERO);
        for _ in 0..3 {
            sharing.on_up(&mut part, 1400);
        }
        assert_eq!(sharing.up, 1);
        sharing.begin_round(now, || FREE);
        now += SPAN;
        for _ in 0..2 {
            sharing.on_up(&mut part, 1400);
        }
        assert_eq!(sharing.up, 0);
    }
}
