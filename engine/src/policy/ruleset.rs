//! The rules in their order.

use std::fmt;

use super::preset::Preset;
use super::question::{Question, Reason, Service, Verdict};
use super::rule::{Action, Asked, Rule, RuleError};

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
}

/// Makes a [`Policy`]. Without a call of its methods it denies everything.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PolicyBuilder {
    rules: Vec<Rule>,
    preset: Option<Preset>,
    default: Option<Action>,
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

    /// Makes the policy.
    ///
    /// # Errors
    /// A rule could never do what it says, there are too many, or a preset is to have another default action.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let PolicyBuilder { mut rules, preset, default } = self;
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
        rules.extend(preset.into_iter().flat_map(Preset::rules));
        Ok(Policy { rules, given, default: default.unwrap_or_default() })
    }
}

impl Policy {
    /// The most rules that there may be.
    pub const MAX_RULES: usize = 10_000;

    /// Begins a policy that denies everything.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// What becomes of a flow, and why.
    #[must_use]
    pub fn judge(&self, question: &Question) -> Verdict {
        let asked = Asked::new(question);
        if let Some((index, rule)) = self.rules.iter().enumerate().find(|(_, rule)| rule.is_about(&asked)) {
            let number = u32::try_from(index.saturating_add(1)).unwrap_or(u32::MAX);
            let reason = if index < self.given { Reason::Rule(number) } else { Reason::Preset };
            return Verdict { action: rule.action(), reason };
        }
        let inside = question.service.is_some_and(Service::stays_inside);
        Verdict { action: if inside { Action::Allow } else { self.default }, reason: Reason::Default }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

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
        assert_eq!(PortRange::new(2, 1), None);
        let many = (0..=Policy::MAX_RULES).fold(Policy::builder(), |all, _| all.rule(Rule::allow()));
        assert_eq!(many.build().unwrap_err(), PolicyError::TooMany);
        let both = Policy::builder().preset(Preset::None).default_action(Action::Allow);
        assert_eq!(both.build().unwrap_err(), PolicyError::DefaultOfPreset);
    }
}
