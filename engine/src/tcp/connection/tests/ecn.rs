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
        assert_eq!(script.one().capable, capable, "{answer:?}");
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
    assert!(sent.len() == 10 && sent.iter().all(|sent| sent.capable));
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
    assert!(!script.one().capable);
}

#[test]
fn what_the_peer_sent_and_was_marked_is_told_until_it_sends_less() {
    let mut script = asked();
    script.data(0, &[1; 1000]);
    script.connection.flush_ack();
    assert!(script.sent().iter().all(|sent| !sent.flags.contains(Flags::ECE)));
    script.connection.on_marked();
    script.data(1000, &[1; 1000]);
    assert_eq!(script.one().flags, Flags::ACK | Flags::ECE, "at once");
    script.data(2000, &[1; 1000]);
    script.connection.flush_ack();
    assert_eq!(script.one().flags, Flags::ACK | Flags::ECE, "until it was heard");
    script.receive(Segment { payload: &[1; 1000], ..segment(Flags::ACK | Flags::CWR, IRS + 1 + 3000, ISS + 1) });
    script.connection.flush_ack();
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
    script.connection.on_marked();
    script.data(0, &[1; 1000]);
    script.connection.flush_ack();
    assert!(script.sent().iter().all(|sent| !sent.flags.contains(Flags::ECE)));
}
