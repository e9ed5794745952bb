//! What may be under way while the link is busy both ways.

use super::*;
use crate::tcp::pool::Lanes;

#[test]
fn a_window_shrinks_only_by_what_arrives_and_is_back_with_the_next_segment() {
    let mut script = Script::established();
    script.pool.set_lanes(Lanes { up: 3000, down: u32::MAX });
    let edge = script.connection.rcv_nxt() + script.connection.rcv_wnd();
    let mut taken = 0;
    while script.connection.rcv_wnd() > 3000 {
        script.data(taken, &[b'y'; 1460]);
        taken += 1460;
        script.connection.consume_received(1460, &mut script.pool);
        script.connection.flush_ack();
        for sent in script.sent() {
            assert!((sent.ack + u32::from(sent.window)).ge(edge), "the right edge moved left");
        }
    }
    // From then on there is always room for as much as is permitted.
    for _ in 0..10 {
        script.data(taken, &[b'y'; 1460]);
        taken += 1460;
        script.connection.consume_received(1460, &mut script.pool);
        script.connection.flush_ack();
        let sent = script.sent();
        assert_eq!(sent.iter().map(|one| u32::from(one.window)).collect::<Vec<_>>(), [3000]);
    }
    script.pool.set_lanes(Lanes::default());
    script.data(taken, &[b'y'; 1460]);
    script.connection.consume_received(1460, &mut script.pool);
    script.connection.flush_ack();
    script.sent();
    assert!(script.connection.rcv_wnd() > 60_000);
}

#[test]
fn no_more_is_in_flight_than_is_permitted_and_all_of_it_arrives() {
    let mut script = Script::established();
    script.pool.set_lanes(Lanes { up: u32::MAX, down: 5000 });
    script.push(50_000);
    script.ack(0);
    let (mut acked, mut most) = (0, 0);
    while acked < 50_000 {
        let sent: u32 = script.sent().iter().map(|one| one.len as u32).sum();
        assert!(sent > 0, "it stands still at {acked}");
        most = most.max(sent);
        acked += sent;
        script.ack(acked);
    }
    assert_eq!(most, 4380, "three segments");
    script.pool.set_lanes(Lanes::default());
    script.push(50_000);
    script.ack(acked);
    assert!(script.sent().iter().map(|one| one.len).sum::<usize>() > 5000);
}

/// A burst is how the hand-over finds out whether the application ever sleeps; what is spread over the round trip is none.
#[test]
fn nothing_is_paced_while_the_hand_over_bounds_bursts() {
    let burst = |longest: u16| {
        let mut script = Script::passive_with(&Config { sack: true, send_max: 1 << 20, ..CONFIG }, &syn());
        script.connection.accept(script.now);
        script.sent();
        script.now += Duration::from_millis(5);
        script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
        script.connection.limit_segments(longest);
        let mut acked = 0;
        // Round trips of 5 ms in which the window opens.
        for _ in 0..4 {
            script.push(100_000);
            script.ack(acked);
            let sent: u32 = script.sent().iter().map(|one| one.len as u32).sum();
            acked += sent;
            script.now += Duration::from_millis(5);
        }
        script.ack(acked);
        script.sent().iter().map(|one| one.len).sum::<usize>()
    };
    let (bounded, free) = (burst(30 << 10), burst(u16::MAX));
    assert!(bounded > 2 * free, "{bounded} at once while bursts are bounded, {free} when they are not");
}
