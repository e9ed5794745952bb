//! Rate reduction while losses are repaired, probes that go on, reductions taken back.

use super::recovery::in_flight;
use super::*;

const MSS: u32 = 1000;

/// RFC 9937: seven tenths of what arrives is sent while the pipe is above the threshold; nothing bursts, nothing halts.
#[test]
fn while_losses_are_repaired_sending_keeps_its_pace() {
    let mut script = in_flight(10_000);
    script.sack(10_000, &[]);
    script.push(20_000);
    assert_eq!(script.sent_at_its_pace().len(), 20);
    script.now += Duration::from_millis(10);
    script.push(20_000);
    // Twenty are in flight, the first is lost.
    let mut sent = Vec::new();
    for arrived in 2..=20 {
        script.now += Duration::from_micros(500);
        script.sack(10_000, &[(11_000, 10_000 + arrived * MSS)]);
        sent.push(script.sent().len());
        if arrived == 6 {
            assert_eq!(script.connection.ssthresh(), 14_000);
        }
    }
    let total: usize = sent.iter().sum();
    assert!(sent.iter().all(|&count| count <= 2), "{sent:?}");
    assert!((13..=15).contains(&total), "{sent:?}");
    script.sack(30_000, &[]);
    assert_eq!(script.connection.cwnd(), 14_000, "RFC 9937 section 6: the window is the threshold in the end");
}

#[test]
fn a_lost_repetition_is_probed_for_before_the_timeout() {
    let mut script = in_flight(2000);
    script.sack(0, &[(1000, 2000)]);
    script.expire();
    assert_eq!(script.offsets(), [0]);
    // The repetition is lost as well, and nothing follows it: 20 ms are two round trips.
    let waits: Vec<u64> = (0..4)
        .map(|_| {
            let wait = script.expire().total_millis();
            assert_eq!(script.offsets(), [0]);
            wait
        })
        .collect();
    assert_eq!(waits, [20, 40, 80, 160]);
    assert_eq!(script.connection.ssthresh(), 7000, "one loss, one reduction");
    assert_eq!(script.expire(), Duration::from_millis(200), "then the timeout");
    assert_eq!((script.offsets(), script.connection.cwnd()), (vec![0], 1000));
}

#[test]
fn a_peer_without_selective_acknowledgments_gets_the_first_segment_early() {
    let mut script = Script::established();
    script.push(5 * 1460);
    assert_eq!(script.sent().len(), 5);
    assert_eq!(script.expire(), Duration::from_millis(10));
    let again = script.one();
    assert_eq!((again.seq, again.len), (SeqNumber(ISS + 1), 1460));
    assert!(script.connection.cwnd() >= 7 * 1460, "no collapse");
    // A partial acknowledgment brings the next.
    script.ack(2 * 1460);
    assert_eq!(script.one().seq, SeqNumber(ISS + 1 + 2 * 1460));
    script.ack(5 * 1460);
    assert!(script.connection.send_idle());
}

/// RFC 5682: after the timeout the peer acknowledges what was sent only once.
#[test]
fn a_needless_timeout_is_taken_back_by_what_arrives() {
    let mut script = in_flight(10_000);
    let cwnd = script.connection.cwnd();
    for _ in 0..10 {
        script.expire();
        script.sent();
        if script.connection.cwnd() == MSS {
            break;
        }
    }
    assert_eq!(script.connection.cwnd(), MSS);
    script.sack(3000, &[]);
    assert_eq!(script.sent(), [], "nothing is sent again");
    assert!(script.connection.cwnd() >= cwnd);
}

/// RFC 5682 section 3.1, steps 2b and 3: new segments decide when the first acknowledgment is for the repetition alone.
#[test]
fn after_a_timeout_new_segments_decide() {
    for lost in [false, true] {
        let mut script = in_flight(10_000);
        let cwnd = script.connection.cwnd();
        while script.connection.cwnd() != MSS {
            script.expire();
            script.sent();
        }
        script.push(10_000);
        script.sack(1000, &[]);
        assert_eq!(script.offsets(), [10_000, 11_000]);
        if lost {
            script.sack(1000, &[(10_000, 11_000)]);
            assert_eq!(script.offsets()[0], 1000);
            assert!(script.connection.cwnd() < cwnd);
        } else {
            script.sack(2000, &[]);
            assert!(script.connection.cwnd() >= cwnd);
            assert!(script.offsets().iter().all(|&offset| offset >= 12_000));
        }
    }
}

/// RFC 3522: the acknowledgment echoes the timestamp of the first transmission.
#[test]
fn a_needless_timeout_is_taken_back_by_its_echo() {
    for (echo, taken_back) in [(0, true), (1, false)] {
        let mut script = super::recovery::stamped();
        script.push(5 * 1448);
        let first = script.sent()[0].options.timestamps.unwrap().0;
        while script.connection.cwnd() != 1448 {
            script.expire();
            script.sent();
        }
        let again = script.now.total_millis() as u32;
        script.stamp(600, if echo == 0 { first } else { again }, 0, 1448, b"");
        assert_eq!(script.connection.cwnd() > 10_000, taken_back);
    }
}

/// RFC 3708: everything that was sent again was reported as a duplicate.
#[test]
fn a_needless_recovery_is_taken_back_by_duplicates() {
    let mut script = in_flight(5000);
    script.sack(0, &[(1000, 4000)]);
    assert_eq!(script.offsets(), [0]);
    assert_eq!(script.connection.ssthresh(), 7000);
    script.sack(5000, &[]);
    script.sack(5000, &[(0, 1000)]);
    assert!(script.connection.cwnd() >= 10_000);
    assert!(script.connection.ssthresh() > 1 << 20);
}

/// RFC 8985 section 6.2, step 4: it is as narrow as before after 16 recoveries without a duplicate.
#[test]
fn the_reordering_window_is_narrowed_again() {
    let mut script = in_flight(1000);
    script.sack(1000, &[]);
    let mut at = 1000;
    // The time for which an overtaken segment is waited for, and then a loss that is repaired.
    let mut round = |script: &mut Script, duplicate: bool| {
        script.connection.sender.controller_mut().restore(10_000, 10_000);
        script.push(3000);
        script.sent();
        script.now += Duration::from_millis(10);
        script.sack(at, &[(at + 1000, at + 2000)]);
        let wait = script.expire();
        assert_eq!(script.offsets(), [at]);
        script.now += Duration::from_millis(10);
        script.sack(at + 3000, &[]);
        if duplicate {
            script.sack(at + 3000, &[(at, at + 1000)]);
        }
        at += 3000;
        wait.total_micros()
    };
    assert_eq!(round(&mut script, true), 2500);
    let waits: Vec<u64> = (0..18).map(|_| round(&mut script, false)).collect();
    assert_eq!(waits[..15], [5000; 15]);
    assert_eq!(waits[17], 2500);
}
