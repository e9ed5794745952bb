//! What is known of each flow that there is, besides what it needs itself: for whoever is asked about flows. Kept only where somebody
//! may ask.

use std::collections::HashMap;

use super::About;
use crate::time::Instant;

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub begun: Instant,
    pub about: About,
}

/// See the module. There are as many as the tables of flows hold.
#[derive(Debug, Default)]
pub(super) struct Roll {
    known: HashMap<u64, Known>,
}

impl Roll {
    pub(super) fn begun(&mut self, number: u64, about: &About, now: Instant) {
        self.known.insert(number, Known { begun: now, about: *about });
    }

    pub(super) fn ended(&mut self, number: u64) {
        self.known.remove(&number);
    }

    /// All flows, by their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &About)> {
        self.known.iter().map(|(number, known)| (*number, &known.about))
    }

    pub(super) fn get(&self, number: u64) -> Option<&Known> {
        self.known.get(&number)
    }
}
