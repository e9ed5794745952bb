//! Host forwards whose address is none of the host's yet. They are tried now and then, until it is; a range is there whole or not at
//! all, and takes as many rounds as it needs.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::range::{Place, Range};
use crate::forward::error::ForwardError;
use crate::forward::host::{HostForwardHandle, Protocol};
use crate::host::fault::Fault;
use crate::stack::Stack;
use crate::stack::attendant::More;
use crate::time::{Duration, Instant};

/// How often they are tried.
const RETRY: Duration = Duration::from_secs(1);
/// The most that wait; there is no room for more.
pub(super) const MOST: usize = 256;

/// What one round does of them: forwards that are added or removed.
const SLICE: usize = 32;

/// A range that waits, and why its last try was in vain.
struct Waiter {
    range: Range,
    why: String,
}

impl Waiter {
    fn is_at(&self, protocol: Protocol, place: &Place) -> bool {
        self.range.protocol == protocol && self.range.place == *place
    }
}

/// A range that is being tried.
struct Trying {
    waiter: Waiter,
    /// Of its forwards, those that there are.
    made: Vec<HostForwardHandle>,
    /// One of them could not be had, so that none is to be.
    in_vain: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Waiting {
    /// The one that is tried next is the first.
    waiters: VecDeque<Waiter>,
    next: Option<Instant>,
    /// How many are to be tried yet, of this time.
    due: usize,
    trying: Option<Trying>,
    /// One was tried in vain in this round: what there was of it is not closed yet.
    in_vain: bool,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.all().count()
    }

    /// All of them, with the one that is being tried. Nobody changes forwards, and so none of these, while one is.
    fn all(&self) -> impl Iterator<Item = &Waiter> {
        self.waiters.iter().chain(self.trying.as_ref().map(|trying| &trying.waiter))
    }

    /// Has a range wait.
    pub(super) fn push(&mut self, range: Range, why: &ForwardError, now: Instant) {
        self.waiters.push_back(Waiter { range, why: reason(why) });
        self.next.get_or_insert(now + RETRY);
    }

    /// Whether the range that is to be at a place waits.
    pub(super) fn has(&self, protocol: Protocol, place: &Place) -> bool {
        self.waiters.iter().any(|waiter| waiter.is_at(protocol, place))
    }

    /// The same, that does not wait any more.
    pub(super) fn remove(&mut self, protocol: Protocol, place: &Place) {
        self.waiters.retain(|waiter| !waiter.is_at(protocol, place));
    }

    pub(super) fn clear(&mut self) {
        self.waiters.clear();
    }

    /// One that is in the way of another one.
    pub(super) fn meeting(&self, range: &Range) -> Option<&Range> {
        self.all().map(|waiter| &waiter.range).find(|waiting| waiting.meets(range))
    }

    /// All of them, in words.
    pub(super) fn words(&self) -> Vec<Value> {
        let words = |waiter: &Waiter| {
            let words = waiter.range.words();
            json!({ "protocol": words.protocol, "listen": words.listen, "guest": words.guest, "why": waiter.why })
        };
        self.all().map(words).collect()
    }

    /// Whether one of them is there in part, or was in this round.
    pub(super) fn is_unsettled(&self) -> bool {
        self.trying.is_some() || self.in_vain
    }

    /// Tries them, if it is time, and a further one only where one `begins`; says when there is more to do.
    pub(super) fn work(&mut self, stack: &mut Stack, begins: bool) -> More {
        let now = stack.time();
        self.in_vain = false;
        if !begins && self.trying.is_none() {
            return self.next.map_or(More::Nothing, More::At);
        }
        if self.due == 0 && self.trying.is_none() {
            if self.waiters.is_empty() {
                self.next = None;
            }
            match self.next {
                None => return More::Nothing,
                Some(next) if next > now => return More::At(next),
                Some(_) => {}
            }
            (self.due, self.next) = (self.waiters.len(), Some(now + RETRY));
        }
        for _ in 0..SLICE {
            if self.trying.is_none() && begins {
                self.begin();
            }
            let Some(trying) = self.trying.take() else {
                return self.next.map_or(More::Nothing, More::At);
            };
            match trying.step(stack) {
                Tried::More(trying) => self.trying = Some(trying),
                Tried::Waits(waiter) => {
                    self.in_vain = true;
                    self.waiters.push_back(waiter);
                }
                Tried::Over => {}
            }
        }
        More::AtOnce
    }

    /// Takes up the next one.
    fn begin(&mut self) {
        let due = self.due.min(self.waiters.len());
        self.due = due.saturating_sub(1);
        if due > 0 {
            let trying = |waiter| Trying { waiter, made: Vec::new(), in_vain: false };
            self.trying = self.waiters.pop_front().map(trying);
        }
    }
}

/// What a step has come to.
enum Tried {
    More(Trying),
    /// It waits on.
    Waits(Waiter),
    /// It is there.
    Over,
}

impl Trying {
    /// Adds the next of its forwards, or removes one again.
    fn step(mut self, stack: &mut Stack) -> Tried {
        if self.in_vain {
            if let Some(handle) = self.made.pop() {
                // Somebody else may have removed it meanwhile.
                let _ = stack.remove_host_forward(handle);
                return Tried::More(self);
            }
            return Tried::Waits(self.waiter);
        }
        if self.made.len() >= self.waiter.range.count() {
            return Tried::Over;
        }
        match stack.add_host_forward(self.waiter.range.nth(self.made.len())) {
            Ok(handle) => self.made.push(handle),
            Err(error) => {
                self.waiter.why = reason(&error);
                self.in_vain = true;
            }
        }
        Tried::More(self)
    }
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
