//! Which flows were refused lately: a guest repeats its SYN, and its datagrams, and each of these is the same flow.

use std::collections::VecDeque;

use super::{About, Carrier};
use crate::flow::key::Endpoint;
use crate::time::{Duration, Instant};

/// How many are remembered; the oldest goes.
const MOST: usize = 64;
/// How long the same ends are the same flow.
const LATELY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Oldest first.
    known: VecDeque<(Carrier, Endpoint, Endpoint, Instant)>,
}

impl Refusals {
    /// Whether this one was not refused lately; it is from now on.
    pub(super) fn is_new(&mut self, about: &About, now: Instant) -> bool {
        while self.known.front().is_some_and(|known| known.3 > now || now - known.3 >= LATELY) {
            self.known.pop_front();
        }
        let is_it = |known: &(Carrier, Endpoint, Endpoint, Instant)| {
            (known.0, known.1, known.2) == (about.carrier, about.guest, about.remote)
        };
        // Who floods repeats itself, most likely.
        if self.known.iter().rev().any(is_it) {
            return false;
        }
        if self.known.len() >= MOST {
            self.known.pop_front();
        }
        self.known.push_back((about.carrier, about.guest, about.remote, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_flow_that_is_tried_again_is_the_same_for_ten_seconds() {
        let mut refusals = Refusals::default();
        let about = |port| {
            let end = |port| Endpoint::new(Ipv4Addr::LOCALHOST, port);
            About::out(Carrier::Tcp, end(port), end(80), None)
        };
        let at = Instant::from_secs;
        assert!(refusals.is_new(&about(1), at(0)));
        assert!(!refusals.is_new(&about(1), at(9)));
        assert!(refusals.is_new(&About { carrier: Carrier::Udp, ..about(1) }, at(9)));
        assert!(refusals.is_new(&about(1), at(10)));
        for port in 2..1000 {
            assert!(refusals.is_new(&about(port), at(11)));
        }
        assert_eq!(refusals.known.len(), MOST);
    }
}
