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
        script.acks(0);
        script.receive(segment(SYN_ACK, seq, ISS + 1));
        script.acks(0);
        assert_eq!(script.connection.state(), State::Established);
    }
}

#[test]
fn challenges_are_bounded() {
    let mut script = Script::established();
    let mut answers = 0;
    for _ in 0..1000 {
        script.receive(segment(Flags::SYN, 0, 0));
        answers += script.sent().len();
    }
    assert_eq!(answers, 10);
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
    assert_eq!(script.connection.recv.len(), 500);
}
