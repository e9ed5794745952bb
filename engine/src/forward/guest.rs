//! Guest forwards: addresses and ports of the virtual network behind which the application, a command or a Unix socket of
//! the host sits.
//! Source: docs/contract/guestfwd-exec-unix.md section 1.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::flow::key::Endpoint;
use crate::flow::tcp::{GuestForward, Target};

/// Rules at one time; a further one is refused.
const MAX_RULES: usize = 1024;

/// One guest forward. Its flows share it, so that it outlives its removal for as long as they do.
#[derive(Debug)]
struct Rule {
    at: Endpoint,
    forward: Arc<GuestForward>,
}

/// All guest forwards of a stack. They are few and set up by the application, so a list serves.
#[derive(Debug, Default)]
pub(crate) struct GuestForwards {
    rules: Vec<Rule>,
    last_number: u64,
}

impl GuestForwards {
    /// Adds a rule and gives its number; `None` when there is one at that address and port already, or no room.
    pub(crate) fn add(&mut self, address: Ipv4Addr, port: u16, target: Target) -> Option<u64> {
        let at = Endpoint::new(address, port);
        if self.find(at).is_some() || self.rules.len() >= MAX_RULES {
            return None;
        }
        self.last_number += 1;
        self.rules.push(Rule { at, forward: Arc::new(GuestForward { number: self.last_number, target }) });
        Some(self.last_number)
    }

    /// Removes the rule at an address and port and gives its number.
    pub(crate) fn remove(&mut self, address: Ipv4Addr, port: u16) -> Option<u64> {
        let at = Endpoint::new(address, port);
        let index = self.rules.iter().position(|rule| rule.at == at)?;
        Some(self.rules.remove(index).forward.number)
    }

    /// The rule at an address and port.
    pub(crate) fn find(&self, at: Endpoint) -> Option<Arc<GuestForward>> {
        self.rules.iter().find(|rule| rule.at == at).map(|rule| Arc::clone(&rule.forward))
    }

    /// Whether any rule is at this address: such addresses answer ARP and ping.
    pub(crate) fn covers(&self, address: Ipv4Addr) -> bool {
        self.rules.iter().any(|rule| rule.at.ip == IpAddr::V4(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

    #[test]
    fn the_same_rule_twice_is_refused_and_another_port_is_not() {
        let mut forwards = GuestForwards::default();
        let first = forwards.add(ADDRESS, 1234, Target::Callback).unwrap();
        assert_eq!(forwards.add(ADDRESS, 1234, Target::Callback), None);
        // Upstream once compared the ports' bytes in the wrong order: these two clashed.
        assert!(forwards.add(ADDRESS, 21075, Target::Callback).is_some());
        assert!(forwards.add(ADDRESS, 21330, Target::Callback).is_some());
        assert_eq!(forwards.find(Endpoint::new(ADDRESS, 1234)).map(|forward| forward.number), Some(first));
        assert!(forwards.covers(ADDRESS));
        assert_eq!(forwards.remove(ADDRESS, 1234), Some(first));
        assert_eq!(forwards.remove(ADDRESS, 1234), None);
    }
}
