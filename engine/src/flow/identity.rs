//! Which stack a handle belongs to: a program may have several, and what names something in one must not find something else
//! in another.

use std::hash::BuildHasher;

use super::context::Context;

/// Names a stack: drawn when it was made, so that two of them share one only by a chance of one in 2⁶⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity(u64);

impl Context {
    /// The identity of the stack.
    pub(crate) fn identity(&self) -> Identity {
        // The secret's hashes of flows are of other lengths.
        Identity(self.secret.hash_one(()))
    }
}

#[cfg(test)]
impl Identity {
    pub(crate) fn of_test(number: u64) -> Identity {
        Identity(number)
    }
}
