//! What a callback uses is the application's to free once a forward's removal, or cleanup, has returned: none of its calls
//! may begin or be on its way then, on whatever thread. Called from inside a callback neither may wait for that callback.

mod common;

use common::ffi::{Slirp, SlirpCb, SlirpConfig, in_addr, in6_addr};
use common::frame::{ACK, GUEST, GUEST_MAC, ICMP, Ip, PSH, SYN, Segment, VHOST, arp, echo_request, udp_frame};
use common::frame6::{ALL_NODES, Ip6, ndp_message};
use common::instance::Setup;
use common::library::library;
use common::tcp::at;
use std::ffi::{c_char, c_int, c_void};
use std::net::Ipv4Addr;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Where the guest forward is.
const FORWARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
/// How long a callback stays, at most, to see whether the library returns meanwhile to whom it must not.
const STAY: Duration = Duration::from_millis(3);
/// A scenario that takes longer stands still.
const PATIENCE: Duration = Duration::from_secs(60);

/// The callbacks by which a thread can be outside when the other one cleans up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Way {
    None,
    SendPacket,
    GuestError,
    Clock,
    TimerMod,
    Register,
    AddPoll,
    GetRevents,
    GuestForward,
    StateWrite,
}

const WAYS: [Way; 9] = [
    Way::SendPacket,
    Way::GuestError,
    Way::Clock,
    Way::TimerMod,
    Way::Register,
    Way::AddPoll,
    Way::GetRevents,
    Way::GuestForward,
    Way::StateWrite,
];

/// What a callback does when it is reached the first time by the way that the scenario names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Act {
    /// Stays until the other thread is through, or for a while.
    Stay,
    /// Cleans up.
    Cleanup,
    /// Removes the guest forward.
    Remove,
    /// Waits until the other thread comes to remove the forward, and cleans up then.
    MeetAndClean,
}

/// An instance, and what a test wants to know of its callbacks.
struct World {
    slirp: AtomicPtr<Slirp>,
    clock: AtomicI64,
    /// The way and the act of the scenario; the way is None again once it was taken.
    way: AtomicU8,
    act: AtomicU8,
    inside: AtomicBool,
    /// Cleanup has returned.
    gone: AtomicBool,
    /// The forward's removal has returned.
    removed: AtomicBool,
    /// Callbacks that began, or went on, after that.
    late: AtomicUsize,
    written: AtomicUsize,
    /// The sequence number of the last SYN-ACK, and how many there were.
    sequence: AtomicU32,
    answers: AtomicUsize,
}

// SAFETY: everything in it is atomic.
unsafe impl Sync for World {}

/// # Safety
/// `opaque` is the world that the callbacks were given.
unsafe fn world<'a>(opaque: *mut c_void) -> &'a World {
    // SAFETY: by contract of the function; a test's world lives until its process ends.
    unsafe { &*opaque.cast::<World>() }
}

impl World {
    fn start() -> &'static World {
        let world: &World = Box::leak(Box::new(World {
            slirp: AtomicPtr::new(null_mut()),
            clock: AtomicI64::new(1_000_000_000),
            way: AtomicU8::new(Way::None as u8),
            act: AtomicU8::new(Act::Stay as u8),
            inside: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            late: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            sequence: AtomicU32::new(0),
            answers: AtomicUsize::new(0),
        }));
        let mut config: SlirpConfig = Setup::default().config;
        config.in6_enabled = true;
        config.vprefix_addr6 = in6_addr("fec0::");
        let callbacks = SlirpCb {
            send_packet: Some(send_packet),
            guest_error: Some(guest_error),
            clock_get_ns: Some(clock_get_ns),
            timer_new: None,
            timer_free: Some(timer_free),
            timer_mod: Some(timer_mod),
            register_poll_fd: Some(register),
            unregister_poll_fd: Some(unregister),
            notify: Some(notify),
            init_completed: None,
            timer_new_opaque: Some(timer_new_opaque),
            register_poll_socket: Some(register),
            unregister_poll_socket: Some(unregister),
        };
        // SAFETY: the structures outlive the call, and the world the instance.
        let slirp = unsafe { (library().slirp_new)(&raw const config, &raw const callbacks, world.opaque()) };
        assert!(!slirp.is_null());
        world.slirp.store(slirp, SeqCst);
        world.input(&arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
        world
    }

    fn opaque(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }

    fn input(&self, frame: &[u8]) {
        // SAFETY: the frame outlives the call.
        unsafe { (library().slirp_input)(self.slirp.load(SeqCst), frame.as_ptr(), frame.len() as c_int) }
    }

    fn add_forward(&self, port: u16, opaque: *mut c_void, write: common::ffi::WriteCb) {
        let mut address = in_addr(FORWARD);
        let (slirp, address) = (self.slirp.load(SeqCst), &raw mut address);
        // SAFETY: the opaque pointer is to something that lives until the process ends.
        assert_eq!(unsafe { (library().slirp_add_guestfwd)(slirp, write, opaque, address, port.into()) }, 0);
    }

    fn remove_forward(&self, port: u16) -> c_int {
        // SAFETY: plain values.
        unsafe { (library().slirp_remove_guestfwd)(self.slirp.load(SeqCst), in_addr(FORWARD), port.into()) }
    }

    fn clean_up(&self) {
        let slirp = self.slirp.swap(null_mut(), SeqCst);
        // SAFETY: the handle is used for the last time.
        unsafe { (library().slirp_cleanup)(slirp) };
        self.gone.store(true, SeqCst);
    }

    /// Connects the guest's `from` to the forward on `port` and gives a segment to be filled.
    fn connect(&self, from: u16, port: u16) -> Segment {
        let before = self.answers.load(SeqCst);
        let mut segment = Segment {
            src: at(GUEST, from),
            dst: at(FORWARD, port),
            seq: 1000,
            ack: 0,
            flags: SYN,
            window: 65_535,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        };
        self.input(&segment.frame());
        wait("a SYN-ACK", || self.answers.load(SeqCst) > before);
        (segment.seq, segment.ack) = (1001, self.sequence.load(SeqCst).wrapping_add(1));
        segment.flags = ACK;
        self.input(&segment.frame());
        segment.flags = ACK | PSH;
        segment
    }

    /// What each callback does.
    fn called(&self, way: Way) {
        self.check();
        if self.way.load(SeqCst) != way as u8 {
            return;
        }
        self.way.store(Way::None as u8, SeqCst);
        self.inside.store(true, SeqCst);
        let act = self.act.load(SeqCst);
        if act == Act::Stay as u8 {
            let start = Instant::now();
            while start.elapsed() < STAY && !self.gone.load(SeqCst) && !self.removed.load(SeqCst) {
                thread::yield_now();
            }
            self.check();
        } else if act == Act::Cleanup as u8 {
            self.clean_up();
        } else if act == Act::Remove as u8 {
            assert_eq!(self.remove_forward(80), 0);
            self.removed.store(true, SeqCst);
        } else {
            let start = Instant::now();
            while start.elapsed() < STAY {
                thread::yield_now();
            }
            self.clean_up();
        }
    }

    fn check(&self) {
        if self.gone.load(SeqCst) {
            self.late.fetch_add(1, SeqCst);
        }
    }

    /// Plans what the next callback of this kind does.
    fn plan(&self, way: Way, act: Act) {
        self.act.store(act as u8, SeqCst);
        self.way.store(way as u8, SeqCst);
    }

    /// Has the library come to a callback of this kind.
    fn provoke(&self, way: Way, conn: &Segment) {
        let slirp = self.slirp.load(SeqCst);
        self.clock.fetch_add(2_000_000_000, SeqCst);
        match way {
            Way::None => {}
            Way::SendPacket | Way::Clock => {
                // Twenty frames, each of which is a call.
                let data = vec![7; 20 * 1024];
                // SAFETY: the pointer and length are those of a live slice.
                unsafe {
                    let receive = library().slirp_socket_recv;
                    receive(slirp, in_addr(FORWARD), 80, data.as_ptr(), data.len() as c_int);
                }
            }
            Way::GuestError => {
                let advertisement = ndp_message(134, 64, None, &[0; 8]);
                let from = "fe80::5054:ff:fe12:3456".parse().expect("an address");
                self.input(&Ip6::ndp(from, ALL_NODES).icmp(&advertisement));
            }
            // SAFETY: plain values.
            Way::TimerMod => unsafe { (library().slirp_handle_timer)(slirp, 0, null_mut()) },
            Way::Register => self.input(&udp_frame(4000, at(VHOST, 9), b"to whom it may concern")),
            Way::AddPoll | Way::GetRevents => {
                let mut timeout = 0;
                // SAFETY: the callbacks are as the library wants them; the world outlives them.
                unsafe {
                    (library().slirp_pollfds_fill)(slirp, &raw mut timeout, add_poll, self.opaque());
                    if way == Way::GetRevents {
                        (library().slirp_pollfds_poll)(slirp, 0, get_revents, self.opaque());
                    }
                }
            }
            Way::GuestForward => self.input(&Segment { payload: b"bytes".to_vec(), ..conn.clone() }.frame()),
            // SAFETY: as above.
            Way::StateWrite => unsafe {
                (library().slirp_state_save)(slirp, state_write, self.opaque());
            },
        }
    }
}

unsafe extern "C" fn send_packet(frame: *const c_void, length: usize, opaque: *mut c_void) -> isize {
    // SAFETY: the library hands over a frame of this length and the world.
    let (world, frame) = unsafe { (world(opaque), std::slice::from_raw_parts(frame.cast::<u8>(), length)) };
    if let [_, _, _, _, _, _, ..] = frame
        && frame.len() >= 54
        && frame[12..14] == [8, 0]
        && frame[23] == 6
        && frame[47] & SYN != 0
    {
        world.sequence.store(u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]), SeqCst);
        world.answers.fetch_add(1, SeqCst);
    }
    world.called(Way::SendPacket);
    length as isize
}
unsafe extern "C" fn guest_error(_: *const c_char, opaque: *mut c_void) {
    // SAFETY: the library hands over the world, here and below.
    unsafe { world(opaque) }.called(Way::GuestError);
}
unsafe extern "C" fn clock_get_ns(opaque: *mut c_void) -> i64 {
    // SAFETY: as above.
    let world = unsafe { world(opaque) };
    world.called(Way::Clock);
    world.clock.load(SeqCst)
}
unsafe extern "C" fn timer_new_opaque(_: c_int, _: *mut c_void, _: *mut c_void) -> *mut c_void {
    null_mut()
}
unsafe extern "C" fn timer_free(_: *mut c_void, opaque: *mut c_void) {
    // SAFETY: as above.
    unsafe { world(opaque) }.check();
}
unsafe extern "C" fn timer_mod(_: *mut c_void, _: i64, opaque: *mut c_void) {
    // SAFETY: as above.
    unsafe { world(opaque) }.called(Way::TimerMod);
}
unsafe extern "C" fn register(_: c_int, opaque: *mut c_void) {
    // SAFETY: as above.
    unsafe { world(opaque) }.called(Way::Register);
}
unsafe extern "C" fn unregister(_: c_int, opaque: *mut c_void) {
    // SAFETY: as above.
    unsafe { world(opaque) }.check();
}
unsafe extern "C" fn notify(opaque: *mut c_void) {
    // SAFETY: as above.
    unsafe { world(opaque) }.check();
}
unsafe extern "C" fn add_poll(_: c_int, _: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { world(opaque) }.called(Way::AddPoll);
    0
}
unsafe extern "C" fn get_revents(_: c_int, opaque: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { world(opaque) }.called(Way::GetRevents);
    0
}
unsafe extern "C" fn state_write(_: *const c_void, length: usize, opaque: *mut c_void) -> isize {
    // SAFETY: as above.
    unsafe { world(opaque) }.called(Way::StateWrite);
    length as isize
}
unsafe extern "C" fn written(_: *const c_void, length: usize, opaque: *mut c_void) -> isize {
    // SAFETY: as above.
    let world = unsafe { world(opaque) };
    world.written.fetch_add(1, SeqCst);
    let late = |world: &World| {
        if world.removed.load(SeqCst) {
            world.late.fetch_add(1, SeqCst);
        }
    };
    late(world);
    let removes_itself = world.act.load(SeqCst) == Act::Remove as u8;
    world.called(Way::GuestForward);
    if !removes_itself {
        late(world);
    }
    length as isize
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        thread::yield_now();
    }
}

/// Runs a scenario; one that stands still fails.
fn within_patience(what: &str, scenario: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        scenario();
        let _ = done.send(());
    });
    match finished.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what} stands still"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

fn upstream_cannot() -> bool {
    if library().upstream {
        println!("SKIPPED: upstream allows one thread at a time only, and no cleanup inside a callback");
    }
    library().upstream
}

/// What the callback of one forward of many sees.
struct Slot {
    removed: AtomicBool,
    calls: AtomicUsize,
    late: AtomicUsize,
}

unsafe extern "C" fn count(_: *const c_void, length: usize, opaque: *mut c_void) -> isize {
    // SAFETY: the opaque pointer is to a slot, which lives until the process ends.
    let slot = unsafe { &*opaque.cast::<Slot>() };
    let late = || slot.late.fetch_add(usize::from(slot.removed.load(SeqCst)), SeqCst);
    late();
    slot.calls.fetch_add(1, SeqCst);
    for _ in 0..50 {
        std::hint::spin_loop();
    }
    late();
    length as isize
}

#[test]
fn earnest_3_5_no_call_follows_the_removal_of_a_guest_forward_on_another_thread() {
    if upstream_cannot() {
        return;
    }
    const REMOVALS: usize = 2000;
    within_patience("a removal", || {
        let world = World::start();
        let slots: &'static [Slot] = Box::leak(
            (0..REMOVALS)
                .map(|_| Slot {
                    removed: AtomicBool::new(false),
                    calls: AtomicUsize::new(0),
                    late: AtomicUsize::new(0),
                })
                .collect(),
        );
        let (next, begin) = mpsc::channel();
        let guest = thread::spawn(move || {
            while let Ok(number) = begin.recv() {
                let slot: &Slot = &slots[number];
                let mut segment = world.connect(2000 + number as u16, 1000 + number as u16);
                segment.payload = b"a few bytes".to_vec();
                while !slot.removed.load(SeqCst) {
                    world.input(&segment.frame());
                    segment.seq = segment.seq.wrapping_add(segment.payload.len() as u32);
                }
            }
        });
        for (number, slot) in slots.iter().enumerate() {
            let port = 1000 + number as u16;
            world.add_forward(port, (&raw const *slot).cast_mut().cast(), count);
            next.send(number).expect("the guest lives");
            wait("a call", || slot.calls.load(SeqCst) > 0);
            assert_eq!(world.remove_forward(port), 0);
            slot.removed.store(true, SeqCst);
        }
        drop(next);
        guest.join().expect("the guest ends");
        let late = slots.iter().filter(|slot| slot.late.load(SeqCst) > 0).count();
        assert_eq!(late, 0, "of {REMOVALS} removals were followed by a call");
        world.clean_up();
    });
}

#[test]
fn earnest_3_5_removal_waits_for_a_call_on_another_thread() {
    if upstream_cannot() {
        return;
    }
    within_patience("the removal", || {
        let world = World::start();
        world.add_forward(80, world.opaque(), written);
        let conn = world.connect(3000, 80);
        world.plan(Way::GuestForward, Act::Stay);
        let guest = thread::spawn(move || world.provoke(Way::GuestForward, &conn));
        wait("the call", || world.inside.load(SeqCst));
        assert_eq!(world.remove_forward(80), 0);
        world.removed.store(true, SeqCst);
        guest.join().expect("the guest ends");
        assert_eq!((world.written.load(SeqCst), world.late.load(SeqCst)), (1, 0));
        world.clean_up();
    });
}

#[test]
fn earnest_3_5_cleanup_waits_for_each_callback_on_another_thread() {
    if upstream_cannot() {
        return;
    }
    for way in WAYS {
        within_patience(&format!("{way:?}"), move || {
            let world = World::start();
            world.add_forward(80, world.opaque(), written);
            let conn = world.connect(3000, 80);
            world.plan(way, Act::Stay);
            let guest = thread::spawn(move || world.provoke(way, &conn));
            wait("the call", || world.inside.load(SeqCst));
            world.clean_up();
            guest.join().expect("the guest ends");
            assert_eq!(world.late.load(SeqCst), 0, "late calls when another thread was in {way:?}");
        });
    }
}

#[test]
fn earnest_3_5_cleanup_inside_each_callback_is_the_last_of_it() {
    if upstream_cannot() {
        return;
    }
    for way in WAYS {
        within_patience(&format!("{way:?}"), move || {
            let world = World::start();
            world.add_forward(80, world.opaque(), written);
            let conn = world.connect(3000, 80);
            world.plan(way, Act::Cleanup);
            world.provoke(way, &conn);
            assert!(world.gone.load(SeqCst), "{way:?} was not called");
            assert_eq!(world.late.load(SeqCst), 0, "late calls after a cleanup inside {way:?}");
        });
    }
}

#[test]
fn earnest_3_5_a_forward_is_removed_inside_its_own_callback_and_inside_others() {
    if upstream_cannot() {
        return;
    }
    for way in [Way::GuestForward, Way::SendPacket, Way::Clock, Way::AddPoll, Way::Register] {
        within_patience(&format!("{way:?}"), move || {
            let world = World::start();
            world.add_forward(80, world.opaque(), written);
            let conn = world.connect(3000, 80);
            world.plan(way, Act::Remove);
            world.provoke(way, &conn);
            assert!(world.removed.load(SeqCst), "{way:?} was not called");
            let before = world.written.load(SeqCst);
            world.provoke(Way::GuestForward, &conn);
            assert_eq!((world.written.load(SeqCst), world.late.load(SeqCst)), (before, 0));
            world.input(&Ip::new(VHOST, ICMP).frame(&echo_request(1, 1, b"still here")));
            world.clean_up();
        });
    }
}

/// The one waits for the other's callback to end, and the other, in it, for the one's call: somebody has to give way.
#[test]
fn earnest_3_5_a_cleanup_inside_the_callback_and_a_removal_do_not_wait_for_each_other() {
    if upstream_cannot() {
        return;
    }
    for _ in 0..20 {
        within_patience("a cleanup", || {
            let world = World::start();
            world.add_forward(80, world.opaque(), written);
            let conn = world.connect(3000, 80);
            world.plan(Way::GuestForward, Act::MeetAndClean);
            let guest = thread::spawn(move || world.provoke(Way::GuestForward, &conn));
            wait("the call", || world.inside.load(SeqCst));
            // As a rule begun before the cleanup.
            let _ = world.remove_forward(80);
            guest.join().expect("the guest ends");
            assert_eq!(world.late.load(SeqCst), 0);
        });
    }
}
