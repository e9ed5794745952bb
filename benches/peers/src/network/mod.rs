//! The stacks under test, each driven as a program that embeds it would: [`ours`] by a loop of its own, the two others by
//! tokio with the code of their own examples around them.

mod asynchronous;
mod ip_stack;
mod netstack;
mod ours;

use std::time::Duration;

use crate::cable::{Cable, Hook};
use crate::guest::Shape;

/// A stack with a guest behind it.
pub trait Network {
    /// Lets both work until the hook says that it is enough, which is to give true here, at most for `limit`.
    fn run(&mut self, limit: Duration, hook: Hook) -> bool;

    /// Do something to the guest while nothing runs.
    fn with(&mut self, action: &mut dyn FnMut(&mut Cable));
}

/// A stack and what drives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variant {
    pub stack: &'static str,
    pub runtime: &'static str,
}

pub const OURS: &str = "oxislirp";
pub const NETSTACK: &str = "netstack-smoltcp";
pub const IPSTACK: &str = "ipstack";

const LOOP: &str = "loop";
const CURRENT: &str = "current thread";
const MULTI: &str = "two workers";

pub const ALL: [Variant; 5] = [
    Variant { stack: OURS, runtime: LOOP },
    Variant { stack: NETSTACK, runtime: CURRENT },
    Variant { stack: NETSTACK, runtime: MULTI },
    Variant { stack: IPSTACK, runtime: CURRENT },
    Variant { stack: IPSTACK, runtime: MULTI },
];

impl Variant {
    pub fn named(stack: &str, runtime: &str) -> Option<Variant> {
        ALL.into_iter().find(|variant| (variant.stack, variant.runtime) == (stack, runtime))
    }

    /// Whether it is all on one thread, which is then kept on one CPU.
    pub fn is_single(self) -> bool {
        self.runtime != MULTI
    }

    /// The stack stays until the process ends: taking down the tasks of a thousand connections is not what is measured.
    pub fn start(self, shape: Shape, capacity: usize) -> Result<&'static mut dyn Network, String> {
        let text = |error: std::io::Error| error.to_string();
        let network: Box<dyn Network> = match self.stack {
            NETSTACK => Box::new(netstack::start(self.runtime == MULTI, shape, capacity).map_err(text)?),
            IPSTACK => Box::new(ip_stack::start(self.runtime == MULTI, shape, capacity).map_err(text)?),
            _ => Box::new(ours::Ours::new(shape, capacity)?),
        };
        Ok(Box::leak(network))
    }
}
