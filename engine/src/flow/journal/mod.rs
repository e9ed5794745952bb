//! What became of flows: each that begins, is refused and ends is noted here, once. It is counted, and written into the log where
//! there is one (`written`), and told to a capture (`noted`). `account` is what a flow notes of itself for that, `roll` what is known of those that there are.
//!
//! Nothing is decided here, and no table is looked at: whoever begins, refuses or ends a flow says so.

mod account;
#[cfg(feature = "capture")]
mod noted;
mod refusals;
#[cfg(feature = "control")]
mod roll;
#[cfg(feature = "capture")]
mod written;

#[cfg(feature = "policy")]
use std::net::IpAddr;
use std::net::SocketAddr;
use std::num::NonZeroU32;

pub(crate) use account::{Account, End};
use refusals::Refusals;
#[cfg(feature = "control")]
pub(crate) use roll::Known;

use super::gate::{Admission, Service};
use super::key::Endpoint;
#[cfg(feature = "capture")]
use crate::capture::notes::{Notes, Outcome};
use crate::host::fault::Fault;
#[cfg(feature = "policy")]
use crate::policy::Name;
use crate::time::Instant;

/// What carries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    Udp,
    Icmp,
}

/// Who begins a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The guest.
    Out,
    /// A host peer, through a host forward.
    In,
}

/// Which flow it is about.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "capture"), allow(dead_code))]
pub(crate) struct About {
    pub carrier: Carrier,
    pub way: Way,
    pub guest: Endpoint,
    /// The other end as the guest knows it.
    pub remote: Endpoint,
    /// The real one, where there is one and it is known.
    pub host: Option<SocketAddr>,
    /// The service of the virtual network that it is for.
    pub service: Option<Service>,
    /// The rule that decided, where one did.
    pub rule: Option<NonZeroU32>,
}

impl About {
    /// A flow that the guest begins.
    pub(crate) fn out(carrier: Carrier, guest: Endpoint, remote: Endpoint, host: Option<SocketAddr>) -> About {
        About { carrier, way: Way::Out, guest, remote, host, service: None, rule: None }
    }

    /// One that a host peer begins.
    pub(crate) fn incoming(carrier: Carrier, guest: Endpoint, remote: Endpoint, host: Option<SocketAddr>) -> About {
        About { way: Way::In, ..About::out(carrier, guest, remote, host) }
    }

    /// For a service of the virtual network.
    pub(crate) fn for_service(self, service: Option<Service>) -> About {
        About { service, ..self }
    }

    /// As this verdict has it.
    pub(crate) fn by(self, admission: Admission) -> About {
        About { rule: admission.rule(), ..self }
    }
}

/// Why there is no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The network is one that reaches nothing.
    Restricted,
    /// A rule forbids it.
    #[cfg_attr(not(feature = "policy"), allow(dead_code))]
    Policy,
    /// The network is drained: nothing begins any more.
    #[cfg(feature = "policy")]
    Draining,
    /// There are, or begin, as many as are wished for, or no more bytes are to pass.
    Limit,
    /// Nothing of the host is at this address, or the host has no way there.
    NoRoute,
    /// There is no name server.
    NoNameServer,
    /// The time to live ends here.
    HopsExceeded,
    /// There are as many flows as there may be.
    TableFull,
    /// The host lacks descriptors, ports or memory.
    NoResources,
    /// The host said no at once.
    HostRefused,
    /// No guest is known that a forward could lead to.
    NoGuest,
}

impl Refusal {
    /// What the host's error says of it.
    pub(crate) fn of(error: &std::io::Error) -> Refusal {
        let fault = Fault::of(error);
        match fault {
            _ if fault.is_lack() => Refusal::NoResources,
            Fault::NoAddress | Fault::WouldBlock => Refusal::NoResources,
            Fault::Refused => Refusal::HostRefused,
            _ => Refusal::NoRoute,
        }
    }
}

/// How many flows of one kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub begun: u64,
    pub refused: u64,
    pub ended: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Journal {
    counts: [Counts; 3],
    /// TCP segments that were sent to the guest again.
    pub resent: u64,
    /// By carrier, the guest's end and the other one.
    refusals: Refusals<(Carrier, Endpoint, Endpoint)>,
    /// Questions, by who has asked and the name; of what cannot be one there is none.
    #[cfg(feature = "policy")]
    questions: Refusals<(Carrier, IpAddr, Option<Name>)>,
    #[cfg(feature = "capture")]
    log: Option<Box<written::Written>>,
    /// What a capture is told.
    #[cfg(feature = "capture")]
    notes: Option<Box<Notes>>,
    #[cfg(feature = "control")]
    roll: Option<Box<roll::Roll>>,
}

impl Journal {
    pub(crate) fn counts(&self, carrier: Carrier) -> Counts {
        self.counts.get(carrier as usize).copied().unwrap_or_default()
    }

    fn count(&mut self, carrier: Carrier, count: impl FnOnce(&mut Counts)) {
        if let Some(counts) = self.counts.get_mut(carrier as usize) {
            count(counts);
        }
    }

    /// The flow with this number has begun; `name` is one that its other end counts for.
    #[inline]
    pub(crate) fn begun(&mut self, number: u64, about: &About, name: Option<&str>, now: Instant) {
        self.count(about.carrier, |counts| counts.begun += 1);
        if self.tells() {
            self.tell_begun(number, about, name, now);
        }
    }

    /// Whether anybody wants to know of flows, beyond their number.
    #[inline]
    fn tells(&self) -> bool {
        #[cfg(feature = "capture")]
        let records = self.log.is_some() || self.notes.is_some();
        #[cfg(not(feature = "capture"))]
        let records = false;
        #[cfg(feature = "control")]
        let lists = self.roll.is_some();
        #[cfg(not(feature = "control"))]
        let lists = false;
        records || lists
    }

    #[cold]
    fn tell_begun(&mut self, number: u64, about: &About, name: Option<&str>, now: Instant) {
        #[cfg(feature = "capture")]
        if let Some(log) = &mut self.log {
            log.begun(number, about, name, now);
        }
        #[cfg(feature = "capture")]
        if let Some(notes) = &mut self.notes {
            notes.tell(Outcome::Flow(number), noted::ends(about), (about.rule, name), now);
        }
        #[cfg(feature = "control")]
        if let Some(roll) = &mut self.roll {
            roll.begun(number, about, now);
        }
        let _ = (number, about, name, now);
    }

    /// A flow did not come about. Who tries again is told again, but is noted as one.
    #[cold]
    pub(crate) fn refused(&mut self, about: &About, why: Refusal, now: Instant) {
        if !self.refusals.is_new((about.carrier, about.guest, about.remote), now) {
            return;
        }
        self.note_refused(about, why, None, now);
    }

    /// The name server is not asked this, as the policy forbids it; `name` is what was asked for, where it can be a name. Who asks
    /// again is noted as one, from whatever port.
    #[cfg(feature = "policy")]
    #[cold]
    pub(crate) fn refused_question(&mut self, about: &About, name: Option<&Name>, now: Instant) {
        if self.questions.is_new((about.carrier, about.guest.ip, name.cloned()), now) {
            self.note_refused(about, Refusal::Policy, name.map(Name::as_str), now);
        }
    }

    fn note_refused(&mut self, about: &About, why: Refusal, name: Option<&str>, now: Instant) {
        self.count(about.carrier, |counts| counts.refused += 1);
        #[cfg(feature = "capture")]
        if let Some(log) = &mut self.log {
            log.refused(about, why, name, now);
        }
        // Of what a host peer was refused the guest sees nothing.
        #[cfg(feature = "capture")]
        if let Some(notes) = self.notes.as_mut().filter(|_| about.way == Way::Out) {
            notes.tell(Outcome::Refused(written::reason(why)), noted::ends(about), (about.rule, name), now);
        }
        let _ = (why, name, now);
    }

    /// The flow with this number goes from the guest's end to one more destination, as the guest knows it and as it is, or to the same
    /// again.
    #[inline]
    pub(crate) fn goes_to(
        &mut self,
        number: u64,
        guest: Endpoint,
        ends: (Endpoint, SocketAddr),
        (by, name): (Admission, Option<&str>),
        now: Instant,
    ) {
        #[cfg(feature = "capture")]
        if let Some(log) = &mut self.log {
            log.goes_to(number, ends, (by, name), now);
        }
        #[cfg(feature = "capture")]
        if let Some(notes) = &mut self.notes {
            let about = About::out(Carrier::Udp, guest, ends.0, None);
            notes.tell(Outcome::Flow(number), noted::ends(&about), (by.rule(), name), now);
        }
        let _ = (number, guest, ends, by, name, now);
    }

    /// The flow with this number has ended, as its account says, or as `otherwise` does; and the name that it has said, for which only the
    /// log asks.
    #[inline]
    pub(crate) fn ended(
        &mut self,
        number: u64,
        carrier: Carrier,
        account: &Account,
        (otherwise, said): (End, impl FnOnce() -> Option<String>),
        now: Instant,
    ) {
        self.count(carrier, |counts| counts.ended += 1);
        if self.tells() {
            self.tell_ended(number, account, (otherwise, said), now);
        }
    }

    #[cold]
    fn tell_ended(
        &mut self,
        number: u64,
        account: &Account,
        (otherwise, said): (End, impl FnOnce() -> Option<String>),
        now: Instant,
    ) {
        #[cfg(feature = "capture")]
        if let Some(log) = &mut self.log {
            log.ended(number, account, (account.end().unwrap_or(otherwise), said().as_deref()), now);
        }
        #[cfg(not(feature = "capture"))]
        let _ = said;
        #[cfg(feature = "capture")]
        if let Some(notes) = &mut self.notes {
            notes.ended(number);
        }
        #[cfg(feature = "control")]
        if let Some(roll) = &mut self.roll {
            roll.ended(number);
        }
        let _ = (number, account, otherwise, now);
    }
}

#[cfg(feature = "control")]
impl Journal {
    /// Keeps from now on what is known of each flow that there is. Of those that have begun before nothing is known.
    pub(crate) fn keep_roll(&mut self) {
        self.roll.get_or_insert_default();
    }

    /// Whether somebody may ask for what the first bytes of a connection have said: the log when it ends, and a review when another
    /// policy comes.
    pub(crate) fn asks_what_was_said(&self) -> bool {
        self.log.is_some() || self.roll.is_some()
    }

    /// What is known of the flow with this number.
    pub(crate) fn known(&self, number: u64) -> Option<&Known> {
        self.roll.as_ref().and_then(|roll| roll.get(number))
    }
}

#[cfg(feature = "capture")]
impl Journal {
    /// Has everything that happens from now on written into a log; `None` ends that.
    pub(crate) fn write_to(&mut self, log: Option<crate::capture::log::Log>) {
        self.log = log.map(|log| Box::new(written::Written::new(log)));
    }

    /// Notes from now on for a capture what becomes of flows, or does not any more. Of flows that there are, that is known which the roll
    /// has, where one is kept.
    pub(crate) fn note(&mut self, wanted: bool) {
        self.notes = wanted.then(Box::default);
        #[cfg(feature = "control")]
        if let (Some(notes), Some(roll)) = (&mut self.notes, &self.roll) {
            roll.all().for_each(|(number, about)| notes.know(number, noted::ends(about), about.rule));
        }
    }

    /// What is noted for a capture.
    #[inline]
    pub(crate) fn notes(&mut self) -> Option<&mut Notes> {
        self.notes.as_deref_mut()
    }

    pub(crate) fn is_written(&self) -> bool {
        self.log.is_some()
    }

    /// The log.
    pub(crate) fn log(&mut self) -> Option<&mut crate::capture::log::Log> {
        self.log.as_mut().map(|log| log.log())
    }

    /// What it has come to.
    pub(crate) fn recorded(&self) -> Option<crate::capture::frames::Recorded> {
        self.log.as_ref().map(|log| log.recorded())
    }
}

#[cfg(all(test, feature = "control"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_has_said_is_looked_for_by_nobody_but_the_log() {
        let mut journal = Journal::default();
        assert!(!journal.asks_what_was_said());
        let ended = |journal: &mut Journal| {
            let mut asked = false;
            let said = || {
                asked = true;
                None
            };
            journal.ended(7, Carrier::Tcp, &Account::default(), (End::Closed, said), Instant::ZERO);
            asked
        };
        assert!(!ended(&mut journal));
        journal.note(true);
        assert!(!ended(&mut journal) && !journal.asks_what_was_said());
        journal.keep_roll();
        assert!(!ended(&mut journal) && journal.asks_what_was_said());
    }
}
