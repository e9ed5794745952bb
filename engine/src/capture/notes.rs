//! What a capture is told of flows: what is to stand beside the first frame of each, and which rule decided about it. Whoever begins,
//! refuses or ends a flow says so here, and the frame is found by its ends.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::num::NonZeroU32;

use super::ends::Ends;
use crate::time::{Duration, Instant};

/// How many remarks wait for their frames; the oldest goes.
const MOST_WAITING: usize = 64;
/// How long one waits: a guest that is asked for by ARP may take some seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of so many that are over it is still known which rule decided: their last frames may come yet. The oldest goes.
const MOST_OVER: usize = 1024;
/// Destinations of a flow that are remembered, as in the log; the oldest goes.
const MOST_DESTINATIONS: usize = 16;

/// What stands beside a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub text: String,
    /// The name that the other end counts for.
    pub name: Option<String>,
}

/// What has become of a flow, or of a way of one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// The flow with this number has it.
    Flow(u64),
    /// It was refused, for this reason.
    Refused(&'a str),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    waiting: VecDeque<(Ends, Remark, Instant)>,
    /// Which flow has these ends, or the last one that had, and the rule that decided.
    known: HashMap<Ends, (u64, Option<NonZeroU32>)>,
    /// All ends of each flow. There are as many flows as their tables hold.
    flows: HashMap<u64, VecDeque<Ends>>,
    /// Those of `known` that are over, oldest first.
    over: VecDeque<(Ends, u64)>,
}

/// The number of what is no flow.
const NO_FLOW: u64 = 0;

impl Notes {
    /// Something has become of what has these ends, by this rule, where one has decided. What was told before is not told again.
    pub(crate) fn tell(
        &mut self,
        outcome: Outcome<'_>,
        ends: Ends,
        (rule, name): (Option<NonZeroU32>, Option<&str>),
        now: Instant,
    ) {
        let mut text = match outcome {
            Outcome::Flow(number) if self.known.get(&ends).is_some_and(|known| known.0 == number) => return,
            Outcome::Flow(number) => {
                self.know(number, ends, rule);
                format!("flow {number}")
            }
            Outcome::Refused(why) => {
                // A question may be refused that came by a flow.
                if self.known.get(&ends).is_none_or(|known| !self.flows.contains_key(&known.0)) {
                    self.known.insert(ends, (NO_FLOW, rule));
                    self.is_over(ends, NO_FLOW);
                }
                format!("refused: {why}")
            }
        };
        // Writing to a String cannot fail.
        if let Some(rule) = rule {
            let _ = write!(text, ", rule {rule}");
        }
        if let Some(name) = name {
            let _ = write!(text, ", name {name}");
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((ends, Remark { text, name: name.map(str::to_owned) }, now));
    }

    /// There is a flow with this number and these ends. Nothing is told of it.
    pub(crate) fn know(&mut self, number: u64, ends: Ends, rule: Option<NonZeroU32>) {
        let all = self.flows.entry(number).or_default();
        let oldest = if all.len() >= MOST_DESTINATIONS { all.pop_front() } else { None };
        all.push_back(ends);
        if let Some(oldest) = oldest {
            self.forget(&oldest, number);
        }
        self.known.insert(ends, (number, rule));
    }

    /// What is known of these ends goes, unless they are another flow's by now.
    fn forget(&mut self, ends: &Ends, number: u64) {
        if self.known.get(ends).is_some_and(|known| known.0 == number) {
            self.known.remove(ends);
        }
    }

    /// The flow with this number is over.
    pub(crate) fn ended(&mut self, number: u64) {
        for ends in self.flows.remove(&number).into_iter().flatten() {
            self.is_over(ends, number);
        }
    }

    fn is_over(&mut self, ends: Ends, number: u64) {
        if self.over.len() >= MOST_OVER
            && let Some((ends, number)) = self.over.pop_front()
        {
            self.forget(&ends, number);
        }
        self.over.push_back((ends, number));
    }

    /// Whether anything waits for its frame.
    #[inline]
    pub(super) fn wait(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is to stand beside a frame with these ends: it is the first one.
    pub(super) fn remark(&mut self, ends: &Ends, now: Instant) -> Option<Remark> {
        while self.waiting.front().is_some_and(|(.., since)| *since + PATIENCE < now) {
            self.waiting.pop_front();
        }
        let at = self.waiting.iter().position(|(of, ..)| of == ends)?;
        self.waiting.remove(at).map(|(_, remark, _)| remark)
    }

    /// The rule that has decided about a frame with these ends.
    #[cfg(feature = "policy")]
    pub(super) fn rule(&self, ends: &Ends) -> Option<NonZeroU32> {
        self.known.get(ends)?.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ends::Carrier;

    const NOW: Instant = Instant::from_secs(100);

    fn ends(port: u16) -> Ends {
        let (guest, remote) = ([10, 0, 2, 15].into(), [192, 0, 2, 1].into());
        Ends { carrier: Carrier::Udp, guest, remote, ports: Some((4000, port)) }
    }

    fn by(rule: u32) -> (Option<NonZeroU32>, Option<&'static str>) {
        (NonZeroU32::new(rule), None)
    }

    fn text(notes: &mut Notes, port: u16, now: Instant) -> Option<String> {
        notes.remark(&ends(port), now).map(|remark| remark.text)
    }

    #[test]
    fn the_first_frame_of_a_flow_has_its_remark_and_no_other() {
        let mut notes = Notes::default();
        notes.tell(Outcome::Flow(7), ends(1), (NonZeroU32::new(3), Some("a.test")), NOW);
        notes.tell(Outcome::Flow(7), ends(1), by(3), NOW);
        notes.tell(Outcome::Flow(7), ends(2), by(0), NOW);
        notes.tell(Outcome::Refused("policy"), ends(3), by(4), NOW);
        let remark = notes.remark(&ends(1), NOW).unwrap();
        assert_eq!((&remark.text[..], remark.name.as_deref()), ("flow 7, rule 3, name a.test", Some("a.test")));
        assert_eq!(text(&mut notes, 1, NOW), None);
        assert_eq!(text(&mut notes, 2, NOW).as_deref(), Some("flow 7"));
        assert_eq!(text(&mut notes, 3, NOW).as_deref(), Some("refused: policy, rule 4"));
        assert!(!notes.wait());
        notes.tell(Outcome::Flow(8), ends(5), by(3), NOW);
        assert_eq!(text(&mut notes, 9, NOW + PATIENCE), None);
        assert!(notes.wait());
        assert_eq!(text(&mut notes, 5, NOW + PATIENCE + Duration::from_secs(1)), None, "its frame never came");
        for port in 0..1000 {
            notes.tell(Outcome::Flow(9 + u64::from(port)), ends(port), by(0), NOW);
        }
        assert_eq!(notes.waiting.len(), MOST_WAITING);
    }

    #[cfg(feature = "policy")]
    #[test]
    fn the_rule_is_known_for_a_while_after_the_end_and_what_is_known_has_a_bound() {
        let mut notes = Notes::default();
        let rule = |notes: &Notes, port: u16| notes.rule(&ends(port)).map(NonZeroU32::get);
        notes.tell(Outcome::Flow(1), ends(1), by(3), NOW);
        notes.ended(1);
        assert_eq!(rule(&notes, 1), Some(3));
        // Another flow with the same ends stays known when the first is forgotten.
        notes.tell(Outcome::Flow(2), ends(1), by(4), NOW);
        for port in 10..10 + 2 * MOST_OVER as u16 {
            notes.tell(Outcome::Refused("policy"), ends(port), by(5), NOW);
        }
        assert_eq!((rule(&notes, 1), rule(&notes, 10)), (Some(4), None));
        assert_eq!(notes.known.len(), MOST_OVER + 1);
        // A question that is refused says nothing of the flow that it came by.
        notes.tell(Outcome::Refused("policy"), ends(1), by(6), NOW);
        assert_eq!(rule(&notes, 1), Some(4));
        for port in 10_000..10_100 {
            notes.tell(Outcome::Flow(2), ends(port), by(4), NOW);
        }
        assert_eq!((notes.flows[&2].len(), rule(&notes, 10_000)), (MOST_DESTINATIONS, None));
        notes.ended(2);
        assert!(notes.flows.is_empty() && notes.known.len() <= MOST_OVER);
    }
}
