//! Runs one seed from the first SYN until both ends are closed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::end::{End, Standing};
use super::link::{Fates, Link};
use super::random::Random;
use super::scenario::{AnyEnd, Opening, Other, Scenario};
use super::watch::{Sights, Watch};
use crate::time::{Duration, Instant};

/// Moments after which a run that is not over will never be.
const PATIENCE: u64 = 100_000;
/// Moments without the clock moving after which something spins.
const STILL: u32 = 200;

/// The offset basis and the prime of FNV-1a, 64 bits.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// `digest` with `bytes` taken in.
fn taken_in(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, &byte| (digest ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// What is on its way to an end.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Cargo {
    Segment(Vec<u8>),
    /// News for a sender: packets on its path can have so many bytes.
    TooBig(usize),
}

type Flying = Reverse<(i64, u64, usize, Cargo)>;

/// What a run was like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub other: Other,
    pub both_opened: bool,
    pub links: [Fates; 2],
    pub sights: Sights,
    pub bytes: u64,
    pub rebuilt: u64,
    pub paused: u64,
    pub clean: bool,
    pub broken: bool,
    pub forgotten: bool,
    /// The virtual time that it took.
    pub took: Duration,
    /// Of every segment that was sent, by whom and when.
    pub digest: u64,
}

struct Run {
    scenario: Scenario,
    random: Random,
    now: Instant,
    ends: [AnyEnd; 2],
    links: [Link; 2],
    watch: Watch,
    flying: BinaryHeap<Flying>,
    order: u64,
    clean: bool,
    /// smoltcp has stopped for ever.
    forgotten: bool,
    out: Vec<Vec<u8>>,
    digest: u64,
}

impl AnyEnd {
    fn get(&self) -> &dyn End {
        match self {
            AnyEnd::Ours(end) => &**end,
            AnyEnd::Smol(end) => &**end,
        }
    }

    fn get_mut(&mut self) -> &mut dyn End {
        match self {
            AnyEnd::Ours(end) => &mut **end,
            AnyEnd::Smol(end) => &mut **end,
        }
    }
}

/// Runs a seed. Panics when anything does not hold.
pub(super) fn run(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let scenario = Scenario::new(&mut random);
    let now = Instant::from_secs(1);
    let mut run = Run {
        ends: scenario.ends(now),
        links: scenario.links.map(|shape| Link::new(shape, scenario.mtu)),
        watch: Watch::new([true, scenario.other == Other::Ours]),
        clean: scenario.is_clean(),
        scenario,
        random,
        now,
        flying: BinaryHeap::new(),
        order: 0,
        forgotten: false,
        out: Vec::new(),
        digest: OFFSET,
    };
    if std::env::var_os("OXISLIRP_SIM_TRACE").is_some() {
        eprintln!("{:#?}", run.scenario);
    }
    run.until_both_are_closed();
    run.verdict();
    run.outcome()
}

impl Run {
    fn until_both_are_closed(&mut self) {
        let mut still = 0;
        for _ in 0..PATIENCE {
            for me in 0..2 {
                self.turn(me);
            }
            if self.ends.iter().all(|end| end.get().standing() != Standing::Open) {
                return;
            }
            let before = self.now;
            if !self.advance() {
                self.nobody_moves();
            }
            still = if self.now == before { still + 1 } else { 0 };
            assert!(still < STILL, "time stands still");
        }
        assert!(self.is_forgotten(), "no end after {PATIENCE} moments: {}", self.describe());
        self.forgotten = true;
    }

    /// Our end has nothing to send and its window is open, but smoltcp (0.14) does not go on. It may stop its timer for good:
    /// when a window closes while more is in flight than fits, or while what was sent before its FIN is acknowledged once
    /// more. And it may probe for ever behind a hole that it does not fill.
    fn is_forgotten(&self) -> bool {
        self.scenario.other == Other::Smol && self.ends[0].get().waits() && !self.ends[1].get().waits()
    }

    fn describe(&self) -> String {
        let [first, second] = &self.ends;
        format!("at {}: {}; {}", self.now, first.get().describe(), second.get().describe())
    }

    /// An end's turn; what it sends goes onto its link.
    fn turn(&mut self, me: usize) {
        let mut out = std::mem::take(&mut self.out);
        self.ends[me].get_mut().work(self.now, &mut self.random, &mut out);
        self.ends[me].get().check();
        for tcp in out.drain(..) {
            self.watch.sent(me, &tcp, self.ends[me].get().app().handed);
            self.send(me, tcp);
        }
        self.out = out;
    }

    fn send(&mut self, me: usize, tcp: Vec<u8>) {
        if self.scenario.narrows.is_some_and(|(after, _)| self.watch.sights.segments > after)
            && let Some((_, mtu)) = self.scenario.narrows.take()
        {
            self.links.iter_mut().for_each(|link| link.mtu = mtu);
        }
        if super::tests::tracing() {
            eprintln!("{} {me}: {:?}", self.now, super::tests::Brief(&tcp));
        }
        self.digest = taken_in(self.digest, &self.now.total_micros().to_le_bytes());
        self.digest = taken_in(self.digest, &[me as u8]);
        self.digest = taken_in(self.digest, &tcp);
        let link = &mut self.links[me];
        if !link.fits(tcp.len()) {
            let (at, mtu) = (self.now + Duration::from_micros(2 * link.shape.delay), link.mtu);
            if !self.scenario.silent {
                self.fly(at, me, Cargo::TooBig(mtu));
            }
            return;
        }
        for at in link.carry(tcp.len(), self.now, &mut self.random).into_iter().flatten() {
            self.fly(at, 1 - me, Cargo::Segment(tcp.clone()));
        }
    }

    fn fly(&mut self, at: Instant, to: usize, cargo: Cargo) {
        self.order += 1;
        self.flying.push(Reverse((at.total_micros(), self.order, to, cargo)));
    }

    /// Goes to the next moment at which anything happens; false when nothing ever will.
    fn advance(&mut self) -> bool {
        let arrival = self.flying.peek().map(|Reverse((at, ..))| Instant::from_micros(*at));
        let due = self.ends.iter().filter_map(|end| end.get().due(self.now));
        let Some(next) = due.chain(arrival).min() else { return false };
        self.now = self.now.max(next);
        for end in &mut self.ends {
            if end.get_mut().on_due(self.now) {
                assert!(!self.clean, "a timer had to help on a clean link: {}", end.get().describe());
            }
        }
        let now = self.now.total_micros();
        while self.flying.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, to, cargo))) = self.flying.pop() else { break };
            match cargo {
                Cargo::Segment(tcp) => {
                    self.watch.arrived(1 - to, &tcp);
                    self.ends[to].get_mut().receive(&tcp, self.now);
                }
                Cargo::TooBig(mtu) => self.ends[to].get_mut().too_big(mtu),
            }
        }
        true
    }

    /// An end that has nothing to send does not notice that the other one is gone. Its application would wait for ever,
    /// as it may; the simulator does not.
    fn nobody_moves(&mut self) {
        let gone = self.ends.iter().any(|end| end.get().standing() == Standing::Broken || end.get().app().aborted);
        let forgotten = self.is_forgotten();
        assert!(gone || forgotten, "nothing will ever happen: {}", self.describe());
        self.forgotten |= forgotten && !gone;
        for end in &mut self.ends {
            if end.get().standing() == Standing::Open {
                end.get_mut().give_up(self.now);
            }
        }
    }

    fn verdict(&self) {
        if self.scenario.may_break() || self.forgotten {
            return;
        }
        for me in 0..2 {
            let [app, other] = [me, 1 - me].map(|end| self.ends[end].get().app());
            assert_eq!(other.received, app.total, "bytes from {me} were lost: {}", self.describe());
        }
        // The side that closes last cannot know whether its last acknowledgment arrived when the other no longer waits.
        let orderly = self.ends.iter().any(|end| end.get().standing() == Standing::Finished);
        assert!(orderly, "{}", self.describe());
    }

    fn outcome(&self) -> Outcome {
        let apps = [0, 1].map(|end| self.ends[end].get().app());
        Outcome {
            other: self.scenario.other,
            both_opened: self.scenario.opening == Opening::Both,
            links: [0, 1].map(|link: usize| self.links[link].fates),
            sights: self.watch.sights,
            bytes: apps.iter().map(|app| app.received as u64).sum(),
            rebuilt: self.ends.iter().map(|end| end.get().rebuilt()).sum(),
            paused: apps.iter().map(|app| app.paused).sum(),
            clean: self.clean,
            broken: self.scenario.may_break(),
            forgotten: self.forgotten,
            took: self.now - Instant::from_secs(1),
            digest: self.digest,
        }
    }
}
