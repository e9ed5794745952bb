//! Turns: the flows of one table that have something to bring in, in the order in which that was noticed.

use std::cmp::Reverse;
use std::collections::VecDeque;

/// Whether a flow waits for its turn. Lives in the flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(bool);

/// The flows that wait for their turn, each once. A flow that goes away leaves its key behind; the table finds nobody at it
/// when its turn comes.
#[derive(Debug)]
pub struct ReadyQueue<K> {
    keys: VecDeque<K>,
}

impl<K> Default for ReadyQueue<K> {
    fn default() -> Self {
        ReadyQueue { keys: VecDeque::new() }
    }
}

impl<K> ReadyQueue<K> {
    /// Queues a flow behind the others, unless it waits already.
    pub fn push(&mut self, key: K, mark: &mut Mark) {
        if !std::mem::replace(&mut mark.0, true) {
            self.keys.push_back(key);
        }
    }

    /// The flow whose turn it is. Its mark is to be cleared with [`Mark::taken`].
    pub fn pop(&mut self) -> Option<K> {
        self.keys.pop_front()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Mark {
    /// The flow was taken from the queue.
    pub fn taken(&mut self) {
        self.0 = false;
    }
}

/// The keys of a table's flows, given with their numbers, in the order in which all of them are ended: newest first, as
/// the application sees their sockets go in the order in which upstream lists them.
pub fn newest_first<K>(flows: impl Iterator<Item = (K, u64)>) -> Vec<K> {
    let mut flows: Vec<(K, u64)> = flows.collect();
    flows.sort_by_key(|&(_, number)| Reverse(number));
    flows.into_iter().map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_waits_once_and_may_wait_again_after_its_turn() {
        let mut queue = ReadyQueue::default();
        let (mut first, mut second) = (Mark::default(), Mark::default());
        queue.push(1, &mut first);
        queue.push(2, &mut second);
        queue.push(1, &mut first);
        assert_eq!((queue.len(), queue.pop()), (2, Some(1)));
        first.taken();
        queue.push(1, &mut first);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(2), Some(1), None));
        assert!(queue.is_empty());
    }

    #[test]
    fn the_newest_goes_first() {
        assert_eq!(newest_first([('a', 1), ('c', 9), ('b', 4)].into_iter()), ['c', 'b', 'a']);
    }
}
