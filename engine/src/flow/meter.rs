//! Where flows are counted that are under a limit. Without the feature `policy`, and without limits, none is, and nothing is asked.

use std::net::IpAddr;
use std::num::NonZeroU32;

use super::context::Context;

#[cfg(feature = "policy")]
pub(crate) use crate::limits::{Allowed, Ledger, Way};
#[cfg(not(feature = "policy"))]
pub(crate) use without::Way;

/// What a flow is counted by, where it is.
#[cfg(feature = "policy")]
pub(crate) type Meter = Option<Box<crate::limits::Meter>>;
#[cfg(not(feature = "policy"))]
pub(crate) type Meter = Option<std::convert::Infallible>;

/// Without the feature, and with it where a stack has no limits.
#[cfg(not(feature = "policy"))]
impl Context {
    pub(crate) fn begins(&mut self, _: IpAddr, _: Option<NonZeroU32>) -> Option<Meter> {
        Some(None)
    }

    pub(crate) fn ends(&mut self, _: Meter) {}

    #[inline(always)]
    pub(crate) fn has_limits(&self) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn passes(&mut self, _: IpAddr, _: Option<NonZeroU32>, _: Way, _: usize) -> bool {
        true
    }

    pub(crate) fn joins_also(&mut self, _: &mut Meter, _: Option<NonZeroU32>) -> bool {
        true
    }
}

#[cfg(feature = "policy")]
impl Context {
    /// A flow of this address of the guest is about to begin, which this rule has let in. `None` when a limit keeps it from that.
    #[inline]
    pub(crate) fn begins(&mut self, guest: IpAddr, rule: Option<NonZeroU32>) -> Option<Meter> {
        if self.has_limits() { self.begins_counted(guest, rule) } else { Some(None) }
    }

    #[cold]
    fn begins_counted(&mut self, guest: IpAddr, rule: Option<NonZeroU32>) -> Option<Meter> {
        let Some(limits) = &mut self.limits else { return Some(None) };
        let meter = limits.begin(guest, rule.map(NonZeroU32::get), self.now)?;
        Some(Some(Box::new(meter)))
    }

    /// A flow that has begun turns out to be one that this rule has let in. False when a limit keeps it from that.
    pub(crate) fn joins(&mut self, meter: &mut Meter, rule: Option<NonZeroU32>) -> bool {
        let (Some(limits), Some(meter), Some(rule)) = (&mut self.limits, meter, rule) else { return true };
        limits.join(meter, rule.get(), self.now)
    }

    /// A flow of datagrams has one that this rule has let in. False when a limit keeps it from that.
    pub(crate) fn joins_also(&mut self, meter: &mut Meter, rule: Option<NonZeroU32>) -> bool {
        let (Some(limits), Some(meter), Some(rule)) = (&mut self.limits, meter, rule) else { return true };
        limits.join_also(meter, rule.get(), self.now)
    }

    /// It has ended.
    #[inline]
    pub(crate) fn ends(&mut self, meter: Meter) {
        if meter.is_some() {
            self.ends_counted(meter);
        }
    }

    #[cold]
    fn ends_counted(&mut self, meter: Meter) {
        if let (Some(limits), Some(meter)) = (&mut self.limits, meter) {
            limits.end(&meter);
        }
    }

    /// Whether anything is limited.
    #[inline]
    pub(crate) fn has_limits(&self) -> bool {
        self.limits.is_some()
    }

    /// Whether a datagram, or several that came together, of so many bytes may pass, which this rule has let in.
    #[cold]
    pub(crate) fn passes(&mut self, guest: IpAddr, rule: Option<NonZeroU32>, way: Way, bytes: usize) -> bool {
        let (now, rule) = (self.now, rule.map(NonZeroU32::get));
        self.limits.as_mut().is_none_or(|limits| limits.datagram(guest, rule, way, bytes, now))
    }
}

#[cfg(not(feature = "policy"))]
mod without {
    /// Which way bytes would go.
    #[derive(Clone, Copy)]
    pub(crate) enum Way {
        Up,
        Down,
    }
}
