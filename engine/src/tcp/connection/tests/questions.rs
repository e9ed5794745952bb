//! Short segments whose bytes their owner passes on itself leave a connection as buffering them does.

use super::*;

/// The generator of Knuth's MMIX; its upper bits are good.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }
}

/// A segment of a peer that mostly asks and takes answers.
fn next<'a>(random: &mut Random, connection: &Connection, options: Options, bytes: &'a [u8]) -> Segment<'a> {
    let (una, max) = (connection.snd_una(), connection.snd_max());
    let ack = match random.below(8) {
        0 => una,
        1 => una + random.below(max.distance(una) + 1),
        _ => max,
    };
    let seq = match random.below(16) {
        0 => connection.rcv_nxt() + random.below(50),
        1 => connection.rcv_nxt() - random.below(50),
        _ => connection.rcv_nxt(),
    };
    let mut flags = Flags::ACK;
    flags.set(Flags::PSH, !random.one_in(3));
    flags.set(Flags::URG, random.one_in(50));
    let payload = &bytes[..if random.one_in(6) { 0 } else { 1 + random.below(90) as usize }];
    let window = if random.one_in(30) { random.below(3000) as u16 } else { 60_000 };
    Segment { seq, ack, flags, window, urgent: random.below(9) as u16, options, payload }
}

fn exchange(config: &Config, options: Options, seed: u64) -> u32 {
    let start = || {
        let mut script =
            Script::passive_with(config, &Segment { options: Options { mss: Some(1460), ..options }, ..syn() });
        script.connection.accept(script.now);
        script.sent();
        script.receive(Segment { options, ..segment(Flags::ACK, IRS + 1, ISS + 1) });
        script
    };
    let (mut one, mut other) = (start(), start());
    let (mut random, mut questions) = (Random(seed), 0);
    let bytes: Vec<u8> = (0..100).collect();
    for _ in 0..400 {
        let passed = Duration::from_micros(if random.one_in(40) { 300_000 } else { random.below(700).into() });
        let length = if random.one_in(4) { random.below(4000) } else { random.below(40) } as usize;
        let sends = !random.one_in(3);
        for script in [&mut one, &mut other] {
            script.now += passed;
            if script.connection.deadline().is_some_and(|at| at <= script.now) {
                script.connection.on_deadline(script.now);
            }
            if sends && script.connection.send_room() > length {
                script.push(length);
            }
        }
        assert_eq!(one.sent(), other.sent());
        let segment = next(&mut random, &other.connection, options, &bytes);
        let question = one.connection.is_question(&segment, one.now);
        other.receive(segment);
        if question {
            questions += 1;
            let passed_on = if random.one_in(4) {
                random.below(segment.payload.len() as u32 + 1) as usize
            } else {
                segment.payload.len()
            };
            one.connection.take_question(&segment, one.now, &mut one.pool);
            one.connection.take_text_of_question(segment.payload, passed_on, &mut one.pool);
            one.connection.tell_of_window();
            other.take(passed_on);
        } else {
            one.receive(segment);
        }
        // Who passes bytes on needs no memory for them for the moment, and sees no share of it either.
        for script in [&mut one, &mut other] {
            script.connection.look_at_share(&script.pool);
        }
        assert_eq!(one.received(), other.received());
        assert_eq!(format!("{:?}", one.connection), format!("{:?}", other.connection), "seed {seed}: {segment:?}");
        if random.one_in(2) {
            let waits = one.received().len();
            one.take(waits);
            other.take(waits);
        }
        if random.one_in(2) {
            one.connection.flush_ack();
            other.connection.flush_ack();
        }
    }
    questions
}

#[test]
fn a_question_that_is_passed_on_leaves_what_a_buffered_one_does() {
    let modern = Config { sack: true, timestamps: true, window_scale: true, ..CONFIG };
    let offered =
        Options { sack_permitted: true, timestamps: Some((7, 0)), window_scale: Some(2), ..Options::default() };
    let sacks = Config { sack: true, congestion: Congestion::Automatic, ..CONFIG };
    let mut questions = [0; 3];
    for seed in 0..12 {
        questions[0] += exchange(&CONFIG, Options::default(), seed);
        questions[1] += exchange(&modern, offered, seed);
        questions[2] += exchange(&sacks, Options { sack_permitted: true, ..Options::default() }, seed);
    }
    assert!(questions.iter().all(|&count| count > 300), "{questions:?}");
}
