//! Ways of datagrams that were found open: each is judged once, and not with every datagram.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Admission, Endpoint};
use crate::policy::Service;
use crate::time::{Duration, Instant};

/// Ways that are known. When there are more, all are forgotten, and each is judged again.
pub(super) const MOST: usize = 8192;

/// How long a way to an address that counts for a name stays open after the last datagram: as long as the flow does, not only as long as
/// the name counts.
pub(super) const UNUSED: Duration = Duration::from_secs(240);

/// How long one of them counts as used without a look into the table.
const LATELY: Duration = Duration::from_secs(1);

/// Which question a way was found open by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Out,
    Service(Service),
    Answer,
    In,
}

/// The guest's end, the other one, and the question.
pub(super) type Key = (Endpoint, Endpoint, Way);

/// See the module.
#[derive(Default)]
pub(super) struct Ways {
    /// With the verdict that opened them, and how long they stay open, where that ends.
    known: HashMap<Key, (Admission, Option<Instant>), RandomState>,
    /// Those that were looked for last, one of the guest's datagrams and one of their answers: most datagrams come in runs.
    latest: [Option<Latest>; 2],
}

#[derive(Clone, Copy)]
struct Latest {
    key: Key,
    admission: Admission,
    /// When it is to be looked for again, where it does not stay open.
    until: Option<Instant>,
}

impl Ways {
    /// The verdict that opened a way that is open now, which counts as used.
    #[inline]
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Option<Admission> {
        let place = usize::from(key.2 == Way::Answer);
        match self.latest.get(place) {
            Some(Some(latest)) if latest.key == *key && latest.until.is_none_or(|until| until > now) => {
                Some(latest.admission)
            }
            _ => self.look_for(key, place, now),
        }
    }

    #[inline(never)]
    fn look_for(&mut self, key: &Key, place: usize, now: Instant) -> Option<Admission> {
        let (admission, until) = self.known.get_mut(key)?;
        let until = match until {
            None => None,
            Some(until) if *until > now => {
                *until = now + UNUSED;
                Some(now + LATELY)
            }
            Some(_) => return None,
        };
        let latest = Latest { key: *key, admission: *admission, until };
        if let Some(place) = self.latest.get_mut(place) {
            *place = Some(latest);
        }
        Some(latest.admission)
    }

    /// The verdict that opened a way, whether or not it is open still.
    pub(super) fn get(&self, key: &Key) -> Option<Admission> {
        self.known.get(key).map(|(admission, _)| *admission)
    }

    /// A way is open from now on, until it was not used for so long, or for good.
    pub(super) fn note(&mut self, key: Key, admission: Admission, until: Option<Instant>) {
        self.latest = [None; 2];
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(key, (admission, until));
    }

    /// The same of several, however many they are.
    #[cfg(feature = "control")]
    pub(super) fn keep(&mut self, keys: impl IntoIterator<Item = Key>, admission: Admission) {
        self.latest = [None; 2];
        self.known.extend(keys.into_iter().map(|key| (key, (admission, None))));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8, way: Way) -> Key {
        (Endpoint::new([10, 0, 2, 15], 1), Endpoint::new([192, 0, 2, number], 9), way)
    }

    #[test]
    fn what_was_looked_for_last_is_no_more_open_than_the_table_says() {
        let mut ways = Ways::default();
        let (one, other, answer) = (key(1, Way::Out), key(2, Way::Out), key(1, Way::Answer));
        let denied = Admission::OPEN.unheard();
        ways.note(one, Admission::OPEN, None);
        assert_eq!(ways.find(&one, Instant::ZERO), Some(Admission::OPEN));
        assert_eq!(ways.find(&one, Instant::ZERO), Some(Admission::OPEN), "again");
        assert_eq!((ways.find(&other, Instant::ZERO), ways.find(&answer, Instant::ZERO)), (None, None));
        // Another verdict takes its place at once.
        ways.note(one, denied, None);
        assert_eq!(ways.find(&one, Instant::ZERO), Some(denied));
        for number in 0..MOST {
            let other = Endpoint::new([198, 51, (number >> 8) as u8, number as u8], 9);
            ways.note((one.0, other, Way::Out), Admission::OPEN, None);
        }
        assert_eq!(ways.find(&one, Instant::ZERO), None, "all were forgotten");
    }

    #[test]
    fn one_that_is_looked_for_all_the_time_stays_open_and_closes_when_it_is_not() {
        let mut ways = Ways::default();
        let one = key(1, Way::Answer);
        ways.note(one, Admission::OPEN, Some(Instant::ZERO + UNUSED));
        for tenths in 0..10_000 {
            assert!(ways.find(&one, Instant::from_millis(100 * tenths)).is_some(), "{tenths}");
        }
        assert!(ways.find(&one, Instant::from_secs(1000) + UNUSED).is_none());
    }
}
