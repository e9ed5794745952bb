//! All limits together, and what one flow knows of them.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::limit::{Limit, Limits};
use super::pot::{Pot, Way};
use crate::time::Instant;

/// Addresses of the guest that are remembered. One without a flow makes room for another; where all have flows, no further address
/// gets one.
const MAX_GUESTS: usize = 256;
/// Rules with limits that one flow of datagrams may be under; no further one lets any of it in.
const MOST_RULES: usize = 64;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Ledger {
    whole: Option<Pot>,
    guest: Option<Limit>,
    guests: HashMap<IpAddr, Pot, RandomState>,
    rules: HashMap<u32, Pot, RandomState>,
    /// Datagrams that were dropped.
    dropped: u64,
}

/// Of one stream, or of one flow of datagrams: whose it is, and what it has been promised.
#[derive(Debug)]
pub(crate) struct Meter {
    guest: IpAddr,
    rule: Option<u32>,
    /// Of datagrams: the rules that have let some of them in.
    others: Vec<u32>,
    asks: [Ask; 2],
}

/// What a stream waits for in one direction.
#[derive(Debug, Default)]
struct Ask {
    until: Option<Instant>,
    /// Bytes that were taken for it from each of its pots and that it has not used.
    reserved: [usize; 3],
}

/// What a stream may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Carry so many bytes, at least one.
    Bytes(usize),
    /// Nothing before then.
    At(Instant),
    /// Nothing any more.
    Never,
}

impl Ledger {
    /// `None` where nothing is bounded.
    pub(crate) fn new(limits: &Limits) -> Option<Ledger> {
        let some = |limit: &Limit| (!limit.is_none()).then_some(*limit);
        (!limits.is_none()).then(|| Ledger {
            whole: some(&limits.whole).as_ref().map(Pot::new),
            guest: some(&limits.guest),
            guests: HashMap::default(),
            rules: limits.rules.iter().filter_map(|(rule, limit)| Some((*rule, Pot::new(&some(limit)?)))).collect(),
            dropped: 0,
        })
    }

    /// How many datagrams were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whoever waits does so for the narrowest of them first, and takes nothing of the others meanwhile.
    fn pots(&mut self, guest: IpAddr, rule: Option<u32>) -> impl Iterator<Item = &mut Pot> {
        let of_rule = rule.and_then(|rule| self.rules.get_mut(&rule));
        of_rule.into_iter().chain(self.guests.get_mut(&guest)).chain(&mut self.whole)
    }

    /// Sees to it that this address of the guest is remembered. False where there is no room for it.
    fn remember(&mut self, guest: IpAddr) -> bool {
        let Some(limit) = &self.guest else { return true };
        if self.guests.contains_key(&guest) {
            return true;
        }
        if self.guests.len() >= MAX_GUESTS {
            let idle = self.guests.iter().find(|(_, pot)| pot.flows() == 0).map(|(ip, _)| *ip);
            let Some(idle) = idle else { return false };
            self.guests.remove(&idle);
        }
        self.guests.insert(guest, Pot::new(limit));
        true
    }

    /// A flow of this address is about to begin, which this rule is about. `None` where it may not.
    pub(crate) fn begin(&mut self, guest: IpAddr, rule: Option<u32>, now: Instant) -> Option<Meter> {
        if !self.remember(guest) || !self.pots(guest, rule).all(|pot| pot.has_place(now)) {
            return None;
        }
        self.pots(guest, rule).for_each(Pot::begin);
        Some(Meter { guest, rule, others: Vec::new(), asks: Default::default() })
    }

    /// A flow that has begun turns out to be one that this rule is about. False where it may not be.
    pub(crate) fn join(&mut self, meter: &mut Meter, rule: u32, now: Instant) -> bool {
        let Some(pot) = self.rules.get_mut(&rule).filter(|_| meter.rule.is_none()) else { return true };
        let joins = pot.has_place(now);
        if joins {
            pot.begin();
            meter.rule = Some(rule);
        }
        joins
    }

    /// A flow of datagrams, which may lead to many, has one that this rule lets in. False where it may not be.
    pub(crate) fn join_also(&mut self, meter: &mut Meter, rule: u32, now: Instant) -> bool {
        let Some(pot) = self.rules.get_mut(&rule).filter(|_| !meter.others.contains(&rule)) else { return true };
        let joins = meter.others.len() < MOST_RULES && pot.has_place(now);
        if joins {
            pot.begin();
            meter.others.push(rule);
        }
        joins
    }

    /// The numbers of rules stand for others from now on.
    #[cfg(feature = "control")]
    pub(crate) fn forget_rules(&mut self) {
        self.rules.clear();
    }

    /// A flow has ended.
    pub(crate) fn end(&mut self, meter: &Meter) {
        self.pots(meter.guest, meter.rule).for_each(Pot::end);
        meter.others.iter().filter_map(|rule| self.rules.get_mut(rule).map(Pot::end)).count();
    }

    /// What a stream may do that has `wanted` bytes to carry. Whoever has to wait has its bytes set aside, behind those of the others
    /// that wait: who asks again later is not overtaken.
    pub(crate) fn may(&mut self, meter: &mut Meter, way: Way, wanted: usize, now: Instant) -> Allowed {
        let Meter { guest, rule, asks: [up, down], .. } = meter;
        let ask = if way == Way::Up { up } else { down };
        if let Some(until) = ask.until.filter(|until| *until > now) {
            return Allowed::At(until);
        }
        ask.until = None;
        let (mut most, mut short) = (wanted.max(1), None);
        for (place, pot) in self.pots(*guest, *rule).enumerate() {
            let Some(reserved) = ask.reserved.get_mut(place) else { break };
            match pot.left() {
                0 => return Allowed::Never,
                left => most = most.min(usize::try_from(left).unwrap_or(usize::MAX)),
            }
            let Some(rate) = pot.rate(way) else { continue };
            let have = if *reserved > 0 { *reserved } else { rate.streams.available(now) };
            if have > 0 {
                most = most.min(have);
                continue;
            }
            let portion = rate.streams.portion().min(most);
            *reserved = portion;
            short = Some((place, portion, rate.streams.reserve(portion, now)));
            break;
        }
        let Some((place, portion, until)) = short else { return Allowed::Bytes(most) };
        ask.until = Some(until);
        // What the others had for it is not to be gone by then.
        for (pot, reserved) in self.pots(*guest, *rule).zip(&mut ask.reserved).take(place) {
            if let Some(rate) = pot.rate(way).filter(|_| *reserved == 0) {
                *reserved = portion;
                rate.streams.take(portion);
            }
        }
        Allowed::At(until)
    }

    /// A stream has carried so many bytes, no more than it was allowed.
    pub(crate) fn carried(&mut self, meter: &mut Meter, way: Way, bytes: usize) {
        let Meter { guest, rule, asks: [up, down], .. } = meter;
        let ask = if way == Way::Up { up } else { down };
        for (pot, reserved) in self.pots(*guest, *rule).zip(&mut ask.reserved) {
            pot.use_up(bytes);
            let set_aside = (*reserved).min(bytes);
            *reserved -= set_aside;
            if let Some(rate) = pot.rate(way) {
                rate.streams.take(bytes - set_aside);
            }
        }
    }

    /// Whether a datagram may pass that this rule is about; it is counted either way.
    pub(crate) fn datagram(&mut self, guest: IpAddr, rule: Option<u32>, way: Way, bytes: usize, now: Instant) -> bool {
        let passes = self.remember(guest) && self.pots(guest, rule).all(|pot| pot.has(way, bytes, now));
        if passes {
            self.pots(guest, rule).for_each(|pot| pot.take(way, bytes, now));
        } else {
            self.dropped += 1;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const GUEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 15));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 16));

    fn at(millis: i64) -> Instant {
        Instant::from_millis(millis)
    }

    fn ledger(limits: Limits) -> Ledger {
        Ledger::new(&limits).unwrap()
    }

    /// Has streams that want all they can get carry bytes for so long, each waking up when it was told to, and at the next
    /// millisecond. What each has carried.
    fn run(ledger: &mut Ledger, meters: &mut [Meter], way: Way, wanted: usize, time: Duration) -> Vec<usize> {
        let mut carried = vec![0; meters.len()];
        let mut wake = vec![at(0); meters.len()];
        for now in (0..=time.total_millis() as i64).map(at) {
            for (index, meter) in meters.iter_mut().enumerate() {
                while wake[index] <= now {
                    match ledger.may(meter, way, wanted, now) {
                        Allowed::Bytes(bytes) => {
                            assert!(0 < bytes && bytes <= wanted);
                            ledger.carried(meter, way, bytes);
                            carried[index] += bytes;
                        }
                        Allowed::At(until) => {
                            assert!(until > now);
                            wake[index] = until;
                        }
                        Allowed::Never => wake[index] = at(i64::MAX / 1000),
                    }
                }
            }
        }
        carried
    }

    #[test]
    fn streams_share_a_rate_evenly_whatever_they_ask_for() {
        for rate in [100, 10_000, 1_000_000, 50_000_000] {
            for flows in [1, 2, 7] {
                let mut ledger = ledger(Limits::new().whole(Limit::new().up(rate)));
                let mut meters: Vec<Meter> = (0..flows).map(|_| ledger.begin(GUEST, None, at(0)).unwrap()).collect();
                let seconds = 60;
                let carried = run(&mut ledger, &mut meters, Way::Up, 65_536, Duration::from_secs(seconds));
                let all: usize = carried.iter().sum();
                let burst = (rate / 10).max(4096);
                assert!(all as u64 <= rate * seconds + burst, "{rate}, {flows}: {all}");
                assert!(all as u64 >= rate * seconds * 95 / 100 - burst, "{rate}, {flows}: {all}");
                // The first one has had what was saved up.
                let least = *carried.iter().min().unwrap() as u64;
                let portion = (rate / 20).clamp(64, 65_536);
                assert!(least + burst + 2 * portion >= all as u64 / flows, "{rate}, {flows}: {carried:?}");
            }
        }
    }

    #[test]
    fn a_slow_rule_slows_nobody_else() {
        let limits = Limits::new().whole(Limit::new().down(100_000)).rule(1, Limit::new().down(1000));
        let mut ledger = ledger(limits);
        let mut meters = vec![ledger.begin(GUEST, None, at(0)).unwrap()];
        meters.extend((0..20).map(|_| ledger.begin(GUEST, Some(1), at(0)).unwrap()));
        let carried = run(&mut ledger, &mut meters, Way::Down, 16_384, Duration::from_secs(20));
        let slow: usize = carried[1..].iter().sum();
        assert!(slow <= 20 * 1000 + 4096, "{slow}");
        assert!(carried[0] >= 20 * 97_000 - 14_096, "{carried:?}");
    }

    #[test]
    fn a_short_stream_waits_for_one_portion_of_each_that_waits() {
        let mut ledger = ledger(Limits::new().whole(Limit::new().up(100_000)));
        let mut meters: Vec<Meter> = (0..4).map(|_| ledger.begin(GUEST, None, at(0)).unwrap()).collect();
        run(&mut ledger, &mut meters, Way::Up, 65_536, Duration::from_secs(2));
        let mut short = ledger.begin(GUEST, None, at(2000)).unwrap();
        let Allowed::At(until) = ledger.may(&mut short, Way::Up, 300, at(2000)) else { panic!("it has to wait") };
        assert!(until <= at(2000 + 5 * 50 + 3), "{until:?}");
        assert_eq!(ledger.may(&mut short, Way::Up, 300, until), Allowed::Bytes(300));
        // The other way has a rate of its own, which is not bounded here.
        assert_eq!(ledger.may(&mut short, Way::Down, 300, at(2000)), Allowed::Bytes(300));
    }

    #[test]
    fn flows_are_bounded_in_number_and_in_how_fast_they_begin() {
        let limits = Limits::new().whole(Limit::new().flows(3)).each_guest(Limit::new().new_flows_per_second(2));
        let mut ledger = ledger(limits);
        let first = ledger.begin(GUEST, None, at(0)).unwrap();
        let _second = ledger.begin(GUEST, None, at(0)).unwrap();
        assert!(ledger.begin(GUEST, None, at(499)).is_none());
        // That one was refused has cost nothing.
        let _third = ledger.begin(GUEST, None, at(500)).unwrap();
        assert!(ledger.begin(OTHER, None, at(9000)).is_none());
        ledger.end(&first);
        let _other = ledger.begin(OTHER, None, at(9000)).unwrap();
        assert!(ledger.begin(OTHER, None, at(9000)).is_none());
    }

    #[test]
    fn a_rule_may_be_found_later() {
        let mut ledger = ledger(Limits::new().rule(7, Limit::new().flows(1).up(1000)));
        let mut first = ledger.begin(GUEST, None, at(0)).unwrap();
        let mut second = ledger.begin(GUEST, None, at(0)).unwrap();
        assert!(ledger.join(&mut first, 7, at(0)) && !ledger.join(&mut second, 7, at(0)));
        assert!(ledger.join(&mut second, 8, at(0)));
        assert_eq!(ledger.may(&mut first, Way::Up, 9000, at(0)), Allowed::Bytes(4096));
        assert_eq!(ledger.may(&mut second, Way::Up, 9000, at(0)), Allowed::Bytes(9000));
        ledger.end(&first);
        assert!(ledger.join(&mut second, 7, at(0)));
    }

    #[test]
    fn the_volume_is_used_up_once() {
        let mut ledger = ledger(Limits::new().each_guest(Limit::new().volume(1000)));
        let mut meter = ledger.begin(GUEST, None, at(0)).unwrap();
        assert_eq!(ledger.may(&mut meter, Way::Up, 5000, at(0)), Allowed::Bytes(1000));
        ledger.carried(&mut meter, Way::Up, 600);
        assert!(ledger.datagram(GUEST, None, Way::Down, 400, at(0)));
        assert_eq!(ledger.may(&mut meter, Way::Down, 1, at(0)), Allowed::Never);
        assert!(!ledger.datagram(GUEST, None, Way::Up, 1, at(0)) && ledger.begin(GUEST, None, at(99_000)).is_none());
        assert!(ledger.begin(OTHER, None, at(0)).is_some());
        assert_eq!(ledger.dropped(), 1);
    }

    #[test]
    fn datagrams_over_the_rate_are_dropped_and_streams_give_way_to_the_others() {
        let mut ledger = ledger(Limits::new().whole(Limit::new().up(100_000)));
        let mut stream = ledger.begin(GUEST, None, at(0)).unwrap();
        let passed = (0..10_000).filter(|ms| ledger.datagram(GUEST, None, Way::Up, 1000, at(*ms))).count();
        assert!((1000..=1010).contains(&passed), "{passed}");
        assert_eq!(ledger.dropped(), 10_000 - passed as u64);
        match ledger.may(&mut stream, Way::Up, 1000, at(9_999)) {
            Allowed::At(until) => assert!(until <= at(10_050), "{until:?}"),
            allowed => assert!(matches!(allowed, Allowed::Bytes(1..1000)), "{allowed:?}"),
        }
    }

    #[test]
    fn a_flow_of_datagrams_is_under_each_rule_that_lets_some_in() {
        let limits = Limits::new().rule(1, Limit::new().flows(1).up(10_000)).rule(2, Limit::new().volume(500));
        let mut ledger = ledger(limits);
        let mut flow = ledger.begin(GUEST, None, at(0)).unwrap();
        let mut other = ledger.begin(GUEST, None, at(0)).unwrap();
        assert!(ledger.join_also(&mut flow, 1, at(0)) && ledger.join_also(&mut flow, 1, at(0)));
        assert!(ledger.join_also(&mut flow, 2, at(0)) && ledger.join_also(&mut flow, 3, at(0)));
        assert!(!ledger.join_also(&mut other, 1, at(0)) && ledger.join_also(&mut other, 2, at(0)));
        let passed = (0..10_000).filter(|ms| ledger.datagram(GUEST, Some(1), Way::Up, 100, at(*ms))).count();
        assert!((1000..=1050).contains(&passed), "{passed}");
        // Neither the other way nor what other rules let in.
        assert!(ledger.datagram(GUEST, Some(1), Way::Down, 60_000, at(9_999)));
        assert!(ledger.datagram(GUEST, None, Way::Up, 60_000, at(9_999)));
        assert!(ledger.datagram(GUEST, Some(2), Way::Down, 500, at(0)));
        assert!(!ledger.datagram(GUEST, Some(2), Way::Up, 1, at(99_000)));
        ledger.end(&flow);
        assert!(ledger.join_also(&mut other, 1, at(0)));
        let rules: Vec<u32> = (10..100).collect();
        let mut ledger =
            self::ledger(rules.iter().fold(Limits::new(), |limits, rule| limits.rule(*rule, Limit::new().flows(9))));
        let mut flow = ledger.begin(GUEST, None, at(0)).unwrap();
        let joined = rules.iter().filter(|rule| ledger.join_also(&mut flow, **rule, at(0))).count();
        assert_eq!(joined, MOST_RULES);
    }

    #[test]
    fn addresses_of_the_guest_are_bounded() {
        let mut ledger = ledger(Limits::new().each_guest(Limit::new().flows(1)));
        let ip = |number: u128| IpAddr::V6(std::net::Ipv6Addr::from_bits(number));
        for number in 0..1000 {
            let meter = ledger.begin(ip(number), None, at(0)).unwrap();
            ledger.end(&meter);
            assert!(ledger.guests.len() <= MAX_GUESTS);
        }
        let _held: Vec<Meter> =
            (0..MAX_GUESTS as u128).map(|n| ledger.begin(ip(5000 + n), None, at(0)).unwrap()).collect();
        assert!(ledger.begin(ip(9000), None, at(0)).is_none() && !ledger.datagram(ip(9000), None, Way::Up, 1, at(0)));
        assert_eq!(ledger.guests.len(), MAX_GUESTS);
    }

    #[test]
    fn nothing_wished_for_is_nothing_counted() {
        assert!(Ledger::new(&Limits::new()).is_none());
        assert!(Ledger::new(&Limits::new().rule(3, Limit::new())).is_none());
    }
}
