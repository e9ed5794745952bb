//! What a handle stands for: a counted reference that can wait until the others are gone.
//!
//! It is an `Arc` with one more thing: [`Counted::close`] waits until every other reference has been dropped, except
//! for those that the caller's own thread holds further down its stack. That needs the count and the flag "closing" in
//! one atomic, so that whoever drops the last reference cannot miss that somebody waits.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};

/// The bit that says that somebody waits for the other references to go.
const CLOSING: usize = 1 << (usize::BITS - 1);

/// Who waits, waits here, for whatever value: whoever drops a reference must not touch the value's memory after that.
static GONE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

struct Shared<T> {
    /// The number of references, and [`CLOSING`].
    state: AtomicUsize,
    value: T,
}

/// A counted reference.
pub(crate) struct Counted<T> {
    shared: NonNull<Shared<T>>,
    owns: PhantomData<Shared<T>>,
}

// SAFETY: as for `Arc`: references on several threads give each of them `&T`, and the last one drops the `T`.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T> Counted<T> {
    pub(crate) fn new(value: T) -> Counted<T> {
        let shared = NonNull::from(Box::leak(Box::new(Shared { state: AtomicUsize::new(1), value })));
        Counted { shared, owns: PhantomData }
    }

    /// Turns this reference into a pointer that stands for it.
    pub(crate) fn into_raw(self) -> *mut () {
        let pointer = self.shared.as_ptr();
        std::mem::forget(self);
        pointer.cast()
    }

    /// Turns a pointer back into the reference that it stands for.
    ///
    /// # Safety
    /// `pointer` came from [`Counted::into_raw`] of the same type, and stands for nothing afterwards.
    pub(crate) unsafe fn from_raw(pointer: *mut ()) -> Option<Counted<T>> {
        Some(Counted { shared: NonNull::new(pointer.cast())?, owns: PhantomData })
    }

    /// Another reference beside the one that a pointer stands for.
    ///
    /// # Safety
    /// `pointer` is NULL or came from [`Counted::into_raw`] of the same type, and still stands for a reference.
    pub(crate) unsafe fn beside(pointer: *mut ()) -> Option<Counted<T>> {
        let shared = NonNull::<Shared<T>>::new(pointer.cast())?;
        // SAFETY: the reference that the pointer stands for keeps the memory.
        unsafe { shared.as_ref() }.state.fetch_add(1, Ordering::Relaxed);
        Some(Counted { shared, owns: PhantomData })
    }

    /// The value that a pointer stands for, without another reference.
    ///
    /// # Safety
    /// As for [`Counted::beside`]; and what is given may be used only for as long as something else is known to keep the
    /// value: the pointer's own reference, or what whoever takes that back waits for.
    pub(crate) unsafe fn uncounted<'a>(pointer: *mut ()) -> Option<&'a T> {
        let shared = NonNull::<Shared<T>>::new(pointer.cast())?;
        // SAFETY: as the caller vouches.
        Some(unsafe { &(*shared.as_ptr()).value })
    }

    /// Waits until there is no reference but this one and `own` others, which the calling thread holds itself. To be called
    /// once.
    pub(crate) fn close(&self, own: usize) {
        let state = self.state();
        state.fetch_or(CLOSING, Ordering::AcqRel);
        let mut gone = GONE.0.lock().unwrap_or_else(PoisonError::into_inner);
        while state.load(Ordering::Acquire) & !CLOSING > own + 1 {
            gone = GONE.1.wait(gone).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> &AtomicUsize {
        // SAFETY: a reference keeps the memory.
        unsafe { &(*self.shared.as_ptr()).state }
    }
}

impl<T> Clone for Counted<T> {
    fn clone(&self) -> Counted<T> {
        self.state().fetch_add(1, Ordering::Relaxed);
        Counted { shared: self.shared, owns: PhantomData }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a reference keeps the value.
        unsafe { &(*self.shared.as_ptr()).value }
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        let before = self.state().fetch_sub(1, Ordering::Release);
        if before & !CLOSING == 1 {
            fence(Ordering::Acquire);
            // SAFETY: this was the last reference, and the memory came from a Box.
            drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
        } else if before & CLOSING != 0 {
            // The memory may be gone by now. Whoever waits holds this lock from looking at the count until it sleeps.
            drop(GONE.0.lock().unwrap_or_else(PoisonError::into_inner));
            GONE.1.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    /// Says when it is dropped.
    struct Told(Arc<AtomicBool>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_last_reference_drops_the_value() {
        let dropped = Arc::new(AtomicBool::new(false));
        let handle = Counted::new(Told(Arc::clone(&dropped))).into_raw();
        // SAFETY: the handle is what `into_raw` gave, and is taken back once.
        let (beside, first) =
            unsafe { (Counted::<Told>::beside(handle).unwrap(), Counted::<Told>::from_raw(handle).unwrap()) };
        drop(first);
        assert!(!dropped.load(Ordering::SeqCst));
        drop(beside);
        assert!(dropped.load(Ordering::SeqCst));
    }

    #[test]
    fn closing_waits_for_other_threads_and_not_for_its_own() {
        for _ in 0..100 {
            let left = Arc::new(AtomicBool::new(false));
            let counted = Counted::new(AtomicBool::new(true));
            let own = counted.clone();
            let others = counted.clone();
            let mark = Arc::clone(&left);
            let thread = thread::spawn(move || {
                thread::yield_now();
                assert!(others.load(Ordering::SeqCst));
                mark.store(true, Ordering::SeqCst);
                drop(others);
            });
            counted.close(1);
            assert!(left.load(Ordering::SeqCst));
            drop(counted);
            assert!(own.load(Ordering::SeqCst));
            drop(own);
            thread.join().unwrap();
        }
    }
}
