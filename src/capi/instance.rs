//! One instance: the engine behind a lock, and the callbacks in front of it.
//!
//! The lock is held only while the engine works, never while the application is called. So a callback may call back in,
//! on this thread or another; and two threads that enter at once take turns. What the engine makes (frames and effects)
//! is taken out under the lock and handed over outside it, by one thread at a time: frames leave in the order in which
//! they were made, and a nested call leaves its frames to the outer one.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant as HostInstant;

use super::callbacks::Callbacks;
use super::debug;
use super::fence::describe;
use super::log::{self, Level};
use super::polling::Watching;
use super::types::{Slirp, SlirpDbg, SlirpTimerId};
use crate::flow::Effect;
use crate::flow::tcp::Target;
use crate::host::unix::UnixAddress;
use crate::inspect;
use crate::link::outbox::Outbox;
use crate::snapshot;
use crate::stack::{Config, Stack};
use crate::time::Instant;

/// Frames from the guest between two looks at the application's clock. A clock that old is exact enough for what is
/// measured with it, and calling it for each frame would cost more than the frame.
const FRAMES_PER_CLOCK: u32 = 16;
/// Bounds of the time between two router advertisements, in milliseconds; source: contract/poll-and-timers.md section 5.
const RA_INTERVAL_MS: std::ops::Range<u64> = 200_000..600_000;

/// Who takes the bytes of a guest forward.
pub type GuestForwardWriter = unsafe extern "C" fn(*const c_void, usize, *mut c_void) -> isize;

/// A guest forward's callback with its opaque pointer.
#[derive(Clone, Copy)]
struct Writer {
    write: GuestForwardWriter,
    opaque: *mut c_void,
}

/// Frames and effects on their way to the application.
#[derive(Default)]
struct Batch {
    outbox: Outbox,
    effects: Vec<Effect>,
}

/// What the lock guards.
pub(super) struct Core {
    pub(super) stack: Stack,
    /// Somebody is handing over frames and effects.
    delivering: bool,
    /// Empty, for its memory.
    spare: Batch,
    writers: HashMap<u64, Writer>,
}

impl Core {
    /// Takes out what is to be handed over, for the caller to do so. `None` when there is nothing, or when somebody is
    /// at it already, who then comes for this too.
    fn next_batch(&mut self) -> Option<Batch> {
        if self.delivering || (self.stack.outbox().is_empty() && self.stack.effects().is_empty()) {
            return None;
        }
        self.delivering = true;
        let mut batch = std::mem::take(&mut self.spare);
        std::mem::swap(self.stack.outbox(), &mut batch.outbox);
        std::mem::swap(self.stack.effects(), &mut batch.effects);
        Some(batch)
    }
}

/// One instance of the library.
pub struct Instance {
    core: Mutex<Core>,
    /// What the application watches.
    pub(super) watching: Watching,
    callbacks: Callbacks,
    /// The application has called cleanup: it is not to be called any more.
    closed: AtomicBool,
    /// The handle of the router advertisement timer, when IPv6 is on and the application has timers.
    timer: Mutex<Option<*mut c_void>>,
    started: HostInstant,
    clock: AtomicI64,
    frames_since_clock: AtomicU32,
    random: RandomState,
}

// SAFETY: the raw pointers in it (opaque pointers and a timer handle) are never followed here, only handed back to the
// application's functions; what may be done with them on which thread is the application's own contract.
unsafe impl Send for Instance {}
// SAFETY: as above; everything else is behind locks or atomic.
unsafe impl Sync for Instance {}

impl Instance {
    /// Makes an instance and has the application make its timer.
    ///
    /// # Errors
    /// What the operating system says when it has no descriptor left.
    pub fn create(config: Config, callbacks: Callbacks) -> std::io::Result<*mut Slirp> {
        let ipv6 = config.ipv6_enabled;
        let stack = Stack::new(config)?;
        let instance = Arc::new(Instance {
            watching: Watching::new(stack.descriptor()),
            core: Mutex::new(Core { stack, delivering: false, spare: Batch::default(), writers: HashMap::new() }),
            callbacks,
            closed: AtomicBool::new(false),
            timer: Mutex::new(None),
            started: HostInstant::now(),
            clock: AtomicI64::new(0),
            frames_since_clock: AtomicU32::new(FRAMES_PER_CLOCK),
            random: RandomState::new(),
        });
        let handle = Arc::into_raw(Arc::clone(&instance)).cast::<Slirp>().cast_mut();
        instance.callbacks.init_completed(handle);
        if ipv6 {
            *lock(&instance.timer) = instance.callbacks.timer_new(SlirpTimerId::SlirpTimerRa as u32, ra_timer, handle);
            instance.arm_ra_timer();
        }
        // What the stack had to say when it was made.
        instance.enter(|_| ());
        Ok(handle)
    }

    /// The instance behind a handle; it lives on for as long as the caller holds it, whatever happens to the handle.
    ///
    /// # Safety
    /// `handle` is NULL or came from [`Instance::create`] and was not given to [`Instance::destroy`] before.
    pub unsafe fn from_handle(handle: *mut Slirp) -> Option<Arc<Instance>> {
        if handle.is_null() {
            return None;
        }
        let pointer = handle.cast_const().cast::<Instance>();
        // SAFETY: the handle stands for one reference, which is still held; this adds a second one.
        unsafe {
            Arc::increment_strong_count(pointer);
            Some(Arc::from_raw(pointer))
        }
    }

    /// Ends an instance: its sockets are unregistered and closed and its timer freed. Nothing else is called.
    ///
    /// # Safety
    /// As for [`Instance::from_handle`]; the handle is void afterwards.
    pub unsafe fn destroy(handle: *mut Slirp) {
        if handle.is_null() {
            return;
        }
        // SAFETY: this takes over the reference the handle stood for.
        let instance = unsafe { Arc::from_raw(handle.cast_const().cast::<Instance>()) };
        instance.closed.store(true, Ordering::Release);
        let effects = {
            let mut core = lock(&instance.core);
            core.stack.shut_down();
            core.stack.outbox().clear();
            core.writers.clear();
            std::mem::take(core.stack.effects())
        };
        for effect in effects {
            if let Effect::Unregister(socket) = effect {
                instance.callbacks.unregister(socket.as_raw_fd());
            }
        }
        if let Some(timer) = lock(&instance.timer).take() {
            instance.callbacks.timer_free(timer);
        }
    }

    /// Reads the clock.
    pub(super) fn now(&self) -> Instant {
        let nanoseconds = match self.callbacks.clock_get_ns() {
            Some(nanoseconds) => nanoseconds,
            None => i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX),
        };
        let microseconds = nanoseconds / 1000;
        self.clock.store(microseconds, Ordering::Relaxed);
        self.frames_since_clock.store(0, Ordering::Relaxed);
        Instant::from_micros(microseconds)
    }

    /// The clock as a frame sees it, when it need not be read again. The count may miss a frame when two threads come in
    /// at once, which does no harm.
    fn recent_now(&self) -> Option<Instant> {
        let frames = self.frames_since_clock.load(Ordering::Relaxed);
        if frames >= FRAMES_PER_CLOCK {
            return None;
        }
        self.frames_since_clock.store(frames + 1, Ordering::Relaxed);
        Some(Instant::from_micros(self.clock.load(Ordering::Relaxed)))
    }

    /// The application may sleep from now on: what the clock said is too old for the frame that wakes it. Round trips would
    /// look shorter than they are by the time it slept.
    pub(super) fn clock_is_old(&self) {
        self.frames_since_clock.store(FRAMES_PER_CLOCK, Ordering::Relaxed);
    }

    /// Lets `work` into the engine and hands over what it made. A panic in it loses what was being worked on, and no
    /// more: the application is told, and the instance goes on.
    pub(super) fn enter<T>(&self, work: impl FnOnce(&mut Core) -> T) -> Option<T> {
        let (result, batch) = {
            let mut core = lock(&self.core);
            let result = match catch_unwind(AssertUnwindSafe(|| work(&mut core))) {
                Ok(result) => Some(result),
                Err(panic) => {
                    let text = format!("libslirp: internal error, a frame was lost: {}", describe(&*panic));
                    core.stack.effects().push(Effect::GuestError(text));
                    None
                }
            };
            (result, core.next_batch())
        };
        if let Some(batch) = batch {
            self.deliver(batch);
        }
        result
    }

    /// Hands over the frames and effects that the engine has made, until there are none.
    fn deliver(&self, first: Batch) {
        // A callback may clean the instance up; it is to live until this is done.
        // SAFETY: `self` is always behind the Arc that `create` made, and some reference to it is held by the caller.
        let _alive = unsafe {
            Arc::increment_strong_count(std::ptr::from_ref(self));
            Arc::from_raw(std::ptr::from_ref(self))
        };
        let fallback = Handover(self);
        let mut next = Some(first);
        while let Some(mut batch) = next {
            for effect in batch.effects.drain(..) {
                self.carry_out(effect);
            }
            for frame in batch.outbox.frames() {
                if self.closed.load(Ordering::Acquire) {
                    break;
                }
                if !self.callbacks.send_packet(frame) {
                    debug::message(SlirpDbg::Error as u32, || "send_packet failed; the frame is dropped".into());
                }
            }
            batch.outbox.clear();
            let mut core = lock(&self.core);
            core.spare = batch;
            core.delivering = false;
            next = core.next_batch();
        }
        std::mem::forget(fallback);
    }

    fn carry_out(&self, effect: Effect) {
        if self.closed.load(Ordering::Acquire) && !matches!(effect, Effect::Unregister(_)) {
            return;
        }
        match effect {
            Effect::Register(descriptor) => self.callbacks.register(descriptor),
            // The socket closes at the end of this arm, after the application was told.
            Effect::Unregister(socket) => self.callbacks.unregister(socket.as_raw_fd()),
            Effect::Notify => self.callbacks.notify(),
            Effect::GuestError(text) => self.callbacks.guest_error(&text),
            Effect::Warning(text) => log::write(Level::Warning, &text),
            Effect::GuestForward { forward, bytes } => {
                let writer = lock(&self.core).writers.get(&forward).copied();
                if let Some(writer) = writer {
                    // SAFETY: the application gave this function for this opaque pointer and has not removed the
                    // forward; the bytes outlive the call.
                    let _ = unsafe { (writer.write)(bytes.as_ptr().cast(), bytes.len(), writer.opaque) };
                }
            }
        }
    }

    /// `slirp_input`.
    ///
    /// # Safety
    /// As for [`Instance::from_handle`].
    pub unsafe fn input(handle: *mut Slirp, frame: &[u8]) {
        // SAFETY: the caller vouches for the handle. The reference that it stands for outlives this borrow: only a
        // callback could end it, and callbacks are called in `now` and `deliver`, before and after which a counted
        // reference is held; nothing here uses the borrow after them.
        let Some(instance) = (unsafe { handle.cast_const().cast::<Instance>().as_ref() }) else { return };
        if let Some(now) = instance.recent_now() {
            instance.enter(|core| core.stack.input(frame, now));
            return;
        }
        // SAFETY: as above.
        if let Some(instance) = unsafe { Instance::from_handle(handle) } {
            let now = instance.now();
            instance.enter(|core| core.stack.input(frame, now));
        }
    }

    /// `slirp_handle_timer`.
    pub fn handle_timer(&self, id: u32) {
        if id != SlirpTimerId::SlirpTimerRa as u32 {
            log::write(Level::Critical, &format!("slirp_handle_timer: there is no timer {id}"));
            return;
        }
        self.arm_ra_timer();
        let now = self.now();
        self.enter(|core| {
            core.stack.set_now(now);
            core.stack.advertise_router();
        });
    }

    fn arm_ra_timer(&self) {
        let Some(timer) = *lock(&self.timer) else { return };
        let now = self.now();
        let width = RA_INTERVAL_MS.end - RA_INTERVAL_MS.start;
        let wait = RA_INTERVAL_MS.start + self.random.hash_one(now.total_micros()) % width;
        self.callbacks.timer_mod(timer, now.total_millis().saturating_add(wait as i64));
    }

    /// Adds a host forward; an error is an errno.
    pub fn add_host_forward(&self, udp: bool, host: SocketAddr, guest: SocketAddr, only_v6: bool) -> Result<(), c_int> {
        let now = self.now();
        let result = self.enter(|core| {
            core.stack.set_now(now);
            core.stack.add_host_forward(udp, host, guest, only_v6)
        });
        match result {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
            None => Err(libc::EIO),
        }
    }

    pub fn remove_host_forward(&self, udp: bool, host: SocketAddr) -> bool {
        let removed = self.enter(|core| core.stack.remove_host_forward(udp, host));
        removed.unwrap_or(false)
    }

    /// Adds a host forward on a Unix socket; an error is an errno.
    pub fn add_unix_host_forward(&self, host: &UnixAddress, guest: SocketAddr) -> Result<(), c_int> {
        let now = self.now();
        let result = self.enter(|core| {
            core.stack.set_now(now);
            core.stack.add_unix_host_forward(host, guest)
        });
        let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        result.map_or(Err(libc::EIO), |result| result.map_err(errno))
    }

    pub fn remove_unix_host_forward(&self, host: &UnixAddress) -> bool {
        let removed = self.enter(|core| core.stack.remove_unix_host_forward(host));
        removed.unwrap_or(false)
    }

    /// Adds a guest forward with a callback; false when its address or port is not to be had.
    pub fn add_guest_forward(
        &self,
        write: GuestForwardWriter,
        opaque: *mut c_void,
        address: &mut Ipv4Addr,
        port: u16,
    ) -> bool {
        let added = self.enter(|core| {
            let number = core.stack.add_guest_forward(address, port)?;
            core.writers.insert(number, Writer { write, opaque });
            Some(())
        });
        matches!(added, Some(Some(())))
    }

    /// Adds a guest forward to something that needs no callback; false when its address or port is not to be had.
    pub fn add_guest_forward_to(&self, target: Target, address: &mut Ipv4Addr, port: u16) -> bool {
        let added = self.enter(|core| core.stack.add_guest_forward_to(target, address, port));
        matches!(added, Some(Some(_)))
    }

    /// Removes a guest forward. Its connections are reset: the application may free what its callback uses.
    pub fn remove_guest_forward(&self, address: Ipv4Addr, port: u16) -> bool {
        let removed = self.enter(|core| {
            let number = core.stack.remove_guest_forward(address, port)?;
            core.writers.remove(&number);
            Some(())
        });
        matches!(removed, Some(Some(())))
    }

    pub fn guest_forward_room(&self, address: Ipv4Addr, port: u16) -> usize {
        self.enter(|core| core.stack.guest_forward_room(address, port)).unwrap_or(0)
    }

    pub fn guest_forward_receive(&self, address: Ipv4Addr, port: u16, data: &[u8]) {
        let now = self.now();
        self.enter(|core| {
            core.stack.set_now(now);
            core.stack.guest_forward_receive(address, port, data);
        });
    }

    pub fn connection_info(&self) -> String {
        self.enter(|core| inspect::connections(&core.stack)).unwrap_or_default()
    }

    pub fn neighbor_info(&self) -> String {
        self.enter(|core| inspect::neighbors(&core.stack)).unwrap_or_default()
    }

    /// The pieces of the saved state; `None` after an internal error.
    pub fn save(&self) -> Option<Vec<Vec<u8>>> {
        self.enter(|core| snapshot::save(&core.stack))
    }

    /// Loads a saved state. `read` is called while nobody is inside the engine.
    ///
    /// # Errors
    /// Why it could not be loaded.
    pub fn load(&self, version: i32, read: impl FnMut(&mut [u8]) -> Option<()>) -> Result<(), snapshot::Error> {
        let loaded = snapshot::read(version, read)?;
        let now = self.now();
        let restored = self.enter(|core| {
            core.stack.set_now(now);
            loaded.restore(&mut core.stack)
        });
        restored.unwrap_or(Err(snapshot::Error::Invalid))
    }
}

/// Sees to it that a panic while frames are handed over does not leave the instance mute.
struct Handover<'a>(&'a Instance);

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        lock(&self.0.core).delivering = false;
    }
}

/// What a timer of the old kind calls.
unsafe extern "C" fn ra_timer(slirp: *mut c_void) {
    // SAFETY: the application calls this until cleanup has freed the timer, with the handle it was given.
    if let Some(instance) = unsafe { Instance::from_handle(slirp.cast()) } {
        super::fence::fenced("slirp timer", (), || instance.handle_timer(SlirpTimerId::SlirpTimerRa as u32));
    }
}

/// Takes a lock; a thread that panicked while it held it has left nothing that is worse than unfinished.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
