//! Finding by a key that several may have, as the forwards to one address of the guest do.

use std::hash::Hash;

use hashbrown::HashMap;

/// What has the same key, oldest first.
#[derive(Debug)]
pub(crate) struct Several<K, V>(HashMap<K, Vec<V>, foldhash::fast::RandomState>);

impl<K, V> Default for Several<K, V> {
    fn default() -> Self {
        Several(HashMap::default())
    }
}

impl<K: Eq + Hash, V: Copy + PartialEq> Several<K, V> {
    pub(crate) fn push(&mut self, key: K, value: V) {
        self.0.entry(key).or_default().push(value);
    }

    pub(crate) fn get(&self, key: &K) -> &[V] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, key: &K, value: V) {
        let Some(values) = self.0.get_mut(key) else { return };
        // The newest is last, and most likely to go.
        if let Some(at) = values.iter().rposition(|&other| other == value) {
            values.remove(at);
        }
        if values.is_empty() {
            self.0.remove(key);
        }
    }

    /// All values, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = V> {
        self.0.values().flatten().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_first_and_nothing_is_left_of_a_key_without_values() {
        let mut several = Several::default();
        for value in [1, 2, 3] {
            several.push("a", value);
        }
        several.remove(&"a", 2);
        several.remove(&"b", 1);
        assert_eq!((several.get(&"a"), several.get(&"b")), (&[1, 3][..], &[][..]));
        several.remove(&"a", 1);
        assert_eq!((several.get(&"a"), several.iter().collect::<Vec<_>>()), (&[3][..], vec![3]));
        several.remove(&"a", 3);
        assert!(several.is_empty());
    }
}
