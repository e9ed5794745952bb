//! The door: how old the clock may be that a frame is judged by, and memory that changes while it is read.

mod common;

use common::*;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::Instant as Wall;

both_families![
    earnest_3_13_a_frame_after_a_pause_reads_the_clock,
    earnest_3_13_a_frame_after_a_part_of_the_loop_reads_the_clock,
    earnest_3_13_a_frame_during_a_sleep_does_not_poison_the_round_trip,
    earnest_3_14_no_byte_of_a_datagram_changes_after_its_checksum,
    earnest_3_14_no_byte_of_a_segment_changes_after_its_checksum,
];

thread_local!(static READS: Cell<usize> = const { Cell::new(0) });

/// The clock of the instance; counts how often it is asked for.
unsafe extern "C" fn counted_clock(opaque: *mut c_void) -> i64 {
    READS.set(READS.get() + 1);
    // SAFETY: the opaque pointer is the instance.
    unsafe { clock_get_ns(opaque) }
}

fn counted(family: Family) -> Box<Instance> {
    let mut setup = family.setup();
    setup.callbacks.clock_get_ns = Some(counted_clock);
    family.greet(setup)
}

/// Lets real time pass, without a call of the library.
fn pass(time: Duration) {
    let start = Wall::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn ping(family: Family, sequence: u16) -> Vec<u8> {
    match family {
        Family::V4 => Ip::new(VHOST, ICMP).frame(&echo_request(1, sequence, b"what time is it")),
        Family::V6 => Ip6::new(VHOST6, ICMPV6).icmp(&echo6(1, sequence, b"what time is it")),
    }
}

fn earnest_3_13_a_frame_after_a_pause_reads_the_clock(family: Family) {
    let i = counted(family);
    for round in 0..20 {
        i.input(&ping(family, round));
        pass(Duration::from_millis(1));
        let before = READS.get();
        i.input(&ping(family, round));
        assert!(READS.get() > before, "the frame of round {round} was judged by a clock of a millisecond ago");
    }
}

/// A clock of virtual time jumps while no real time passes: each part of the loop ends what is known of it.
fn earnest_3_13_a_frame_after_a_part_of_the_loop_reads_the_clock(family: Family) {
    let i = counted(family);
    for timeout in [0, 1000] {
        let filled = i.fill(timeout);
        let before = READS.get();
        i.input(&ping(family, 1));
        assert!(READS.get() > before, "after fill({timeout})");
        i.poll_with(false, &vec![0; filled.wanted.len()]);
        let before = READS.get();
        i.input(&ping(family, 2));
        assert!(READS.get() > before, "after poll");
    }
}

/// The guest's acknowledgment comes half a second after the segment, and not first among the frames of that sleep. If its
/// round trip were taken for none, the next segment would be repeated at once.
fn earnest_3_13_a_frame_during_a_sleep_does_not_poison_the_round_trip(family: Family) {
    let i = family.greeted();
    let (mut conn, mut host) = Party::with_host(&i, family);
    host_write_some(&mut host, b"to be acknowledged late");
    assert_eq!(unacknowledged(&i, &mut conn), b"to be acknowledged late");
    i.fill(1000);
    i.input(&ping(family, 1));
    i.move_clock(Duration::from_millis(500));
    pass(Duration::from_millis(1));
    conn.send(&i, ACK, b"");
    i.settle();
    i.drain();
    host_write_some(&mut host, b"not to be repeated");
    assert_eq!(unacknowledged(&i, &mut conn), b"not to be repeated");
    i.settle();
    i.move_clock(Duration::from_millis(260));
    i.settle();
    let again: Vec<Heard> = conn.all(&i).into_iter().filter(|s| !s.payload.is_empty()).collect();
    assert!(again.is_empty(), "{again:?}");
}

/// The data of the next segment that has some, counted as received but not acknowledged.
fn unacknowledged(i: &Instance, conn: &mut Party) -> Vec<u8> {
    let segment = conn.expect(i, "a segment with data", |s| !s.payload.is_empty());
    conn.ack = segment.seq.wrapping_add(segment.payload.len() as u32);
    segment.payload
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

fn earnest_3_14_no_byte_of_a_datagram_changes_after_its_checksum(family: Family) {
    let i = family.greet(family.setup().mtu(65520, 65520));
    let (host, port) = family.udp_peer();
    let sent = pattern(60_000);
    let frame = family.udp_frame(4000, family.at_vhost(port), &sent);
    let (mut buffer, mut arrived) = (vec![0; 65536], 0);
    input_changing(&i, &frame, || {
        while let Ok(length) = host.recv(&mut buffer) {
            arrived += 1;
            assert!(buffer[..length] == sent, "datagram {arrived} arrived with {:#x} at its end", buffer[length - 1]);
        }
        arrived >= 400
    });
}

fn earnest_3_14_no_byte_of_a_segment_changes_after_its_checksum(family: Family) {
    let i = family.greet(family.setup().mtu(65520, 65520));
    let (mut conn, mut host) = Party::with_host(&i, family);
    let sent = pattern(60_000);
    for number in 0..60 {
        let mut got = Vec::new();
        input_changing(&i, &conn.frame(conn.seq, ACK | PSH, &sent), || {
            let mut buffer = vec![0; 65536];
            while let Ok(length @ 1..) = std::io::Read::read(&mut host, &mut buffer) {
                got.extend_from_slice(&buffer[..length]);
            }
            i.drain();
            got.len() >= sent.len()
        });
        assert!(got == sent, "segment {number} arrived with {:#x} at its end", got[got.len() - 1]);
        conn.seq = conn.seq.wrapping_add(sent.len() as u32);
    }
}
