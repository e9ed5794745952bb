//! Selective acknowledgments, losses found by time, tail probes, timestamps.

use super::*;

const SACK: Config = Config { sack: true, ..CONFIG };
const STAMPS: Config = Config { timestamps: true, ..CONFIG };

/// A peer with selective acknowledgments and a round trip of 10 ms, with `bytes` in flight.
pub(super) fn in_flight(bytes: usize) -> Script {
    let options = Options { mss: Some(1000), sack_permitted: true, ..Options::default() };
    let mut script = Script::passive_with(&SACK, &Segment { options, ..syn() });
    script.connection.accept(script.now);
    assert!(script.one().options.sack_permitted);
    script.now += Duration::from_millis(10);
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    script.push(bytes);
    script.sent();
    script.now += Duration::from_millis(10);
    script
}

fn block(start: u32, end: u32) -> Option<(SeqNumber, SeqNumber)> {
    Some((SeqNumber(ISS + 1 + start), SeqNumber(ISS + 1 + end)))
}

impl Script {
    /// An acknowledgment of `bytes` of our stream with blocks beyond it.
    pub(super) fn sack(&mut self, bytes: u32, blocks: &[(u32, u32)]) {
        let mut options = Options::default();
        for (slot, &(start, end)) in options.sack.iter_mut().zip(blocks) {
            *slot = block(start, end);
        }
        self.receive(Segment { options, ..segment(Flags::ACK, IRS + 1, ISS + 1 + bytes) });
    }

    /// Where in our stream the segments begin that are sent now.
    pub(super) fn offsets(&mut self) -> Vec<u32> {
        self.sent().iter().map(|sent| sent.seq.0 - ISS - 1).collect()
    }
}

#[test]
fn only_what_is_missing_is_sent_again() {
    let mut script = in_flight(10_000);
    script.sack(0, &[(1000, 2000), (3000, 10_000)]);
    assert_eq!(script.offsets(), [0, 2000]);
    assert_eq!(script.connection.cwnd(), 7000, "one reduction");
    script.now += Duration::from_millis(10);
    script.sack(10_000, &[]);
    assert!(script.connection.send_idle());
    assert_eq!((script.connection.cwnd(), script.connection.deadline()), (7000, None));
}

#[test]
fn a_repetition_that_is_lost_is_sent_once_more_without_a_timeout() {
    let mut script = in_flight(10_000);
    script.sack(0, &[(1000, 10_000)]);
    assert_eq!(script.offsets(), [0]);
    script.now += Duration::from_millis(1);
    script.push(5000);
    assert_eq!(script.offsets(), [10_000, 11_000, 12_000, 13_000, 14_000]);
    script.now += Duration::from_millis(20);
    script.sack(0, &[(1000, 15_000)]);
    assert_eq!(script.offsets(), [0]);
}

#[test]
fn what_is_overtaken_is_given_a_quarter_of_a_round_trip() {
    let mut script = in_flight(5000);
    script.sack(0, &[(1000, 2000)]);
    assert_eq!(script.sent(), []);
    assert_eq!(script.expire(), Duration::from_micros(2500));
    assert_eq!(script.offsets(), [0]);
    // What arrives meanwhile is no loss.
    let mut script = in_flight(5000);
    script.sack(0, &[(1000, 2000)]);
    script.sack(2000, &[]);
    assert_eq!(script.sent(), []);
    assert_eq!(script.connection.cwnd(), script.connection.cwnd().max(10_000));
}

#[test]
fn a_lost_tail_is_found_by_a_probe() {
    let mut script = in_flight(5000);
    script.sack(3000, &[]);
    assert_eq!(script.sent(), []);
    assert_eq!(script.expire(), Duration::from_millis(20), "two round trips");
    assert_eq!(script.offsets(), [4000]);
    script.now += Duration::from_millis(10);
    script.sack(3000, &[(4000, 5000)]);
    // The answer was to what was sent last, so that what was sent before it is lost.
    assert_eq!(script.offsets(), [3000]);
    assert!((5000..14_600).contains(&script.connection.ssthresh()), "no collapse");
}

/// What only a timeout finds counts as lost like what an acknowledgment told of: in the samples of what the path delivers, and for
/// the controller, which goes by how much of a flight is lost.
#[test]
fn losses_that_a_timeout_finds_count() {
    let mut script = in_flight(10_000);
    let window = script.connection.cwnd();
    while script.connection.timeouts() == 0 {
        script.expire();
        script.sent();
    }
    assert_eq!(script.connection.sender.found_lost(), 10_000, "all that was in flight");
    assert!(script.connection.cwnd() < window && script.connection.ssthresh() < window);
    script.now += Duration::from_millis(10);
    script.sack(1000, &[]);
    script.sent();
    assert_eq!(script.connection.sender.found_lost(), 10_000, "once");
    // A repetition that is lost is a loss of its own.
    let again = script.connection.timeouts();
    while script.connection.timeouts() == again {
        script.expire();
    }
    assert!(script.connection.sender.found_lost() > 10_000);
}

#[test]
fn a_needless_probe_costs_nothing() {
    let mut script = in_flight(5000);
    let cwnd = script.connection.cwnd();
    script.sack(3000, &[]);
    script.expire();
    assert_eq!(script.offsets(), [4000]);
    script.sack(5000, &[]);
    script.sack(5000, &[(4000, 5000)]);
    script.push(1000);
    script.one();
    script.sack(6000, &[]);
    assert!(script.connection.cwnd() >= cwnd);
}

#[test]
fn a_peer_that_drops_what_it_reported_gets_it_again() {
    let mut script = in_flight(5000);
    script.sack(0, &[(1000, 5000)]);
    assert_eq!(script.offsets(), [0]);
    script.sack(1000, &[]);
    script.expire();
    assert_eq!(script.offsets(), [1000]);
}

#[test]
fn what_came_early_is_reported_newest_first() {
    let options = Options { mss: Some(1460), sack_permitted: true, ..Options::default() };
    let mut script = Script::passive_with(&SACK, &Segment { options, ..syn() });
    script.connection.accept(script.now);
    script.sent();
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    let mut reported = |offset: u32, length: usize| {
        script.data(offset, &vec![1; length]);
        script.connection.flush_ack();
        let sent = script.one();
        let blocks = sent.options.sack.iter().flatten();
        (sent.ack.0 - IRS - 1, blocks.map(|(a, b)| (a.0 - IRS - 1, b.0 - IRS - 1)).collect::<Vec<_>>())
    };
    assert_eq!(reported(100, 10), (0, vec![(100, 110)]));
    assert_eq!(reported(300, 10), (0, vec![(300, 310), (100, 110)]));
    assert_eq!(reported(110, 10), (0, vec![(100, 120), (300, 310)]));
    assert_eq!(reported(0, 100), (120, vec![(300, 310)]));
    // What came twice is told once (RFC 2883).
    assert_eq!(reported(50, 10), (120, vec![(50, 60), (300, 310)]));
    // Also what came early twice, before the range that holds it.
    assert_eq!(reported(302, 5), (120, vec![(302, 307), (300, 310)]));
    assert_eq!(reported(120, 180), (310, vec![]));
}

#[test]
fn a_smaller_path_has_what_is_in_flight_cut_anew() {
    let mut script = in_flight(3000);
    script.connection.lower_mss(20);
    assert_eq!(script.sent(), [], "less than any path carries");
    script.connection.lower_mss(600);
    assert_eq!(script.offsets(), [0, 600, 1200, 1800, 2400]);
    assert_eq!(script.connection.cwnd(), 10_000);
}

/// A peer with timestamps; its SYN carries 500.
pub(super) fn stamped() -> Script {
    let options = Options { mss: Some(1460), timestamps: Some((500, 0)), ..Options::default() };
    let mut script = Script::passive_with(&STAMPS, &Segment { options, ..syn() });
    script.connection.accept(script.now);
    assert_eq!(script.one().options.timestamps, Some((100_000, 500)));
    script.stamp(501, 100_000, 0, 0, b"");
    script
}

impl Script {
    pub(super) fn stamp(&mut self, value: u32, echo: u32, offset: u32, ack: u32, payload: &[u8]) {
        let options = Options { timestamps: Some((value, echo)), ..Options::default() };
        self.receive(Segment { options, payload, ..segment(Flags::ACK, IRS + 1 + offset, ISS + 1 + ack) });
    }
}

#[test]
fn timestamps_are_echoed_and_take_room_from_the_payload() {
    let mut script = stamped();
    script.push(2000);
    let sent = script.sent();
    assert_eq!((sent[0].len, sent[0].options.timestamps), (1448, Some((100_000, 501))));
    script.stamp(600, 100_000, 0, 2000, b"abc");
    script.connection.flush_ack();
    assert_eq!(script.one().options.timestamps, Some((100_000, 600)));
}

#[test]
fn an_old_duplicate_is_refused_by_its_timestamp() {
    let mut script = stamped();
    script.stamp(600, 0, 0, 0, b"abc");
    script.connection.flush_ack();
    script.acks(3);
    script.stamp(599, 0, 3, 0, b"old");
    script.acks(3);
    script.stamp(600, 0, 3, 0, b"new");
    assert_eq!(script.received(), b"abcnew");
}

/// RFC 7323 section 5.5: after 24 idle days the peer's clock may have wrapped.
#[test]
fn after_24_days_an_older_timestamp_is_taken() {
    let day = Duration::from_secs(86_400);
    let mut script = stamped();
    script.stamp(600, 0, 0, 0, b"abc");
    script.connection.flush_ack();
    script.acks(3);
    script.now += day * 23;
    script.stamp(500, 0, 3, 0, b"old");
    script.acks(3);
    script.now += day * 2;
    script.stamp(500, 0, 3, 0, b"new");
    assert_eq!(script.received(), b"abcnew");
    script.connection.flush_ack();
    script.acks(6);
    script.stamp(499, 0, 6, 0, b"old");
    assert_eq!(script.received(), b"abcnew", "and from then on as before");
}

#[test]
fn timestamps_begin_where_the_connection_is_told() {
    let config = Config { stamp_offset: u32::MAX, ..STAMPS };
    let options = Options { mss: Some(1460), timestamps: Some((500, 0)), ..Options::default() };
    let mut script = Script::passive_with(&config, &Segment { options, ..syn() });
    script.connection.accept(script.now);
    assert_eq!(script.one().options.timestamps, Some((99_999, 500)));
}

/// RFC 6191 section 2: a SYN whose number is old takes the place of a connection in TIME_WAIT when its timestamp is newer.
#[test]
fn a_newer_timestamp_ends_time_wait() {
    let mut script = stamped();
    script.connection.close_send();
    script.one();
    script.stamp(700, 100_000, 0, 1, b"");
    let options = Options { timestamps: Some((701, 100_000)), ..Options::default() };
    script.receive(Segment { options, ..segment(FIN_ACK, IRS + 1, ISS + 2) });
    assert_eq!(script.connection.state(), State::TimeWait);
    let again = |value: u32, seq: u32| {
        let options = Options { timestamps: Some((value, 0)), ..Options::default() };
        script.connection.reusable_by(&Segment { options, ..segment(Flags::SYN, seq, 0) })
    };
    let (old, new) = (IRS - 1000, IRS + 1000);
    assert_eq!([again(702, old), again(701, old), again(700, old), again(700, new)], [true, false, false, true]);
}

/// RFC 5927 section 7: an error about a segment that is not in flight is not believed.
#[test]
fn an_error_about_size_must_be_about_what_is_in_flight() {
    for (offset, believed) in [(-1i32, false), (3000, false), (0, true), (2999, true)] {
        let mut script = in_flight(3000);
        script.connection.on_too_big(SeqNumber((ISS + 1).wrapping_add_signed(offset)), 600);
        assert_eq!(!script.sent().is_empty(), believed, "{offset}");
    }
}

#[test]
fn a_wrong_acknowledgment_leaves_no_timestamp() {
    let mut script = stamped();
    // Who does not see the connection guesses the window more easily than an acknowledgment.
    script.stamp(600_000, 0, 0, 99_999, b"");
    script.sent();
    script.stamp(601, 0, 0, 0, b"abc");
    assert_eq!(script.received(), b"abc");
}

#[test]
fn a_repeated_segment_is_measured_by_its_echo() {
    let mut script = stamped();
    script.push(10);
    script.one();
    script.expire();
    let again = script.one();
    script.now += Duration::from_millis(80);
    script.stamp(700, again.options.timestamps.unwrap().0, 0, 10, b"");
    assert_eq!(script.connection.srtt(), Some(Duration::from_millis(10)), "an eighth of it");
}

#[test]
fn without_an_offer_no_option_is_used() {
    let config = Config { sack: true, timestamps: true, ..CONFIG };
    let mut script = Script::established_with(&config);
    script.push(2000);
    assert_eq!(script.sent()[0].len, 1460);
    script.data(10, b"x");
    assert_eq!(script.one().options, Options::default());
}

#[test]
fn a_restored_connection_learns_the_options_from_the_peer() {
    let script = stamped();
    let saved = script.connection.save().unwrap();
    let mut pool = Pool::new();
    let now = Instant::from_secs(3);
    let connection = Connection::restore(&STAMPS, &saved, b"", b"", now, &mut pool).unwrap();
    let mut script = Script { connection, pool, now };
    script.stamp(900, 100_000, 0, 0, b"abc");
    script.connection.flush_ack();
    assert_eq!(script.one().options.timestamps, Some((100_001, 900)), "the values do not go back");
}

/// RFC 8985 section 7.2: the time of a probe runs from the last segment, and ends when a timeout would come.
#[test]
fn a_probe_waits_for_two_round_trips_after_the_last_segment() {
    let mut script = in_flight(3000);
    script.sack(3000, &[]);
    script.push(1000);
    assert_eq!(script.offsets(), [3000]);
    script.now += Duration::from_millis(15);
    script.push(1000);
    assert_eq!(script.offsets(), [4000]);
    let sent = script.now;
    while script.offsets().is_empty() {
        script.expire();
    }
    assert_eq!(script.now - sent, Duration::from_millis(20));
}
