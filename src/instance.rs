//! One instance: the engine behind a lock, and the callbacks in front of it.
//!
//! The lock is held only while the engine works, never while the application is called. So a callback may call back in,
//! on this thread or another; and two threads that enter at once take turns. What the engine makes (frames and effects)
//! is taken out under the lock and handed over outside it, by one thread at a time: frames leave in the order in which
//! they were made, and a nested call leaves its frames to the outer one.
//!
//! Each call from the application holds a counted reference, so that a callback may clean up. Cleanup waits for the calls
//! that are on their way on other threads, and the removal of a guest forward for a call of its callback there: what they
//! are about is the application's to free as soon as they return. Neither waits for a call that it was itself made from.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{c_int, c_void};
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant as HostInstant;

use super::callbacks::Callbacks;
use super::calls;
use super::config_file::Settings;
use super::counted::Counted;
use super::debug;
use super::fence::describe;
use super::log::{self, Level};
use super::polling::Watching;
use super::refusal::errno_of_refusal;
use super::system::errno;
use super::types::{Slirp, SlirpDbg, SlirpTimerId};
use oxislirp::door::{Foreign, Handing, RecentClock, ThreadNumber, current_thread, switches_of_this_thread};
use oxislirp::{
    Caller, Config, Effect, ForwardError, GuestForward, GuestForwardHandle, HostForward, Instant, ListenAddress,
    Protocol, Stack, inspect, snapshot,
};

/// Who takes the bytes of a guest forward.
pub(crate) type GuestForwardWriter = unsafe extern "C" fn(*const c_void, usize, *mut c_void) -> isize;

/// A guest forward's callback with its opaque pointer.
#[derive(Clone, Copy)]
struct Writer {
    write: GuestForwardWriter,
    opaque: *mut c_void,
}

/// Frames on their way to the application; the effects that come before them are in [`Core::in_hand`].
struct Batch {
    handing: Box<Handing>,
    /// There are some.
    effects: bool,
}

/// What the lock guards.
pub(super) struct Core {
    pub(super) stack: Stack,
    /// Who is handing over frames and effects.
    delivering: Option<ThreadNumber>,
    /// Effects that are being carried out. They are here for a cleanup that comes in between.
    in_hand: VecDeque<Effect>,
    /// The guest forward whose callback is being called.
    writing: Option<GuestForwardHandle>,
    /// Whoever hands over is in a callback that cleans up, and waits there for the other calls.
    deliverer_waits: bool,
    /// Frames that wait for the application, and memory; with whoever is handing over meanwhile.
    handing: Option<Box<Handing>>,
    writers: HashMap<GuestForwardHandle, Writer>,
}

impl Core {
    /// Does some work in the engine. `None` after a panic, of which the application is to be told.
    fn run<T>(&mut self, work: impl FnOnce(&mut Core) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(result) => Some(result),
            Err(panic) => {
                let text = format!("libslirp: internal error, a frame was lost: {}", describe(&*panic));
                self.stack.effects().push(Effect::GuestError(text));
                None
            }
        }
    }

    /// Takes out what is to be handed over, for the caller to do so. `None` when there is nothing, or when somebody is
    /// at it already, who then comes for this too.
    #[inline]
    fn next_batch(&mut self) -> Option<Batch> {
        // Most frames of the guest, and most rounds, make nothing.
        let waits = self.handing.as_ref().is_some_and(|handing| !handing.has_nothing());
        if !waits && self.in_hand.is_empty() && !self.stack.has_output() {
            return None;
        }
        self.take_batch()
    }

    #[inline(never)]
    fn take_batch(&mut self) -> Option<Batch> {
        if self.delivering.is_some() {
            return None;
        }
        let frames = self.stack.hand_over(self.handing.get_or_insert_default());
        if !self.stack.effects().is_empty() {
            self.in_hand.extend(self.stack.effects().drain(..));
        }
        let effects = !self.in_hand.is_empty();
        if !frames && !effects {
            return None;
        }
        self.delivering = Some(current_thread());
        Some(Batch { handing: self.handing.take()?, effects })
    }
}

/// One instance of the library.
pub(crate) struct Instance {
    core: Mutex<Core>,
    /// [`Core::writing`] or [`Core::deliverer_waits`] has changed.
    written: Condvar,
    /// What the application watches.
    pub(super) watching: Watching,
    callbacks: Callbacks,
    /// The application has called cleanup: it is not to be called any more.
    closed: AtomicBool,
    /// The handle of the router advertisement timer, when IPv6 is on and the application has timers.
    timer: Mutex<Option<*mut c_void>>,
    started: HostInstant,
    pub(super) clock: RecentClock,
    /// The thread that runs the application's loop: the one that called fill last.
    loop_thread: AtomicU64,
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
    /// What the operating system says when it has no descriptor left, or of a file or a socket that the settings name.
    pub(crate) fn create(config: Config, settings: &Settings, callbacks: Callbacks) -> std::io::Result<*mut Slirp> {
        let ipv6 = config.has_ipv6();
        let mut stack = Stack::new(config)?;
        settings.open(&mut stack)?;
        stack.advertise_by_timer();
        stack.tell_of_sockets();
        let instance = Counted::new(Instance {
            watching: Watching::new(stack.descriptor()),
            core: Mutex::new(Core {
                stack,
                delivering: None,
                in_hand: VecDeque::new(),
                writing: None,
                deliverer_waits: false,
                handing: None,
                writers: HashMap::new(),
            }),
            written: Condvar::new(),
            callbacks,
            closed: AtomicBool::new(false),
            timer: Mutex::new(None),
            started: HostInstant::now(),
            clock: RecentClock::default(),
            loop_thread: AtomicU64::new(current_thread()),
        });
        let handle = instance.clone().into_raw().cast::<Slirp>();
        calls::within(instance.address(), || instance.begin(handle, ipv6));
        Ok(handle)
    }

    /// Tells the application that there is an instance.
    fn begin(&self, handle: *mut Slirp, ipv6: bool) {
        self.outside(|callbacks| callbacks.init_completed(handle));
        if ipv6 {
            let timer = SlirpTimerId::SlirpTimerRa as u32;
            *lock(&self.timer) = self.outside(|callbacks| callbacks.timer_new(timer, ra_timer, handle)).flatten();
            if lock(&self.timer).is_some() {
                let now = self.now();
                self.enter(|core| core.stack.set_timer(now));
            }
        }
        // What the stack had to say when it was made.
        self.enter(|_| ());
    }

    /// The instance behind a handle; it lives on for as long as the caller holds it, whatever happens to the handle.
    ///
    /// # Safety
    /// `handle` is NULL or came from [`Instance::create`] and was not given to [`Instance::destroy`] before.
    pub(crate) unsafe fn from_handle(handle: *mut Slirp) -> Option<Counted<Instance>> {
        // SAFETY: as the caller vouches, the handle stands for a reference that `create` made.
        unsafe { Counted::beside(handle.cast()) }
    }

    /// Ends an instance: its sockets are unregistered and closed and its timer freed. Nothing else is called, and nothing at
    /// all once this has returned: calls on other threads are waited for.
    ///
    /// # Safety
    /// As for [`Instance::from_handle`]; the handle is void afterwards.
    pub(crate) unsafe fn destroy(handle: *mut Slirp) {
        // SAFETY: this takes over the reference the handle stood for.
        let Some(instance) = (unsafe { Counted::<Instance>::from_raw(handle.cast()) }) else { return };
        instance.closed.store(true, Ordering::Release);
        {
            // From here on nobody enters the engine.
            let mut core = lock(&instance.core);
            core.stack.shut_down();
            core.stack.outbox().clear();
            core.handing = None;
            core.writers.clear();
            core.deliverer_waits = core.delivering == Some(current_thread());
            instance.written.notify_all();
        }
        instance.close(calls::depth(instance.address()));
        let effects = {
            let mut core = lock(&instance.core);
            let mut effects = std::mem::take(&mut core.in_hand);
            effects.extend(core.stack.effects().drain(..));
            effects
        };
        let mut unknown = HashSet::new();
        for effect in effects {
            match effect {
                Effect::Register(descriptor) => {
                    unknown.insert(descriptor);
                }
                Effect::Unregister(socket) if !unknown.remove(&socket.raw_socket()) => {
                    instance.callbacks.unregister(socket.raw_socket());
                }
                _ => {}
            }
        }
        if let Some(timer) = lock(&instance.timer).take() {
            instance.callbacks.timer_free(timer);
        }
    }

    /// Calls the application, unless it has cleaned up: `None` then.
    pub(super) fn outside<T>(&self, call: impl FnOnce(&Callbacks) -> T) -> Option<T> {
        let open = !self.closed.load(Ordering::Acquire);
        open.then(|| call(&self.callbacks))
    }

    /// Whether the application has cleaned up.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Reads the clock, for the frames that come at once as well.
    pub(super) fn now(&self) -> Instant {
        self.clock.read(|| self.micros())
    }

    /// Reads the clock for this once.
    pub(super) fn now_once(&self) -> Instant {
        Instant::from_micros(self.micros())
    }

    fn micros(&self) -> i64 {
        match self.outside(Callbacks::clock_get_ns).flatten() {
            Some(nanoseconds) => nanoseconds / 1000,
            None => i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX),
        }
    }

    /// Reads the clock again, if that was not just now.
    pub(super) fn later_now(&self) -> Option<Instant> {
        if self.clock.is_of_just_now() { None } else { Some(self.now()) }
    }

    /// Where the call comes from that this thread is in.
    fn caller(&self) -> Caller {
        if self.loop_thread.load(Ordering::Relaxed) == current_thread() { Caller::Loop } else { Caller::Elsewhere }
    }

    /// This thread runs the application's loop.
    pub(super) fn runs_loop(&self) {
        self.loop_thread.store(current_thread(), Ordering::Relaxed);
    }

    /// Lets `work` into the engine and hands over what it made. A panic in it loses what was being worked on, and no
    /// more: the application is told, and the instance goes on. Nothing happens after a cleanup.
    pub(super) fn enter<T>(&self, work: impl FnOnce(&mut Core) -> T) -> Option<T> {
        self.enter_or_pass(
            |stack| {
                stack.disturb();
                None
            },
            work,
        )
    }

    /// The same for a part of the application's loop, which `pass` may find to be over before it begins: nothing is made then.
    pub(super) fn enter_or_pass<T>(
        &self,
        pass: impl FnOnce(&mut Stack) -> Option<T>,
        work: impl FnOnce(&mut Core) -> T,
    ) -> Option<T> {
        let (result, batch) = {
            let mut core = lock(&self.core);
            if self.closed.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(passed) = pass(&mut core.stack) {
                return Some(passed);
            }
            (core.run(work), core.next_batch())
        };
        if let Some(batch) = batch {
            self.deliver(batch);
        }
        result
    }

    /// Hands over the frames and effects that the engine has made, until there are none.
    fn deliver(&self, first: Batch) {
        let fallback = Handover(self);
        let mut next = Some(first);
        while let Some(mut batch) = next {
            while batch.effects {
                match self.next_effect() {
                    Some((effect, writer)) => self.carry_out(effect, writer),
                    None => batch.effects = false,
                }
            }
            let before = batch.handing.is_watched().then(switches_of_this_thread).flatten();
            batch.handing.give(|frame| {
                let open = !self.closed.load(Ordering::Acquire);
                if open && !self.callbacks.send_packet(frame) {
                    debug::message(SlirpDbg::Error as u32, || "send_packet failed; the frame is dropped".into());
                }
                open
            });
            let switches = before.and_then(|before| Some(switches_of_this_thread()?.since(before)));
            let mut core = lock(&self.core);
            core.stack.handed_over(&mut batch.handing, switches);
            core.handing = Some(batch.handing);
            core.delivering = None;
            // What is left after a cleanup is the cleanup's.
            next = if self.closed.load(Ordering::Relaxed) { None } else { core.next_batch() };
        }
        std::mem::forget(fallback);
    }

    /// The next effect to be carried out, with the callback of its guest forward.
    fn next_effect(&self) -> Option<(Effect, Option<Writer>)> {
        let mut core = lock(&self.core);
        if core.writing.take().is_some() {
            self.written.notify_all();
        }
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let effect = core.in_hand.pop_front()?;
        let mut writer = None;
        if let Effect::GuestForward { forward, .. } = &effect {
            writer = core.writers.get(forward).copied();
            core.writing = writer.is_some().then_some(*forward);
        }
        Some((effect, writer))
    }

    fn carry_out(&self, effect: Effect, writer: Option<Writer>) {
        match effect {
            Effect::Register(descriptor) => self.callbacks.register(descriptor),
            // The socket closes at the end of this arm, after the application was told.
            Effect::Unregister(socket) => self.callbacks.unregister(socket.raw_socket()),
            Effect::Notify => self.callbacks.notify(),
            Effect::SetTimer(at) => {
                // The lock is not held while the application is called.
                let timer = *lock(&self.timer);
                if let Some(timer) = timer {
                    self.callbacks.timer_mod(timer, at.total_millis());
                }
            }
            Effect::GuestError(text) => self.callbacks.guest_error(&text),
            Effect::Warning(text) => log::write(Level::Warning, &text),
            // The C library has no forwards of this kind.
            Effect::Guest(_) => {}
            Effect::GuestForward { bytes, .. } => {
                if let Some(writer) = writer {
                    // SAFETY: the application gave this function for this opaque pointer; removing the forward waits
                    // for the end of this call. The bytes outlive it.
                    let _ = unsafe { (writer.write)(bytes.as_ptr().cast(), bytes.len(), writer.opaque) };
                }
            }
            // What only programs in Rust are told.
            _ => {}
        }
    }

    /// `slirp_input`.
    ///
    /// # Safety
    /// As for [`Instance::from_handle`] and, with the frame, for [`Foreign::new`].
    pub(crate) unsafe fn input(handle: *mut Slirp, frame: *const u8, length: usize) {
        // SAFETY: the caller vouches for the handle and the frame.
        if unsafe { Instance::input_alone(handle, frame, length) } {
            return;
        }
        // SAFETY: the caller vouches for the handle.
        let Some(instance) = (unsafe { Instance::from_handle(handle) }) else { return };
        calls::within(instance.address(), || {
            let now = instance.clock.for_frame().unwrap_or_else(|| instance.now());
            // SAFETY: the caller vouches for the frame.
            let frame = unsafe { Foreign::new(frame, length) };
            let caller = instance.caller();
            instance.enter(|core| core.stack.input_foreign(&frame, caller, now));
        });
    }

    /// [`Instance::input`] where nobody else is inside, the clock need not be read, and nothing comes of the frame but what is
    /// handed over later, as for most frames of a burst. The lock alone keeps a cleanup waiting then, and two atomic operations
    /// are saved. False when it is to be done the long way, of which nothing has been done yet.
    ///
    /// # Safety
    /// As for [`Instance::input`].
    #[inline]
    unsafe fn input_alone(handle: *mut Slirp, frame: *const u8, length: usize) -> bool {
        // SAFETY: the caller vouches for the handle; the reference is not used once the lock is given back without another
        // one that is counted.
        let Some(instance) = (unsafe { Counted::<Instance>::uncounted(handle.cast()) }) else { return true };
        let Some(now) = instance.clock.for_frame() else { return false };
        let Ok(mut core) = instance.core.try_lock() else { return false };
        if instance.closed.load(Ordering::Relaxed) {
            return true;
        }
        core.stack.disturb();
        // SAFETY: the caller vouches for the frame.
        let frame = unsafe { Foreign::new(frame, length) };
        let caller = instance.caller();
        core.run(|core| core.stack.input_foreign(&frame, caller, now));
        let Some(batch) = core.next_batch() else { return true };
        // SAFETY: the handle stands for a reference still, as a cleanup that has begun waits for the lock.
        let counted = unsafe { Instance::from_handle(handle) };
        drop(core);
        if let Some(instance) = counted {
            calls::within(instance.address(), || instance.deliver(batch));
        }
        true
    }

    /// `slirp_handle_timer`.
    pub(crate) fn handle_timer(&self, id: u32) {
        if id != SlirpTimerId::SlirpTimerRa as u32 {
            log::write(Level::Critical, &format!("slirp_handle_timer: there is no timer {id}"));
            return;
        }
        let now = self.now();
        self.enter(|core| core.stack.timer_expired(now));
    }

    /// Adds a host forward; an error is an errno.
    pub(crate) fn add_host_forward(&self, forward: HostForward) -> Result<(), c_int> {
        let now = self.now();
        let result = self.enter(|core| {
            core.stack.set_now(now);
            core.stack.add_host_forward_lenient(forward)
        });
        result.map_or(Err(errno::EIO), |added| added.map(drop).map_err(|error| errno_of_refusal(&error)))
    }

    pub(crate) fn remove_host_forward(&self, protocol: Protocol, listen: &ListenAddress) -> bool {
        let removed = self.enter(|core| {
            let found = core.stack.host_forward_at(protocol, listen);
            found.is_some_and(|handle| core.stack.remove_host_forward(handle).is_ok())
        });
        removed.unwrap_or(false)
    }

    /// Adds a guest forward at `address`, or at the default one, which is written there, when it is unspecified; an error is an
    /// errno. A callback comes with its `writer`.
    fn add_guest_forward(
        &self,
        forward: GuestForward,
        writer: Option<Writer>,
        address: &mut Ipv4Addr,
    ) -> Result<(), c_int> {
        let added = self.enter(|core| -> Result<(), ForwardError> {
            if address.is_unspecified() {
                *address = core.stack.default_guest_forward_address();
            }
            let handle = core.stack.add_guest_forward_lenient(forward.at(*address))?;
            core.writers.extend(writer.map(|writer| (handle, writer)));
            Ok(())
        });
        added.map_or(Err(errno::EIO), |added| added.map_err(|error| errno_of_refusal(&error)))
    }

    /// [`Instance::add_guest_forward`] with a callback.
    pub(crate) fn add_callback(
        &self,
        write: GuestForwardWriter,
        opaque: *mut c_void,
        address: &mut Ipv4Addr,
        port: u16,
    ) -> Result<(), c_int> {
        self.add_guest_forward(GuestForward::callback(port), Some(Writer { write, opaque }), address)
    }

    /// [`Instance::add_guest_forward`] to something that needs no callback.
    pub(crate) fn add_target(&self, forward: GuestForward, address: &mut Ipv4Addr) -> Result<(), c_int> {
        self.add_guest_forward(forward, None, address)
    }

    /// Removes a guest forward. Its connections are reset, and no call of its callback is on its way on another thread when
    /// this returns: the application may free what it uses.
    pub(crate) fn remove_guest_forward(&self, address: Ipv4Addr, port: u16) -> bool {
        let removed = self.enter(|core| {
            let handle = core.stack.guest_forward_at((address, port).into())?;
            core.stack.remove_guest_forward(handle).ok()?;
            core.writers.remove(&handle);
            Some(handle)
        });
        let Some(Some(handle)) = removed else { return false };
        let mut core = lock(&self.core);
        let own = Some(current_thread());
        // A forward that is added later has another handle, so no other call of this one begins.
        while core.writing == Some(handle) && core.delivering != own && !core.deliverer_waits {
            core = self.written.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    pub(crate) fn guest_forward_room(&self, address: Ipv4Addr, port: u16) -> usize {
        self.enter(|core| core.stack.guest_forward_room((address, port).into())).unwrap_or(0)
    }

    pub(crate) fn guest_forward_receive(&self, address: Ipv4Addr, port: u16, data: &[u8]) {
        let (now, caller) = (self.now(), self.caller());
        self.enter(|core| {
            core.stack.set_now(now);
            core.stack.guest_forward_receive((address, port).into(), data, caller);
        });
    }

    pub(crate) fn connection_info(&self) -> String {
        self.enter(|core| inspect::connections(&core.stack)).unwrap_or_default()
    }

    pub(crate) fn neighbor_info(&self) -> String {
        self.enter(|core| inspect::neighbors(&core.stack)).unwrap_or_default()
    }

    /// What went through it; `None` after an internal error.
    pub(crate) fn counters(&self) -> Option<inspect::Counters> {
        self.enter(|core| inspect::counters(&core.stack))
    }

    /// The pieces of the saved state; `None` after an internal error.
    pub(crate) fn save(&self) -> Option<Vec<Vec<u8>>> {
        self.enter(|core| snapshot::save(&core.stack))
    }

    /// Loads a saved state. `read` is called while nobody is inside the engine.
    ///
    /// # Errors
    /// Why it could not be loaded.
    pub(crate) fn load(&self, version: i32, read: impl FnMut(&mut [u8]) -> Option<()>) -> Result<(), snapshot::Error> {
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
        let mut core = lock(&self.0.core);
        core.delivering = None;
        core.writing = None;
        self.0.written.notify_all();
    }
}

/// What a timer of the old kind calls.
unsafe extern "C" fn ra_timer(slirp: *mut c_void) {
    // SAFETY: the application calls this until cleanup has freed the timer, with the handle it was given.
    if let Some(instance) = unsafe { Instance::from_handle(slirp.cast()) } {
        let expired = || instance.handle_timer(SlirpTimerId::SlirpTimerRa as u32);
        calls::within(instance.address(), || super::fence::fenced("slirp timer", (), expired));
    }
}

/// Takes a lock; a thread that panicked while it held it has left nothing that is worse than unfinished.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
