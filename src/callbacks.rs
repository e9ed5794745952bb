//! The application's callbacks: copied when an instance is made, as far as the configuration's version allows, so that
//! neither a shorter nor a short-lived table does harm. Source: docs/contract/api.md section 4.

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::{MaybeUninit, offset_of};

use oxislirp::RawSocket;

use super::types::{RawTimerId, Slirp, SlirpCb, slirp_os_socket};

/// The application's callbacks with their opaque pointer. Each method does nothing where the callback is NULL.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    table: SlirpCb,
    opaque: *mut c_void,
}

/// How many bytes of the table an application of this configuration version has.
fn table_length(version: u32) -> usize {
    match version {
        ..4 => offset_of!(SlirpCb, init_completed),
        4..6 => offset_of!(SlirpCb, register_poll_socket),
        6.. => size_of::<SlirpCb>(),
    }
}

impl Callbacks {
    /// Copies the table.
    ///
    /// # Safety
    /// `table` is NULL or points to a table as long as `version` says.
    pub(crate) unsafe fn copy(table: *const SlirpCb, version: u32, opaque: *mut c_void) -> Callbacks {
        let mut copy = MaybeUninit::<SlirpCb>::zeroed();
        if !table.is_null() {
            // SAFETY: the caller vouches for the length at the source, and no version is longer than the whole table.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    table.cast::<u8>(),
                    copy.as_mut_ptr().cast::<u8>(),
                    table_length(version),
                );
            }
        }
        // SAFETY: every member is an optional function pointer, for which zero is None; the rest the caller vouches for.
        Callbacks { table: unsafe { copy.assume_init() }, opaque }
    }

    /// Hands a frame to the guest. False when the application reports a failure.
    pub(crate) fn send_packet(&self, frame: &[u8]) -> bool {
        let Some(send_packet) = self.table.send_packet else { return true };
        // SAFETY: the application gave this function for this opaque pointer; the frame outlives the call.
        unsafe { send_packet(frame.as_ptr().cast(), frame.len(), self.opaque) >= 0 }
    }

    pub(crate) fn guest_error(&self, text: &str) {
        let Some(guest_error) = self.table.guest_error else { return };
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        // SAFETY: as above; the text is NUL-terminated and outlives the call.
        unsafe { guest_error(text.as_ptr().cast::<c_char>(), self.opaque) }
    }

    /// The application's clock in nanoseconds.
    pub(crate) fn clock_get_ns(&self) -> Option<i64> {
        let clock_get_ns = self.table.clock_get_ns?;
        // SAFETY: as above.
        Some(unsafe { clock_get_ns(self.opaque) })
    }

    pub(crate) fn register(&self, descriptor: RawSocket) {
        if let Some(register) = self.table.register_poll_socket {
            // SAFETY: as above.
            unsafe { register(descriptor as slirp_os_socket, self.opaque) }
        } else if let Some(register) = self.table.register_poll_fd {
            // SAFETY: as above.
            unsafe { register(descriptor as c_int, self.opaque) }
        }
    }

    pub(crate) fn unregister(&self, descriptor: RawSocket) {
        if let Some(unregister) = self.table.unregister_poll_socket {
            // SAFETY: as above.
            unsafe { unregister(descriptor as slirp_os_socket, self.opaque) }
        } else if let Some(unregister) = self.table.unregister_poll_fd {
            // SAFETY: as above.
            unsafe { unregister(descriptor as c_int, self.opaque) }
        }
    }

    pub(crate) fn notify(&self) {
        let Some(notify) = self.table.notify else { return };
        // SAFETY: as above.
        unsafe { notify(self.opaque) }
    }

    pub(crate) fn init_completed(&self, slirp: *mut Slirp) {
        let Some(init_completed) = self.table.init_completed else { return };
        // SAFETY: as above; the instance is complete.
        unsafe { init_completed(slirp, self.opaque) }
    }

    /// Has the application make a timer; `fired` with `slirp` is what a timer of the old kind calls. `None` when the
    /// application has no timers. A NULL handle is a handle like any other.
    pub(crate) fn timer_new(
        &self,
        id: RawTimerId,
        fired: unsafe extern "C" fn(*mut c_void),
        slirp: *mut Slirp,
    ) -> Option<*mut c_void> {
        if let Some(timer_new_opaque) = self.table.timer_new_opaque {
            // SAFETY: as above; upstream's cb_opaque is NULL as well.
            Some(unsafe { timer_new_opaque(id, std::ptr::null_mut(), self.opaque) })
        } else {
            let timer_new = self.table.timer_new?;
            // SAFETY: as above; the application calls `fired` only until it is told to free the timer.
            Some(unsafe { timer_new(Some(fired), slirp.cast(), self.opaque) })
        }
    }

    /// Sets a timer to an absolute time of the application's clock, in milliseconds.
    pub(crate) fn timer_mod(&self, timer: *mut c_void, expire_ms: i64) {
        let Some(timer_mod) = self.table.timer_mod else { return };
        // SAFETY: as above; the handle is one that the application gave.
        unsafe { timer_mod(timer, expire_ms, self.opaque) }
    }

    pub(crate) fn timer_free(&self, timer: *mut c_void) {
        let Some(timer_free) = self.table.timer_free else { return };
        // SAFETY: as above; the handle is one that the application gave, and is freed once.
        unsafe { timer_free(timer, self.opaque) }
    }
}
