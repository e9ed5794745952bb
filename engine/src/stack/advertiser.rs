//! Router advertisements that nobody asked for (RFC 4861 section 6.2.4), and when the next one is due. A stack has its own deadline
//! for it; the C library, whose applications have a timer for it, has that set instead.

use std::hash::BuildHasher;

use super::Stack;
use crate::flow::Effect;
use crate::flow::timers::Own;
use crate::link::ndp;
use crate::time::{Duration, Instant};

/// Bounds of the time between two advertisements, in milliseconds; source: docs/contract/poll-and-timers.md section 5.
const INTERVAL_MS: std::ops::Range<u64> = 200_000..600_000;

/// When the next advertisement is due, and who says so.
#[derive(Debug, Default)]
pub(super) struct Advertiser {
    /// The application's timer calls [`Stack::timer_expired`]. Its time is the application's own.
    by_timer: bool,
    /// What the application's clock was when its timer was set.
    set_at: Option<Instant>,
}

impl Stack {
    /// Has the application's timer say when advertisements are due: [`Effect::SetTimer`] asks for it to be set.
    #[doc(hidden)]
    pub fn advertise_by_timer(&mut self) {
        self.advertiser.by_timer = true;
    }

    /// The first time is known, and with it when the first advertisement is due.
    pub(super) fn begin_advertising(&mut self) {
        if self.cx.policy.reach.ipv6 && !self.advertiser.by_timer {
            self.arm_advertisement();
        }
    }

    fn arm_advertisement(&mut self) {
        let wait = self.advertisement_wait(self.cx.now);
        self.cx.timers.set(Own::Advertisement, Some(self.cx.now + wait));
    }

    /// A random time (RFC 4861 section 6.2.4).
    fn advertisement_wait(&self, now: Instant) -> Duration {
        let width = INTERVAL_MS.end - INTERVAL_MS.start;
        Duration::from_millis(INTERVAL_MS.start + self.cx.secret.hash_one(now) % width)
    }

    /// The stack's own deadline has come.
    pub(super) fn advertisement_due(&mut self) {
        self.arm_advertisement();
        self.advertise_router();
    }

    /// Has the application set its timer, to a time of its own clock.
    #[doc(hidden)]
    pub fn set_timer(&mut self, now: Instant) {
        self.advertiser.set_at = Some(now);
        let wait = self.advertisement_wait(now);
        self.cx.effects.push(Effect::SetTimer(now + wait));
    }

    /// The application's timer has expired.
    #[doc(hidden)]
    pub fn timer_expired(&mut self, now: Instant) {
        self.set_now(now);
        self.set_timer(now);
        self.advertise_router();
    }

    /// The application's clock went back by much. If it is from before the timer was set now, that was set to a time that may
    /// be hours away. (By less one interval is at most twice as long, which hosts bear, see RFC 4861 section 6.2.1.)
    pub(super) fn clock_went_back(&mut self, now: Instant) {
        if self.advertiser.set_at.is_some_and(|set_at| now < set_at) {
            self.set_timer(now);
        }
    }

    /// Sends a router advertisement, when IPv6 is on: the answer to a solicitation, or the periodic one.
    pub(super) fn advertise_router(&mut self) {
        let policy = &self.cx.policy;
        if !policy.reach.ipv6 {
            return;
        }
        // A server of either family will do: queries are relayed across.
        let has_server = policy.reach.dns && self.cx.name_servers.any(self.cx.now);
        let advertisement = ndp::Advertisement {
            prefix: policy.v6.prefix,
            prefix_len: policy.v6.prefix_len,
            mtu: self.cx.egress.mtu(),
            name_server: has_server.then_some(policy.v6.name_server),
            search: &self.dhcpv6.search,
        };
        let frame = advertisement.frame();
        self.cx.egress.frame(&frame);
    }
}
