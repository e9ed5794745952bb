//! The rules that have names, by these: one look for each label of a name, however many rules there are.

use std::collections::HashMap;

use super::name::Name;
use super::rule::Rule;

/// Which rules are about a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// By the name itself.
    exact: HashMap<Box<str>, Vec<u32>>,
    /// By what the name is below.
    below: HashMap<Box<str>, Vec<u32>>,
}

impl Names {
    pub(super) fn of(rules: &[Rule]) -> Names {
        let mut names = Names::default();
        for (index, rule) in (0..).zip(rules) {
            for pattern in rule.patterns() {
                let map = if pattern.is_below() { &mut names.below } else { &mut names.exact };
                map.entry(pattern.name().into()).or_default().push(index);
            }
        }
        names
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// The rules about this name, in their order, by their indices.
    pub(super) fn rules(&self, name: &Name) -> Vec<u32> {
        let exact = self.exact.get(name.as_str());
        let below = name.and_parents().skip(1).filter_map(|parent| self.below.get(parent));
        let mut rules: Vec<u32> = exact.into_iter().chain(below).flatten().copied().collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}
