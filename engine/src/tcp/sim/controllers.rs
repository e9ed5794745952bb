//! What the controllers make of a path, by the simulator of a bottleneck: short queues, long ones, links that lose segments,
//! company. `benches/goodput` has the whole grid; here is one cell of each kind.

use super::dumbbell::{Figures, Kind, Luck, Setup, jain, millis, run};
use crate::tcp::{Config, Congestion};

const MBIT: u64 = 1_000_000;
const KIB: u64 = 1024;

/// As a stack has it at an MTU of 1500.
fn sender(congestion: Congestion) -> Kind {
    let limit = 512 * 1460;
    let grown = 65_535 << 9;
    Kind::Ours(Config {
        mss: 1460,
        recv_limit: limit,
        send_limit: limit,
        recv_max: grown,
        send_max: grown,
        congestion,
        ..Config::default()
    })
}

/// Senders through 50 Mbit/s, for 15 seconds; the shares of the wire.
fn through(rtt: i64, queue: u64, luck: Luck, kinds: &[Kind]) -> (Vec<f64>, Figures) {
    let setup = Setup { luck, length: millis(15_000), ..Setup::new(50 * MBIT, millis(rtt), queue * KIB, kinds, 1) };
    let figures = run(&setup);
    let shares = figures.flows.iter().map(|flow| flow.goodput / setup.capacity()).collect();
    (shares, figures)
}

const NO_LUCK: Luck = Luck { loss: 0, ack_loss: 0, overtaken: 0, late: 0, bunches: 0, swallows: 0 };

/// 32 KiB are a tenth of what fits.
#[test]
fn a_short_queue_is_not_flooded() {
    for (congestion, most) in [(Congestion::Automatic, 0.01), (Congestion::Cubic, 0.01), (Congestion::Bbr, 0.02)] {
        let (shares, figures) = through(50, 32, NO_LUCK, &[sender(congestion)]);
        assert!(shares[0] > 0.8, "{congestion:?}: {shares:?}");
        assert!(figures.dropped() < most, "{congestion:?}: {}", figures.dropped());
    }
}

#[test]
fn a_long_queue_is_not_filled() {
    for congestion in [Congestion::Automatic, Congestion::Cubic, Congestion::Bbr] {
        let (shares, figures) = through(50, 4096, NO_LUCK, &[sender(congestion)]);
        assert!(shares[0] > 0.9, "{congestion:?}: {shares:?}");
        assert!(figures.queue_mean < 0.25 * 4096.0 * 1024.0, "{congestion:?}: {}", figures.queue_mean);
    }
}

/// One segment in a hundred is lost. CUBIC takes that for congestion; the others find out that it is none.
#[test]
fn random_losses_cost_little() {
    let luck = Luck { loss: 10_000, ack_loss: 10_000, ..NO_LUCK };
    for (congestion, least, most) in
        [(Congestion::Automatic, 0.85, 1.0), (Congestion::Bbr, 0.85, 1.0), (Congestion::Cubic, 0.0, 0.3)]
    {
        let (shares, _) = through(50, 1024, luck, &[sender(congestion)]);
        assert!((least..=most).contains(&shares[0]), "{congestion:?}: {shares:?}");
    }
}

#[test]
fn two_of_ours_share_and_a_neighbour_lives() {
    let (shares, _) = through(20, 64, NO_LUCK, &[sender(Congestion::Automatic); 2]);
    assert!(jain(&shares) > 0.95, "{shares:?}");
    for neighbour in [Kind::Cubic, Kind::Reno] {
        let (shares, _) = through(20, 64, NO_LUCK, &[sender(Congestion::Automatic), neighbour]);
        assert!(shares.iter().all(|&share| share > 0.3), "{neighbour:?}: {shares:?}");
    }
}
