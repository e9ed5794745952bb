//! Beginning: SYNs, options, refusals, timeouts.

use super::*;

#[test]
fn nothing_is_sent_until_the_host_is_connected() {
    let mut script = Script::passive_with(&CONFIG, &syn());
    assert_eq!((script.connection.state(), script.sent()), (State::Opening, vec![]));
    script.receive(syn());
    script.receive(segment(Flags::ACK, IRS + 1, 77));
    assert_eq!((script.sent(), script.connection.deadline()), (vec![], None));
    script.connection.accept(script.now);
    let answer = script.one();
    assert_eq!((answer.seq, answer.ack, answer.flags), (SeqNumber(ISS), SeqNumber(IRS + 1), SYN_ACK));
    assert_eq!((answer.window, answer.options), (65535, Options { mss: Some(1460), ..Options::default() }));
    assert!(!script.connection.is_established());
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    assert!(script.connection.is_established());
    assert_eq!((script.sent(), script.connection.deadline()), (vec![], None));
}

#[test]
fn an_acceptable_reset_closes_while_opening() {
    for (seq, closes) in [(IRS, true), (IRS + 1, true), (IRS + 2, false), (IRS - 1, false)] {
        let mut script = Script::passive_with(&CONFIG, &syn());
        script.receive(segment(Flags::RST, seq, 0));
        assert_eq!(script.connection.closed(), closes.then_some(Closed::ResetByPeer), "{seq}");
    }
}

#[test]
fn a_reset_in_the_handshake_must_match_exactly() {
    let mut script = Script::passive_with(&CONFIG, &syn());
    script.connection.accept(script.now);
    assert_eq!(script.one().flags, SYN_ACK);
    script.receive(segment(Flags::RST, IRS + 100, 0));
    script.acks(0);
    assert_eq!(script.connection.closed(), None);
    script.receive(segment(Flags::RST, IRS, 0));
    assert_eq!((script.connection.closed(), script.sent().len()), (None, 0));
    script.receive(segment(Flags::RST, IRS + 1, 0));
    assert_eq!(script.connection.closed(), Some(Closed::ResetByPeer));
}

#[test]
fn a_newer_syn_takes_over_while_opening() {
    let mut script = Script::passive_with(&CONFIG, &Segment { payload: b"old", ..syn() });
    script.receive(Segment { seq: SeqNumber(9000), ..syn() });
    script.connection.accept(script.now);
    assert_eq!(script.one().ack, SeqNumber(9001));
    assert_eq!(script.connection.recv().len(), 0);
}

#[test]
fn a_refused_connection_is_reset() {
    let mut script = Script::passive_with(&CONFIG, &syn());
    script.connection.abort(script.now);
    assert_eq!(script.connection.closed(), None, "not before the reset was sent");
    let reset = script.one();
    assert_eq!((reset.seq, reset.ack, reset.flags), (SeqNumber(0), SeqNumber(IRS + 1), RST_ACK));
    assert_eq!(script.connection.closed(), Some(Closed::Aborted));
}

#[test]
fn data_on_the_syn_is_delivered() {
    let mut script = Script::passive_with(&CONFIG, &Segment { payload: b"hello", ..syn() });
    script.connection.accept(script.now);
    assert_eq!(script.one().ack, SeqNumber(IRS + 6));
    script.receive(segment(Flags::ACK, IRS + 6, ISS + 1));
    assert_eq!(script.received(), b"hello");
}

#[test]
fn the_syn_ack_is_repeated_and_given_up_after_75_seconds() {
    let mut script = Script::passive_with(&CONFIG, &syn());
    script.connection.accept(script.now);
    script.one();
    let mut waits = Vec::new();
    loop {
        waits.push(script.expire().secs());
        let sent = script.one();
        if sent.flags == RST_ACK {
            break;
        }
        assert_eq!((sent.flags, sent.seq), (SYN_ACK, SeqNumber(ISS)));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 12]);
    assert_eq!(script.connection.closed(), Some(Closed::TimedOut));
    assert_eq!(script.connection.deadline(), None);
}

#[test]
fn a_repeated_syn_has_the_answer_repeated() {
    let mut script = Script::passive_with(&CONFIG, &syn());
    script.connection.accept(script.now);
    script.one();
    script.receive(syn());
    assert_eq!(script.one().flags, SYN_ACK);
}

#[test]
fn a_wrong_acknowledgment_is_reset() {
    let mut script = Script::passive_with(&CONFIG, &syn());
    script.connection.accept(script.now);
    script.one();
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 2));
    let reset = script.one();
    assert_eq!((reset.flags, reset.seq), (Flags::RST, SeqNumber(ISS + 2)));
    assert_eq!(script.connection.state(), State::SynReceived);
}

#[test]
fn the_peers_segment_size_is_honoured() {
    for (option, expected) in [(Some(1460), 1460), (Some(256), 256), (Some(1), 32), (Some(9000), 1460), (None, 1440)] {
        let options = Options { mss: option, ..Options::default() };
        let script = Script::passive_with(&CONFIG, &Segment { options, ..syn() });
        assert_eq!(script.connection.effective_mss(), expected, "{option:?}");
    }
    let config = Config { mss: 500, ..CONFIG };
    let script = Script::passive_with(&config, &Segment { options: Options::default(), ..syn() });
    assert_eq!(script.connection.effective_mss(), 500);
}

#[test]
fn windows_are_scaled_only_when_both_want_it() {
    let scaled = Options { mss: Some(1460), window_scale: Some(7), ..Options::default() };
    let want = Config { window_scale: true, recv_limit: 1 << 20, ..CONFIG };
    for (config, options, expected) in [(&CONFIG, scaled, None), (&want, syn().options, None), (&want, scaled, Some(5))]
    {
        let mut script = Script::passive_with(config, &Segment { options, ..syn() });
        script.connection.accept(script.now);
        let answer = script.one();
        assert_eq!((answer.options.window_scale, answer.window), (expected, 65535));
        script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
        let factor = if expected.is_some() { 128 } else { 1 };
        assert_eq!(script.connection.snd_wnd(), 60_000 * factor);
        script.data(0, b"x");
        script.connection.flush_ack();
        let window = script.one().window;
        if expected.is_some() {
            assert_eq!(window, (((1u32 << 20) - 1) >> 5) as u16);
        } else {
            assert_eq!(window, 65535);
        }
    }
}

#[test]
fn we_accept_and_bytes_go_both_ways() {
    let mut script = Script::passive_with(&CONFIG, &syn());
    script.connection.accept(script.now);
    let answer = script.one();
    assert_eq!((answer.flags, answer.seq, answer.ack), (SYN_ACK, SeqNumber(ISS), SeqNumber(IRS + 1)));
    assert_eq!(answer.options, Options { mss: Some(1460), ..Options::default() });
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    assert_eq!(script.connection.state(), State::Established);
    script.data(0, &[7; 500]);
    script.connection.flush_ack();
    script.acks(500);
    assert_eq!(script.received(), [7; 500]);
    script.push(300);
    let data = script.one();
    assert_eq!((data.seq, data.ack, data.len), (SeqNumber(ISS + 1), SeqNumber(IRS + 501), 300));
    script.ack(300);
    assert!(script.connection.send_idle());
    assert_eq!(script.sent(), []);
}

#[test]
fn we_open() {
    let mut script = Script::active();
    let first = script.one();
    assert_eq!((first.flags, first.seq, first.ack), (Flags::SYN, SeqNumber(ISS), SeqNumber(0)));
    assert_eq!(first.options.mss, Some(1460));
    script.push(3);
    script.receive(Segment { flags: SYN_ACK, ack: SeqNumber(ISS + 1), payload: b"hi", ..syn() });
    assert!(script.connection.is_established());
    assert_eq!(script.received(), b"hi");
    let answer = script.one();
    assert_eq!((answer.ack, answer.len, answer.offset), (SeqNumber(IRS + 3), 3, 0));
}

#[test]
fn both_open_at_once() {
    let mut script = Script::active();
    script.one();
    script.receive(syn());
    assert_eq!(script.connection.state(), State::SynReceived);
    assert_eq!(script.one().flags, SYN_ACK);
    script.receive(Segment { flags: SYN_ACK, ack: SeqNumber(ISS + 1), ..syn() });
    assert_eq!(script.connection.state(), State::Established);
    script.acks(0);
}

/// Seed 621 of the simulator, before its link changed.
#[test]
fn the_window_of_the_second_syn_is_not_scaled_either() {
    let config = Config { window_scale: true, ..CONFIG };
    let now = Instant::from_secs(100);
    let connection = Connection::active(&config, SeqNumber(ISS), now);
    let mut script = Script { connection, pool: Pool::new(), now };
    script.one();
    let scaled = Options { mss: Some(1460), window_scale: Some(3), ..Options::default() };
    script.receive(Segment { options: scaled, ..syn() });
    script.one();
    script.receive(Segment { flags: SYN_ACK, ack: SeqNumber(ISS + 1), options: scaled, ..syn() });
    assert_eq!((script.connection.state(), script.connection.snd_wnd()), (State::Established, 60_000));
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    assert_eq!(script.connection.snd_wnd(), 60_000 << 3);
}

/// Seed 112390 of the simulator, before its link changed.
#[test]
fn an_acknowledgment_before_the_handshake_is_complete_has_a_scaled_window() {
    let config = Config { window_scale: true, recv_limit: 1 << 20, ..CONFIG };
    let scaled = Options { mss: Some(1460), window_scale: Some(3), ..Options::default() };
    let mut script = Script::passive_with(&config, &Segment { options: scaled, ..syn() });
    script.connection.accept(script.now);
    assert_eq!((script.one().flags, script.connection.state()), (SYN_ACK, State::SynReceived));
    // Too far on to be taken: it is answered with what is expected.
    script.receive(Segment { payload: b"x", ..segment(Flags::ACK, IRS + 1 + 200_000, ISS + 1) });
    let ack = script.one();
    assert_eq!(ack.flags, Flags::ACK);
    assert!(usize::from(ack.window) << 5 <= 1 << 20, "{ack:?}");
}

#[test]
fn resets_and_strange_answers_to_our_syn() {
    let mut script = Script::active();
    script.one();
    script.receive(segment(Flags::RST, IRS, 0));
    script.receive(segment(RST_ACK, IRS, ISS));
    assert_eq!((script.connection.state(), script.sent()), (State::SynSent, vec![]));
    script.receive(segment(SYN_ACK, IRS, ISS));
    let reset = script.one();
    assert_eq!((reset.flags, reset.seq), (Flags::RST, SeqNumber(ISS)));
    script.receive(segment(RST_ACK, 0, ISS + 1));
    assert_eq!(script.connection.closed(), Some(Closed::ResetByPeer));
    assert_eq!(script.sent(), []);
}

/// A number that is half of all numbers away is before the other as well as behind it.
#[test]
fn what_lies_half_way_around_answers_nothing() {
    let mut script = Script::active();
    script.receive(Segment { ack: SeqNumber(ISS) + (1 << 31), ..segment(SYN_ACK, IRS, 0) });
    assert_eq!(script.connection.state(), State::SynSent);
    assert_eq!(script.sent().iter().map(|sent| sent.flags).collect::<Vec<_>>(), [Flags::RST, Flags::SYN]);
}

#[test]
fn our_syn_is_given_up_silently() {
    let mut script = Script::active();
    script.one();
    for _ in 0..6 {
        script.expire();
        assert_eq!(script.one().flags, Flags::SYN);
    }
    script.expire();
    assert_eq!(script.sent(), []);
    assert_eq!((script.now.total_micros() / 1_000_000, script.connection.closed()), (175, Some(Closed::TimedOut)));
}
