//! Host forwards whose address is none of the host's yet. They are tried now and then, until it is.

use serde_json::{Value, json};

use super::range::{Place, Range};
use crate::forward::error::ForwardError;
use crate::forward::host::{HostForwardHandle, Protocol};
use crate::host::fault::Fault;
use crate::stack::Stack;
use crate::time::{Duration, Instant};

/// How often they are tried.
const RETRY: Duration = Duration::from_secs(1);
/// The most that wait; there is no room for more.
pub(super) const MOST: usize = 256;

/// A range that waits, and why its last try was in vain.
struct Waiter {
    range: Range,
    why: String,
}

/// See the module.
#[derive(Default)]
pub(super) struct Waiting {
    waiters: Vec<Waiter>,
    next: Option<Instant>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Has a range wait.
    pub(super) fn push(&mut self, range: Range, why: &ForwardError, now: Instant) {
        self.waiters.push(Waiter { range, why: reason(why) });
        self.next.get_or_insert(now + RETRY);
    }

    /// Whether the range that is to be at a place waits.
    pub(super) fn has(&self, protocol: Protocol, place: &Place) -> bool {
        self.waiters.iter().any(|Waiter { range, .. }| range.protocol == protocol && range.place == *place)
    }

    /// The same, that does not wait any more.
    pub(super) fn remove(&mut self, protocol: Protocol, place: &Place) {
        self.waiters.retain(|Waiter { range, .. }| range.protocol != protocol || range.place != *place);
    }

    pub(super) fn clear(&mut self) {
        self.waiters.clear();
    }

    /// All of them, in words.
    pub(super) fn words(&self) -> Vec<Value> {
        let words = |waiter: &Waiter| {
            let words = waiter.range.words();
            json!({ "protocol": words.protocol, "listen": words.listen, "guest": words.guest, "why": waiter.why })
        };
        self.waiters.iter().map(words).collect()
    }

    /// Tries them, if it is time; says when it will be again.
    pub(super) fn work(&mut self, stack: &mut Stack) -> Option<Instant> {
        let now = stack.time();
        if self.waiters.is_empty() {
            self.next = None;
        }
        if self.next? > now {
            return self.next;
        }
        self.waiters.retain_mut(|waiter| match try_all(stack, &waiter.range) {
            Ok(()) => false,
            Err(error) => {
                waiter.why = reason(&error);
                true
            }
        });
        self.next = (!self.waiters.is_empty()).then_some(now + RETRY);
        self.next
    }
}

/// Adds a whole range, or nothing.
fn try_all(stack: &mut Stack, range: &Range) -> Result<(), ForwardError> {
    let mut made: Vec<HostForwardHandle> = Vec::new();
    for number in 0..range.count() {
        match stack.add_host_forward(range.nth(number)) {
            Ok(handle) => made.push(handle),
            Err(error) => {
                for handle in made {
                    // It was made just now.
                    let _ = stack.remove_host_forward(handle);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Whether the address is one that may come.
pub(super) fn may_come(error: &ForwardError) -> bool {
    matches!(error, ForwardError::Listen { error, .. } if Fault::of(error) == Fault::NoAddress)
}

/// What is wrong, with what the system said.
pub(super) fn reason(error: &ForwardError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
