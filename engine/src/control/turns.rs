//! Whose turn it is to change the forwards. A change takes several rounds, looks at what there is first, and may be undone: two at a time
//! would count on forwards that the other one takes away again.

use std::collections::VecDeque;

/// One who waits for its turn, or has it. To be given back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// Those who want to change the forwards, in the order in which they have asked. Each client has one at most.
#[derive(Debug, Default)]
pub(super) struct Turns {
    asked: u64,
    waiting: VecDeque<u64>,
}

impl Turns {
    /// Somebody asks for a turn.
    pub(super) fn ask(&mut self) -> Turn {
        self.asked += 1;
        self.waiting.push_back(self.asked);
        Turn(self.asked)
    }

    /// Whether it has come.
    pub(super) fn has_come(&self, turn: &Turn) -> bool {
        self.waiting.front() == Some(&turn.0)
    }

    /// It has been taken, or is not wanted any more.
    pub(super) fn give_back(&mut self, turn: &Turn) {
        self.waiting.retain(|waiting| *waiting != turn.0);
    }

    /// Whether nobody has a turn, or waits for one.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_taken_in_the_order_in_which_they_were_asked_for_and_those_who_leave_are_passed_by() {
        let mut turns = Turns::default();
        let (one, two, three) = (turns.ask(), turns.ask(), turns.ask());
        let come = |turns: &Turns| [&one, &two, &three].map(|turn| turns.has_come(turn));
        assert_eq!(come(&turns), [true, false, false]);
        turns.give_back(&two);
        assert_eq!(come(&turns), [true, false, false]);
        turns.give_back(&one);
        assert_eq!(come(&turns), [false, false, true]);
        assert!(!turns.is_over());
        turns.give_back(&three);
        assert!(turns.is_over());
    }
}
