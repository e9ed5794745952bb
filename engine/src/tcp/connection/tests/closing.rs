//! Ends: in order, at once, by reset, and TIME_WAIT.

use super::*;

#[test]
fn the_peer_ends_first() {
    let mut script = Script::established();
    script.receive(Segment { payload: b"bye", ..segment(FIN_ACK, IRS + 1, ISS + 1) });
    script.acks(4);
    assert_eq!(script.connection.state(), State::CloseWait);
    assert!(script.connection.peer_finished());
    script.push(2000);
    assert_eq!(script.sent().len(), 2);
    script.ack(2000);
    script.connection.close_send();
    assert_eq!(script.one().flags, FIN_ACK);
    assert_eq!(script.connection.state(), State::LastAck);
    script.ack(2001);
    assert_eq!(script.connection.state(), State::Closed);
    assert_eq!(script.connection.closed(), None, "what was acknowledged has to reach the host first");
    script.take(3);
    assert_eq!(script.connection.closed(), Some(Closed::Finished));
}

#[test]
fn we_end_first() {
    let mut script = Script::established();
    script.push(10);
    script.connection.close_send();
    assert_eq!(script.connection.send_room(), 0);
    let last = script.one();
    assert_eq!((last.len, last.flags), (10, FIN_ACK | Flags::PSH));
    assert_eq!(script.connection.state(), State::FinWait1);
    script.ack(10);
    assert_eq!(script.connection.state(), State::FinWait1);
    script.ack(11);
    assert_eq!((script.connection.state(), script.connection.deadline()), (State::FinWait2, None));
    script.data(0, b"");
    script.receive(Segment { payload: b"more", ..segment(Flags::ACK, IRS + 1, ISS + 12) });
    script.connection.flush_ack();
    script.acks(4);
    script.receive(segment(FIN_ACK, IRS + 5, ISS + 12));
    script.acks(5);
    assert_eq!(script.connection.state(), State::TimeWait);
    // Only a repeated FIN starts the time anew.
    script.now += Duration::from_secs(4);
    script.receive(segment(FIN_ACK, IRS + 5, ISS + 12));
    script.acks(5);
    assert_eq!(script.expire(), Duration::from_secs(10));
    script.take(4);
    assert_eq!(script.connection.closed(), Some(Closed::Finished));
}

#[test]
fn both_end_at_once() {
    let mut script = Script::established();
    script.connection.close_send();
    script.one();
    script.receive(segment(FIN_ACK, IRS + 1, ISS + 1));
    assert_eq!(script.connection.state(), State::Closing);
    script.acks(1);
    script.ack(1);
    assert_eq!(script.connection.state(), State::TimeWait);
}

#[test]
fn a_fin_waits_for_what_comes_before_it() {
    let mut script = Script::established();
    script.receive(Segment { payload: b"def", ..segment(FIN_ACK, IRS + 4, ISS + 1) });
    script.acks(0);
    assert!(!script.connection.peer_finished());
    script.data(0, b"abcXYZ!!");
    script.acks(7);
    assert!(script.connection.peer_finished());
    assert_eq!(script.received(), b"abcdef", "nothing comes after a FIN");
}

#[test]
fn a_fin_before_the_next_byte_is_old() {
    let mut script = Script::established();
    script.data(0, b"abc");
    script.receive(segment(FIN_ACK, IRS + 3, ISS + 1));
    script.acks(3);
    assert_eq!(script.connection.state(), State::Established);
}

#[test]
fn a_lost_fin_is_sent_again() {
    let mut script = Script::established();
    script.connection.close_send();
    script.one();
    script.expire();
    assert_eq!(script.one().flags, FIN_ACK);
    // A closed window does not hold it back.
    script.receive(Segment { window: 0, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.expire();
    assert_eq!(script.one().flags, FIN_ACK);
    script.ack(1);
    assert_eq!(script.connection.state(), State::FinWait2);
}

#[test]
fn fin_wait_2_is_bounded_once_nobody_listens() {
    let mut script = Script::established();
    script.close_acked();
    assert_eq!((script.sent(), script.connection.deadline()), (vec![], None));
    script.connection.discard_received(&mut script.pool);
    assert_eq!(script.sent(), []);
    assert_eq!(script.expire(), Duration::from_secs(60));
    assert_eq!((script.sent(), script.connection.closed()), (vec![], Some(Closed::Finished)));
}

#[test]
fn a_newer_syn_may_take_the_place_of_time_wait() {
    let mut script = Script::established();
    script.close_acked();
    script.receive(segment(FIN_ACK, IRS + 1, ISS + 2));
    assert_eq!(script.connection.state(), State::TimeWait);
    for (flags, seq, reusable) in [
        (Flags::SYN, IRS + 1000, true),
        (Flags::SYN, IRS + 2, false),
        (Flags::SYN, IRS - 10, false),
        (SYN_ACK, IRS + 1000, false),
        (Flags::ACK, IRS + 1000, false),
    ] {
        assert_eq!(script.connection.reusable_by(&segment(flags, seq, 0)), reusable, "{flags:?} {seq}");
    }
    script.receive(segment(Flags::RST, IRS + 2, 0));
    assert_eq!(script.connection.closed(), Some(Closed::Finished));
    assert!(!Script::established().connection.reusable_by(&segment(Flags::SYN, IRS + 1000, 0)));
}

#[test]
fn an_abort_sends_one_reset() {
    let mut script = Script::established();
    script.data(0, b"abc");
    script.push(5);
    script.sent();
    script.connection.abort(script.now);
    script.data(3, b"d");
    let reset = script.one();
    assert_eq!((reset.flags, reset.seq, reset.ack), (RST_ACK, SeqNumber(ISS + 6), SeqNumber(IRS + 4)));
    assert_eq!((script.connection.closed(), script.connection.deadline()), (Some(Closed::Aborted), None));
    script.data(3, b"d");
    assert_eq!(script.sent(), []);
    script.connection.release(&mut script.pool);
    assert_eq!(script.pool.lent(), 0);
    let mut script = Script::active();
    script.one();
    script.connection.abort(script.now);
    assert_eq!((script.sent(), script.connection.closed()), (vec![], Some(Closed::Aborted)));
}

/// RFC 9293 section 3.8.4.
#[test]
fn a_silent_peer_is_asked_and_given_up_where_that_is_configured() {
    let config = Config { keep_alive: Some(Duration::from_secs(7200)), ..CONFIG };
    let mut script = Script::established_with(&config);
    assert_eq!(script.expire(), Duration::from_secs(7200));
    let question = script.one();
    assert_eq!((question.seq, question.len, question.flags), (SeqNumber(ISS), 0, Flags::ACK));
    script.now += Duration::from_secs(1);
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    assert_eq!(script.sent(), []);
    // The answer counts; then there is none.
    while script.sent().is_empty() {
        script.expire();
    }
    assert_eq!(script.now, Instant::from_secs(100 + 7200 + 1 + 7200));
    for _ in 0..8 {
        assert_eq!(script.expire(), Duration::from_secs(75));
        script.one();
    }
    assert_eq!(script.expire(), Duration::from_secs(75));
    assert_eq!(script.one().flags, RST_ACK);
    assert_eq!((script.connection.closed(), script.connection.deadline()), (Some(Closed::TimedOut), None));
}

#[test]
fn what_is_in_flight_is_a_question_already() {
    let config = Config { keep_alive: Some(Duration::from_secs(10)), ..CONFIG };
    let mut script = Script::established_with(&config);
    script.push(10);
    script.one();
    script.now += Duration::from_secs(9);
    script.ack(10);
    while script.sent().is_empty() {
        script.expire();
    }
    assert_eq!(script.now, Instant::from_secs(119));
}

#[test]
fn an_idle_connection_stays_for_ever_where_nobody_watches() {
    assert_eq!(Script::established().connection.deadline(), None);
}

const WATCHED: Config = Config { watch: true, ..CONFIG };

/// Lets time pass until the peer is asked, and returns the question and how long that took.
fn asked(script: &mut Script) -> (Duration, Transmit) {
    let before = script.now;
    loop {
        script.expire();
        if let [question] = script.sent()[..] {
            return (script.now - before, question);
        }
    }
}

#[test]
fn a_half_closed_connection_asks_and_is_given_up_without_an_answer() {
    for we_end in [true, false] {
        let mut script = Script::established_with(&WATCHED);
        let (state, seq, ack) = if we_end {
            script.close_acked();
            (State::FinWait2, ISS + 1, IRS + 1)
        } else {
            script.receive(segment(FIN_ACK, IRS + 1, ISS + 1));
            script.acks(1);
            (State::CloseWait, ISS, IRS + 2)
        };
        for _ in 0..20 {
            let (waited, question) = asked(&mut script);
            assert_eq!(waited, Duration::from_secs(75));
            assert_eq!((question.seq, question.ack, question.len), (SeqNumber(seq), SeqNumber(ack), 0));
            assert_eq!(question.flags, Flags::ACK);
            script.receive(segment(Flags::ACK, ack, seq + 1));
            assert_eq!(script.sent(), []);
            assert_eq!(script.connection.state(), state);
        }
        for count in 1..=9 {
            let (waited, question) = asked(&mut script);
            assert_eq!((waited, question.seq), (Duration::from_secs(75), SeqNumber(seq)));
            // A repeated FIN is answered by stacks that answer to nothing else.
            let repeats = we_end && count % 2 == 0;
            assert_eq!(question.flags, if repeats { FIN_ACK } else { Flags::ACK }, "{count}");
        }
        assert_eq!(asked(&mut script).1.flags, RST_ACK);
        assert_eq!(script.connection.closed(), Some(Closed::TimedOut));
    }
}

#[test]
fn an_open_connection_is_asked_seldom_and_given_up_after_five_days() {
    let mut script = Script::established_with(&WATCHED);
    let start = script.now;
    for _ in 0..30 {
        let (waited, question) = asked(&mut script);
        assert_eq!((waited, question.flags), (Duration::from_secs(4 * 3600), Flags::ACK));
    }
    assert_eq!(asked(&mut script).1.flags, RST_ACK);
    assert_eq!(script.now - start, Duration::from_secs(31 * 4 * 3600));
}

/// The clock of a machine that was paused jumps; that is no time in which the peer could have answered.
#[test]
fn a_clock_that_jumps_is_one_question() {
    let mut script = Script::established_with(&WATCHED);
    script.close_acked();
    for _ in 0..8 {
        script.now += Duration::from_secs(86_400);
        script.connection.on_deadline(script.now);
        assert_eq!(script.one().flags & !Flags::FIN, Flags::ACK);
    }
    script.ack(1);
    assert_eq!(script.connection.state(), State::FinWait2);
}

#[test]
fn a_question_that_is_taken_back_does_not_count() {
    let mut script = Script::established_with(&WATCHED);
    script.receive(segment(FIN_ACK, IRS + 1, ISS + 1));
    script.acks(1);
    for _ in 0..30 {
        script.now += Duration::from_secs(75);
        script.connection.on_deadline(script.now);
        assert!(script.connection.is_asking());
        script.connection.take_back_question();
        assert!(!script.connection.is_asking());
        assert_eq!(script.sent(), []);
    }
    assert_eq!(script.connection.state(), State::CloseWait);
}

#[test]
fn a_restored_connection_is_watched_anew() {
    let mut script = Script::established_with(&WATCHED);
    script.close_acked();
    let saved = script.connection.save().unwrap();
    let mut pool = Pool::new();
    let later = script.now + Duration::from_secs(1000);
    let connection = Connection::restore(&WATCHED, &saved, b"", b"", later, &mut pool).unwrap();
    let mut script = Script { connection, pool, now: later };
    script.acks(0);
    let (waited, question) = asked(&mut script);
    assert_eq!((waited, question.seq), (Duration::from_secs(75), SeqNumber(ISS + 1)));
}
