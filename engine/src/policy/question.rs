//! What a policy is asked, and what it answers.

use std::net::SocketAddr;

use super::rule::Action;

/// Who begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The guest, towards the host and what lies behind it.
    #[default]
    Out,
    /// A peer of a host forward, towards the guest.
    In,
}

/// What the packets of a flow are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
    /// Echo requests ("ping"), of IPv4 and of IPv6.
    Icmp,
}

impl Protocol {
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What the guest finds in the virtual network itself: what it sends there does not go to an address of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// The virtual name server, over UDP and TCP.
    Dns,
    /// DHCP, BOOTP and DHCPv6.
    Dhcp,
    /// The files that TFTP serves.
    Tftp,
    /// A guest forward: a program of the application's, or the application itself.
    GuestForward,
    /// The echo replies of the virtual addresses.
    Echo,
}

impl Service {
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Whether it stays open where no rule speaks of it: what the guest gets there is its own address, or its own bytes.
    pub(super) const fn stays_inside(self) -> bool {
        matches!(self, Service::Dhcp | Service::Echo)
    }
}

/// A flow that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// Who begins.
    pub direction: Direction,
    /// What its packets are.
    pub protocol: Protocol,
    /// The service of the virtual network that it is for, if it is for one.
    pub service: Option<Service>,
    /// The guest's end.
    pub guest: SocketAddr,
    /// The other end as it is on the host's side: what an address of the virtual network means there. For a service it is as the
    /// guest named it.
    pub host: SocketAddr,
    /// The other end as the guest named it; as it is, where the guest did not begin.
    pub named: SocketAddr,
}

impl Question {
    /// The guest goes to `host`, which it calls `named`.
    #[must_use]
    pub fn out(protocol: Protocol, guest: SocketAddr, named: SocketAddr, host: SocketAddr) -> Question {
        Question { direction: Direction::Out, protocol, service: None, guest, host, named }
    }

    /// `peer` comes to the guest.
    #[must_use]
    pub fn incoming(protocol: Protocol, guest: SocketAddr, peer: SocketAddr) -> Question {
        Question { direction: Direction::In, protocol, service: None, guest, host: peer, named: peer }
    }

    /// The guest goes to a service of the virtual network.
    #[must_use]
    pub fn service(service: Service, protocol: Protocol, guest: SocketAddr, named: SocketAddr) -> Question {
        Question { service: Some(service), ..Question::out(protocol, guest, named, named) }
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// What becomes of the flow.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The rule of this number, from 1.
    Rule(u32),
    /// The rule of this number, from 1, is about the connection if its first bytes say so. It may begin, but nothing is to
    /// pass either way before [`Policy::judge_hello`](super::Policy::judge_hello) has decided. The action is
    /// [`Action::Deny`]: who cannot wait has to refuse.
    Hello(u32),
    /// The preset.
    Preset,
    /// No rule was about it.
    Default,
}
