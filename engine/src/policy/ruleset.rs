//! The rules in their order.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address::Faces;
use super::hello::Heard;
use super::name::Name;
use super::names::Names;
use super::preset::{Internet, Preset};
use super::question::{Protocol, Question, Reason, Service, Verdict};
use super::rule::{Action, Asked, Before, Left, Rule, RuleError};
use super::via::Via;

/// Rules in their order: the first one that is about a flow decides. Where none is, the preset's rules follow, and then the
/// default action.
///
/// DHCP and the echo replies of the virtual addresses are allowed where no rule speaks of them; the default action is for
/// everything else, the other services among it.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    /// How many of them are no preset's.
    given: usize,
    default: Action,
    names: Names,
    rebind: Option<Rebind>,
    internet: Internet,
}

/// What becomes of addresses in answers of the virtual name server that are nobody's on the internet: private ones, those of the
/// loopback and of links, and those of IPv6 that lead to such. With a name of his own somebody outside could have the guest
/// connect to them ("DNS rebinding").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rebind {
    /// They are taken out, but where a rule allows the name together with a [`Rule::host`] that the address is in.
    Strip,
    /// They stay.
    Allow,
}

/// Makes a [`Policy`]. Without a call of its methods it denies everything.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PolicyBuilder {
    rules: Vec<Rule>,
    preset: Option<Preset>,
    default: Option<Action>,
    rebind: Option<Rebind>,
}

/// Why there is no policy of what a builder was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The rule of this number, from 1, could never do what it says.
    Rule(usize, RuleError),
    /// There are more rules than [`Policy::MAX_RULES`].
    TooMany,
    /// A preset brings its own default action.
    DefaultOfPreset,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyError::Rule(number, error) => write!(f, "rule {number}: {error}"),
            PolicyError::TooMany => write!(f, "there are more than {} rules", Policy::MAX_RULES),
            PolicyError::DefaultOfPreset => f.write_str("a preset brings its own default action"),
        }
    }
}

impl std::error::Error for PolicyError {}

impl PolicyBuilder {
    /// Adds a rule behind those that are there.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// What becomes of flows that no rule is about; [`Action::Deny`] without this call.
    pub fn default_action(mut self, action: Action) -> Self {
        self.default = Some(action);
        self
    }

    /// Has the rules of a preset follow, which has its own default action.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = Some(preset);
        self
    }

    /// What becomes of addresses in answers that are nobody's on the internet. Without this call they are taken out where a rule
    /// has names, and stay where none has.
    pub fn rebind(mut self, rebind: Rebind) -> Self {
        self.rebind = Some(rebind);
        self
    }

    /// Makes the policy.
    ///
    /// # Errors
    /// A rule could never do what it says, there are too many, or a preset is to have another default action.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let PolicyBuilder { mut rules, preset, default, rebind } = self;
        let given = rules.len();
        if given > Policy::MAX_RULES {
            return Err(PolicyError::TooMany);
        }
        if preset.is_some() && default.is_some() {
            return Err(PolicyError::DefaultOfPreset);
        }
        for (number, rule) in (1..).zip(&rules) {
            rule.check().map_err(|error| PolicyError::Rule(number, error))?;
        }
        let listening = rules.iter().position(Rule::listens).unwrap_or(rules.len());
        if let Some(index) = rules.iter().skip(listening).position(|rule| rule.leads().is_some()) {
            return Err(PolicyError::Rule(listening + index + 1, RuleError::ViaBehindHello));
        }
        rules.extend(preset.into_iter().flat_map(Preset::rules));
        let (names, internet) = (Names::of(&rules), Internet::new());
        Ok(Policy { rules, given, default: default.unwrap_or_default(), names, rebind, internet })
    }
}

/// An address of the internet like others.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

impl Policy {
    /// The most rules that there may be.
    pub const MAX_RULES: usize = 10_000;

    /// Begins a policy that denies everything.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// What becomes of a guest that asks for a name and goes to it: to an address of the internet that an answer had, with the name in
    /// its first bytes where a rule wants it there.
    #[must_use]
    pub fn judge_visit(&self, protocol: Protocol, guest: SocketAddr, name: &Name, port: u16) -> Verdict {
        if self.has_names() {
            let asks = self.judge_name(guest.ip(), name);
            if asks.action != Action::Allow {
                return asks;
            }
        }
        let host = SocketAddr::from((SOMEWHERE, port));
        let question = Question::out(protocol, guest, host, host);
        let names = std::slice::from_ref(name);
        let verdict = self.judge_named(&question, names);
        if !matches!(verdict.reason, Reason::Hello(_)) {
            return verdict;
        }
        let said = || Some(name.as_str().into());
        let [tls, http] = [Heard::Tls(said()), Heard::Http(said())].map(|it| self.judge_hello(&question, names, &it));
        if tls.action == Action::Allow { tls } else { http }
    }

    /// How many rules there are, without those of a preset.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.given
    }

    /// What it says, in words: a sentence for each rule with its number, then those of a preset, and what becomes of everything else.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.sentences_after(0)
    }

    /// The same without so many of the first ones, which need not be made for that.
    pub(crate) fn sentences_after(&self, after: usize) -> impl Iterator<Item = String> {
        let rules = self.rules.iter().enumerate().skip(after).map(|(index, rule)| match index < self.given {
            true => format!("{}: {rule}", number(index)),
            false => format!("preset: {rule}"),
        });
        let rest = match self.default {
            Action::Allow => "allow everything else",
            Action::Deny => "deny, and say so, everything else but DHCP and pings of the virtual addresses",
            Action::Drop => "drop, and say nothing, everything else but DHCP and pings of the virtual addresses",
        };
        let last = (after <= self.rules.len()).then(|| format!("default: {rest}"));
        rules.chain(last)
    }

    /// What becomes of a flow to an address that counts for no name, and why.
    #[must_use]
    pub fn judge(&self, question: &Question) -> Verdict {
        self.judge_among(question, |_| false)
    }

    /// What becomes of a flow whose address counts for these names.
    #[must_use]
    pub fn judge_named(&self, question: &Question, names: &[Name]) -> Verdict {
        let rules: Vec<u32> = names.iter().flat_map(|name| self.rules_about(name)).collect();
        self.judge_among(question, |rule| rules.contains(&rule))
    }

    /// What becomes of a connection to an address that counts for these names, whose first bytes were waited for
    /// ([`Reason::Hello`]) and are there. All rules are asked anew: where those bytes have another name than a rule's, another
    /// rule may be about the same address; and a rule that refuses a name without listening for it refuses whoever says it.
    #[must_use]
    pub fn judge_hello(&self, question: &Question, names: &[Name], heard: &Heard) -> Verdict {
        let rules: Vec<u32> = names.iter().flat_map(|name| self.rules_about(name)).collect();
        self.judge_hello_among(question, heard, |rule| rules.contains(&rule))
    }

    /// Rules that never decide, or hardly ever, as one before them is about everything that they are about: a sentence for each, with
    /// the number of the rule, from 1. Only single rules are compared: where several together leave nothing, it is not said. For
    /// whoever explains a policy.
    pub fn shadowed(&self) -> impl Iterator<Item = (u32, String)> {
        let rules = self.rules.get(..self.given).unwrap_or_default();
        let mut before = Before::default();
        (1..).zip(rules).enumerate().filter_map(move |(index, (later, rule))| {
            let least = before.leaving_least(rules, rule);
            before.add(index, rule);
            let (left, by) = least.map(|(left, index)| (left, index + 1))?;
            let what = match left {
                Left::Nothing => "never decides",
                Left::InnerAddresses => {
                    "decides about no flow, only that answers for its names may have addresses of the inside"
                }
                Left::HiddenAddresses => {
                    "decides about no address itself, only about those that lead to one in another form"
                }
            };
            Some((later, format!("rule {later} {what}: rule {by} comes first and is about all of it")))
        })
    }

    /// Where the rule of this number, from 1, leads what it allows.
    #[must_use]
    pub fn via(&self, rule: u32) -> Option<&Via> {
        self.rules.get(usize::try_from(rule).ok()?.checked_sub(1)?)?.leads()
    }

    /// What becomes of a question to the virtual name server: the first rule that has the name decides, and that has this machine,
    /// where it says something of the guest; its ports, protocols and addresses of the host's side are for what follows. Where
    /// none has, it is what becomes of a flow that no rule says anything particular of.
    ///
    /// The guest's questions are judged where a rule of the policy has names (see [`Policy::has_names`]).
    #[must_use]
    pub fn judge_name(&self, guest: IpAddr, name: &Name) -> Verdict {
        self.judge_name_by(guest, &self.rules_about(name))
    }

    /// Whether a rule has names.
    #[must_use]
    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether a rule allows addresses that have to count for a name first: the guest has to be able to ask for it.
    #[must_use]
    pub fn opens_by_names(&self) -> bool {
        self.rules.iter().any(|rule| rule.action() == Action::Allow && rule.counts_names())
    }

    /// Whether answers are looked through for addresses that are nobody's on the internet.
    #[must_use]
    pub fn strips(&self) -> bool {
        self.rebind.map_or(self.has_names(), |rebind| rebind == Rebind::Strip)
    }

    /// The rules that have this name, by their indices, in their order.
    pub(crate) fn rules_about(&self, name: &Name) -> Vec<u32> {
        self.names.rules(name)
    }

    /// [`Policy::judge_name`] where the rules with the name are known.
    pub(crate) fn judge_name_by(&self, guest: IpAddr, rules: &[u32]) -> Verdict {
        let guest = Faces::of(guest);
        let own = rules.iter().filter_map(|&index| Some((index as usize, self.rules.get(index as usize)?)));
        let mut own = own.filter(|(_, rule)| rule.is_about_guest(&guest));
        let all = || self.rules.iter().enumerate().find(|(_, rule)| rule.is_about_all_of(&guest));
        match own.next().or_else(all) {
            Some((index, rule)) => Verdict { action: rule.action(), reason: self.reason(index) },
            None => Verdict { action: self.default, reason: Reason::Default },
        }
    }

    /// Whether an address may stand in the answer to a question whose name has these rules. A mapped address is none that a
    /// name server tells of.
    pub(crate) fn may_stand(&self, guest: IpAddr, rules: &[u32], ip: IpAddr) -> bool {
        let (guest, faces) = (Faces::of(guest), Faces::of(ip));
        let mapped = matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        let mut own = rules.iter().filter_map(|&index| self.rules.get(index as usize));
        !self.strips()
            || (!mapped && self.internet.has(&faces))
            || own.any(|rule| rule.is_about_guest(&guest) && rule.allows_expressly(&faces))
    }

    /// What becomes of a flow; `counts` says whether its address counts for a name of the rule with this index.
    pub(crate) fn judge_among(&self, question: &Question, counts: impl Fn(u32) -> bool) -> Verdict {
        let found = self.first(question, &counts, |_| true);
        let Some((index, _)) = found.filter(|(_, rule)| rule.listens()) else { return self.verdict(found, question) };
        // No name helps where nothing but refusals may come of it: that the host has somebody there is not told then.
        let best = self.first(question, &counts, |rule| !rule.listens() || rule.action() == Action::Allow);
        let best = self.verdict(best, question);
        if best.action != Action::Allow {
            return best;
        }
        Verdict { action: Action::Deny, reason: Reason::Hello(number(index)) }
    }

    /// [`Policy::judge_hello`] in the same way. What a connection says counts for rules that refuse a name as an answer of the name
    /// server does: many names have one address.
    pub(crate) fn judge_hello_among(
        &self,
        question: &Question,
        heard: &Heard,
        counts: impl Fn(u32) -> bool,
    ) -> Verdict {
        let refuses = |index: u32| self.rules.get(index as usize).is_some_and(|rule| rule.refuses_said(heard));
        self.verdict(self.first(question, |index| counts(index) || refuses(index), |rule| rule.hears(heard)), question)
    }

    /// The first rule that is about it and that `fits`, and its place.
    fn first(
        &self,
        question: &Question,
        counts: impl Fn(u32) -> bool,
        fits: impl Fn(&Rule) -> bool,
    ) -> Option<(usize, &Rule)> {
        let asked = Asked::new(question);
        let is_named = |index: usize, rule: &Rule| !rule.counts_names() || u32::try_from(index).is_ok_and(&counts);
        let mut rules = self.rules.iter().enumerate();
        // Most rules with names are about another one, which is soon told.
        rules.find(|&(index, rule)| is_named(index, rule) && rule.is_about(&asked) && fits(rule))
    }

    fn verdict(&self, found: Option<(usize, &Rule)>, question: &Question) -> Verdict {
        if let Some((index, rule)) = found {
            return Verdict { action: rule.action(), reason: self.reason(index) };
        }
        let inside = question.service.is_some_and(Service::stays_inside);
        Verdict { action: if inside { Action::Allow } else { self.default }, reason: Reason::Default }
    }

    fn reason(&self, index: usize) -> Reason {
        if index < self.given { Reason::Rule(number(index)) } else { Reason::Preset }
    }
}

/// Rules are counted from 1.
fn number(index: usize) -> u32 {
    u32::try_from(index.saturating_add(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::hello::HelloKind;
    use super::super::pattern::NamePattern;
    use super::super::question::{Direction, Protocol};
    use super::super::rule::PortRange;
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn guest() -> SocketAddr {
        at("10.0.2.15:4000")
    }

    fn tcp(named: &str, host: &str) -> Question {
        Question::out(Protocol::Tcp, guest(), at(named), at(host))
    }

    fn direct(host: &str) -> Question {
        tcp(host, host)
    }

    fn service(service: Service) -> Question {
        Question::service(service, Protocol::Udp, guest(), at("10.0.2.3:53"))
    }

    #[test]
    fn the_first_rule_that_is_about_a_flow_decides() {
        let policy = Policy::builder()
            .rule(Rule::allow().host(["10.1.2.3".parse().unwrap()]).host_ports([PortRange::new(80, 81).unwrap()]))
            .rule(Rule::drop().host(["10.0.0.0/8".parse().unwrap()]))
            .default_action(Action::Allow)
            .build()
            .unwrap();
        let verdict = |question| {
            let Verdict { action, reason } = policy.judge(&question);
            (action, reason)
        };
        assert_eq!(verdict(direct("10.1.2.3:80")), (Action::Allow, Reason::Rule(1)));
        assert_eq!(verdict(direct("10.1.2.3:81")), (Action::Allow, Reason::Rule(1)));
        assert_eq!(verdict(direct("10.1.2.3:82")), (Action::Drop, Reason::Rule(2)));
        assert_eq!(verdict(direct("[64:ff9b::10.1.2.3]:80")), (Action::Drop, Reason::Rule(2)));
        assert_eq!(verdict(direct("192.0.2.1:1")), (Action::Allow, Reason::Default));
        // A rule that refuses looks at both names, one that allows at what it really is.
        assert_eq!(verdict(tcp("10.0.2.2:80", "127.0.0.1:80")), (Action::Drop, Reason::Rule(2)));
        let ping = Question::out(Protocol::Icmp, guest(), at("10.1.2.3:0"), at("10.1.2.3:0"));
        assert_eq!(verdict(ping), (Action::Drop, Reason::Rule(2)));
    }

    #[test]
    fn without_a_word_everything_is_denied_but_what_stays_inside() {
        let policy = Policy::builder().build().unwrap();
        let action = |question| policy.judge(&question).action;
        assert_eq!(action(direct("192.0.2.1:443")), Action::Deny);
        assert_eq!(action(Question::incoming(Protocol::Tcp, guest(), at("192.0.2.1:443"))), Action::Deny);
        for closed in [Service::Dns, Service::Tftp, Service::GuestForward] {
            assert_eq!(action(service(closed)), Action::Deny, "{closed:?}");
        }
        for open in [Service::Dhcp, Service::Echo] {
            assert_eq!(action(service(open)), Action::Allow, "{open:?}");
        }
        let closed = Policy::builder().rule(Rule::drop().service(Service::Dhcp)).build().unwrap();
        assert_eq!(closed.judge(&service(Service::Dhcp)).action, Action::Drop);
        // A rule about hosts is about no service, also not about one at that address.
        let hosts = Policy::builder().rule(Rule::allow()).build().unwrap();
        assert_eq!(hosts.judge(&service(Service::Dns)).action, Action::Deny);
    }

    #[test]
    fn a_rule_about_names_waits_for_the_first_bytes() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<NamePattern>>();
        let tls = |action| Rule::new(action).hello(HelloKind::Tls).host_ports([PortRange::one(443)]);
        let policy = Policy::builder()
            .rule(tls(Action::Deny).names(names(&["bad.example.org"])))
            .rule(tls(Action::Allow).names(names(&["*.example.org"])))
            .rule(tls(Action::Allow).names(names(&["cdn.net"])).host(["192.0.2.0/24".parse().unwrap()]))
            .rule(Rule::allow().hello(HelloKind::Http).names(names(&["a.org"])).host_ports([PortRange::one(80)]))
            .rule(Rule::allow().host(["198.51.100.0/24".parse().unwrap()]))
            .build()
            .unwrap();
        let of = |Verdict { action, reason }: Verdict| (action, reason);
        let waits = |rule| (Action::Deny, Reason::Hello(rule));
        let counts = ["x.example.org", "a.org"].map(name);
        assert_eq!(of(policy.judge_named(&direct("203.0.113.1:443"), &counts)), waits(1));
        assert_eq!(of(policy.judge(&direct("198.51.100.1:443"))), waits(1));
        // Whatever it said, this one would be refused: nobody has to be connected for that.
        assert_eq!(of(policy.judge(&direct("203.0.113.1:443"))), (Action::Deny, Reason::Default));
        assert_eq!(
            of(policy.judge_named(&direct("203.0.113.1:443"), &[name("cdn.net")])),
            (Action::Deny, Reason::Default)
        );
        assert_eq!(of(policy.judge_named(&direct("203.0.113.1:80"), &counts)), waits(4));
        // Where no address is said, it has to be one of the name's.
        assert_eq!(of(policy.judge(&direct("203.0.113.1:80"))), (Action::Deny, Reason::Default));
        let sni = Heard::Tls(Some("x.example.org".into()));
        assert_eq!(of(policy.judge_hello(&direct("203.0.113.1:443"), &[], &sni)), (Action::Deny, Reason::Default));
        assert_eq!(of(policy.judge(&direct("203.0.113.1:22"))), (Action::Deny, Reason::Default));
        assert_eq!(of(policy.judge(&direct("198.51.100.1:22"))), (Action::Allow, Reason::Rule(5)));
        // QUIC is as TLS, at its port; HTTP is none of this.
        let quic = |port| {
            let to = SocketAddr::from(([203, 0, 113, 1], port));
            of(policy.judge_named(&Question::out(Protocol::Udp, guest(), to, to), &counts))
        };
        assert_eq!((quic(443), quic(80)), (waits(1), (Action::Deny, Reason::Default)));
        let anywhere =
            Policy::builder().rule(Rule::allow().hello(HelloKind::Tls).names(names(&["a.org"]))).build().unwrap();
        let to = |port| Question::out(Protocol::Udp, guest(), direct(port).host, direct(port).host);
        assert_eq!(of(anywhere.judge_named(&to("203.0.113.1:443"), &counts)), waits(1));
        assert_eq!(of(anywhere.judge_named(&to("203.0.113.1:444"), &counts)), (Action::Deny, Reason::Default));
        let heard = |to: &str, heard: Heard| of(policy.judge_hello(&direct(to), &counts, &heard));
        let sni = |name: &str| Heard::Tls(Some(name.into()));
        let (allow, default) = (|rule| (Action::Allow, Reason::Rule(rule)), (Action::Deny, Reason::Default));
        assert_eq!(heard("203.0.113.1:443", sni("bad.example.org")), (Action::Deny, Reason::Rule(1)));
        assert_eq!(heard("203.0.113.1:443", sni("WWW.example.org.")), allow(2));
        assert_eq!(heard("203.0.113.1:443", sni("example.org")), default);
        assert_eq!(heard("203.0.113.1:443", Heard::Tls(None)), default);
        assert_eq!(heard("203.0.113.1:443", Heard::Http(Some("www.example.org".into()))), default);
        // Who refuses a name refuses whoever says it, also where another rule has asked; one that allows it is of no use alone.
        let unheard = Policy::builder()
            .rule(Rule::deny().names(names(&["ads.example.org"])))
            .rule(Rule::allow().names(names(&["said.example.org"])))
            .rule(Rule::allow().hello(HelloKind::Tls).names(names(&["*.example.org"])))
            .build()
            .unwrap();
        let said = |said: &str| {
            let known = ["www.example.org".parse().unwrap()];
            of(unheard.judge_hello(&direct("203.0.113.1:443"), &known, &sni(said)))
        };
        assert_eq!(said("www.example.org"), allow(3));
        assert_eq!(said("ads.example.org"), (Action::Deny, Reason::Rule(1)));
        assert_eq!(said("said.example.org"), allow(3));
        // The name alone does not make an address one of the rule's.
        assert_eq!(heard("203.0.113.1:443", sni("cdn.net")), default);
        assert_eq!(heard("192.0.2.1:443", sni("cdn.net")), allow(3));
        // Another rule may be about the same address.
        assert_eq!(heard("198.51.100.1:443", sni("other.net")), allow(5));
        assert_eq!(heard("198.51.100.1:443", sni("bad.example.org")), (Action::Deny, Reason::Rule(1)));
        assert_eq!(heard("203.0.113.1:80", Heard::Http(Some("a.org".into()))), allow(4));
        assert_eq!(heard("203.0.113.1:80", sni("a.org")), default);
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn patterns<const N: usize>(texts: [&str; N]) -> [NamePattern; N] {
        texts.map(|text| text.parse().unwrap())
    }

    #[test]
    fn an_address_is_reached_by_a_name_that_it_counts_for() {
        let policy = Policy::builder()
            .rule(Rule::deny().names(patterns(["ads.example.org"])))
            .rule(Rule::allow().names(patterns(["example.org", "*.example.org"])).host_ports([PortRange::one(443)]))
            .rule(Rule::allow().host(["198.51.100.0/24".parse().unwrap()]))
            .build()
            .unwrap();
        assert!(policy.has_names() && policy.strips());
        let verdict = |at, names: &[&str]| {
            let names: Vec<Name> = names.iter().map(|text| name(text)).collect();
            let Verdict { action, reason } = policy.judge_named(&direct(at), &names);
            (action, reason)
        };
        assert_eq!(verdict("8.8.8.8:443", &[]), (Action::Deny, Reason::Default));
        assert_eq!(verdict("8.8.8.8:443", &["www.example.org"]), (Action::Allow, Reason::Rule(2)));
        assert_eq!(verdict("8.8.8.8:443", &["other.test", "example.org"]), (Action::Allow, Reason::Rule(2)));
        assert_eq!(verdict("8.8.8.8:80", &["www.example.org"]), (Action::Deny, Reason::Default));
        assert_eq!(verdict("8.8.8.8:443", &["www.example.org", "ads.example.org"]), (Action::Deny, Reason::Rule(1)));
        assert_eq!(verdict("198.51.100.1:80", &[]), (Action::Allow, Reason::Rule(3)));
        let asks = |text| policy.judge_name(guest().ip(), &name(text)).action;
        assert_eq!(asks("WWW.example.org."), Action::Allow);
        assert_eq!(asks("ads.example.org"), Action::Deny);
        assert_eq!(asks("x.ads.example.org"), Action::Allow);
        assert_eq!(asks("example.com"), Action::Deny);
        assert_eq!(asks("."), Action::Deny);
    }

    #[test]
    fn where_everything_else_is_allowed_so_are_other_names() {
        let ads = || Rule::deny().names(patterns(["*.ads.test"]));
        let of = |builder: PolicyBuilder| builder.rule(ads()).build().unwrap();
        for open in [
            of(Policy::builder().default_action(Action::Allow)),
            of(Policy::builder().preset(Preset::InternetOnly)),
            Policy::builder().rule(ads()).rule(Rule::allow()).build().unwrap(),
        ] {
            let asks = |text| open.judge_name(guest().ip(), &name(text)).action;
            assert_eq!((asks("example.org"), asks("x.ads.test")), (Action::Allow, Action::Deny));
        }
        let closed = of(Policy::builder().rule(Rule::allow().protocol(Protocol::Tcp)));
        assert_eq!(closed.judge_name(guest().ip(), &name("example.org")).action, Action::Deny);
    }

    #[test]
    fn a_rule_about_one_machine_lets_no_other_one_ask() {
        let policy = Policy::builder()
            .rule(Rule::allow().names(patterns(["example.org"])).guest(["10.0.2.15".parse().unwrap()]))
            .build()
            .unwrap();
        let asks = |ip: &str| policy.judge_name(ip.parse().unwrap(), &name("example.org")).action;
        assert_eq!((asks("10.0.2.15"), asks("10.0.2.16")), (Action::Allow, Action::Deny));
    }

    #[test]
    fn answers_have_no_address_of_the_inside_unless_a_rule_says_so() {
        let rule = Rule::allow().names(patterns(["*.corp.test"]));
        let inside = Rule::allow().names(patterns(["db.corp.test"])).host(["10.1.0.0/16".parse().unwrap()]);
        let policy = Policy::builder().rule(inside).rule(rule.clone()).build().unwrap();
        let stands = |policy: &Policy, text: &str, ip: &str| {
            policy.may_stand(guest().ip(), &policy.rules_about(&name(text)), ip.parse().unwrap())
        };
        for private in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "192.168.1.1",
            "169.254.169.254",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "fec0::2",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
        ] {
            assert!(!stands(&policy, "www.corp.test", private), "{private}");
        }
        for public in ["8.8.8.8", "2a00::1", "64:ff9b::8.8.8.8"] {
            assert!(stands(&policy, "www.corp.test", public), "{public}");
        }
        assert!(stands(&policy, "db.corp.test", "10.1.2.3") && !stands(&policy, "db.corp.test", "10.2.2.3"));
        let open = Policy::builder().rule(rule).rebind(Rebind::Allow).build().unwrap();
        assert!(stands(&open, "www.corp.test", "127.0.0.1"));
        let strict = Policy::builder().preset(Preset::InternetOnly).rebind(Rebind::Strip).build().unwrap();
        assert!(strict.strips() && !strict.has_names() && !stands(&strict, "any.test", "127.0.0.1"));
        assert!(!Policy::builder().preset(Preset::InternetOnly).build().unwrap().strips());
    }

    #[test]
    fn rules_that_could_do_nothing_are_refused() {
        let refusal = |rule: Rule| Policy::builder().rule(Rule::allow()).rule(rule).build().unwrap_err();
        let port = [PortRange::one(1)];
        let ping = Rule::allow().protocol(Protocol::Icmp);
        assert_eq!(refusal(ping.clone().host_ports(port)), PolicyError::Rule(2, RuleError::PortsOfIcmp));
        assert_eq!(refusal(ping.guest_ports(port)), PolicyError::Rule(2, RuleError::PortsOfIcmp));
        let incoming = Rule::allow().direction(Direction::In);
        assert_eq!(refusal(incoming.clone().service(Service::Dns)), PolicyError::Rule(2, RuleError::ServiceIn));
        let named = incoming.named(["10.0.2.2".parse().unwrap()]);
        assert_eq!(refusal(named), PolicyError::Rule(2, RuleError::NamedIn));
        let hello = || Rule::allow().hello(HelloKind::Tls);
        let one = || ["a.org".parse::<NamePattern>().unwrap()];
        assert_eq!(refusal(hello()), PolicyError::Rule(2, RuleError::HelloWithoutName));
        let called = Rule::allow().names(one());
        assert_eq!(refusal(called.clone().direction(Direction::In)), PolicyError::Rule(2, RuleError::NameIn));
        assert_eq!(refusal(called.service(Service::Dns)), PolicyError::Rule(2, RuleError::NameOfService));
        for other in [
            hello().protocol(Protocol::Icmp),
            hello().hello(HelloKind::Http).protocol(Protocol::Icmp),
            Rule::allow().hello(HelloKind::Http).protocol(Protocol::Udp),
            Rule::allow().hello(HelloKind::Http).protocol(Protocol::Tcp).protocol(Protocol::Udp),
            hello().service(Service::Dns),
            hello().direction(Direction::In),
        ] {
            assert_eq!(refusal(other.names(one())), PolicyError::Rule(2, RuleError::HelloOfOther));
        }
        let led = |rule: Rule| rule.via(Via::Address(at("192.0.2.7:3128")));
        let tcp = || Rule::allow().protocol(Protocol::Tcp);
        let proxy = Via::Proxy("socks5://192.0.2.7:1080".parse().unwrap());
        for other in [
            led(Rule::allow()),
            led(Rule::deny().protocol(Protocol::Tcp)),
            led(tcp().protocol(Protocol::Icmp)),
            led(tcp().service(Service::Dns)),
            led(tcp().direction(Direction::In)),
            tcp().protocol(Protocol::Udp).via(Via::Proxy("http://192.0.2.7:3128".parse().unwrap())),
            tcp().protocol(Protocol::Icmp).via(proxy.clone()),
            Rule::allow().via(proxy.clone()),
        ] {
            assert_eq!(refusal(other), PolicyError::Rule(2, RuleError::ViaOfOther));
        }
        assert_eq!(tcp().protocol(Protocol::Udp).via(proxy.clone()).check(), Ok(()));
        assert_eq!(refusal(tcp().via(Via::Address(at("0.0.0.0:1")))), PolicyError::Rule(2, RuleError::ViaNowhere));
        let both = Policy::builder().rule(hello().names(one())).rule(Rule::deny()).rule(led(tcp())).build();
        assert_eq!(both.unwrap_err(), PolicyError::Rule(3, RuleError::ViaBehindHello));
        assert_eq!(
            refusal(tcp().via(proxy).hello(HelloKind::Http).names(one())),
            PolicyError::Rule(2, RuleError::ViaBehindHello)
        );
        let fine = Policy::builder().rule(led(tcp())).rule(hello().names(one())).build().unwrap();
        assert_eq!(
            (fine.via(1), fine.via(2), fine.via(0), fine.via(9)),
            (Some(&Via::Address(at("192.0.2.7:3128"))), None, None, None)
        );
        assert_eq!(PortRange::new(2, 1), None);
        let many = (0..=Policy::MAX_RULES).fold(Policy::builder(), |all, _| all.rule(Rule::allow()));
        assert_eq!(many.build().unwrap_err(), PolicyError::TooMany);
        let both = Policy::builder().preset(Preset::None).default_action(Action::Allow);
        assert_eq!(both.build().unwrap_err(), PolicyError::DefaultOfPreset);
    }
}
