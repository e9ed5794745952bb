//! Frames that are none of ours: several guests on one link (a hub, a switch that floods) show us what they say to each
//! other, and an answer to that would be given in another guest's name.
//!
//! Guests address us by all sorts of Ethernet addresses (static entries, zeros, what another emulator used), so only what
//! is known to be another guest's is left alone: a unicast address that is a neighbor's, and not the sender's own.

use std::net::IpAddr;

use smoltcp::wire::EthernetAddress;

use super::Stack;
use crate::link::addresses::{mac_of_ipv4, mac_of_ipv6};
use crate::link::ndp::ROUTER;
use crate::wire::header::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// The destination that was last found to be nobody else's, for as long as the neighbors stay the same. Frames come in runs.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    destination: [u8; 6],
    changes: u64,
}

impl Stack {
    /// Whether a frame of this type may be meant for us.
    pub(super) fn may_be_ours(&mut self, frame: &[u8], kind: u16) -> bool {
        let Some(&destination) = frame.first_chunk::<6>() else { return false };
        let changes = self.cx.egress.neighbors.changes();
        if destination[0] & 1 != 0 || self.is_accepted(&destination) {
            return true;
        }
        let mac = EthernetAddress(destination);
        if self.is_virtual(mac) || !self.cx.egress.neighbors.is_neighbor(mac) {
            self.accepted = Accepted { destination, changes };
            return true;
        }
        is_senders_own(frame, kind, mac, self)
    }

    /// Whether a frame to this destination was found to be ours before.
    pub(super) fn is_accepted(&self, destination: &[u8; 6]) -> bool {
        self.accepted.destination == *destination && self.accepted.changes == self.cx.egress.neighbors.changes()
    }

    /// Whether `mac` is that of a virtual host.
    fn is_virtual(&self, mac: EthernetAddress) -> bool {
        let policy = &self.cx.policy;
        match mac.0 {
            [0x52, 0x55, a, b, c, d] => {
                let ip = std::net::Ipv4Addr::new(a, b, c, d);
                mac == mac_of_ipv4(policy.v4.host)
                    || mac == mac_of_ipv4(policy.v4.name_server)
                    || self.guest_forwards.covers(ip)
            }
            _ => {
                let ours = [policy.v6.host, policy.v6.name_server, ROUTER].into_iter();
                ours.chain(self.guest_forwards.addresses6()).any(|ip| mac == mac_of_ipv6(ip))
            }
        }
    }
}

/// Whether a neighbor's address is that of the station that sends the frame, as its source or as where the address that it
/// speaks for is said to be.
fn is_senders_own(frame: &[u8], kind: u16, mac: EthernetAddress, stack: &Stack) -> bool {
    if frame.get(6..12) == Some(&mac.0) {
        return true;
    }
    let from = |at: usize| frame.get(at..);
    let sender = match kind {
        ETHERTYPE_IPV4 => from(26).and_then(|rest| rest.first_chunk::<4>()).map(|octets| IpAddr::from(*octets)),
        ETHERTYPE_ARP => from(28).and_then(|rest| rest.first_chunk::<4>()).map(|octets| IpAddr::from(*octets)),
        ETHERTYPE_IPV6 => from(22).and_then(|rest| rest.first_chunk::<16>()).map(|octets| IpAddr::from(*octets)),
        _ => None,
    };
    sender.is_some_and(|sender| stack.cx.egress.neighbors.is_at(sender, mac))
}
