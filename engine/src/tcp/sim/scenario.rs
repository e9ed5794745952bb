//! What a seed means: the link, both ends and their applications.

use super::app::{App, Ending};
use super::link::Shape;
use super::ours::{Answer, Ours, Rates};
use super::random::Random;
use super::smol::{self, Smol};
use crate::tcp::{Config, Congestion, Ecn, SeqNumber};
use crate::time::{Duration, Instant};

/// IPv4 and TCP headers, in bytes.
const HEADERS: usize = 40;

/// The kind of the second end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Other {
    Ours,
    Smol,
}

/// Who sends the first SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    First,
    Second,
    Both,
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub other: Other,
    pub opening: Opening,
    /// The link in the direction from each end.
    pub links: [Shape; 2],
    pub mtu: usize,
    /// The path's MTU falls to this after so many segments.
    pub narrows: Option<(u64, usize)>,
    /// Whoever sends more is not told.
    pub silent: bool,
    apps: [App; 2],
    configs: [Config; 2],
    smol: smol::Shape,
    iss: [SeqNumber; 2],
    answer: (Answer, u64),
    /// What happens to the first end, and to the second if it is ours.
    rates: Rates,
    /// The second end is rebuilt as well.
    rebuild_both: bool,
}

/// Either kind of end, by value.
pub(super) enum AnyEnd {
    Ours(Box<Ours>),
    Smol(Box<Smol>),
}

fn link(random: &mut Random, mtu: usize) -> Shape {
    Shape {
        loss: random.pick(&[0, 0, 0, 1, 10, 30, 100]),
        duplication: random.pick(&[0, 0, 0, 20, 100]),
        reordering: random.pick(&[0, 0, 0, 30, 300, 1000]),
        delay: random.pick(&[1, 50, 1000, 5000, 25_000, 100_000, 300_000]),
        jitter: random.pick(&[500, 5000, 50_000]),
        rate: random.pick(&[0, 0, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000]),
        queue: random.pick(&[2, 4, 20, 200]) * mtu,
    }
}

fn config(random: &mut Random, mtu: usize) -> Config {
    Config {
        mss: (mtu - HEADERS) as u16,
        recv_limit: random.pick(&[3000, 20_000, 65_535, 300_000, 1 << 20]),
        recv_first: 64 << 10,
        send_limit: random.pick(&[3000, 50_000, 200_000]),
        recv_max: random.pick(&[0, 500_000, 4 << 20]),
        send_max: random.pick(&[0, 500_000, 4 << 20]),
        congestion: random.pick(&[Congestion::Cubic, Congestion::Bbr]),
        ecn: random.pick(&[Ecn::Refuse, Ecn::Accept, Ecn::Ask]),
        window_scale: random.percent(70),
        sack: random.percent(70),
        timestamps: random.percent(60),
        stamp_offset: random.next() as u32,
        keep_alive: random.percent(20).then_some(Duration::from_secs(5)),
        watch: false,
    }
}

fn app(me: usize, random: &mut Random) -> App {
    let total = random.pick(&[0, 1, 1000, 20_000, 60_000, 150_000]) as usize;
    let ending = match random.below(100) {
        0..6 => Ending::Abort(random.below(100_000) as usize),
        6..40 => Ending::Last,
        _ => Ending::First,
    };
    let pauses = random.pick(&[0, 0, 0, 5, 50]);
    App::new(me, total, ending, random.pick(&[0, 0, 500, 5000]), pauses, random.pick(&[10, 300, 5000]))
}

impl Scenario {
    pub(super) fn new(random: &mut Random) -> Scenario {
        let mtu = random.pick(&[576, 1006, 1280, 1492, 1500, 1500, 1500, 9000, 65_520]);
        let other = if random.percent(50) { Other::Ours } else { Other::Smol };
        let mut apps = [app(0, random), app(1, random)];
        if apps[0].ending == Ending::Last && apps[1].ending == Ending::Last {
            apps[1].ending = Ending::First;
        }
        let mut links = [link(random, mtu), link(random, mtu)];
        if random.percent(60) {
            links[1] = links[0];
        }
        let clean = random.percent(10);
        if clean {
            links.iter_mut().for_each(|link| {
                *link =
                    Shape { loss: 0, duplication: 0, reordering: 0, rate: 0, delay: link.delay.min(50_000), ..*link }
            });
            apps.iter_mut().for_each(|app| app.pauses = 0);
        }
        let mut configs = [config(random, mtu), config(random, mtu)];
        if clean {
            configs.iter_mut().for_each(|config| config.keep_alive = None);
        }
        let smol = smol::Shape {
            mtu,
            recv: random.pick(&[3000, 20_000, 65_535, 300_000]),
            send: random.pick(&[3000, 50_000, 200_000]),
            timestamps: random.percent(50),
            nagle: random.percent(50),
            delayed_ack: random.percent(50),
            seed: random.next(),
        };
        let narrows = (other == Other::Ours && mtu > 576 && !clean && random.percent(10))
            .then(|| (random.below(60), random.pick(&[576, mtu - 8, mtu / 2]).max(576)));
        // Segments that are short already are not doubted: there the path has to say something.
        let silent = random.percent(30) && configs.iter().all(|config| config.mss > 1220);
        let rebuild = if random.percent(30) { random.pick(&[5, 50, 300]) } else { 0 };
        Scenario {
            other,
            opening: match random.below(100) {
                0..10 => Opening::Both,
                10..40 => Opening::Second,
                _ => Opening::First,
            },
            links,
            mtu,
            narrows,
            silent,
            apps,
            configs,
            smol,
            iss: [SeqNumber(random.next() as u32), SeqNumber(random.next() as u32)],
            answer: (
                if random.percent(3) { Answer::Refuse } else { Answer::Accept },
                if clean { 0 } else { random.pick(&[0, 0, 5000, 2_000_000]) },
            ),
            rates: Rates { rebuild, urgent: if random.percent(10) { 50 } else { 0 } },
            rebuild_both: random.percent(50),
        }
    }

    /// Both ends. The first is always ours.
    pub(super) fn ends(&self, now: Instant) -> [AnyEnd; 2] {
        let [first, second] = &self.apps;
        let mut first = Ours::new(first.clone(), self.configs[0], self.iss[0], self.answer, self.rates);
        if self.opening != Opening::Second {
            first.open(now);
        }
        let opens = self.opening != Opening::First;
        let second = match self.other {
            Other::Ours => {
                let rebuild = if self.rebuild_both { self.rates.rebuild } else { 0 };
                let rates = Rates { rebuild, ..self.rates };
                let mut end = Ours::new(second.clone(), self.configs[1], self.iss[1], self.answer, rates);
                if opens {
                    end.open(now);
                }
                AnyEnd::Ours(Box::new(end))
            }
            Other::Smol => {
                let mut end = Smol::new(second.clone(), self.smol, now);
                if opens {
                    end.open(now);
                }
                AnyEnd::Smol(Box::new(end))
            }
        };
        [AnyEnd::Ours(Box::new(first)), second]
    }

    /// Nothing gets lost, late, twice or out of order, and nobody dawdles: no timer has anything to do.
    pub(super) fn is_clean(&self) -> bool {
        let clean =
            |link: &Shape| link.loss + link.duplication + link.reordering + link.rate == 0 && link.delay <= 50_000;
        self.other == Other::Ours
            && self.links.iter().all(clean)
            && self.apps.iter().all(|app| app.pauses == 0)
            && self.narrows.is_none()
            && self.configs.iter().all(|config| config.keep_alive.is_none())
            && self.rates.rebuild == 0
            && self.answer.1 < 100_000
            && self.opening != Opening::Both
            && !self.may_break()
    }

    /// Whether the connection may break before all was transferred.
    pub(super) fn may_break(&self) -> bool {
        let aborts = self.apps.iter().any(|app| matches!(app.ending, Ending::Abort(_)));
        aborts || (self.answer.0 == Answer::Refuse && self.opening != Opening::Both)
    }
}
