//! Scripted peers: one rule a test.

use proptest::prelude::*;

use super::*;
use crate::tcp::segment::Transmit;

const CONFIG: Config = Config { mss: 1460, recv_limit: 100_000, send_limit: 100_000, window_scale: false };
/// Our initial sequence number in these tests.
const ISS: u32 = 1000;
/// The peer's.
const IRS: u32 = 5000;

/// A connection and the peer that a test plays.
struct Script {
    connection: Connection,
    pool: Pool,
    now: Instant,
}

fn segment(flags: Flags, seq: u32, ack: u32) -> Segment<'static> {
    Segment {
        seq: SeqNumber(seq),
        ack: SeqNumber(ack),
        flags,
        window: 60_000,
        urgent: 0,
        options: Options::default(),
        payload: &[],
    }
}

fn syn() -> Segment<'static> {
    Segment { options: Options { mss: Some(1460), ..Options::default() }, ..segment(Flags::SYN, IRS, 0) }
}

impl Script {
    fn passive_with(config: &Config, syn: &Segment<'_>) -> Script {
        let mut pool = Pool::new();
        let now = Instant::from_secs(100);
        let connection = Connection::passive(config, syn, SeqNumber(ISS), now, &mut pool);
        Script { connection, pool, now }
    }

    fn active() -> Script {
        let now = Instant::from_secs(100);
        Script { connection: Connection::active(&CONFIG, SeqNumber(ISS), now), pool: Pool::new(), now }
    }

    /// Established, opened by the peer; nothing is left to be sent.
    fn established_with(config: &Config) -> Script {
        let mut script = Script::passive_with(config, &syn());
        script.connection.accept(script.now);
        assert_eq!(script.sent().len(), 1);
        script.receive(segment(Flags::ACK, IRS + 1, ISS + 1));
        assert_eq!(script.connection.state(), State::Established);
        assert_eq!(script.sent(), []);
        script
    }

    fn established() -> Script {
        Script::established_with(&CONFIG)
    }

    fn receive(&mut self, segment: Segment<'_>) {
        self.connection.on_segment(&segment, self.now, &mut self.pool);
    }

    /// Data from the peer at `offset` bytes into its stream.
    fn data(&mut self, offset: u32, payload: &[u8]) {
        self.receive(Segment { payload, ..segment(Flags::ACK, IRS + 1 + offset, ISS + 1) });
    }

    /// An acknowledgment of `bytes` bytes of our stream.
    fn ack(&mut self, bytes: u32) {
        let seq = self.connection.rcv_nxt.0;
        self.receive(segment(Flags::ACK, seq, ISS + 1 + bytes));
    }

    fn push(&mut self, n: usize) {
        assert_eq!(self.connection.send.push(&vec![b'x'; n], 1 << 20, &mut self.pool), n);
    }

    fn sent(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.connection.poll_transmit(self.now)).collect()
    }

    /// The one segment that is sent.
    fn one(&mut self) -> Transmit {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0]
    }

    /// Lets the time pass until the next deadline and returns how long that was.
    fn expire(&mut self) -> Duration {
        let at = self.connection.deadline().expect("a deadline");
        let passed = at - self.now;
        self.now = at;
        self.connection.on_deadline(at);
        passed
    }

    /// Closes our direction and has the peer acknowledge that.
    fn close_acked(&mut self) {
        self.connection.close_send();
        let fin = self.one();
        assert!(fin.flags.contains(Flags::FIN));
        self.ack(1);
    }

    fn received(&self) -> Vec<u8> {
        let (first, second) = self.connection.recv.slices();
        [first, second].concat()
    }

    fn take(&mut self, n: usize) {
        self.connection.consume_received(n, &mut self.pool);
    }

    /// Checks that a plain acknowledgment of all that is in order is sent, and nothing else.
    fn acks(&mut self, bytes: u32) {
        let ack = self.one();
        assert_eq!((ack.flags, ack.len), (Flags::ACK, 0));
        assert_eq!(ack.ack, SeqNumber(IRS + 1 + bytes));
    }
}

const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);
const RST_ACK: Flags = Flags::RST.union(Flags::ACK);
const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 400, "{}", size_of::<Connection>());
    let mut script = Script::established();
    script.push(5000);
    script.data(0, &[1; 1000]);
    assert_eq!(script.pool.lent(), 2 * 16384);
    script.sent();
    script.ack(5000);
    script.take(1000);
    assert_eq!(script.pool.lent(), 0);
}

mod handshake {
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
    fn a_newer_syn_takes_over_while_opening() {
        let mut script = Script::passive_with(&CONFIG, &Segment { payload: b"old", ..syn() });
        script.receive(Segment { seq: SeqNumber(9000), ..syn() });
        script.connection.accept(script.now);
        assert_eq!(script.one().ack, SeqNumber(9001));
        assert_eq!(script.connection.recv.len(), 0);
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
        for (option, expected) in
            [(Some(1460), 1460), (Some(256), 256), (Some(1), 32), (Some(9000), 1460), (None, 1440)]
        {
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
        for (config, options, expected) in
            [(&CONFIG, scaled, None), (&want, syn().options, None), (&want, scaled, Some(5))]
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
        assert_eq!((script.now.secs(), script.connection.closed()), (175, Some(Closed::TimedOut)));
    }
}

mod receiving {
    use super::*;

    #[test]
    fn one_acknowledgment_answers_a_batch() {
        let mut script = Script::established();
        for index in 0..10 {
            script.data(index * 1000, &[7; 1000]);
            assert_eq!(script.sent(), []);
            assert!(script.connection.has_batched_ack());
        }
        assert_eq!(script.connection.recv.len(), 10_000);
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
        assert!(script.connection.assembler.is_none());
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
            let mut edge = script.connection.rcv_adv;
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
            for _ in 0..script.connection.recv.len() {
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
        assert_eq!((script.connection.recv.len(), script.pool.lent()), (0, 0));
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
        assert_eq!(script.connection.recv.urgent(), Some(3));
        script.acks(5);
        script.take(5);
        // The same again does not mark what was taken already.
        script.receive(urgent(0, 3, b"xyZab"));
        assert_eq!(script.connection.recv.urgent(), None);
        // A pointer past what arrived is kept until it does, and names nothing that is not there.
        script.receive(urgent(5, 65535, b"cd"));
        assert_eq!((script.connection.recv.len(), script.connection.recv.urgent()), (2, None));
        script.receive(urgent(7, 1, b"efg"));
        assert_eq!(script.connection.recv.urgent(), None, "the later end counts");
        for offset in 0..66 {
            script.data(10 + offset * 1000, &[0; 1000]);
        }
        assert_eq!(script.connection.recv.urgent(), Some(65535));
    }
}

mod attacks {
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
}

mod sending {
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
        assert_eq!(waits[39], 60_000);
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
        assert_eq!((script.sent(), script.connection.send.len()), (vec![], 2));
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
        for _ in 0..20 {
            if script.connection.closed().is_some() {
                break;
            }
            script.expire();
            script.one();
        }
        assert_eq!(script.connection.closed(), Some(Closed::TimedOut));
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
        script.connection.send.mark_urgent();
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
}

mod closing {
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
}

#[test]
fn a_saved_connection_goes_on() {
    let mut script = Script::established();
    script.data(0, b"ping");
    script.push(12);
    script.one();
    let saved = script.connection.save().unwrap();
    let mut pool = Pool::new();
    let restored = Connection::restore(&CONFIG, &saved, b"ping", &[b'x'; 12], script.now, &mut pool).unwrap();
    let mut script = Script { connection: restored, pool, now: script.now };
    assert_eq!(script.received(), b"ping");
    assert_eq!(script.one().len, 12, "what was in flight is sent again");
    script.ack(12);
    assert!(script.connection.send_idle());
    script.data(4, b"pong");
    assert_eq!(script.received(), b"pingpong");
    let wrong = Saved { snd_max: saved.snd_una + 13, ..saved };
    assert!(Connection::restore(&CONFIG, &wrong, b"", &[0; 12], script.now, &mut script.pool).is_none());
    assert_eq!(Script::active().connection.save(), None);
}

/// What a test with random segments does in one step.
#[derive(Debug, Clone)]
enum Step {
    Segment { flags: u8, seq: i32, ack: i32, window: u16, urgent: u16, len: usize, options: Vec<u8> },
    Deadline(u32),
    Take(usize),
    Push(usize),
    Urgent,
    CloseSend,
    Discard,
    Accept,
    Flush,
    Abort,
}

fn step() -> impl Strategy<Value = Step> {
    let near = || prop_oneof![8 => -3i32..4, 4 => -2000i32..70_000, 1 => any::<i32>()];
    let options = proptest::collection::vec(any::<u8>(), 0..20);
    let flags = prop_oneof![6 => Just(0x10u8), 2 => Just(0x18), 1 => Just(0x11), 4 => any::<u8>()];
    let window = prop_oneof![1 => Just(0u16), 1 => 0u16..2000, 3 => any::<u16>()];
    let len = prop_oneof![2 => Just(0usize), 3 => 1usize..2000, 1 => 0usize..65_000];
    prop_oneof![
        20 => (flags, near(), near(), window, any::<u16>(), len, options).prop_map(
            |(flags, seq, ack, window, urgent, len, options)| Step::Segment { flags, seq, ack, window, urgent, len, options }
        ),
        4 => any::<u32>().prop_map(Step::Deadline),
        3 => (0usize..70_000).prop_map(Step::Take),
        3 => (0usize..70_000).prop_map(Step::Push),
        1 => Just(Step::Urgent),
        1 => Just(Step::CloseSend),
        1 => Just(Step::Discard),
        2 => Just(Step::Accept),
        3 => Just(Step::Flush),
        1 => Just(Step::Abort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// No segment in any state makes a connection panic, hold more than its bounds, move the window's edge left, or send
    /// without end.
    #[test]
    fn any_segments_in_any_state(
        start in 0u8..5,
        scale: bool,
        limit in prop_oneof![Just(1usize), Just(5000), Just(200_000)],
        mss in prop_oneof![Just(1u16), Just(1460), Just(65495)],
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let config = Config { mss, recv_limit: limit, send_limit: limit, window_scale: scale };
        let mut script = match start {
            0 => Script { connection: Connection::active(&config, SeqNumber(u32::MAX - 2), Instant::ZERO), pool: Pool::new(), now: Instant::ZERO },
            1 => Script::passive_with(&config, &syn()),
            _ => Script::established_with(&config),
        };
        if start == 3 {
            script.connection.close_send();
        }
        if start == 4 {
            script.receive(segment(FIN_ACK, IRS + 1, ISS + 1));
        }
        let bytes = vec![0x5a; 70_000];
        for step in steps {
            let connection = &mut script.connection;
            let edge = connection.rcv_adv;
            match step {
                Step::Segment { flags, seq, ack, window, urgent, len, options } => {
                    let segment = Segment {
                        seq: connection.rcv_nxt + seq as u32,
                        ack: connection.snd_max + ack as u32,
                        flags: Flags::from_bits_truncate(flags),
                        window,
                        urgent,
                        options: Options::parse(&options),
                        payload: &bytes[..len],
                    };
                    connection.on_segment(&segment, script.now, &mut script.pool);
                }
                Step::Deadline(micros) => {
                    script.now += Duration::from_micros(u64::from(micros));
                    connection.on_deadline(script.now);
                }
                Step::Take(n) => connection.consume_received(n, &mut script.pool),
                Step::Push(n) => {
                    connection.send.push(&bytes[..n], limit, &mut script.pool);
                }
                Step::Urgent => connection.send.mark_urgent(),
                Step::CloseSend => connection.close_send(),
                Step::Discard => connection.discard_received(&mut script.pool),
                Step::Accept => connection.accept(script.now),
                Step::Flush => connection.flush_ack(),
                Step::Abort => connection.abort(script.now),
            }
            let mut sent = 0;
            while let Some(transmit) = connection.poll_transmit(script.now) {
                sent += 1;
                prop_assert!(sent <= limit + 10);
                let (first, second) = connection.send.slices(transmit.offset, transmit.len);
                prop_assert_eq!(first.len() + second.len(), transmit.len);
                prop_assert!(transmit.len <= connection.effective_mss());
                prop_assert!(usize::from(transmit.urgent) <= connection.send.len());
            }
            prop_assert!(connection.recv.len() <= limit.max(1) + (1 << 14));
            prop_assert!(connection.recv.urgent().is_none_or(|end| end <= connection.recv.len()));
            prop_assert!(connection.snd_una.le(connection.snd_nxt) && connection.snd_nxt.le(connection.snd_max));
            if connection.is_established() && start > 1 {
                prop_assert!(connection.rcv_adv.ge(edge));
            }
            if connection.state() == State::Closed {
                prop_assert_eq!(connection.deadline(), None);
            }
        }
        script.connection.release(&mut script.pool);
        prop_assert_eq!(script.pool.lent(), 0);
    }
}
