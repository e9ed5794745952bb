//! One rule: what it is about, and what becomes of that.

mod before;
mod shadow;
mod words;

use std::fmt;

use super::address::{Cidr, Faces, Set};
use super::hello::{Heard, HelloKind};
use super::pattern::NamePattern;
use super::question::{Direction, Protocol, Question, Service};
use super::via::{Via, is_nowhere};
pub(super) use before::Before;
pub(super) use shadow::Left;

/// The port of HTTP over TLS, and over QUIC (RFC 9110 section 4.2.2).
const HTTPS: u16 = 443;

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// It begins.
    Allow,
    /// It does not, and whoever began it is told at once: by a reset, or by ICMP's "administratively prohibited".
    #[default]
    Deny,
    /// It does not, and the guest is told nothing. (The peer of a host forward for TCP is connected already when the forward
    /// hears of it: it sees a reset as with [`Action::Deny`].)
    Drop,
}

/// Ports from one to another, both with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`; `None` when there are none.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (first <= last).then_some(PortRange { first, last })
    }

    /// One port.
    #[must_use]
    pub fn one(port: u16) -> PortRange {
        PortRange { first: port, last: port }
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// `443`, or `8000-8099`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortRange { first, last } if first == last => write!(f, "{first}"),
            PortRange { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Why a rule could never do what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleError {
    /// It has ports, and is about ICMP alone, which has none.
    PortsOfIcmp,
    /// It is about services and about what comes in, where there are none.
    ServiceIn,
    /// It has addresses that the guest names, and is about what comes in, where it names none.
    NamedIn,
    /// It looks at the first bytes of connections and has no name to compare what they say with.
    HelloWithoutName,
    /// It looks at the first bytes of what is no connection of the guest's to a host.
    HelloOfOther,
    /// It has names, and is about what comes in: who comes has an address and no name.
    NameIn,
    /// It has names, and is about services, which have none.
    NameOfService,
    /// It leads elsewhere what cannot be led.
    ViaOfOther,
    /// It leads to an address that nothing can be connected to.
    ViaNowhere,
    /// It leads elsewhere, and it or a rule before it waits for the first bytes of connections, for which the host is connected.
    ViaBehindHello,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RuleError::PortsOfIcmp => "ICMP has no ports",
            RuleError::ServiceIn => "a service is asked by the guest: there is none in the direction in",
            RuleError::NamedIn => "the guest names nothing in the direction in",
            RuleError::HelloWithoutName => "there is no name to compare a server's name or a host with",
            RuleError::HelloOfOther => "only what the guest begins with a host has a server's name (tls: protocol tcp or udp) or a host (http: tcp)",
            RuleError::NameIn => "who comes in has an address and no name",
            RuleError::NameOfService => "a service of the virtual network has no name",
            RuleError::ViaOfOther => {
                "only what a rule allows the guest can be led elsewhere: protocol tcp or udp by redirect or a proxy of socks5, tcp by one of http"
            }
            RuleError::ViaNowhere => "redirect has no address that something can be sent to",
            RuleError::ViaBehindHello => {
                "what waits for its first bytes is connected by then: rules with redirect or proxy stand before those with tls or http"
            }
        })
    }
}

impl std::error::Error for RuleError {}

/// One rule of a [`Policy`](super::Policy). A new one is about every flow in the direction [`Direction::Out`] that is not for a
/// service; each method makes it be about less, but [`Rule::service`], which makes it be about services and nothing else.
///
/// Of several values of one kind (protocols, addresses, ports, services) one has to be met, of several kinds all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Rule {
    action: Action,
    direction: Direction,
    /// Bits of [`Protocol::bit`]; none stands for all.
    protocols: u8,
    /// Bits of [`Service::bit`]; none for flows to the host's side.
    services: u8,
    guest: Set,
    host: Set,
    named: Set,
    guest_ports: Vec<PortRange>,
    host_ports: Vec<PortRange>,
    names: Vec<NamePattern>,
    /// Bits of [`HelloKind::bit`]; none where the first bytes do not matter.
    hellos: u8,
    via: Option<Via>,
}

impl Rule {
    /// A rule with this action.
    pub fn new(action: Action) -> Rule {
        Rule {
            action,
            direction: Direction::Out,
            protocols: 0,
            services: 0,
            guest: Set::default(),
            host: Set::default(),
            named: Set::default(),
            guest_ports: Vec::new(),
            host_ports: Vec::new(),
            names: Vec::new(),
            hellos: 0,
            via: None,
        }
    }

    /// A rule that lets flows begin.
    pub fn allow() -> Rule {
        Rule::new(Action::Allow)
    }

    /// A rule that refuses flows and says so.
    pub fn deny() -> Rule {
        Rule::new(Action::Deny)
    }

    /// A rule that refuses flows and says nothing.
    pub fn drop() -> Rule {
        Rule::new(Action::Drop)
    }

    /// Who begins.
    pub fn direction(mut self, direction: Direction) -> Rule {
        self.direction = direction;
        self
    }

    /// Adds a protocol.
    pub fn protocol(mut self, protocol: Protocol) -> Rule {
        self.protocols |= protocol.bit();
        self
    }

    /// Adds a service of the virtual network.
    pub fn service(mut self, service: Service) -> Rule {
        self.services |= service.bit();
        self
    }

    /// Adds addresses of the guest.
    pub fn guest(mut self, addresses: impl IntoIterator<Item = Cidr>) -> Rule {
        self.guest.extend(addresses);
        self
    }

    /// Adds addresses of the other end, as they are on the host's side: the virtual host is the host's loopback there.
    ///
    /// A rule that allows looks at the address itself. One that refuses also looks at the address that the guest named, and
    /// at those of IPv4 that one of IPv6 may lead to through a translator.
    pub fn host(mut self, addresses: impl IntoIterator<Item = Cidr>) -> Rule {
        self.host.extend(addresses);
        self
    }

    /// Adds addresses of the other end as the guest names it: the virtual host is 10.0.2.2 here, or what was configured.
    pub fn named(mut self, addresses: impl IntoIterator<Item = Cidr>) -> Rule {
        self.named.extend(addresses);
        self
    }

    /// Adds ports of the guest. ICMP has none.
    pub fn guest_ports(mut self, ports: impl IntoIterator<Item = PortRange>) -> Rule {
        self.guest_ports.extend(ports);
        self
    }

    /// Adds ports of the other end. ICMP has none.
    pub fn host_ports(mut self, ports: impl IntoIterator<Item = PortRange>) -> Rule {
        self.host_ports.extend(ports);
        self
    }

    /// Adds names of the other end. The address of a flow counts for a name while an answer of the virtual name server says so,
    /// to a question that the guest was allowed to ask (see [`Policy::judge_name`](super::Policy::judge_name)). With
    /// [`Rule::hello`] the first bytes of the connection have to say the name as well; there a rule that has addresses
    /// ([`Rule::host`]), or that refuses, does without the answer.
    ///
    /// Such a rule is also about the question itself, whatever it says of ports, protocols and addresses of the host's side: one
    /// that refuses has the name refused to the guest.
    pub fn names(mut self, names: impl IntoIterator<Item = NamePattern>) -> Rule {
        self.names.extend(names);
        self
    }

    /// Has the rule be about connections only whose first bytes say one of its names in this way. Such a connection begins, and
    /// is then held until its first bytes are there: see [`Reason::Hello`](super::Reason::Hello). A rule about names of TLS is also
    /// about datagrams, which have to be those of QUIC then: at its ports, or at 443.
    pub fn hello(mut self, kind: HelloKind) -> Rule {
        self.hellos |= kind.bit();
        self
    }

    /// Leads elsewhere what the rule allows. Where that is, is not judged: the rule has decided.
    pub fn via(mut self, via: Via) -> Rule {
        self.via = Some(via);
        self
    }

    /// Whether the rule could ever do what it says.
    ///
    /// # Errors
    /// It could not.
    pub fn check(&self) -> Result<(), RuleError> {
        if self.protocols == Protocol::Icmp.bit() && self.has_ports() {
            return Err(RuleError::PortsOfIcmp);
        }
        let says = match self.hellos & HelloKind::Tls.bit() {
            0 => Protocol::Tcp.bit(),
            _ => Protocol::Tcp.bit() | Protocol::Udp.bit(),
        };
        let others = self.protocols & !says != 0 || self.services != 0 || self.direction != Direction::Out;
        if self.hellos != 0 && others {
            return Err(RuleError::HelloOfOther);
        }
        if self.hellos != 0 && self.names.is_empty() {
            return Err(RuleError::HelloWithoutName);
        }
        let led = match &self.via {
            None => 0,
            Some(Via::Address(_)) => Protocol::Tcp.bit() | Protocol::Udp.bit(),
            Some(Via::Proxy(proxy)) if proxy.relays_datagrams() => Protocol::Tcp.bit() | Protocol::Udp.bit(),
            Some(Via::Proxy(_)) => Protocol::Tcp.bit(),
        };
        if let Some(via) = &self.via {
            let begins = self.action == Action::Allow && self.direction == Direction::Out && self.services == 0;
            if !begins || self.protocols == 0 || self.protocols & !led != 0 {
                return Err(RuleError::ViaOfOther);
            }
            if matches!(via, Via::Address(address) if is_nowhere(address)) {
                return Err(RuleError::ViaNowhere);
            }
        }
        match self.direction {
            Direction::In if self.services != 0 => Err(RuleError::ServiceIn),
            Direction::In if !self.named.is_empty() => Err(RuleError::NamedIn),
            Direction::In if !self.names.is_empty() => Err(RuleError::NameIn),
            _ if self.services != 0 && !self.names.is_empty() => Err(RuleError::NameOfService),
            _ => Ok(()),
        }
    }

    fn has_ports(&self) -> bool {
        !(self.guest_ports.is_empty() && self.host_ports.is_empty())
    }

    pub(super) fn action(&self) -> Action {
        self.action
    }

    pub(super) fn patterns(&self) -> &[NamePattern] {
        &self.names
    }

    /// Whether the rule is about addresses only that count for one of its names. Where it listens to what a connection says, somebody
    /// else's address is as good to who refuses; and who allows may have said which addresses there are.
    pub(super) fn counts_names(&self) -> bool {
        !self.names.is_empty() && (!self.listens() || (self.action == Action::Allow && self.host.is_empty()))
    }

    /// Whether this machine of the guest's side is one that the rule is about.
    pub(super) fn is_about_guest(&self, guest: &Faces) -> bool {
        self.guest.is_empty() || guest.is_in(&self.guest)
    }

    /// Whether the rule says nothing but what becomes of all that this machine sends out.
    pub(super) fn is_about_all_of(&self, guest: &Faces) -> bool {
        let anything = self.direction == Direction::Out && self.protocols == 0 && self.services == 0;
        let anywhere = self.host.is_empty() && self.named.is_empty() && self.names.is_empty();
        anything && anywhere && !self.has_ports() && self.is_about_guest(guest)
    }

    /// Whether the rule says that this address, of the host's side, may be reached.
    pub(super) fn allows_expressly(&self, host: &Faces) -> bool {
        self.action == Action::Allow && !self.host.is_empty() && host.is_in(&self.host)
    }

    /// Where it leads what it allows.
    pub(super) fn leads(&self) -> Option<&Via> {
        self.via.as_ref()
    }

    /// Whether the first bytes of a connection say whether the rule is about it.
    pub(super) fn listens(&self) -> bool {
        self.hellos != 0
    }

    /// Whether the first bytes of a connection say one of its names, where they matter.
    pub(super) fn hears(&self, heard: &Heard) -> bool {
        !self.listens() || (self.hellos & heard.kind().bit() != 0 && self.has_said(heard))
    }

    /// Whether it refuses a name that the first bytes of a connection say, whatever address they go to. It does not listen itself: another
    /// rule has wanted to know.
    pub(super) fn refuses_said(&self, heard: &Heard) -> bool {
        self.action != Action::Allow && !self.listens() && self.has_said(heard)
    }

    /// Whether what the first bytes say is one of its names.
    fn has_said(&self, heard: &Heard) -> bool {
        let (Heard::Tls(name) | Heard::Http(name)) = heard;
        let says = |name: &str| self.names.iter().any(|pattern| pattern.matches(name));
        name.as_deref().is_some_and(says)
    }

    /// Whether the names can be said in the first bytes of what has this protocol: TLS's is in the first datagrams of QUIC as well,
    /// which has the port of HTTPS where the rule has none.
    fn is_said_over(&self, protocol: Protocol, port: u16) -> bool {
        let quic = self.hellos & HelloKind::Tls.bit() != 0 && (!self.host_ports.is_empty() || port == HTTPS);
        protocol == Protocol::Tcp || (protocol == Protocol::Udp && quic)
    }

    /// Whether the rule is about this flow, as far as that can be told without its first bytes and the names of its address.
    pub(super) fn is_about(&self, flow: &Asked<'_>) -> bool {
        self.is_about_kind(flow.question) && self.is_about_ends(flow)
    }

    /// What is soon told, and is no for most rules.
    fn is_about_kind(&self, question: &Question) -> bool {
        let service = question.service.map_or(0, Service::bit);
        let protocol = question.protocol;
        let in_ports = |ports: &[PortRange], port| ports.is_empty() || ports.iter().any(|range| range.contains(port));
        self.direction == question.direction
            && (if self.services == 0 { service == 0 } else { self.services & service != 0 })
            && (self.protocols == 0 || self.protocols & protocol.bit() != 0)
            && (!self.listens() || self.is_said_over(protocol, question.host.port()))
            && (protocol != Protocol::Icmp || !self.has_ports())
            && in_ports(&self.host_ports, question.host.port())
            && in_ports(&self.guest_ports, question.guest.port())
    }

    /// Addresses in all their forms.
    fn is_about_ends(&self, flow: &Asked<'_>) -> bool {
        let allows = self.action == Action::Allow;
        let in_host = || match allows {
            true => flow.host.is_in(&self.host),
            false => {
                flow.host.touches(&self.host) || flow.other_name.as_ref().is_some_and(|named| named.touches(&self.host))
            }
        };
        let named = flow.other_name.as_ref().unwrap_or(&flow.host);
        let in_named = || if allows { named.is_in(&self.named) } else { named.touches(&self.named) };
        (self.host.is_empty() || in_host()) && (self.named.is_empty() || in_named()) && self.is_about_guest(&flow.guest)
    }
}

/// A question with what its addresses are.
pub(super) struct Asked<'a> {
    question: &'a Question,
    guest: Faces,
    host: Faces,
    /// As the guest named it, where that is another address.
    other_name: Option<Faces>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(question: &'a Question) -> Asked<'a> {
        let host = Faces::of(question.host.ip());
        let named = Faces::of(question.named.ip());
        Asked { question, guest: Faces::of(question.guest.ip()), host, other_name: (named != host).then_some(named) }
    }
}
