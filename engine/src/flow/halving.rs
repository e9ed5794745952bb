//! How a table of what may come again makes room when it is full.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashMap;

use crate::time::Instant;

/// Forgets half of what there is, that of the earliest times; of what has the time in the middle, any. Half at once, so that a flood does
/// not have all looked at for each.
pub(crate) fn forget_older_half<K: Eq + Hash, V, S: BuildHasher>(
    map: &mut HashMap<K, V, S>,
    time: impl Fn(&V) -> Instant,
) {
    let mut times: Vec<Instant> = map.values().map(&time).collect();
    let middle = times.len() / 2;
    if middle == 0 {
        return map.clear();
    }
    let (_, &mut at, later) = times.select_nth_unstable(middle);
    // Those that are later stay in any case.
    let mut more = middle.saturating_sub(later.iter().filter(|time| **time > at).count());
    map.retain(|_, value| {
        let time = time(value);
        let equal = time == at && more > 0;
        more -= usize::from(equal);
        time > at || equal
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(times: &[i64]) -> Vec<i64> {
        let mut map: HashMap<usize, i64, foldhash::fast::RandomState> = times.iter().copied().enumerate().collect();
        forget_older_half(&mut map, |millis| Instant::from_millis(*millis));
        let mut left: Vec<i64> = map.into_values().collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn the_later_half_stays() {
        assert_eq!(left(&[5, 1, 3, 2, 4, 6]), [4, 5, 6]);
        assert_eq!(left(&[7, 7, 7, 7]), [7, 7]);
        // One that is later than many that came at once is not forgotten for them.
        assert_eq!(left(&[1, 2, 2, 2, 2, 9]), [2, 2, 9]);
        assert_eq!((left(&[]), left(&[1])), (vec![], vec![]));
    }
}
