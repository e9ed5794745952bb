//! The door's fences: two threads inside at once, and (in builds with `fault-injection`) a panic while a frame is worked on.

mod common;

use common::ffi::{ClockGetNs, SlirpCb, SlirpConfig};
use common::frame::{GUEST, GUEST_MAC, ICMP, Ip, VHOST, arp, echo_request};
use common::instance::Setup;
use common::library::library;
use std::ffi::{CStr, c_int, c_void};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicUsize, Ordering};
use std::thread;

static REPLIES: AtomicUsize = AtomicUsize::new(0);
static CLOCK: AtomicI64 = AtomicI64::new(1);

/// The instance, for the callback to answer its markers.
static SLIRP: AtomicPtr<common::ffi::Slirp> = AtomicPtr::new(std::ptr::null_mut());

unsafe extern "C" fn count_reply(frame: *const c_void, length: usize, _: *mut c_void) -> isize {
    // SAFETY: the library hands over a frame of this length.
    let frame = unsafe { std::slice::from_raw_parts(frame.cast::<u8>(), length) };
    if let Some(answer) = common::marker::answer(frame) {
        // SAFETY: the instance lives as long as it calls.
        unsafe { (library().slirp_input)(SLIRP.load(Ordering::SeqCst), answer.as_ptr(), answer.len() as c_int) }
        return length as isize;
    }
    // An ICMP echo reply: IPv4 protocol 1, type 0.
    if frame.get(23) == Some(&1) && frame.get(34) == Some(&0) {
        REPLIES.fetch_add(1, Ordering::SeqCst);
    }
    length as isize
}

unsafe extern "C" fn tick(_: *mut c_void) -> i64 {
    CLOCK.fetch_add(1000, Ordering::SeqCst)
}

unsafe extern "C" fn add_poll(_: c_int, _: c_int, _: *mut c_void) -> c_int {
    -1
}

unsafe extern "C" fn get_revents(_: c_int, _: *mut c_void) -> c_int {
    0
}

/// A handle that may be given to another thread, as some programs do.
#[derive(Clone, Copy)]
struct Shared(*mut common::ffi::Slirp);
// SAFETY: that this is sound is what the test shows.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

#[test]
fn two_threads_inside_at_once_take_turns() {
    if library().upstream {
        println!("SKIPPED: upstream allows one thread at a time only");
        return;
    }
    const FRAMES: usize = 3000;
    let config: SlirpConfig = Setup::default().config;
    // SAFETY: all-zero is a table without callbacks.
    let mut callbacks: SlirpCb = unsafe { std::mem::zeroed() };
    callbacks.send_packet = Some(count_reply);
    callbacks.clock_get_ns = Some(tick as ClockGetNs);
    // SAFETY: the structures outlive the call and the functions the instance.
    let slirp = Shared(unsafe { (library().slirp_new)(&raw const config, &raw const callbacks, std::ptr::null_mut()) });
    assert!(!slirp.0.is_null());
    SLIRP.store(slirp.0, Ordering::SeqCst);
    let input = |slirp: Shared, frame: &[u8]| {
        // SAFETY: the frame outlives the call.
        unsafe { (library().slirp_input)(slirp.0, frame.as_ptr(), frame.len() as c_int) }
    };
    input(slirp, &arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
    let start = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let slirp = { slirp };
                let ping = Ip::new(VHOST, ICMP).frame(&echo_request(7, 7, b"both at once"));
                start.wait();
                for _ in 0..FRAMES {
                    input(slirp, &ping);
                }
            });
        }
        scope.spawn(|| {
            let slirp = { slirp };
            start.wait();
            for round in 0..FRAMES {
                let mut timeout = 0;
                // SAFETY: the callbacks are as the library wants them, the text is the caller's to free.
                unsafe {
                    (library().slirp_pollfds_fill)(slirp.0, &raw mut timeout, add_poll, std::ptr::null_mut());
                    (library().slirp_pollfds_poll)(slirp.0, (round % 2) as c_int, get_revents, std::ptr::null_mut());
                    let text = (library().slirp_connection_info)(slirp.0);
                    assert!(CStr::from_ptr(text).to_bytes().starts_with(b"  Protocol"));
                    libc::free(text.cast());
                }
            }
        });
    });
    // What waits for room on the way to the guest has it in the next rounds.
    let rounds = || {
        for _ in 0..FRAMES {
            let mut timeout = 0;
            // SAFETY: as above.
            unsafe {
                (library().slirp_pollfds_fill)(slirp.0, &raw mut timeout, add_poll, std::ptr::null_mut());
                (library().slirp_pollfds_poll)(slirp.0, 0, get_revents, std::ptr::null_mut());
            }
        }
    };
    rounds();
    let replies = REPLIES.load(Ordering::SeqCst);
    if std::env::var_os("SLIRP_TEST_HANDOVER").is_some() {
        // Behind frames that wait 1,024 answers may, and two threads ask faster than a third that is not running gives.
        assert!((1024..=2 * FRAMES).contains(&replies), "{replies} replies");
        input(slirp, &Ip::new(VHOST, ICMP).frame(&echo_request(7, 7, b"and now?")));
        rounds();
        assert_eq!(REPLIES.load(Ordering::SeqCst), replies + 1);
    } else {
        assert_eq!(replies, 2 * FRAMES);
    }
    // SAFETY: nobody else uses the handle any more.
    unsafe { (library().slirp_cleanup)(slirp.0) };
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_panic_while_one_frame_is_worked_on_loses_that_frame_only() {
    use common::host::{accept, host_read, host_write_some, tcp_listener};
    use common::instance::Event;
    use common::tcp::{Conn, at_vhost};

    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    let mut poison = vec![0xff; 60];
    poison[12..14].copy_from_slice(&[0x88, 0xb5]);
    i.input(&poison);
    let events = i.events();
    let told = events.iter().any(|e| matches!(e, Event::GuestError(text) if text.contains("a frame was lost")));
    assert!(told, "{events:?}");
    conn.data(&i, b"still here");
    assert_eq!(host_read(&i, &mut host, 10), b"still here");
    host_write_some(&mut host, b"so am I");
    assert_eq!(conn.receive(&i, 7).1, b"so am I");
}
