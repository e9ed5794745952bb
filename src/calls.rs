//! The calls of the library that a thread is inside of: what is below it on its stack. A cleanup from inside a callback must
//! not wait for the calls that it was made from.
//!
//! It is noted once for each call of the library, not for each callback: finding a thread's own memory costs a call by itself.

use std::cell::Cell;
use std::ptr;

thread_local! {
    /// The innermost call on this thread.
    static INNERMOST: Cell<*const Call> = const { Cell::new(ptr::null()) };
}

/// A call of the library, on the stack of the thread that makes it.
struct Call {
    /// The address of the instance it was made for.
    instance: usize,
    /// The one that this one was made inside of.
    outer: *const Call,
}

/// Takes a call off when it ends, be it by a panic.
struct End<'a> {
    innermost: &'a Cell<*const Call>,
    outer: *const Call,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.innermost.set(self.outer);
    }
}

/// Does the work of a call for the instance at this address, of which the call holds a counted reference.
#[inline]
pub(crate) fn within<T>(instance: usize, work: impl FnOnce() -> T) -> T {
    INNERMOST.with(|innermost| {
        let call = Call { instance, outer: innermost.get() };
        let _end = End { innermost, outer: call.outer };
        innermost.set(&raw const call);
        work()
    })
}

/// How many calls the calling thread is inside of, for the instance at this address.
pub(crate) fn depth(instance: usize) -> usize {
    let mut depth = 0;
    let mut next = INNERMOST.get();
    // SAFETY: each call on the list is on this thread's stack, further down, and takes itself off before it goes.
    while let Some(call) = unsafe { next.as_ref() } {
        depth += usize::from(call.instance == instance);
        next = call.outer;
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_inside_calls_are_counted_for_each_instance() {
        within(1, || {
            within(2, || {
                within(1, || assert_eq!((depth(1), depth(2), depth(3)), (2, 1, 0)));
                assert_eq!((depth(1), depth(2)), (1, 1));
            });
            let panicked = std::panic::catch_unwind(|| within(1, || std::panic::resume_unwind(Box::new(()))));
            assert!(panicked.is_err());
            assert_eq!(depth(1), 1);
        });
        assert_eq!(depth(1), 0);
    }
}
