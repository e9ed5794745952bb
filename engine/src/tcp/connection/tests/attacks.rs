//! Segments made up by others (RFC 5961) and bounds.

use super::*;

#[test]
fn a_reset_must_match_exactly() {
    for (seq, closed, answered) in [
        (IRS + 1, true, false),
        (IRS + 2, false, true),
        (IRS + 60_000, false, true),
        (IRS, false, false),
        (IRS + 200_000, false, false),
    ] {
        let mut script = Script::established();
        script.receive(segment(Flags::RST, seq, 0));
        assert_eq!(script.connection.closed(), closed.then_some(Closed::ResetByPeer), "{seq}");
        assert_eq!(script.sent().len(), usize::from(answered), "{seq}");
    }
}

#[test]
fn a_syn_is_challenged() {
    for seq in [IRS, IRS + 1, IRS + 500_000] {
        let mut script = Script::established();
        script.receive(segment(Flags::SYN, seq, 0));
        // The challenge, and a question that whoever has the connection answers.
        let [challenge, question] = script.sent()[..] else { panic!("two segments") };
        assert_eq!(
            (challenge.flags, challenge.seq, challenge.ack),
            (Flags::ACK, SeqNumber(ISS + 1), SeqNumber(IRS + 1))
        );
        assert_eq!((question.flags, question.seq, question.ack), (Flags::ACK, SeqNumber(ISS), SeqNumber(IRS + 1)));
        assert_eq!((challenge.len, question.len), (0, 0));
        script.receive(segment(SYN_ACK, seq, ISS + 1));
        script.acks(0);
        assert_eq!(script.connection.state(), State::Established);
    }
}

/// A SYN `after` the first one, with `between` in between: whether the peer counts as started anew.
fn knocks_twice(after: Duration, between: impl FnOnce(&mut Script)) -> bool {
    let mut script = Script::established();
    let first = segment(Flags::SYN, 77, 0);
    assert!(!script.connection.reopened_by(&first, script.now));
    script.receive(first);
    script.sent();
    between(&mut script);
    script.now += after;
    script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now)
}

#[test]
fn a_second_syn_counts_unless_the_peer_has_shown_that_it_lives() {
    let second = Duration::from_secs(1);
    assert!(knocks_twice(second, |_| {}));
    // A frame that the link doubles comes at once.
    assert!(!knocks_twice(Duration::ZERO, |_| {}) && !knocks_twice(Duration::from_millis(400), |_| {}));
    // Any segment of the connection, and it need not bring anything.
    assert!(!knocks_twice(second, |script| script.ack(0)));
    assert!(!knocks_twice(second, |script| script.data(0, b"x")));
    assert!(!knocks_twice(second, |script| script.receive(segment(Flags::ACK, IRS, ISS + 1))));
    // What is not of the connection shows nothing, and a reset that is not exact ends nothing.
    assert!(knocks_twice(second, |script| script.receive(segment(Flags::ACK, IRS + 500_000, ISS + 1))));
    assert!(knocks_twice(second, |script| script.receive(segment(Flags::ACK, IRS + 1, ISS + 9))));
    assert!(knocks_twice(second, |script| script.receive(segment(Flags::RST, IRS + 9, 0))));
    // Only a bare SYN opens.
    let mut script = Script::established();
    script.receive(segment(SYN_ACK, 77, ISS + 1));
    script.now += second;
    assert!(!script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now));
    script.receive(segment(Flags::SYN, 77, 0));
    script.now += second;
    assert!(!script.connection.reopened_by(&segment(SYN_ACK, 77, ISS + 1), script.now));
}

/// The fast path keeps no count of its own.
#[test]
fn bulk_after_a_syn_shows_a_live_peer() {
    let mut script = Script::established();
    script.data(0, &[0; 1000]);
    script.receive(segment(Flags::SYN, 77, 0));
    script.data(1000, &[0; 1000]);
    script.now += Duration::from_secs(1);
    assert!(!script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now));
    script.receive(segment(Flags::SYN, 77, 0));
    script.now += Duration::from_secs(1);
    assert!(script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now));
}

/// Started anew before the handshake was complete: our repeated SYN is the question, and its answer counts.
#[test]
fn a_second_syn_in_the_handshake_counts_too() {
    for answers in [false, true] {
        let mut script = Script::passive_with(&CONFIG, &syn());
        script.connection.accept(script.now);
        assert_eq!(script.one().flags, SYN_ACK);
        script.receive(segment(Flags::SYN, 77, 0));
        script.acks(0);
        if answers {
            script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
            assert_eq!(script.connection.state(), State::Established);
        }
        script.now += Duration::from_secs(3);
        assert_eq!(script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now), !answers);
    }
}

/// A peer that is slow has longer for its answer.
#[test]
fn a_second_syn_waits_for_the_round_trip() {
    let mut script = Script::established();
    script.push(10);
    script.sent();
    script.now += Duration::from_millis(900);
    script.ack(10);
    assert!(script.connection.rto() > Duration::from_secs(1));
    script.receive(segment(Flags::SYN, 77, 0));
    script.now += Duration::from_secs(1);
    assert!(!script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now));
    script.now += Duration::from_secs(2);
    assert!(script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now));
}

/// A peer that has started anew counts its timestamps from anywhere.
#[test]
fn a_syn_with_an_older_timestamp_is_challenged_too() {
    let config = Config { timestamps: true, ..CONFIG };
    let stamped = |value| Options { mss: Some(1460), timestamps: Some((value, 0)), ..Options::default() };
    let mut script = Script::passive_with(&config, &Segment { options: stamped(1_000_000), ..syn() });
    script.connection.accept(script.now);
    script.sent();
    script.receive(Segment { options: stamped(1_000_001), ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.sent();
    for count in [2, 1, 1] {
        script.receive(Segment { options: stamped(7), ..segment(Flags::SYN, 77, 0) });
        assert_eq!(script.sent().len(), count);
    }
    script.now += Duration::from_secs(1);
    assert!(script.connection.reopened_by(&segment(Flags::SYN, 77, 0), script.now));
}

#[test]
fn challenges_are_bounded() {
    let mut script = Script::established();
    let mut answers = 0;
    for _ in 0..1000 {
        script.receive(segment(Flags::SYN, 0, 0));
        answers += script.sent().len();
    }
    assert_eq!(answers, 11, "ten, and one question");
    script.now += Duration::from_secs(1);
    script.receive(segment(Flags::SYN, 0, 0));
    assert_eq!(script.sent().len(), 1);
}

#[test]
fn ranges_out_of_order_are_bounded() {
    let mut script = Script::established();
    for index in 0..200 {
        script.data(1 + index * 2, b"x");
    }
    script.data(0, &[0; 500]);
    script.acks(500);
    assert_eq!(script.connection.recv().len(), 500);
}
