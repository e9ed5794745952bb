//! Flows through one bottleneck: that the simulator's own parts do what is known of them, and what holds of our sender in
//! bad company and with bad input. `benches/goodput` has the whole grid.

use super::dumbbell::{Discipline, Figures, Kind, Luck, Setup, jain, millis, run};
use crate::tcp::{Config, Congestion, Ecn};

const MBIT: u64 = 1_000_000;
const KIB: u64 = 1024;

/// Our sender as a stack has it at an MTU of 1500.
fn config() -> Config {
    let limit = 512 * 1460;
    let grown = 65_535 << 9;
    Config { mss: 1460, recv_limit: limit, send_limit: limit, recv_max: grown, send_max: grown, ..Config::default() }
}

fn ours() -> Kind {
    Kind::Ours(config())
}

/// So many seconds of so many Mbit/s.
fn setup(rate: u64, rtt_ms: i64, queue: u64, kinds: &[Kind], seconds: i64) -> Setup {
    let setup = Setup::new(rate * MBIT, millis(rtt_ms), queue * KIB, kinds, 1);
    Setup { length: millis(1000 * seconds), ..setup }
}

/// Each flow's share of what the wire can carry.
fn shares(setup: &Setup, figures: &Figures) -> Vec<f64> {
    figures.flows.iter().map(|flow| flow.goodput / setup.capacity()).collect()
}

#[test]
fn the_plain_senders_fill_a_queue_of_a_round_trip_and_drop_little() {
    for kind in [Kind::Reno, Kind::Cubic] {
        let setup = setup(20, 20, 64, &[kind], 20);
        let figures = run(&setup);
        assert!(shares(&setup, &figures)[0] > 0.97, "{kind:?}: {figures:?}");
        assert!(figures.dropped() > 0.0 && figures.dropped() < 0.01, "{kind:?}: {figures:?}");
        assert!(figures.queue_mean > 0.2 * setup.queue as f64 && figures.queue_p95 <= setup.queue, "{figures:?}");
    }
}

/// Slow start overshoots a long queue by far, and thousands of segments are lost at once. That is repaired, and the window
/// is what it is to be afterwards.
#[test]
fn the_plain_senders_repair_what_slow_start_overshot() {
    for kind in [Kind::Reno, Kind::Cubic] {
        let setup = setup(100, 10, 4096, &[kind], 10);
        let figures = run(&setup);
        assert!(shares(&setup, &figures)[0] > 0.98, "{kind:?}: {figures:?}");
        assert!(figures.queue_mean > 0.3 * setup.queue as f64, "{kind:?}: {figures:?}");
    }
}

/// Without a queue Reno's window swings between a half and the whole of the path: three quarters.
#[test]
fn reno_without_a_queue_has_three_quarters() {
    let setup = setup(20, 50, 8, &[Kind::Reno], 60);
    let share = shares(&setup, &run(&setup))[0];
    assert!((0.65..0.85).contains(&share), "{share}");
}

#[test]
fn two_plain_senders_of_a_kind_share() {
    for kind in [Kind::Reno, Kind::Cubic] {
        let setup = setup(20, 20, 64, &[kind, kind], 40);
        let figures = run(&setup);
        let shares = shares(&setup, &figures);
        assert!(jain(&shares) > 0.95, "{kind:?}: {shares:?}");
        assert!(figures.goodput() > 0.95 * setup.capacity(), "{figures:?}");
    }
}

#[test]
fn a_trace_shows_slow_start_and_the_queue_that_it_fills() {
    let mut setup = setup(20, 50, 64, &[Kind::Reno], 1);
    setup.trace = Some((millis(3000), millis(10)));
    let trace = run(&setup).trace;
    assert!((295..=301).contains(&trace.len()), "{} points", trace.len());
    assert!(trace.is_sorted_by_key(|point| (point.at, point.arrived)));
    let most = setup.bdp() as u64 + setup.queue;
    let peak = trace.iter().map(|point| point.queue).max().unwrap_or_default();
    assert!(peak > setup.queue - 2000 && peak <= setup.queue, "{peak}");
    // The bursts of slow start fill half of the queue long before the path is full.
    let early = trace.iter().find(|point| point.queue > setup.queue / 2).expect("the queue fills");
    assert!(early.at < millis(500) && early.flight < setup.bdp() as u64, "{early:?}");
    let largest = trace.iter().map(|point| point.flight).max().unwrap_or_default();
    assert!(largest > setup.bdp() as u64 + setup.queue / 2, "{largest}");
    assert!(trace.iter().all(|point| point.flight < 3 * most && point.window < 3 * most));
}

#[test]
fn codel_keeps_a_queue_short_with_marks_alone() {
    let plain = setup(20, 50, 1024, &[Kind::Cubic], 20);
    let mut managed = plain.clone();
    managed.discipline = Discipline::CoDel;
    managed.habits.ecn = true;
    let (plain, figures) = (run(&plain), run(&managed));
    assert!(figures.queue_mean < plain.queue_mean / 4.0, "{} of {}", figures.queue_mean, plain.queue_mean);
    assert!(shares(&managed, &figures)[0] > 0.85, "{figures:?}");
    assert!(figures.flows[0].marked > 0, "{figures:?}");
    managed.discipline = Discipline::Step(16 * KIB);
    let step = run(&managed);
    assert!(step.flows[0].marked > 0 && step.queue_mean < 32.0 * 1024.0, "{step:?}");
}

/// Marks take the place of drops, for both of our controllers.
#[test]
fn marks_keep_the_queue_of_our_sender_short() {
    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        let kind = Kind::Ours(Config { ecn: Ecn::Ask, congestion, ..config() });
        let mut managed = setup(20, 50, 1024, &[kind], 20);
        managed.discipline = Discipline::Step(16 * KIB);
        managed.habits.ecn = true;
        let figures = run(&managed);
        let flow = &figures.flows[0];
        assert!(flow.marked > 0 && flow.dropped == 0, "{congestion:?}: {flow:?}");
        assert!(figures.queue_mean < 32.0 * 1024.0, "{congestion:?}: {}", figures.queue_mean);
        assert!(shares(&managed, &figures)[0] > 0.8, "{congestion:?}: {figures:?}");
    }
}

#[test]
fn a_setup_gives_the_same_run_again() {
    let mut setup = setup(50, 10, 32, &[ours(), Kind::Cubic], 3);
    setup.luck = Luck { loss: 1000, ack_loss: 1000, overtaken: 1000, late: millis(3), ..Luck::default() };
    assert_eq!(format!("{:?}", run(&setup)), format!("{:?}", run(&setup)));
}

/// Bars of docs/goodput.md, at the cells at which the sender of before flooded the queue (a fifth of what it sent was dropped) and
/// starved its neighbor (which had 2 and 10 % of the link).
#[test]
fn our_sender_leaves_short_queues_and_their_neighbors_alone() {
    let alone = setup(100, 50, 64, &[ours()], 12);
    let figures = run(&alone);
    assert!(shares(&alone, &figures)[0] >= 0.8 && figures.dropped() <= 0.01, "{figures:?}");
    for (rtt, queue) in [(50, 64), (10, 32)] {
        let beside = setup(100, rtt, queue, &[ours(), Kind::Cubic], 12);
        let figures = run(&beside);
        let shares = shares(&beside, &figures);
        assert!(shares.iter().all(|&share| share >= 0.3), "{rtt} ms: {shares:?}");
        assert!(figures.dropped() <= 0.01, "{rtt} ms: {figures:?}");
    }
    let two = setup(100, 10, 32, &[ours(), ours()], 12);
    assert!(jain(&shares(&two, &run(&two))) >= 0.95);
}

/// The guest's link takes less than its segment size said, and nobody tells (RFC 4821 section 7.7): that costs two timeouts at
/// the beginning, in the time before it is measured, and the search.
#[test]
fn a_link_that_silently_takes_less_is_found_out() {
    for (takes, least) in [(1440, 0.9), (1250, 0.85), (600, 0.7)] {
        let mut narrow = setup(50, 20, 256, &[ours()], 10);
        narrow.luck.swallows = takes;
        let figures = run(&narrow);
        let share = shares(&narrow, &figures)[0];
        assert!(share >= least, "{takes}: {share}");
        assert!(figures.flows[0].lost < 200, "{takes}: {figures:?}");
    }
}

/// Bad input for a sender: none of it stops it or makes it flood the queue. The shares are those of a sender that goes on; one that
/// stalls has a tenth.
fn is_neither_stopped_nor_unleashed(change: impl Fn(&mut Setup), dropped: f64) {
    for congestion in [Congestion::Automatic, Congestion::Bbr] {
        let mut setup = setup(50, 20, 256, &[Kind::Ours(Config { congestion, ..config() })], 8);
        change(&mut setup);
        let figures = run(&setup);
        let share = shares(&setup, &figures)[0];
        assert!(share >= 0.8, "{congestion:?}: {share}");
        assert!(figures.dropped() <= dropped, "{congestion:?}: {:?}", figures.flows);
    }
}

#[test]
fn bad_input_reordering() {
    is_neither_stopped_nor_unleashed(
        |setup| setup.luck = Luck { overtaken: 20_000, late: millis(5), ..Luck::default() },
        0.02,
    );
}

#[test]
fn bad_input_acknowledgments_in_bunches() {
    is_neither_stopped_nor_unleashed(|setup| setup.luck.bunches = millis(10), 0.02);
}

#[test]
fn bad_input_stretched_acknowledgments() {
    is_neither_stopped_nor_unleashed(|setup| setup.habits.every = 16, 0.02);
}

#[test]
fn bad_input_split_acknowledgments() {
    is_neither_stopped_nor_unleashed(|setup| setup.habits.pieces = 10, 0.02);
}

/// What is said to have arrived and was lost is repaired nevertheless.
#[test]
fn bad_input_lies_in_selective_acknowledgments() {
    is_neither_stopped_nor_unleashed(
        |setup| {
            setup.habits.lies = true;
            setup.luck.loss = 1000;
        },
        0.02,
    );
}

#[test]
fn bad_input_clock_in_steps_of_1_ms() {
    is_neither_stopped_nor_unleashed(|setup| setup.clock = millis(1), 0.02);
}

#[test]
fn bad_input_clock_in_steps_of_10_ms() {
    is_neither_stopped_nor_unleashed(|setup| setup.clock = millis(10), 0.02);
}

#[test]
fn bad_input_clock_in_steps_of_100_ms() {
    is_neither_stopped_nor_unleashed(|setup| setup.clock = millis(100), 0.03);
}

/// Ours keeps out of a long queue and a plain CUBIC fills it, so that ours has to notice (7 and 12 % of the link before).
#[test]
fn our_sender_lives_beside_one_that_fills_a_long_queue() {
    for rtt in [2, 10] {
        let beside = setup(100, rtt, 4096, &[ours(), Kind::Cubic], 25);
        let figures = run(&beside);
        let shares = shares(&beside, &figures);
        assert!(shares.iter().all(|&share| share >= 0.25), "{rtt} ms: {shares:?}");
    }
}

/// The same where the path is too short to be measured as long as it has no queue (16 % of the link before).
#[test]
fn our_sender_lives_beside_one_that_fills_a_long_queue_of_a_short_path() {
    let mut beside = setup(100, 0, 4096, &[ours(), Kind::Cubic], 25);
    beside.rtt = millis(1) / 5;
    let figures = run(&beside);
    let shares = shares(&beside, &figures);
    assert!(shares.iter().all(|&share| share >= 0.25), "{shares:?}");
    let ours = &figures.flows[0];
    assert!((ours.dropped as f64) < ours.sent as f64 * 0.01, "{ours:?}");
}

/// What ours keeps in a queue is not taken for the length of the path after a while, so that as much again stands behind it: with the least
/// round trip of late alone the queue was three times as long after two minutes.
#[test]
fn the_queue_that_our_sender_keeps_does_not_grow_with_time() {
    let config = Config { send_limit: 64 << 10, ..config() };
    let mut long = setup(40, 100, 1024, &[Kind::Ours(config)], 30);
    long.warm_up = millis(90_000);
    let figures = run(&long);
    assert!(figures.queue_mean < 80.0 * 1024.0, "{figures:?}");
    assert!(shares(&long, &figures)[0] > 0.95, "{figures:?}");
}

/// One of ours that begins a second later on a long path. In the shorter queue its slow start ends with what the other one's overflows, at a
/// tenth of its share. In the longer one nothing is lost, but the other one's queue ends it.
#[test]
fn one_of_ours_that_comes_late_to_a_long_path_gets_its_share() {
    let config = Config { send_limit: config().send_limit / 2, ..config() };
    for queue in [512, 2048] {
        let mut late = setup(50, 200, queue, &[Kind::Ours(config); 2], 20);
        late.flows[1].start = millis(1000);
        let figures = run(&late);
        let shares = shares(&late, &figures);
        assert!(jain(&shares) >= 0.9, "{queue} KiB: {shares:?}");
        assert!(figures.dropped() < 0.01, "{queue} KiB: {figures:?}");
    }
}

/// The harm that noticing others could do: several of ours that lose something now and then, each of which sees the others' part of the queue.
#[test]
fn several_of_ours_with_losses_keep_a_long_queue_short() {
    for kinds in [2, 3] {
        let kind = Kind::Ours(Config { congestion: Congestion::Cubic, ..config() });
        let mut several = setup(100, 10, 4096, &vec![kind; kinds], 25);
        several.luck.loss = 100;
        let figures = run(&several);
        assert!(figures.queue_mean < several.queue as f64 * 0.2 * kinds as f64, "{kinds}: {}", figures.queue_mean);
        assert!(figures.dropped() < 0.001 && jain(&shares(&several, &figures)) > 0.9, "{kinds}: {figures:?}");
    }
}

/// The harm that a bound of slow start could do: acknowledgments that come in bunches make round trips longer by more than a quarter,
/// and there is no queue.
#[test]
fn slow_start_goes_on_where_acknowledgments_come_in_bunches() {
    let mut far = setup(200, 50, 1024, &[ours()], 3);
    far.luck.bunches = millis(30);
    let figures = run(&far);
    let share = shares(&far, &figures)[0];
    assert!(share >= 0.9, "{share}: {figures:?}");
}
