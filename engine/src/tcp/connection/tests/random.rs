//! Random segments, from anyone, in any state.

use proptest::prelude::*;

use super::*;

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
        let config = Config { mss, recv_limit: limit, send_limit: limit, window_scale: scale, sack: scale, timestamps: scale, ..CONFIG };
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
            let edge = connection.receiver.edge();
            match step {
                Step::Segment { flags, seq, ack, window, urgent, len, options } => {
                    let segment = Segment {
                        seq: connection.rcv_nxt() + seq as u32,
                        ack: connection.snd_max() + ack as u32,
                        flags: Flags::from_bits_truncate(u16::from(flags)),
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
                    connection.send_mut().push(&bytes[..n], limit, &mut script.pool);
                }
                Step::Urgent => connection.send_mut().mark_urgent(),
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
                let (first, second) = connection.send().slices(transmit.offset, transmit.len);
                prop_assert_eq!(first.len() + second.len(), transmit.len);
                prop_assert!(transmit.len <= connection.longest_payload());
                prop_assert!(usize::from(transmit.urgent) <= connection.send().len());
            }
            prop_assert!(connection.recv().len() <= limit.max(1) + (1 << 14));
            prop_assert!(connection.recv().urgent().is_none_or(|end| end <= connection.recv().len()));
            prop_assert!(connection.snd_una().le(connection.snd_nxt()) && connection.snd_nxt().le(connection.snd_max()));
            if connection.is_established() && start > 1 {
                prop_assert!(connection.receiver.edge().ge(edge));
            }
            if connection.state() == State::Closed {
                prop_assert_eq!(connection.deadline(), None);
            }
        }
        script.connection.release(&mut script.pool);
        prop_assert_eq!(script.pool.lent(), 0);
    }
}
