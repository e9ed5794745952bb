//! Which hosts a guest may reach, and who may reach it: ordered rules, a question, a verdict.
//!
//! A [`Policy`] is given to a stack by [`ConfigBuilder::policy`](crate::ConfigBuilder::policy). It is asked once for each flow
//! (for each new destination, where one flow of UDP has several), never for a packet of one.
//!
//! ```
//! use oxislirp::policy::{Policy, PortRange, Preset, Protocol, Rule, Service};
//! use oxislirp::{Config, Stack};
//!
//! // One service on the internet, and the name server to find it by; nothing else.
//! let policy = Policy::builder()
//!     .rule(Rule::allow().service(Service::Dns))
//!     .rule(Rule::allow().protocol(Protocol::Tcp).host(["192.0.2.0/24".parse()?]).host_ports([PortRange::one(443)]))
//!     .build()?;
//! let stack = Stack::new(Config::builder().policy(policy).build()?)?;
//! // Everything but what is private to the host and its networks.
//! let open = Policy::builder().preset(Preset::InternetOnly).build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
// Here live the rules and what they mean: values in, a verdict out. `address` is sets of addresses and the forms in which one
// address hides in another, `name` is names of the DNS, `pattern` what rules say of them, `names` finds rules by them, `hello` the
// first bytes of a connection, `rule` one rule, `question` what is asked and answered, `ruleset` the order of the rules, `via` where they lead, `preset`
// the rules that have a name. Nothing comes in of flows, frames, sockets, files or the time: what an address of the guest's
// means on the host was found out before (`flow/policy.rs`), and what becomes of a refused flow is its own affair.
#![forbid(unsafe_code)]

mod address;
mod hello;
mod name;
mod names;
mod pattern;
mod preset;
#[cfg(test)]
mod properties;
mod question;
mod rule;
mod ruleset;
mod via;

pub use address::{Cidr, CidrError};
pub use hello::{
    Heard, Hearing, Hello, HelloKind, Look, QuicFollows, QuicHello, QuicSpoken, Requests, begins_other_quic,
    may_begin_quic,
};
pub use name::{Name, NameError};
pub use pattern::{NamePattern, NamePatternError};
pub use preset::Preset;
pub use question::{Direction, Protocol, Question, Reason, Service, Verdict};
pub use rule::{Action, PortRange, Rule, RuleError};
pub use ruleset::{Policy, PolicyBuilder, PolicyError, Rebind};
pub(crate) use via::Language;
pub use via::{Proxy, ProxyError, Via};
