//! What was refused lately: a guest repeats its SYN, its datagrams and its questions, and each of these is the same one.

use std::collections::VecDeque;

use crate::time::{Duration, Instant};

/// How many are remembered; the oldest goes.
const MOST: usize = 64;
/// How long what is the same is told of once.
const LATELY: Duration = Duration::from_secs(10);

/// See the module. `K` says what is the same.
#[derive(Debug)]
pub(super) struct Refusals<K> {
    /// Oldest first.
    known: VecDeque<(K, Instant)>,
}

impl<K> Default for Refusals<K> {
    fn default() -> Refusals<K> {
        Refusals { known: VecDeque::new() }
    }
}

impl<K: PartialEq> Refusals<K> {
    /// Whether this one was not refused lately; it is from now on.
    pub(super) fn is_new(&mut self, key: K, now: Instant) -> bool {
        while self.known.front().is_some_and(|known| known.1 > now || now - known.1 >= LATELY) {
            self.known.pop_front();
        }
        // Who floods repeats itself, most likely.
        if self.known.iter().rev().any(|known| known.0 == key) {
            return false;
        }
        if self.known.len() >= MOST {
            self.known.pop_front();
        }
        self.known.push_back((key, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::journal::Carrier;

    #[test]
    fn a_flow_that_is_tried_again_is_the_same_for_ten_seconds() {
        let mut refusals = Refusals::default();
        let about = |port: u16| (Carrier::Tcp, port);
        let at = Instant::from_secs;
        assert!(refusals.is_new(about(1), at(0)));
        assert!(!refusals.is_new(about(1), at(9)));
        assert!(refusals.is_new((Carrier::Udp, 1), at(9)));
        assert!(refusals.is_new(about(1), at(10)));
        for port in 2..1000 {
            assert!(refusals.is_new(about(port), at(11)));
        }
        assert_eq!(refusals.known.len(), MOST);
    }
}
