//! What arrives: order, windows, acknowledgments, urgent data.

use super::*;

#[test]
fn one_acknowledgment_answers_a_batch() {
    let mut script = Script::established();
    for index in 0..10 {
        script.data(index * 1000, &[7; 1000]);
        assert_eq!(script.sent(), []);
        assert!(script.connection.has_batched_ack());
    }
    assert_eq!(script.connection.recv().len(), 10_000);
    script.connection.flush_ack();
    script.acks(10_000);
    assert!(!script.connection.has_batched_ack());
}

#[test]
fn data_carries_the_acknowledgment() {
    let mut script = Script::established();
    script.data(0, b"question");
    script.push(6);
    let answer = script.one();
    assert_eq!((answer.ack, answer.len, answer.flags), (SeqNumber(IRS + 9), 6, Flags::ACK | Flags::PSH));
    assert!(!script.connection.has_batched_ack());
}

#[test]
fn bytes_out_of_order_wait_for_the_gap() {
    let mut script = Script::established();
    script.data(3, b"def");
    script.acks(0);
    script.data(9, b"jkl");
    script.acks(0);
    assert_eq!(script.received(), b"");
    script.data(0, b"abc");
    script.acks(6);
    assert_eq!(script.received(), b"abcdef");
    script.data(4, b"XXghiXX");
    script.acks(12);
    assert_eq!(script.received(), b"abcdefghijkl", "the first arrival of a byte wins");
    assert!(!script.connection.receiver.has_early());
    script.take(12);
    assert_eq!(script.pool.lent(), 0);
}

#[test]
fn old_bytes_and_probes_are_acknowledged() {
    let mut script = Script::established();
    script.data(0, b"abc");
    script.connection.flush_ack();
    script.acks(3);
    script.data(0, b"abc");
    script.acks(3);
    script.data(2, b"");
    script.acks(3);
    script.data(2, b"c");
    script.acks(3);
    script.data(1, b"bcd");
    script.acks(4);
    assert_eq!(script.received(), b"abcd");
}

#[test]
fn what_lies_beyond_the_window_is_not_taken() {
    let config = Config { recv_limit: 1000, ..CONFIG };
    let mut script = Script::established_with(&config);
    script.data(1000, b"x");
    script.acks(0);
    script.data(500, &[1; 600]);
    script.acks(0);
    script.receive(Segment { flags: FIN_ACK, payload: &[2; 1100], ..segment(Flags::ACK, IRS + 1, ISS + 1) });
    script.acks(1000);
    assert!(!script.connection.peer_finished(), "a FIN beyond the window is cut with the data");
    assert_eq!(script.received()[499..501], [2, 1]);
    assert_eq!(script.connection.rcv_wnd(), 0);
    script.data(1000, b"?");
    script.acks(1000);
    script.receive(segment(FIN_ACK, IRS + 1001, ISS + 1));
    assert!(script.connection.peer_finished(), "a FIN needs no room");
}

#[test]
fn a_segment_without_acknowledgment_is_dropped() {
    let mut script = Script::established();
    script.receive(Segment { payload: b"abc", ..segment(Flags::PSH, IRS + 1, 0) });
    assert_eq!((script.received(), script.sent()), (vec![], vec![]));
}

#[test]
fn an_acknowledgment_of_what_was_not_sent_is_answered() {
    let mut script = Script::established();
    script.receive(Segment { payload: b"abc", ..segment(Flags::ACK, IRS + 1, ISS + 2) });
    script.acks(0);
    assert_eq!(script.received(), b"");
    script.receive(Segment { payload: b"abc", ..segment(Flags::ACK, IRS + 1, ISS.wrapping_sub(70_000)) });
    script.acks(0);
    assert_eq!(script.received(), b"", "nor one older than any window");
}

#[test]
fn the_window_closes_and_opens_without_moving_left() {
    for (mss, limit) in [(1460, 20_000), (65480, 65_536), (65480, 20_000), (100, 150)] {
        let config = Config { mss, recv_limit: limit, ..CONFIG };
        let mut script = Script::established_with(&config);
        let mut edge = script.connection.receiver.edge();
        let mut offset = 0;
        while script.connection.rcv_wnd() > 0 {
            let n = script.connection.rcv_wnd().min(1000);
            script.data(offset, &vec![1; n as usize]);
            offset += n;
            script.connection.flush_ack();
            let ack = script.one();
            let new_edge = ack.ack + u32::from(ack.window);
            assert!(new_edge.ge(edge));
            edge = new_edge;
            assert!(offset < 2 * limit as u32);
        }
        // Byte by byte the host takes everything; the peer hears of it in few, large steps.
        let mut updates = 0;
        for _ in 0..script.connection.recv().len() {
            script.take(1);
            for update in script.sent() {
                updates += 1;
                let growth = (update.ack + u32::from(update.window)).distance(edge);
                assert!(growth >= (limit as u32 / 4).min(u32::from(mss)), "{growth} bytes");
                edge = update.ack + u32::from(update.window);
            }
        }
        assert!((1..=15).contains(&updates), "{updates} updates with mss {mss}");
        assert!(script.connection.rcv_wnd() >= (limit as u32) / 2, "{}", script.connection.rcv_wnd());
    }
}

#[test]
fn discarded_bytes_are_acknowledged() {
    let mut script = Script::established();
    script.data(0, b"abc");
    script.data(5, b"f");
    script.sent();
    script.connection.discard_received(&mut script.pool);
    assert_eq!(script.pool.lent(), 0);
    script.data(3, b"def");
    script.connection.flush_ack();
    script.acks(6);
    script.data(9, b"late");
    script.acks(6);
    assert_eq!((script.connection.recv().len(), script.pool.lent()), (0, 0));
    script.receive(segment(FIN_ACK, IRS + 7, ISS + 1));
    assert!(script.connection.peer_finished());
}

#[test]
fn without_memory_nothing_is_lost() {
    let mut script = Script::established();
    script.pool = Pool::with_budget(0);
    script.data(0, b"abc");
    script.acks(0);
    script.data(3, b"def");
    script.acks(0);
    script.pool = Pool::new();
    script.data(0, b"abcdef");
    assert_eq!(script.received(), b"abcdef");
}

#[test]
fn urgent_bytes_are_marked() {
    let mut script = Script::established();
    let urgent = |offset: u32, pointer, payload| Segment {
        urgent: pointer,
        payload,
        ..segment(Flags::ACK | Flags::URG, IRS + 1 + offset, ISS + 1)
    };
    script.receive(urgent(0, 3, b"xyZab"));
    assert_eq!(script.connection.recv().urgent(), Some(3));
    script.acks(5);
    script.take(5);
    // The same again does not mark what was taken already.
    script.receive(urgent(0, 3, b"xyZab"));
    assert_eq!(script.connection.recv().urgent(), None);
    // A pointer past what arrived is kept until it does, and names nothing that is not there.
    script.receive(urgent(5, 65535, b"cd"));
    assert_eq!((script.connection.recv().len(), script.connection.recv().urgent()), (2, None));
    script.receive(urgent(7, 1, b"efg"));
    assert_eq!(script.connection.recv().urgent(), None, "the later end counts");
    for offset in 0..66 {
        script.data(10 + offset * 1000, &[0; 1000]);
    }
    assert_eq!(script.connection.recv().urgent(), Some(65535));
}

#[test]
fn the_window_closes_for_segments_shorter_than_its_unit() {
    const LENGTH: u32 = 100;
    let config = Config { window_scale: true, recv_max: 65_535 << 9, ..CONFIG };
    let options = Options { mss: Some(1460), window_scale: Some(9), ..Options::default() };
    let mut script = Script::passive_with(&config, &Segment { options, ..syn() });
    script.connection.accept(script.now);
    script.one();
    script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
    // The host takes nothing. The peer keeps to what it was told last.
    let (mut sent, mut edge) = (0, script.connection.rcv_wnd());
    while sent + LENGTH <= edge {
        script.data(sent, &[1; LENGTH as usize]);
        script.connection.flush_ack();
        sent += LENGTH;
        let told = sent + (u32::from(script.one().window) << 9);
        assert!(told + 512 > edge, "the edge went back by {}", edge - told);
        edge = told;
        assert!(sent < 1_000_000, "the window does not close");
    }
    assert_eq!(script.connection.recv().len() as u32, sent);
    assert!((100_000..=200_000 + 512).contains(&sent), "{sent}");
    // It opens when the host takes some.
    script.take(150_000);
    assert!(script.one().window >= 3, "a segment and more");
}
