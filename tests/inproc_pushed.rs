//! Pushed segments: the first after a silence goes to the host at once, those that follow it with the end of the round, or of
//! the run of rounds that each bring a frame. Source: docs/architecture.md, "The way of data".

mod common;
use common::*;
use std::io::Read;

both_families![
    those_behind_the_first_wait_for_the_end_of_the_round,
    one_frame_a_round_waits_for_a_round_without_one,
    a_run_that_does_not_end_is_waited_for_only_so_long,
    who_waits_for_each_acknowledgment_is_not_kept_waiting,
    an_end_waits_for_nothing,
    from_outside_the_loop_each_goes_at_once,
];

const SIZE: usize = 100;

/// What the host can read now.
fn host_has(host: &mut std::net::TcpStream) -> usize {
    host.set_nonblocking(true).unwrap();
    let mut bytes = vec![0; 1 << 16];
    let mut have = 0;
    while let Ok(n @ 1..) = host.read(&mut bytes) {
        have += n;
    }
    have
}

/// A connection after a silence, and the application about to sleep.
fn silent(family: Family) -> Option<(Box<Instance>, Party, std::net::TcpStream)> {
    if library().upstream {
        println!("SKIPPED: upstream gives the host each segment by itself");
        return None;
    }
    Some(Party::after_silence(family))
}

/// A round of the application's loop that brings these frames; the sleep that it was left.
fn round(i: &Instance, frames: impl FnOnce()) -> u32 {
    let filled = i.fill(1000);
    frames();
    i.poll_with(false, &vec![0; filled.wanted.len()]);
    filled.timeout
}

fn those_behind_the_first_wait_for_the_end_of_the_round(family: Family) {
    let Some((i, mut party, mut host)) = silent(family) else { return };
    for _ in 0..3 {
        round(&i, || {
            party.send(&i, PSH | ACK, &[1; SIZE]);
            assert_eq!(host_has(&mut host), SIZE, "the first one goes at once");
            party.expect_acked(&i);
            for _ in 0..5 {
                party.send(&i, PSH | ACK, &[2; SIZE]);
            }
            assert_eq!(host_has(&mut host), 0);
        });
        assert_eq!(host_has(&mut host), 5 * SIZE, "the others with the round");
        party.expect_acked(&i);
        round(&i, || {});
    }
}

fn one_frame_a_round_waits_for_a_round_without_one(family: Family) {
    let Some((i, mut party, mut host)) = silent(family) else { return };
    round(&i, || party.send(&i, PSH | ACK, &[1; SIZE]));
    assert_eq!(host_has(&mut host), SIZE);
    for n in 0..10 {
        let sleep = round(&i, || party.send(&i, PSH | ACK, &[2; SIZE]));
        assert_eq!(host_has(&mut host), 0);
        assert!(n == 0 || sleep == 0, "the application may sleep for {sleep} ms although bytes wait");
    }
    assert_eq!(round(&i, || {}), 0);
    assert_eq!(host_has(&mut host), 10 * SIZE);
    party.expect_acked(&i);
}

fn a_run_that_does_not_end_is_waited_for_only_so_long(family: Family) {
    let Some((i, mut party, mut host)) = silent(family) else { return };
    let (mut other, _others_host) = Party::with_host(&i, family);
    i.settle();
    round(&i, || party.send(&i, PSH | ACK, &[1; SIZE]));
    round(&i, || party.send(&i, PSH | ACK, &[2; SIZE]));
    assert_eq!(host_has(&mut host), SIZE);
    let mut rounds = 0;
    while host_has(&mut host) == 0 {
        round(&i, || other.send(&i, PSH | ACK, &[3; SIZE]));
        rounds += 1;
        assert!(rounds <= 32, "bytes wait for the frames of others");
    }
    party.expect_acked(&i);
}

fn who_waits_for_each_acknowledgment_is_not_kept_waiting(family: Family) {
    let Some((i, mut party, mut host)) = silent(family) else { return };
    let mut waited = 0;
    for _ in 0..300 {
        let mut came = 0;
        round(&i, || {
            party.send(&i, PSH | ACK, &[1; SIZE]);
            came = host_has(&mut host);
        });
        if came == 0 {
            waited += 1;
            round(&i, || {});
            assert_eq!(host_has(&mut host), SIZE);
        }
        party.expect_acked(&i);
    }
    assert!(waited <= 9, "{waited} of 300 waited, in vain");
}

fn an_end_waits_for_nothing(family: Family) {
    let Some((i, mut party, mut host)) = silent(family) else { return };
    round(&i, || {
        party.send(&i, PSH | ACK, &[1; SIZE]);
        party.send(&i, PSH | ACK, &[2; SIZE]);
        assert_eq!(host_has(&mut host), SIZE);
        party.send(&i, PSH | FIN | ACK, &[3; SIZE]);
        assert_eq!(host_has(&mut host), 2 * SIZE);
        assert_eq!(host.read(&mut [0]).unwrap(), 0, "the end of the stream");
    });
}

fn from_outside_the_loop_each_goes_at_once(family: Family) {
    let Some((i, mut party, mut host)) = silent(family) else { return };
    i.fill(1000);
    let frames: Vec<Vec<u8>> = (0..5u32)
        .map(|n| {
            let seq = party.seq.wrapping_add(n * SIZE as u32);
            party.frame(seq, PSH | ACK, &[1; SIZE])
        })
        .collect();
    let handle = Handed(i.slirp.get());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let Handed(slirp) = { handle };
            for frame in &frames {
                // SAFETY: the frame is a live slice, and this thread's work is waited for by the one that owns the instance.
                unsafe { (library().slirp_input)(slirp, frame.as_ptr(), frame.len() as i32) }
                assert_eq!(host_has(&mut host), SIZE);
            }
        });
    });
    party.seq = party.seq.wrapping_add(5 * SIZE as u32);
    party.expect_acked(&i);
}

/// A handle that is given to another thread.
#[derive(Clone, Copy)]
struct Handed(*mut common::ffi::Slirp);

// SAFETY: the test uses the instance in one thread at a time.
unsafe impl Send for Handed {}
// SAFETY: as above.
unsafe impl Sync for Handed {}
