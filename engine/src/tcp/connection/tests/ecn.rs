//! Explicit congestion notification (RFC 3168), in both roles.

use super::*;
use crate::tcp::ecn::ASKS;

const ASK: Config = Config { ecn: Ecn::Ask, sack: true, ..CONFIG };

/// Established, and the peer has asked.
fn asked() -> Script {
    let options = Options { mss: Some(1000), sack_permitted: true, ..Options::default() };
    let syn = Segment { flags: Flags::SYN | ASKS, options, ..syn() };
    let mut script = Script::passive_with(&Config { sack: true, ..CONFIG }, &syn);
    script.connection.accept(script.now);
    assert_eq!(script.one().flags, SYN_ACK | Flags::ECE);
    script.now += Duration::from_millis(10);
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    script
}

#[test]
fn it_is_agreed_on_only_where_both_ask() {
    let mut script =
        Script::passive_with(&Config { ecn: Ecn::Refuse, ..CONFIG }, &Segment { flags: Flags::SYN | ASKS, ..syn() });
    script.connection.accept(script.now);
    assert_eq!(script.one().flags, SYN_ACK);
    // One flag alone asks for nothing.
    let mut script = Script::passive_with(&CONFIG, &Segment { flags: Flags::SYN | Flags::ECE, ..syn() });
    script.connection.accept(script.now);
    assert_eq!(script.one().flags, SYN_ACK);
    for (answer, capable) in [(Flags::ECE, true), (Flags::empty(), false), (ASKS, false)] {
        let now = Instant::from_secs(100);
        let mut script = Script { connection: Connection::active(&ASK, SeqNumber(ISS), now), pool: Pool::new(), now };
        assert_eq!(script.one().flags, Flags::SYN | ASKS);
        script.receive(segment(SYN_ACK | answer, IRS, ISS + 1));
        script.sent();
        script.push(100);
        assert_eq!(script.one().flags.contains(Flags::ECT), capable, "{answer:?}");
    }
}

/// As RFC 3168 section 6.1.1.1 has it of hosts whose first SYN was lost to a machine that knows no such flags.
#[test]
fn a_peer_that_repeats_its_syn_without_asking_gets_none() {
    for accepted in [false, true] {
        let mut script = Script::passive_with(&CONFIG, &Segment { flags: Flags::SYN | ASKS, ..syn() });
        if accepted {
            script.connection.accept(script.now);
            assert_eq!(script.one().flags, SYN_ACK | Flags::ECE);
        }
        script.receive(syn());
        script.connection.accept(script.now);
        assert_eq!(script.one().flags, SYN_ACK, "{accepted}");
        script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
        script.push(100);
        assert!(!script.one().flags.contains(Flags::ECT), "{accepted}");
    }
}

#[test]
fn a_syn_that_is_not_answered_is_repeated_without_asking() {
    let now = Instant::from_secs(100);
    let mut script = Script { connection: Connection::active(&ASK, SeqNumber(ISS), now), pool: Pool::new(), now };
    assert_eq!(script.one().flags, Flags::SYN | ASKS);
    script.expire();
    assert_eq!(script.one().flags, Flags::SYN);
}

#[test]
fn a_mark_makes_the_window_smaller_once_a_round_trip_and_is_answered() {
    let mut script = asked();
    script.push(30_000);
    let sent = script.sent();
    assert!(sent.len() == 10 && sent.iter().all(|sent| sent.flags.contains(Flags::ECT)));
    script.now += Duration::from_millis(10);
    let echo = |bytes| segment(Flags::ACK | Flags::ECE, IRS + 1, ISS + 1 + bytes);
    script.receive(echo(1000));
    let reduced = script.connection.cwnd();
    assert!(reduced < 10_000, "{reduced}");
    script.receive(echo(2000));
    script.receive(echo(10_000));
    assert!(script.connection.cwnd() >= reduced, "once");
    let sent = script.sent();
    assert!(sent[0].flags.contains(Flags::CWR) && !sent[1].flags.contains(Flags::CWR), "{sent:?}");
}

#[test]
fn repetitions_are_not_capable() {
    let mut script = asked();
    script.push(5000);
    script.sent();
    script.now += Duration::from_millis(10);
    script.sack(0, &[(1000, 5000)]);
    assert!(!script.one().flags.contains(Flags::ECT));
}

/// Data of the peer at `offset`, as the flow hands it in.
fn data(script: &mut Script, offset: u32, flags: Flags, marked: bool) {
    let segment =
        Segment { payload: &[1; 1000], ..segment(Flags::ACK | flags, IRS + 1 + offset, script.connection.snd_max().0) };
    script.connection.on_mark(&segment, marked);
    script.receive(segment);
    script.connection.flush_ack();
}

#[test]
fn what_the_peer_sent_and_was_marked_is_told_until_it_sends_less() {
    let mut script = asked();
    data(&mut script, 0, Flags::empty(), false);
    assert_eq!(script.one().flags, Flags::ACK);
    data(&mut script, 1000, Flags::empty(), true);
    assert_eq!(script.one().flags, Flags::ACK | Flags::ECE, "at once");
    data(&mut script, 2000, Flags::empty(), false);
    assert_eq!(script.one().flags, Flags::ACK | Flags::ECE, "until it was heard");
    data(&mut script, 3000, Flags::CWR, true);
    assert_eq!(script.one().flags, Flags::ACK | Flags::ECE, "a mark of its own");
    data(&mut script, 4000, Flags::CWR, false);
    assert_eq!(script.one().flags, Flags::ACK);
}

#[test]
fn marks_mean_nothing_where_nothing_was_agreed_on() {
    let mut script = Script::established();
    script.push(3000);
    script.sent();
    let cwnd = script.connection.cwnd();
    script.receive(segment(Flags::ACK | Flags::ECE, IRS + 1, ISS + 1 + 1460));
    assert!(script.connection.cwnd() >= cwnd);
    data(&mut script, 0, Flags::empty(), true);
    assert!(script.sent().iter().all(|sent| !sent.flags.contains(Flags::ECE)));
}
