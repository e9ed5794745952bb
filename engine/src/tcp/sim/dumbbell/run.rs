//! Runs flows through a bottleneck from the first SYN until the time is over.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::bottleneck::{Bottleneck, Discipline, Fate};
use super::figures::{Figures, FlowFigures, Point};
use super::guest::{Guest, Habits};
use super::model::Model;
use super::ours::Ours;
use super::packet::{Ack, Ecn, HEADERS, Nanos, Packet};
use super::path::{Luck, Path};
use super::sender::Sender;
use super::{Random, millis};
use crate::tcp::Config;
use crate::time::Instant;

/// How often the queue is looked at, in nanoseconds. A prime, so that it does not run in step with anything.
const SAMPLE: Nanos = 997_001;
/// Turns of one flow without the clock moving after which something spins.
const STILL: u32 = 100_000;

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Ours(Config),
    Reno,
    Cubic,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub kind: Kind,
    pub start: Nanos,
}

/// What is run. Times are nanoseconds, sizes bytes.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Bits per second.
    pub rate: u64,
    pub queue: u64,
    pub discipline: Discipline,
    /// The round trip without the queue.
    pub rtt: Nanos,
    pub luck: Luck,
    pub habits: Habits,
    /// The clock of our senders goes in steps of this.
    pub clock: Nanos,
    pub flows: Vec<Flow>,
    /// Time before it is measured, and the time that is.
    pub warm_up: Nanos,
    pub length: Nanos,
    /// A trace is kept up to here, with a point at each of so many nanoseconds.
    pub trace: Option<(Nanos, Nanos)>,
    pub seed: u64,
}

impl Setup {
    /// One flow through a queue that drops its tail; nothing else is wrong with the path.
    pub(crate) fn new(rate: u64, rtt: Nanos, queue: u64, kinds: &[Kind], seed: u64) -> Setup {
        Setup {
            rate,
            queue,
            discipline: Discipline::DropTail,
            rtt,
            luck: Luck::default(),
            habits: Habits::default(),
            clock: 1000,
            flows: kinds.iter().map(|&kind| Flow { kind, start: 0 }).collect(),
            warm_up: millis(2000),
            length: millis(30_000),
            trace: None,
            seed,
        }
    }

    /// Bits per second of payload that the wire can carry in full segments of 1500 bytes.
    pub(crate) fn capacity(&self) -> f64 {
        self.rate as f64 * 1448.0 / f64::from(1448 + HEADERS)
    }

    /// What the wire carries in a round trip, in bytes.
    pub(crate) fn bdp(&self) -> f64 {
        self.rate as f64 * self.rtt as f64 / 8e9
    }
}

enum What {
    Start,
    Packet(Packet),
    Ack(Ack),
    Sample,
    Trace,
}

struct Event {
    at: Nanos,
    order: u64,
    flow: usize,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, as the heap gives the greatest first.
impl Ord for Event {
    fn cmp(&self, other: &Event) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A sender, its guest and their way.
struct Lane {
    kind: Kind,
    sender: Option<Box<dyn Sender>>,
    guest: Guest,
    path: Path,
    /// The sender's clock goes in steps of this.
    clock: Nanos,
    /// When the sender's deadline comes, on the simulator's clock.
    wake: Nanos,
    turns: u32,
    turned: Nanos,
    figures: FlowFigures,
    /// What had arrived when measuring began.
    before: u64,
}

impl Lane {
    fn now(&self, now: Nanos) -> Instant {
        Instant::from_micros(now / self.clock * self.clock / 1000)
    }

    /// Sees when the sender wants to be called.
    fn look(&mut self) {
        let deadline = self.sender.as_ref().and_then(|sender| sender.deadline());
        self.wake = deadline.map_or(Nanos::MAX, |at| {
            let nanos = at.total_micros().saturating_mul(1000);
            nanos.checked_add(self.clock - 1).map_or(Nanos::MAX, |nanos| nanos / self.clock * self.clock)
        });
    }
}

struct Run<'a> {
    setup: &'a Setup,
    random: Random,
    now: Nanos,
    bottleneck: Bottleneck,
    lanes: Vec<Lane>,
    events: BinaryHeap<Event>,
    order: u64,
    samples: Vec<u64>,
    trace: Vec<Point>,
    acks: Vec<Ack>,
}

/// The clock's beginning: not 0, which engines might take for "never".
const BEGIN: Nanos = 1_000_000_000;

/// Runs a setup. Panics when a sender spins.
pub(crate) fn run(setup: &Setup) -> Figures {
    let mut random = Random::new(setup.seed);
    let mut run = Run {
        setup,
        now: BEGIN,
        bottleneck: Bottleneck::new(setup.rate, setup.queue, setup.discipline),
        lanes: Vec::new(),
        events: BinaryHeap::new(),
        order: 0,
        samples: Vec::new(),
        trace: Vec::new(),
        acks: Vec::new(),
        random: Random::new(random.next()),
    };
    for (number, flow) in setup.flows.iter().enumerate() {
        let clock = if matches!(flow.kind, Kind::Ours(_)) { setup.clock } else { 1000 };
        run.lanes.push(Lane {
            kind: flow.kind,
            sender: None,
            guest: Guest::new(setup.habits),
            path: Path::new(setup.rtt, setup.luck),
            clock: clock.max(1000),
            wake: Nanos::MAX,
            turns: 0,
            turned: 0,
            figures: FlowFigures::default(),
            before: 0,
        });
        // Flows that begin at once begin within a few milliseconds.
        let start = BEGIN + flow.start + random.below(5_000_000) as Nanos;
        run.push(start, number, What::Start);
    }
    run.push(BEGIN + setup.warm_up, 0, What::Sample);
    if setup.trace.is_some() {
        run.push(BEGIN, 0, What::Trace);
    }
    run.until(BEGIN + setup.warm_up, BEGIN + setup.warm_up + setup.length);
    run.figures()
}

impl Run<'_> {
    fn push(&mut self, at: Nanos, flow: usize, what: What) {
        self.order += 1;
        self.events.push(Event { at, order: self.order, flow, what });
    }

    fn until(&mut self, measured: Nanos, end: Nanos) {
        let mut before = false;
        loop {
            let event = self.events.peek().map_or(Nanos::MAX, |event| event.at);
            let lanes = self.lanes.iter().map(|lane| lane.wake.min(lane.guest.due().unwrap_or(Nanos::MAX)));
            let next = lanes.fold(event, Nanos::min).max(self.now);
            if !before && next >= measured {
                before = true;
                for lane in &mut self.lanes {
                    lane.before = lane.guest.arrived();
                }
            }
            if next >= end {
                return;
            }
            self.now = next;
            for flow in 0..self.lanes.len() {
                self.look_at_deadlines(flow);
            }
            while self.events.peek().is_some_and(|event| event.at <= next)
                && let Some(Event { flow, what, .. }) = self.events.pop()
            {
                self.happen(flow, what);
            }
        }
    }

    fn look_at_deadlines(&mut self, flow: usize) {
        let lane = &mut self.lanes[flow];
        if lane.guest.due().is_some_and(|due| due <= self.now) {
            lane.guest.on_due(self.now, &mut self.acks);
            self.send_acks(flow);
        }
        let lane = &mut self.lanes[flow];
        if lane.wake <= self.now {
            let now = lane.now(self.now);
            if let Some(sender) = &mut lane.sender {
                sender.on_deadline(now);
            }
            self.turn(flow);
        }
    }

    fn happen(&mut self, flow: usize, what: What) {
        match what {
            What::Start => {
                let iss = self.random.next() as u32;
                let lane = &mut self.lanes[flow];
                let now = lane.now(self.now);
                let ecn = self.setup.habits.ecn;
                lane.sender = Some(match lane.kind {
                    Kind::Ours(config) => Box::new(Ours::new(&config, iss, now)),
                    Kind::Reno => Box::new(Model::reno(ecn, iss)),
                    Kind::Cubic => Box::new(Model::cubic(ecn, iss)),
                });
                self.turn(flow);
            }
            What::Packet(packet) => {
                self.lanes[flow].guest.receive(&packet, self.now, &mut self.acks);
                self.send_acks(flow);
            }
            What::Ack(ack) => {
                let lane = &mut self.lanes[flow];
                let now = lane.now(self.now);
                if let Some(sender) = &mut lane.sender {
                    sender.on_ack(&ack, now);
                }
                self.turn(flow);
            }
            What::Sample => {
                self.samples.push(self.bottleneck.waiting(self.now));
                self.push(self.now + SAMPLE, 0, What::Sample);
            }
            What::Trace => self.note(),
        }
    }

    fn note(&mut self) {
        let Some((until, every)) = self.setup.trace else { return };
        let at = self.now - BEGIN;
        if let Some(lane) = self.lanes.first() {
            let of = |what: fn(&dyn Sender) -> u64| lane.sender.as_deref().map_or(0, what);
            self.trace.push(Point {
                at,
                flight: of(|sender| sender.flight()),
                window: of(|sender| sender.window()),
                queue: self.bottleneck.waiting(self.now),
                arrived: lane.guest.arrived(),
            });
        }
        if at < until {
            self.push(self.now + every, 0, What::Trace);
        }
    }

    /// A sender sends what is due.
    fn turn(&mut self, flow: usize) {
        let now = self.now;
        let lane = &mut self.lanes[flow];
        lane.turns = if lane.turned == now { lane.turns + 1 } else { 0 };
        lane.turned = now;
        assert!(lane.turns < STILL, "a sender spins at {now} ns");
        let clock = lane.now(now);
        loop {
            let lane = &mut self.lanes[flow];
            let Some(packet) = lane.sender.as_mut().and_then(|sender| sender.poll(clock)) else { break };
            lane.figures.sent += 1;
            match self.bottleneck.enter(packet.size(), packet.ecn, now) {
                Fate::Dropped => lane.figures.dropped += 1,
                Fate::Leaves(left, ecn) => {
                    lane.figures.marked += u64::from(ecn == Ecn::Marked);
                    match lane.path.there(packet.len, left, &mut self.random) {
                        Some(at) => self.push(at, flow, What::Packet(Packet { ecn, ..packet })),
                        None => lane.figures.lost += 1,
                    }
                }
            }
        }
        self.lanes[flow].look();
    }

    fn send_acks(&mut self, flow: usize) {
        let mut acks = std::mem::take(&mut self.acks);
        for ack in acks.drain(..) {
            if let Some(at) = self.lanes[flow].path.back(self.now, &mut self.random) {
                self.push(at, flow, What::Ack(ack));
            }
        }
        self.acks = acks;
    }

    fn figures(mut self) -> Figures {
        let seconds = self.setup.length as f64 / 1e9;
        let of = |lane: &Lane| {
            let bytes = lane.guest.arrived().saturating_sub(lane.before);
            FlowFigures { goodput: bytes as f64 * 8.0 / seconds, ..lane.figures }
        };
        let mut figures =
            Figures { flows: self.lanes.iter().map(of).collect(), trace: self.trace, ..Figures::default() };
        figures.take_queue(&mut self.samples);
        figures
    }
}
