//! Second-chance eviction: the rule by which a full table of flows makes room.
//!
//! Every flow has a "used" mark, set when it carries something. The hand goes round the flows; it clears a set mark and
//! takes the first flow whose mark is clear. So a flow in use survives a flood of new ones, at constant cost a flow.

use std::collections::VecDeque;

use slotmap::Key;

/// The order in which the hand visits the flows of one table.
#[derive(Debug)]
pub(crate) struct ClockHand<K> {
    ring: VecDeque<K>,
}

/// What the hand finds at a key.
pub(crate) enum Visit {
    /// The flow is gone: forget the key.
    Gone,
    /// The flow was used since the last visit; the caller has cleared its mark.
    Used,
    /// The flow may go.
    Idle,
}

impl Visit {
    /// What the mark of a flow that may go says; clears it.
    pub(crate) fn of(used: &mut bool) -> Visit {
        if std::mem::take(used) { Visit::Used } else { Visit::Idle }
    }
}

impl<K: Key> Default for ClockHand<K> {
    fn default() -> Self {
        ClockHand { ring: VecDeque::new() }
    }
}

impl<K: Key> ClockHand<K> {
    /// Notes a new flow. `live` is how many flows the table holds: keys of flows that are gone are thinned out once
    /// they outnumber the live ones.
    pub(crate) fn insert(&mut self, key: K, live: usize, is_live: impl Fn(K) -> bool) {
        if self.ring.len() > 2 * live + 16 {
            self.ring.retain(|&key| is_live(key));
        }
        self.ring.push_back(key);
    }

    /// The flow that is to go, or `None` when all were used again meanwhile. Takes at most two rounds.
    pub(crate) fn victim(&mut self, mut visit: impl FnMut(K) -> Visit) -> Option<K> {
        for _ in 0..2 * self.ring.len() {
            let key = self.ring.pop_front()?;
            match visit(key) {
                Visit::Gone => {}
                Visit::Used => self.ring.push_back(key),
                Visit::Idle => return Some(key),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::{DefaultKey, SlotMap};

    #[test]
    fn a_used_flow_survives_a_flood() {
        let mut flows: SlotMap<DefaultKey, bool> = SlotMap::new();
        let mut hand = ClockHand::default();
        let keeper = flows.insert(true);
        hand.insert(keeper, flows.len(), |key| flows.contains_key(key));
        for _ in 0..1000 {
            if flows.len() >= 4 {
                let gone = hand
                    .victim(|key| match flows.get_mut(key) {
                        None => Visit::Gone,
                        Some(used) => Visit::of(used),
                    })
                    .unwrap();
                flows.remove(gone);
            }
            let key = flows.insert(false);
            hand.insert(key, flows.len(), |key| flows.contains_key(key));
            if let Some(used) = flows.get_mut(keeper) {
                *used = true;
            }
        }
        assert!(flows.contains_key(keeper));
        assert!(hand.ring.len() < 32, "{} keys kept for 4 flows", hand.ring.len());
    }

    #[test]
    fn nothing_goes_when_all_are_used() {
        let mut flows: SlotMap<DefaultKey, ()> = SlotMap::new();
        let mut hand = ClockHand::default();
        hand.insert(flows.insert(()), 1, |_| true);
        assert!(hand.victim(|_| Visit::Used).is_none());
    }
}
