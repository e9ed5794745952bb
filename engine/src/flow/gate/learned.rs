//! What answers of the virtual name server have said: which addresses count for which names, and how long.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::policy::{Name, Policy};
use crate::time::{Duration, Instant};

/// Addresses that are known at one time. When there are more, the one that counts no longer soonest goes.
const MOST: usize = 8192;
/// Names of one address. When there are more, the one that counts no longer soonest goes.
const MOST_NAMES: usize = 16;
/// The least that an address counts: a guest connects some time after it has asked, and remembers longer than it was told.
const LEAST: Duration = Duration::from_secs(60);

/// A name, and the rules that have it by their indices.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: Name,
    rules: Box<[u32]>,
}

impl Known {
    pub(super) fn has(&self, rule: u32) -> bool {
        self.rules.binary_search(&rule).is_ok()
    }
}

/// Until when an address counts for a name.
type Counts = (Instant, Arc<Known>);

/// See the module.
#[derive(Default)]
pub(super) struct Learned {
    /// The names of each, in the order in which they were last answered.
    addresses: HashMap<IpAddr, Vec<Counts>, RandomState>,
    /// When each address counts for nothing any more.
    ends: BTreeSet<(Instant, IpAddr)>,
}

impl Learned {
    /// An answer to a question for this name, which has these rules, had these addresses.
    pub(super) fn learn(&mut self, name: &Name, rules: &[u32], addresses: &[(IpAddr, Duration)], now: Instant) {
        self.forget_past(now);
        let known = Arc::new(Known { name: name.clone(), rules: rules.into() });
        for &(ip, ttl) in addresses {
            self.add(ip.to_canonical(), now + ttl.max(LEAST), &known);
        }
    }

    fn add(&mut self, ip: IpAddr, until: Instant, known: &Arc<Known>) {
        let names = self.addresses.entry(ip).or_default();
        let before = end(names);
        let mut until = until;
        if let Some(index) = names.iter().position(|(_, other)| other.name == known.name) {
            // Of two answers the one that lasts longer counts: the guest remembers either.
            until = until.max(names.remove(index).0);
        } else if names.len() >= MOST_NAMES
            && let Some(soonest) = (0..names.len()).min_by_key(|&index| names.get(index).map(|counts| counts.0))
        {
            names.remove(soonest);
        }
        names.push((until, Arc::clone(known)));
        let after = end(names);
        if before != after {
            before.map(|before| self.ends.remove(&(before, ip)));
            after.map(|after| self.ends.insert((after, ip)));
        }
        while self.addresses.len() > MOST {
            let Some((_, soonest)) = self.ends.pop_first() else { break };
            self.addresses.remove(&soonest);
        }
    }

    /// Forgets what counts no longer.
    fn forget_past(&mut self, now: Instant) {
        while let Some(&(until, ip)) = self.ends.first() {
            if until > now {
                break;
            }
            self.ends.pop_first();
            self.addresses.remove(&ip);
        }
    }

    /// The names that an address counts for now, the one that was answered last behind the others.
    pub(super) fn names(&self, ip: IpAddr, now: Instant) -> impl Iterator<Item = &Known> + Clone {
        let names = self.addresses.get(&ip.to_canonical()).map_or(&[][..], Vec::as_slice);
        names.iter().filter(move |(until, _)| *until > now).map(|(_, known)| known.as_ref())
    }

    /// The same names under another policy: those that nobody may ask for any more are forgotten.
    #[cfg_attr(not(feature = "control"), cfg_attr(not(test), expect(dead_code, reason = "no policy is replaced")))]
    pub(super) fn under(self, policy: &Policy) -> Learned {
        let mut learned = Learned::default();
        for (ip, names) in self.addresses {
            for (until, known) in names {
                let rules = policy.rules_about(&known.name);
                if !rules.is_empty() {
                    learned.add(ip, until, &Arc::new(Known { name: known.name.clone(), rules: rules.into() }));
                }
            }
        }
        learned
    }
}

fn end(names: &[Counts]) -> Option<Instant> {
    names.iter().map(|counts| counts.0).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rule;
    use std::net::Ipv4Addr;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn ip(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0800_0000 + number).into()
    }

    fn at(seconds: i64) -> Instant {
        Instant::from_secs(seconds)
    }

    fn names_at(learned: &Learned, number: u32, seconds: i64) -> Vec<String> {
        learned.names(ip(number), at(seconds)).map(|known| known.name.to_string()).collect()
    }

    #[test]
    fn an_address_counts_as_long_as_the_answer_does_and_a_minute_at_least() {
        let mut learned = Learned::default();
        let secs = Duration::from_secs;
        learned.learn(&name("a.test"), &[0, 2], &[(ip(1), secs(0)), (ip(2), secs(100))], at(1000));
        assert_eq!(names_at(&learned, 1, 1059), ["a.test"]);
        assert!(names_at(&learned, 1, 1060).is_empty());
        assert_eq!(names_at(&learned, 2, 1099), ["a.test"]);
        assert!(names_at(&learned, 2, 1100).is_empty() && names_at(&learned, 3, 1000).is_empty());
        let known = learned.names(ip(2), at(1000)).next().unwrap();
        assert_eq!([0, 1, 2].map(|rule| known.has(rule)), [true, false, true]);
        // A mapped address is the one that it stands for.
        let mapped = Ipv4Addr::from_bits(0x0800_0002).to_ipv6_mapped().into();
        assert_eq!(learned.names(mapped, at(1000)).count(), 1);
        // A shorter answer takes nothing from a longer one.
        learned.learn(&name("a.test"), &[0], &[(ip(2), secs(1))], at(1001));
        assert_eq!(names_at(&learned, 2, 1099), ["a.test"]);
        learned.learn(&name("b.test"), &[1], &[(ip(9), secs(1))], at(2000));
        assert_eq!((learned.addresses.len(), learned.ends.len()), (1, 1));
    }

    #[test]
    fn the_name_that_was_answered_last_is_the_last() {
        let mut learned = Learned::default();
        for (number, text) in ["a.test", "b.test", "c.test", "a.test"].into_iter().enumerate() {
            learned.learn(&name(text), &[0], &[(ip(1), Duration::from_secs(100))], at(number as i64));
        }
        assert_eq!(names_at(&learned, 1, 5), ["b.test", "c.test", "a.test"]);
        // The one that was answered anew lasts as long as that says.
        assert_eq!(names_at(&learned, 1, 102), ["a.test"]);
    }

    #[test]
    fn what_is_known_is_bounded_and_the_soonest_to_end_goes() {
        let mut learned = Learned::default();
        for number in 0..2 * MOST as u32 {
            let ttl = Duration::from_secs(100 + u64::from(number));
            learned.learn(&name("a.test"), &[], &[(ip(number), ttl)], at(0));
            assert!(learned.addresses.len() <= MOST && learned.ends.len() == learned.addresses.len());
        }
        assert!(names_at(&learned, 0, 1).is_empty());
        assert_eq!(names_at(&learned, 2 * MOST as u32 - 1, 1), ["a.test"]);
        for number in 0..100 {
            let ttl = Duration::from_secs(20_000 + number);
            learned.learn(&name(&format!("n{number}.test")), &[], &[(ip(5), ttl)], at(0));
        }
        let left = names_at(&learned, 5, 1);
        assert!(left.len() == MOST_NAMES && left.contains(&"n99.test".into()), "{left:?}");
    }

    #[test]
    fn under_another_policy_names_have_its_rules() {
        let mut learned = Learned::default();
        let long = Duration::from_secs(1000);
        learned.learn(&name("a.test"), &[0], &[(ip(1), long)], at(0));
        learned.learn(&name("b.test"), &[1], &[(ip(1), long), (ip(2), long)], at(0));
        let second = Rule::allow().names(["b.test".parse().unwrap()]);
        let policy = Policy::builder().rule(Rule::allow().host([ip(7).into()])).rule(Rule::deny()).rule(second);
        let learned = learned.under(&policy.build().unwrap());
        assert_eq!(
            (names_at(&learned, 1, 1), names_at(&learned, 2, 1)),
            (vec!["b.test".into()], vec!["b.test".into()])
        );
        let known = learned.names(ip(1), at(1)).next().unwrap();
        assert!(known.has(2) && !known.has(1));
    }
}
