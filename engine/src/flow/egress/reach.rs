//! Whether a neighbor is still there. It is asked for before something is begun with a neighbor that was not heard of
//! for a while, and when it does not answer what was sent to it (RFC 1122 section 2.3.2.1, RFC 4861 section 7.3). The
//! question goes to everybody on the link, so that an address that has moved to another station is found as well.
//! Meanwhile frames keep going to the old station: a guest that is paused for a while finds them when it goes on.

use std::net::{IpAddr, Ipv4Addr};

use smoltcp::wire::EthernetAddress;

use super::Egress;
use crate::time::Instant;

impl Egress {
    /// Enters who has leased an address: it is used before the guest answers for it. `heard` is when the guest has asked
    /// for it; a lease without that is hearsay of a saved state.
    pub(crate) fn learn_lease(
        &mut self,
        address: Ipv4Addr,
        mac: EthernetAddress,
        is_ours: impl Fn(Ipv4Addr) -> bool,
        heard: Option<Instant>,
    ) {
        if mac.is_unicast() {
            self.neighbors.learn_ipv4(address, mac, &self.v4.subnet(), is_ours, heard);
        }
    }

    /// Asks for a neighbor, unless it is being asked for already.
    pub(crate) fn ask(&mut self, neighbor: IpAddr, now: Instant) {
        if !self.neighbors.ask(neighbor, now) {
            return;
        }
        match neighbor {
            IpAddr::V4(address) => self.request(address),
            IpAddr::V6(address) => self.solicit(address),
        }
    }
}
