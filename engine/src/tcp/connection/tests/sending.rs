//! What is sent: windows, losses, probes, measurements.

use super::*;

#[test]
fn data_is_cut_into_segments() {
    let mut script = Script::established();
    script.push(3000);
    let sent = script.sent();
    let shape: Vec<_> = sent.iter().map(|t| (t.seq.0 - ISS - 1, t.offset, t.len, t.flags)).collect();
    let psh = Flags::ACK | Flags::PSH;
    assert_eq!(shape, [(0, 0, 1460, Flags::ACK), (1460, 1460, 1460, Flags::ACK), (2920, 2920, 80, psh)]);
    script.push(1);
    assert_eq!(script.one().len, 1, "no Nagle");
    assert!(!script.connection.send_idle());
    script.ack(3001);
    assert!(script.connection.send_idle());
    assert_eq!((script.connection.deadline(), script.connection.unsent()), (None, 0));
}

#[test]
fn the_first_flight_is_ten_segments() {
    let mut script = Script::established();
    script.push(50_000);
    assert_eq!(script.sent().len(), 10);
    assert_eq!(script.connection.unsent(), 50_000 - 14_600);
    script.ack(14_600);
    assert_eq!(script.sent().len(), 20, "slow start");
}

#[test]
fn the_peers_window_bounds_what_is_sent() {
    let mut script = Script::established();
    script.receive(Segment { window: 2000, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.push(5000);
    // The rest of the window is less than a segment and less than half of what the peer ever offered.
    assert_eq!(script.one().len, 1460);
    script.receive(Segment { window: 2000, ..segment(Flags::ACK, IRS + 1, ISS + 1461) });
    assert_eq!(script.one().len, 1460);
}

#[test]
fn a_window_that_opens_a_little_is_not_used() {
    let mut script = Script::established();
    script.push(20_000);
    assert_eq!(script.sent().len(), 10);
    let window = |window, acked: u32| Segment { window, ..segment(Flags::ACK, IRS + 1, ISS + 1 + acked) };
    script.receive(window(0, 14_600));
    assert_eq!(script.sent(), []);
    // Neither a full segment nor half of the largest window there was.
    script.receive(window(300, 14_600));
    assert_eq!(script.sent(), []);
    script.receive(window(1459, 14_600));
    assert_eq!(script.sent(), []);
    script.receive(window(1460, 14_600));
    assert_eq!(script.one().len, 1460);
}

#[test]
fn the_first_two_duplicates_let_out_a_new_segment_each() {
    let mut script = Script::established();
    script.push(20_000);
    assert_eq!(script.sent().len(), 10);
    for new in [14_600, 16_060] {
        script.ack(0);
        assert_eq!(script.one().seq, SeqNumber(ISS + 1 + new));
    }
    script.ack(0);
    assert_eq!(script.one().seq, SeqNumber(ISS + 1), "the third brings the first segment again");
}

#[test]
fn an_older_segment_does_not_change_the_window() {
    let mut script = Script::established();
    script.data(0, b"ab");
    script.data(2, b"c");
    script.receive(Segment { window: 7, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    assert_eq!(script.connection.snd_wnd(), 60_000);
    script.receive(Segment { window: 7, ..segment(Flags::ACK, IRS + 4, ISS + 1) });
    assert_eq!(script.connection.snd_wnd(), 7, "a window may shrink");
}

#[test]
fn a_window_that_was_always_small_is_used() {
    let mut script = Script::passive_with(&CONFIG, &Segment { window: 500, ..syn() });
    script.connection.accept(script.now);
    script.one();
    script.receive(Segment { window: 500, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.push(5000);
    assert_eq!(script.one().len, 500);
}

#[test]
fn timeouts_double_and_end_in_a_reset() {
    let mut script = Script::established();
    script.push(100);
    script.one();
    let start = script.now;
    let mut waits = Vec::new();
    loop {
        waits.push(script.expire().total_millis());
        let sent = script.one();
        if sent.flags == RST_ACK {
            break;
        }
        assert_eq!((sent.seq, sent.len), (SeqNumber(ISS + 1), 100));
    }
    assert_eq!(waits[..10], [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000]);
    assert_eq!(script.connection.closed(), Some(Closed::TimedOut));
    assert!((script.now - start) <= Duration::from_secs(660));
}

#[test]
fn a_jump_of_the_clock_is_one_timeout() {
    let mut script = Script::established();
    script.push(100);
    script.one();
    script.now += Duration::from_secs(100_000);
    script.connection.on_deadline(script.now);
    assert_eq!(script.one().len, 100);
    assert_eq!(script.connection.state(), State::Established);
    assert!(script.connection.deadline().unwrap() > script.now);
}

#[test]
fn after_a_timeout_one_segment_goes_and_an_answer_goes_on() {
    let mut script = Script::established();
    script.push(10_000);
    assert_eq!(script.sent().len(), 7);
    // Five probes come before it.
    for _ in 0..5 {
        script.expire();
        assert_eq!(script.one().offset, 0);
    }
    script.expire();
    assert_eq!((script.one().offset, script.connection.cwnd()), (0, 1460));
    // The peer had everything but the first segment: nothing more is sent again.
    script.ack(10_000);
    assert_eq!(script.sent(), []);
    assert!(script.connection.send_idle());
}

#[test]
fn three_duplicates_bring_the_first_segment_again() {
    let mut script = Script::established();
    script.push(10_000);
    script.sent();
    for expected in [0, 0, 1, 0] {
        script.ack(0);
        assert_eq!(script.sent().len(), expected);
    }
    // A partial acknowledgment shows the next hole (RFC 6582).
    script.ack(2920);
    assert_eq!(script.one().seq, SeqNumber(ISS + 1 + 2920));
    script.ack(10_000);
    assert!(script.connection.send_idle());
}

#[test]
fn segments_with_data_or_a_new_window_are_no_duplicates() {
    let mut script = Script::established();
    script.push(10_000);
    script.sent();
    for index in 0..5 {
        script.data(index, b"x");
        script.receive(Segment { window: 50_000 + index as u16, ..segment(Flags::ACK, IRS + 2 + index, ISS + 1) });
    }
    assert_eq!(script.sent(), []);
}

#[test]
fn a_closed_window_is_probed_as_long_as_the_peer_answers() {
    let mut script = Script::established();
    script.receive(Segment { window: 0, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.push(5000);
    assert_eq!(script.sent(), []);
    let mut waits = Vec::new();
    for _ in 0..40 {
        waits.push(script.expire().total_millis());
        let probe = script.one();
        assert_eq!((probe.seq, probe.len), (SeqNumber(ISS + 1), 1));
        script.receive(Segment { window: 0, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
        assert_eq!(script.sent(), []);
    }
    assert_eq!(waits[..4], [200, 400, 800, 1600]);
    // A lost answer does not cost as much again as the window was closed for.
    assert_eq!(waits[4..6], [3200, 5000]);
    assert_eq!(waits[39], 5000);
    assert_eq!(script.connection.cwnd(), 14_600, "nothing was lost");
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    let sent = script.sent();
    assert_eq!((sent.len(), sent[0].offset, sent[0].len), (4, 0, 1460));
    script.ack(5000);
    assert!(script.connection.send_idle());
}

#[test]
fn a_probe_that_is_taken_counts() {
    let mut script = Script::established();
    script.receive(Segment { window: 0, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.push(3);
    script.connection.close_send();
    assert_eq!(script.sent(), []);
    script.expire();
    assert_eq!(script.one().flags, Flags::ACK);
    script.receive(Segment { window: 0, ..segment(Flags::ACK, IRS + 1, ISS + 2) });
    assert_eq!((script.sent(), script.connection.send().len()), (vec![], 2));
    script.receive(Segment { window: 9, ..segment(Flags::ACK, IRS + 1, ISS + 2) });
    let last = script.one();
    assert_eq!((last.seq, last.len, last.flags), (SeqNumber(ISS + 2), 2, FIN_ACK | Flags::PSH));
}

#[test]
fn a_silent_peer_with_a_closed_window_is_given_up() {
    let mut script = Script::established();
    script.receive(Segment { window: 0, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.push(5000);
    script.sent();
    let mut waited = 0;
    for _ in 0..200 {
        waited += script.expire().total_millis();
        script.one();
        if script.connection.closed().is_some() {
            break;
        }
    }
    assert_eq!(script.connection.closed(), Some(Closed::TimedOut));
    assert!((600_000..610_000).contains(&waited), "{waited}");
}

#[test]
fn a_window_that_closes_over_data_in_flight_is_probed() {
    let mut script = Script::established();
    script.push(5000);
    assert_eq!(script.sent().len(), 4);
    script.receive(Segment { window: 0, ..segment(Flags::ACK, IRS + 1, ISS + 1461) });
    for _ in 0..3 {
        script.expire();
        let probe = script.one();
        assert_eq!((probe.seq, probe.len), (SeqNumber(ISS + 1461), 1));
    }
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1461));
    assert_eq!(script.sent().len(), 3);
}

#[test]
fn urgent_data_is_marked() {
    let mut script = Script::established();
    script.push(1);
    script.connection.send_mut().mark_urgent();
    script.push(4);
    let sent = script.one();
    assert!(sent.flags.contains(Flags::URG));
    assert_eq!((sent.urgent, sent.len), (1, 5));
    script.ack(5);
    script.push(1);
    assert!(!script.one().flags.contains(Flags::URG));
}

#[test]
fn the_round_trip_is_measured_but_not_of_repeated_segments() {
    let mut script = Script::established();
    script.push(10);
    script.one();
    script.now += Duration::from_millis(160);
    script.ack(10);
    // The handshake was measured as 0, so this counts an eighth.
    assert_eq!(script.connection.srtt(), Some(Duration::from_millis(20)));
    script.push(10);
    script.one();
    script.expire();
    script.one();
    script.now += Duration::from_millis(1);
    script.ack(20);
    assert_eq!(script.connection.srtt(), Some(Duration::from_millis(20)));
}

/// Seed 14 of the simulator, before its link changed: the peer's segments have overtaken each other.
#[test]
fn the_window_counts_from_the_acknowledgment_that_it_came_with() {
    let mut script = Script::established();
    script.push(3000);
    script.sent();
    script.receive(Segment { window: 3000, payload: b"later", ..segment(Flags::ACK, IRS + 6, ISS + 1 + 1000) });
    script.receive(Segment { window: 1500, payload: b"early", ..segment(Flags::ACK, IRS + 1, ISS + 1 + 2500) });
    assert_eq!((script.connection.snd_una().0, script.connection.snd_wnd()), (ISS + 1 + 2500, 1500));
}
