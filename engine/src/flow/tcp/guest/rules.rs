//! The list of guest forwards: which one is at an address and port.
//! Source: docs/contract/guestfwd-exec-unix.md section 1.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::{GuestForwardHandle, Target};
use crate::flow::identity::Identity;
use crate::flow::key::Endpoint;

/// Rules at one time; a further one is refused.
pub(crate) const MAX_RULES: usize = 1024;

/// One guest forward. Its flows share it, so that it outlives its removal for as long as they do.
#[derive(Debug)]
pub(crate) struct Rule {
    number: u64,
    at: Endpoint,
    pub(super) target: Target,
}

impl Rule {
    /// The handle of the forward, which is one of this stack.
    pub(crate) fn handle(&self, stack: Identity) -> GuestForwardHandle {
        GuestForwardHandle { stack, number: self.number, address: self.at.socket_address() }
    }

    /// Whether it leads to a callback.
    pub(crate) fn is_callback(&self) -> bool {
        self.target == Target::Callback
    }

    /// Whether it leads to this program, which answers by itself.
    pub(crate) fn is_application(&self) -> bool {
        self.target == Target::Application
    }
}

/// All guest forwards of a stack. They are few and set up by the application, so a list serves.
#[derive(Debug, Default)]
pub(crate) struct GuestForwards {
    rules: Vec<Arc<Rule>>,
    last_number: u64,
}

impl GuestForwards {
    /// Adds a rule; `None` when there is one at that address and port already, or no room.
    pub(crate) fn add(&mut self, at: Endpoint, target: Target) -> Option<Arc<Rule>> {
        if self.find(at).is_some() || self.rules.len() >= MAX_RULES {
            return None;
        }
        self.last_number += 1;
        let rule = Arc::new(Rule { number: self.last_number, at, target });
        self.rules.push(Arc::clone(&rule));
        Some(rule)
    }

    /// Removes the rule of a handle, where that is one of this stack and not removed yet.
    pub(crate) fn remove(&mut self, handle: GuestForwardHandle, stack: Identity) -> Option<Arc<Rule>> {
        let index = self.rules.iter().position(|rule| rule.handle(stack) == handle)?;
        Some(self.rules.remove(index))
    }

    /// The rule at an address and port.
    pub(crate) fn find(&self, at: Endpoint) -> Option<Arc<Rule>> {
        self.rules.iter().find(|rule| rule.at == at).map(Arc::clone)
    }

    /// Whether any rule is at this address: such addresses answer ARP, neighbor discovery and ping.
    pub(crate) fn covers(&self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        self.rules.iter().any(|rule| rule.at.ip == address)
    }

    /// The IPv6 addresses with rules.
    pub(crate) fn addresses6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.rules.iter().filter_map(|rule| if let IpAddr::V6(ip) = rule.at.ip { Some(ip) } else { None })
    }

    /// All rules, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn the_same_rule_twice_is_refused_and_another_port_is_not() {
        let mut forwards = GuestForwards::default();
        let at = |port| Endpoint::new(Ipv4Addr::new(10, 0, 2, 100), port);
        let mine = Identity::of_test(1);
        let first = forwards.add(at(1234), Target::Callback).unwrap().handle(mine);
        assert!(forwards.add(at(1234), Target::Callback).is_none());
        // Upstream once compared the ports' bytes in the wrong order: these two clashed.
        assert!(forwards.add(at(21075), Target::Callback).is_some());
        assert!(forwards.add(at(21330), Target::Callback).is_some());
        assert_eq!(forwards.find(at(1234)).map(|rule| rule.handle(mine)), Some(first));
        assert!(forwards.covers(at(1234).ip));
        assert!(forwards.remove(first, Identity::of_test(2)).is_none(), "of another stack");
        assert!(forwards.remove(first, mine).is_some());
        assert!(forwards.remove(first, mine).is_none());
        let second = forwards.add(at(1234), Target::Callback).unwrap().handle(mine);
        assert_ne!(second, first);
        assert!(forwards.remove(first, mine).is_none(), "the old handle does not name the new forward");
        assert_eq!(forwards.iter().count(), 3);
    }

    #[test]
    fn there_is_a_bound() {
        let mut forwards = GuestForwards::default();
        let mut add = |number: u32| {
            let port = u16::try_from(number).unwrap();
            forwards.add(Endpoint::new(Ipv4Addr::new(10, 0, 2, 4), port), Target::Callback).is_some()
        };
        assert!((0..MAX_RULES as u32).all(&mut add));
        assert!(!add(MAX_RULES as u32));
    }
}
