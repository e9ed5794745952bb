//! The filter of a capture, where there can be one: it speaks of what the policy does.

use super::ends::Ends;
use super::notes::Notes;
use super::options::CaptureOptions;

/// See the module. Everything is chosen where there is no filter.
#[derive(Debug)]
pub(super) struct Choice {
    #[cfg(feature = "policy")]
    filter: Option<Box<super::filter::CaptureFilter>>,
}

#[cfg(feature = "policy")]
impl Choice {
    pub(super) fn of(options: &CaptureOptions) -> Choice {
        Choice { filter: Some(&options.filter).filter(|filter| !filter.is_empty()).cloned().map(Box::new) }
    }

    /// Whether the ends of each frame are asked for.
    #[inline]
    pub(super) fn is_one(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether a frame with these ends is wanted, as far as its headers tell.
    #[inline]
    pub(super) fn takes(&self, ends: Option<&Ends>) -> bool {
        self.filter.as_ref().is_none_or(|filter| ends.is_some_and(|ends| filter.takes(ends)))
    }

    /// Whether it is wanted, by the rule that has decided.
    #[inline]
    pub(super) fn takes_rule_of(&self, ends: Option<&Ends>, notes: Option<&Notes>) -> bool {
        let takes = |filter: &super::filter::CaptureFilter| match (ends, notes) {
            (Some(ends), Some(notes)) => filter.takes_rule_of(ends, notes),
            _ => false,
        };
        self.filter.as_ref().is_none_or(|filter| takes(filter))
    }

    /// What is chosen, behind the name of the file.
    pub(super) fn words(&self) -> String {
        self.filter.as_ref().map_or_else(String::new, |filter| format!(", only {filter}"))
    }
}

#[cfg(not(feature = "policy"))]
impl Choice {
    pub(super) fn of(_: &CaptureOptions) -> Choice {
        Choice {}
    }

    #[expect(clippy::unused_self, reason = "as with a policy")]
    pub(super) fn is_one(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "as with a policy")]
    pub(super) fn takes(&self, _: Option<&Ends>) -> bool {
        true
    }

    #[expect(clippy::unused_self, reason = "as with a policy")]
    pub(super) fn takes_rule_of(&self, _: Option<&Ends>, _: Option<&Notes>) -> bool {
        true
    }

    #[expect(clippy::unused_self, reason = "as with a policy")]
    pub(super) fn words(&self) -> String {
        String::new()
    }
}
