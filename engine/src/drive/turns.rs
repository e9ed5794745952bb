//! Who has the stack: one at a time, and nobody for ever. A mutex of the standard library goes to whoever asks first once it is
//! free, which is nearly always the thread that has just left it: one that hands in frames without a pause would keep the
//! driver out. Here those who wait are passed a bounded number of times.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Reentered;
use crate::host::process::{ThreadNumber, current_thread};
use crate::stack::Stack;

/// How many turns may be had before one who waits. Each turn in its order would cost two switches of threads a frame.
const MOST_PASSED: u32 = 64;

/// A stack that is had in turns.
pub(super) struct Turns {
    /// Free whenever `order` gives somebody the turn, but for the moment in which the last one leaves.
    stack: Mutex<Stack>,
    order: Mutex<Order>,
    changed: Condvar,
}

#[derive(Default)]
struct Order {
    holder: Option<ThreadNumber>,
    /// Tickets that were given out to those who wait, and those that have had their turn.
    given: u64,
    served: u64,
    /// Turns that were had before the first one who waits.
    passed: u32,
    /// Those who wait were told that the stack is free, and have not looked yet.
    told: bool,
}

/// The stack, until it is dropped.
pub(super) struct Turn<'a> {
    /// Always there until the drop.
    stack: Option<MutexGuard<'a, Stack>>,
    turns: &'a Turns,
}

impl Order {
    fn waiting(&self) -> bool {
        self.served < self.given
    }
}

impl Turns {
    pub(super) fn new(stack: Stack) -> Turns {
        Turns { stack: Mutex::new(stack), order: Mutex::default(), changed: Condvar::new() }
    }

    /// Nothing in an order is ever left half done.
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// This thread has it.
    pub(super) fn take(&self) -> Result<Turn<'_>, Reentered> {
        let me = current_thread();
        let mut order = self.order();
        if order.holder == Some(me) {
            return Err(Reentered);
        }
        let waiting = order.waiting();
        if order.holder.is_none() && (!waiting || order.passed < MOST_PASSED) {
            order.passed += u32::from(waiting);
        } else {
            let ticket = order.given;
            order.given += 1;
            while order.holder.is_some() || order.served != ticket {
                order = self.changed.wait(order).unwrap_or_else(PoisonError::into_inner);
                order.told = false;
            }
            order.served += 1;
            order.passed = 0;
        }
        order.holder = Some(me);
        drop(order);
        // A panic inside the stack lost what it was at, as a panic costs one frame.
        let stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Turn { stack: Some(stack), turns: self })
    }

    /// The stack, which nobody else has any more.
    pub(super) fn into_stack(self) -> Stack {
        self.stack.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Turn<'_> {
    type Target = Stack;

    #[expect(clippy::expect_used, reason = "it is there until the drop")]
    fn deref(&self) -> &Stack {
        self.stack.as_ref().expect("a turn has the stack")
    }
}

impl DerefMut for Turn<'_> {
    #[expect(clippy::expect_used, reason = "it is there until the drop")]
    fn deref_mut(&mut self) -> &mut Stack {
        self.stack.as_mut().expect("a turn has the stack")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.stack.take());
        let mut order = self.turns.order();
        order.holder = None;
        if order.waiting() && !std::mem::replace(&mut order.told, true) {
            drop(order);
            self.turns.changed.notify_all();
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    fn turns() -> Turns {
        Turns::new(Stack::new(Config::default()).unwrap())
    }

    /// As the driver beside a thread that hands in frames without a pause.
    #[test]
    fn one_who_waits_is_passed_a_bounded_number_of_times() {
        let turns = &turns();
        let others = &AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..50 {
                let held = turns.take().unwrap();
                others.store(0, Ordering::SeqCst);
                let waiter = scope.spawn(move || {
                    let _turn = turns.take().unwrap();
                    others.load(Ordering::SeqCst)
                });
                while !turns.order().waiting() {
                    thread::yield_now();
                }
                drop(held);
                while !waiter.is_finished() {
                    let _turn = turns.take().unwrap();
                    others.fetch_add(1, Ordering::SeqCst);
                }
                let passed = waiter.join().unwrap();
                assert!(passed <= MOST_PASSED, "{passed} turns");
            }
        });
    }

    #[test]
    fn many_at_once_all_have_their_turns() {
        let turns = &turns();
        let (inside, had) = (&AtomicU32::new(0), &AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let _turn = turns.take().unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        had.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(had.load(Ordering::SeqCst), 16_000);
        assert!(!turns.order().waiting());
    }

    #[test]
    fn a_thread_that_has_it_is_told_so_and_a_panic_gives_it_back() {
        let turns = &turns();
        let turn = turns.take().unwrap();
        assert!(turns.take().is_err());
        drop(turn);
        let panicked = thread::scope(|scope| {
            let panics = || {
                let _turn = turns.take().unwrap();
                panic!("on purpose");
            };
            scope.spawn(panics).join().is_err()
        });
        assert!(panicked);
        assert!(turns.take().is_ok());
    }
}
