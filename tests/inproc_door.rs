//! The door: how old the clock may be that a frame is judged by, and memory that changes while it is read.

mod common;

use common::*;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::Instant as Wall;

thread_local!(static READS: Cell<usize> = const { Cell::new(0) });

/// The clock of the instance; counts how often it is asked for.
unsafe extern "C" fn counted_clock(opaque: *mut c_void) -> i64 {
    READS.set(READS.get() + 1);
    // SAFETY: the opaque pointer is the instance.
    unsafe { clock_get_ns(opaque) }
}

fn counted() -> Box<Instance> {
    let mut setup = Setup::default();
    setup.callbacks.clock_get_ns = Some(counted_clock);
    setup.start()
}

/// Lets real time pass, without a call of the library.
fn pass(time: Duration) {
    let start = Wall::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn ping(sequence: u16) -> Vec<u8> {
    Ip::new(VHOST, ICMP).frame(&echo_request(1, sequence, b"what time is it"))
}

#[test]
fn earnest_3_13_a_frame_after_a_pause_reads_the_clock() {
    let i = counted();
    for round in 0..20 {
        i.input(&ping(round));
        pass(Duration::from_millis(1));
        let before = READS.get();
        i.input(&ping(round));
        assert!(READS.get() > before, "the frame of round {round} was judged by a clock of a millisecond ago");
    }
}

/// A clock of virtual time jumps while no real time passes: each part of the loop ends what is known of it.
#[test]
fn earnest_3_13_a_frame_after_a_part_of_the_loop_reads_the_clock() {
    let i = counted();
    for timeout in [0, 1000] {
        let filled = i.fill(timeout);
        let before = READS.get();
        i.input(&ping(1));
        assert!(READS.get() > before, "after fill({timeout})");
        i.poll_with(false, &vec![0; filled.wanted.len()]);
        let before = READS.get();
        i.input(&ping(2));
        assert!(READS.get() > before, "after poll");
    }
}

/// The guest's acknowledgment comes half a second after the segment, and not first among the frames of that sleep. If its
/// round trip were taken for none, the next segment would be repeated at once.
#[test]
fn earnest_3_13_a_frame_during_a_sleep_does_not_poison_the_round_trip() {
    let i = Setup::default().start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    i.settle();
    host_write_some(&mut host, b"to be acknowledged late");
    assert_eq!(conn.receive_unacknowledged(&i).payload, b"to be acknowledged late");
    i.fill(1000);
    i.input(&ping(1));
    i.move_clock(Duration::from_millis(500));
    pass(Duration::from_millis(1));
    conn.send(&i, ACK, b"");
    i.settle();
    i.drain();
    host_write_some(&mut host, b"not to be repeated");
    assert_eq!(conn.receive_unacknowledged(&i).payload, b"not to be repeated");
    i.settle();
    i.move_clock(Duration::from_millis(260));
    i.settle();
    let again: Vec<Segment> = i.drain().iter().filter_map(Frame::tcp).filter(|s| !s.payload.is_empty()).collect();
    assert!(again.is_empty(), "{again:?}");
}

impl Conn {
    /// The next segment with data, counted as received but not acknowledged.
    fn receive_unacknowledged(&mut self, i: &Instance) -> Segment {
        let segment = i.until("a segment with data", || {
            i.drain().iter().filter_map(Frame::tcp).find(|s| self.is_mine(s) && !s.payload.is_empty())
        });
        self.rcv_nxt = segment.seq.wrapping_add(segment.payload.len() as u32);
        segment
    }
}

/// Stops the other thread, also when a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Hands over a frame again and again, while another thread changes its last byte and changes it back, until `done`.
fn input_changing(i: &Instance, frame: &[u8], mut done: impl FnMut() -> bool) {
    let shared: Vec<AtomicU8> = frame.iter().map(|&byte| AtomicU8::new(byte)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let last = shared.last().expect("a frame");
            while !stop.load(Relaxed) {
                last.fetch_xor(0xff, Relaxed);
                last.fetch_xor(0xff, Relaxed);
            }
        });
        let _stop = Stop(&stop);
        let end = Wall::now() + DEADLINE;
        while !done() && Wall::now() < end {
            // SAFETY: as many bytes can be read there, which the library allows others to write.
            unsafe { (library().slirp_input)(i.slirp.get(), shared.as_ptr().cast(), shared.len() as i32) };
            i.turn(Duration::ZERO);
        }
    });
    assert!(done(), "no whole frame arrived");
}

#[test]
fn earnest_3_14_no_byte_of_a_datagram_changes_after_its_checksum() {
    let i = Setup::default().mtu(65520, 65520).start();
    let (host, port) = udp_peer();
    let sent = pattern(60_000);
    let frame = udp_frame(4000, at_vhost(port), &sent);
    let (mut buffer, mut arrived) = (vec![0; 65536], 0);
    input_changing(&i, &frame, || {
        while let Ok(length) = host.recv(&mut buffer) {
            arrived += 1;
            assert!(buffer[..length] == sent, "datagram {arrived} arrived with {:#x} at its end", buffer[length - 1]);
        }
        arrived >= 400
    });
}

#[test]
fn earnest_3_14_no_byte_of_a_segment_changes_after_its_checksum() {
    let i = Setup::default().mtu(65520, 65520).start();
    let (listener, port) = tcp_listener();
    let mut conn = Conn::connect(&i, at_vhost(port));
    let mut host = accept(&i, &listener);
    let sent = pattern(60_000);
    for number in 0..60 {
        let segment = conn.segment(ACK | PSH, &sent);
        let mut got = Vec::new();
        input_changing(&i, &segment.frame(), || {
            let mut buffer = vec![0; 65536];
            while let Ok(length @ 1..) = std::io::Read::read(&mut host, &mut buffer) {
                got.extend_from_slice(&buffer[..length]);
            }
            i.drain();
            got.len() >= sent.len()
        });
        assert!(got == sent, "segment {number} arrived with {:#x} at its end", got[got.len() - 1]);
        conn.snd_nxt = conn.snd_nxt.wrapping_add(sent.len() as u32);
    }
}
