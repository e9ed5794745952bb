//! Turns: the flows of one table that have something to bring in or to send, in the order in which that was noticed; but a
//! flow with little to do need not wait for all that have much.

use std::collections::VecDeque;

/// Whether a flow waits for its turn. Lives in the flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark(bool);

/// The flows that wait for their turn, each once. A flow that goes away leaves its key behind; the table finds nobody at it
/// when its turn comes.
#[derive(Debug)]
pub(crate) struct ReadyQueue<K> {
    keys: VecDeque<K>,
    /// Those that go before the others.
    light: VecDeque<K>,
    /// How many of them have gone since one of the others did.
    ahead: u8,
}

/// Light flows in a row after which one of the others has its turn: neither kind can keep the other waiting for ever.
const AHEAD: u8 = 3;

impl<K> Default for ReadyQueue<K> {
    fn default() -> Self {
        ReadyQueue { keys: VecDeque::new(), light: VecDeque::new(), ahead: 0 }
    }
}

impl<K> ReadyQueue<K> {
    /// Queues a flow behind the others, unless it waits already.
    pub(crate) fn push(&mut self, key: K, mark: &mut Mark) {
        if !std::mem::replace(&mut mark.0, true) {
            self.keys.push_back(key);
        }
    }

    /// Queues a flow that is expected to have little to do, unless it waits already.
    pub(crate) fn push_light(&mut self, key: K, mark: &mut Mark) {
        if !std::mem::replace(&mut mark.0, true) {
            self.light.push_back(key);
        }
    }

    /// The flow whose turn it is. Its mark is to be cleared with [`Mark::taken`].
    pub(crate) fn pop(&mut self) -> Option<K> {
        if self.ahead < AHEAD
            && let Some(key) = self.light.pop_front()
        {
            self.ahead += 1;
            return Some(key);
        }
        self.ahead = 0;
        self.keys.pop_front().or_else(|| self.light.pop_front())
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.light.len()
    }
}

impl Mark {
    /// The flow was taken from the queue.
    pub(crate) fn taken(&mut self) {
        self.0 = false;
    }
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
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn light_flows_go_ahead_but_not_for_ever() {
        let mut queue = ReadyQueue::default();
        let mut marks = [Mark::default(); 32];
        for (key, mark) in marks.iter_mut().enumerate() {
            if key < 2 { queue.push(key, mark) } else { queue.push_light(key, mark) }
        }
        let order: Vec<usize> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order[..9], [2, 3, 4, 0, 5, 6, 7, 1, 8]);
        assert_eq!((order.len(), queue.len()), (32, 0));
    }
}
