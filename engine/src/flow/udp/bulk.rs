//! How much one system call moves between a host socket and a flow: more for a flow that carries much.

use super::UdpFlow;
use crate::host::mmsg::MAX_RECEIVE;

/// Messages the first read of a flow asks for.
const FIRST_BATCH: u8 = 2;
/// A read that asks for this many is one of a flow that carries much.
const LARGE_BATCH: u8 = 8;
/// Messages a read asks for when each of them holds several datagrams: what was read stays in the processor's caches
/// until it is on its way to the guest.
const BATCH_OF_RUNS: u8 = 2;

/// See the module.
pub(super) struct Bulk {
    /// The kernel cuts runs of datagrams itself, as far as we know.
    pub segmenting: bool,
    /// How many messages the next read asks for; grows with use.
    pub batch: u8,
    /// The socket was prepared for much traffic.
    prepared: bool,
}

impl Default for Bulk {
    fn default() -> Bulk {
        Bulk { segmenting: true, batch: FIRST_BATCH, prepared: false }
    }
}

impl UdpFlow {
    /// A read asked for some messages and got `count`, with so many datagrams in them: what the next one is to ask for.
    pub(super) fn learn(&mut self, asked: usize, count: usize, datagrams: usize) {
        let UdpFlow { bulk, host, .. } = self;
        let count_of = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        bulk.batch = if datagrams > count {
            BATCH_OF_RUNS
        } else if count < asked {
            bulk.batch.min(count_of(2 * count)).max(FIRST_BATCH)
        } else {
            bulk.batch.saturating_mul(2).min(count_of(MAX_RECEIVE))
        };
        if bulk.batch >= LARGE_BATCH && !std::mem::replace(&mut bulk.prepared, true) {
            host.socket().expect_much();
        }
    }
}
