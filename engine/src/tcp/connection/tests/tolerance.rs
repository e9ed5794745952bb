//! Losses with and without a queue on the way.

use super::recovery::in_flight;
use super::*;

const MSS: u32 = 1000;

/// A connection over which 400 segments went with a round trip of 10 ms, and where its stream stands.
fn experienced() -> (Script, u32) {
    let mut script = in_flight(10_000);
    script.sack(10_000, &[]);
    let mut at = 10_000;
    for _ in 0..39 {
        at = round(&mut script, at, 10, None);
    }
    (script, at)
}

/// Ten segments, the first of which may be lost and is repaired; the place in the stream behind them.
fn round(script: &mut Script, at: u32, rtt: u64, lost: Option<u32>) -> u32 {
    script.push(10_000);
    assert_eq!(script.sent().len(), 10);
    script.now += Duration::from_millis(rtt);
    if let Some(lost) = lost {
        script.sack(at, &[(at + lost * MSS, at + 10_000)]);
        assert_eq!(script.offsets().len() as u32, lost);
        script.now += Duration::from_millis(rtt);
    }
    script.sack(at + 10_000, &[]);
    at + 10_000
}

#[test]
fn few_losses_without_a_queue_leave_the_window() {
    let (mut script, mut at) = experienced();
    let (cwnd, ssthresh) = (script.connection.cwnd(), script.connection.ssthresh());
    for _ in 0..3 {
        at = round(&mut script, at, 10, Some(1));
        for _ in 0..5 {
            at = round(&mut script, at, 10, None);
        }
    }
    assert!(script.connection.cwnd() >= cwnd && script.connection.ssthresh() == ssthresh);
}

#[test]
fn a_young_connection_takes_every_loss_for_congestion() {
    let mut script = in_flight(10_000);
    script.sack(10_000, &[]);
    let at = round(&mut script, 10_000, 10, None);
    round(&mut script, at, 10, Some(1));
    assert!(script.connection.ssthresh() < 30_000);
}

#[test]
fn a_loss_where_a_queue_has_grown_is_congestion() {
    let (mut script, mut at) = experienced();
    for _ in 0..5 {
        at = round(&mut script, at, 14, None);
    }
    let before = script.connection.cwnd();
    round(&mut script, at, 14, Some(1));
    assert_eq!(script.connection.ssthresh(), before / 10 * 7);
}

#[test]
fn many_losses_are_congestion_whatever_the_round_trip() {
    let (mut script, mut at) = experienced();
    let (mut tolerated, mut losses) = (0, 0);
    while script.connection.ssthresh() > 1 << 20 {
        at = round(&mut script, at, 10, Some(3));
        losses += 3;
        tolerated += u32::from(script.connection.ssthresh() > 1 << 20);
        assert!(losses < 60, "never");
    }
    // A twentieth of what was delivered of late.
    assert!((5..12).contains(&tolerated), "{tolerated}");
}

/// Losses of one round trip that are more than was thought when the first of them was found.
#[test]
fn a_repair_that_turns_out_large_is_a_reduction() {
    let (mut script, at) = experienced();
    script.connection.sender.controller_mut().restore(100_000, 1 << 30);
    script.push(60_000);
    assert_eq!(script.sent().len(), 60);
    script.now += Duration::from_millis(10);
    script.sack(at, &[(at + 1000, at + 10_000)]);
    assert_eq!(script.offsets(), [at], "tolerated");
    assert!(script.connection.ssthresh() > 1 << 20);
    script.sack(at, &[(at + 40_000, at + 60_000), (at + 1000, at + 10_000)]);
    assert!(script.connection.ssthresh() <= 70_000);
}

/// What was lost before the link was known is made up for: the window doubles until a queue shows.
#[test]
fn on_a_lossy_link_the_window_grows_until_a_queue_shows() {
    let (mut script, mut at) = experienced();
    at = round(&mut script, at, 10, Some(1));
    script.connection.sender.controller_mut().restore(10_000, 10_000);
    at = round(&mut script, at, 10, None);
    assert_eq!(script.connection.cwnd(), 20_000);
    script.connection.sender.controller_mut().restore(10_000, 10_000);
    for _ in 0..3 {
        at = round(&mut script, at, 20, None);
    }
    assert!(script.connection.cwnd() < 14_000, "{}", script.connection.cwnd());
}

/// Behind a hole as well: on a link that always loses something, few acknowledgments come without one.
#[test]
fn what_arrives_behind_a_tolerated_hole_opens_the_window() {
    let (mut script, at) = experienced();
    script.connection.sender.controller_mut().restore(10_000, 10_000);
    script.push(20_000);
    assert_eq!(script.sent().len(), 10);
    script.now += Duration::from_millis(10);
    script.sack(at, &[(at + 1000, at + 6000)]);
    assert_eq!(script.connection.cwnd(), 15_000);
    script.sack(at, &[(at + 1000, at + 10_000)]);
    assert_eq!((script.connection.cwnd(), script.connection.ssthresh()), (19_000, 10_000));
}

/// A queue that was emptied is forgotten at once.
#[test]
fn after_a_reduction_the_next_loss_without_a_queue_is_tolerated() {
    let (mut script, mut at) = experienced();
    for _ in 0..5 {
        at = round(&mut script, at, 14, None);
    }
    at = round(&mut script, at, 14, Some(1));
    let reduced = script.connection.ssthresh();
    at = round(&mut script, at, 10, None);
    round(&mut script, at, 10, Some(1));
    assert_eq!(script.connection.ssthresh(), reduced);
}
