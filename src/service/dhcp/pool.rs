//! The sixteen addresses of the server and who has them.
//!
//! A binding lasts until its owner gives it up; a client that comes back later finds its address. The one exception
//! keeps a guest that makes up hardware addresses from locking others out: when no slot is free, the oldest offer that
//! was never taken up by a REQUEST is given to somebody else, once it is more than [`OFFER_KEPT`] old.

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::Config;
use crate::service::elapsed;
use crate::time::{Duration, Instant};

/// How many addresses there are, beginning with `vdhcp_start`. A saved state holds exactly so many.
pub const SLOTS: usize = 16;

/// How long an offer is kept for its client when addresses run out.
const OFFER_KEPT: Duration = Duration::from_secs(60);

/// How long an address is not given out after a client found somebody else using it (RFC 2131 section 4.3.3).
const DECLINED_FOR: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Offered { mac: EthernetAddress, at: Instant },
    Confirmed { mac: EthernetAddress },
    Declined { at: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// `None` when the address is not one to lease, see `leasable`.
    address: Option<Ipv4Addr>,
    state: State,
}

impl Slot {
    fn owner(&self) -> Option<EthernetAddress> {
        match self.state {
            State::Offered { mac, .. } | State::Confirmed { mac } => Some(mac),
            State::Free | State::Declined { .. } => None,
        }
    }

    /// Whether `mac` may have the slot: it is free or already its own.
    fn open_to(&self, mac: EthernetAddress, now: Instant) -> bool {
        match self.state {
            State::Free => true,
            State::Offered { mac: owner, .. } | State::Confirmed { mac: owner } => owner == mac,
            State::Declined { at } => elapsed(at, now) >= DECLINED_FOR,
        }
    }

    /// Gives the slot to `mac`. An offer does not take back what a REQUEST has confirmed.
    fn give(&mut self, mac: EthernetAddress, confirm: bool, now: Instant) {
        if confirm {
            self.state = State::Confirmed { mac };
        } else if self.state != (State::Confirmed { mac }) {
            self.state = State::Offered { mac, at: now };
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pool {
    slots: [Slot; SLOTS],
}

impl Pool {
    pub fn new(config: &Config) -> Pool {
        let mut next = u32::from(config.vdhcp_start);
        let slots = std::array::from_fn(|_| {
            let address = Ipv4Addr::from(next);
            next = next.wrapping_add(1);
            Slot { address: leasable(address, config).then_some(address), state: State::Free }
        });
        Pool { slots }
    }

    /// Gives `address` to `mac` if it is in the pool and free or already its own. Says whether it did.
    pub fn take(&mut self, address: Ipv4Addr, mac: EthernetAddress, confirm: bool, now: Instant) -> bool {
        match self.slot(address) {
            Some(slot) if slot.open_to(mac, now) => {
                slot.give(mac, confirm, now);
                true
            }
            _ => false,
        }
    }

    /// Gives `mac` the first address that is free or its own; when there is none, the oldest offer that has been kept
    /// long enough.
    pub fn allocate(&mut self, mac: EthernetAddress, confirm: bool, now: Instant) -> Option<Ipv4Addr> {
        let usable = || self.slots.iter().enumerate().filter(|(_, slot)| slot.address.is_some());
        let open = usable().find(|(_, slot)| slot.open_to(mac, now)).map(|(index, _)| index);
        let stale = || {
            usable()
                .filter_map(|(index, slot)| match slot.state {
                    State::Offered { at, .. } if elapsed(at, now) > OFFER_KEPT => Some((at, index)),
                    _ => None,
                })
                .min()
                .map(|(_, index)| index)
        };
        let index = open.or_else(stale)?;
        let slot = self.slots.get_mut(index)?;
        slot.give(mac, confirm, now);
        slot.address
    }

    /// The first address that `mac` has.
    pub fn held_by(&self, mac: EthernetAddress) -> Option<Ipv4Addr> {
        self.slots.iter().filter(|slot| slot.owner() == Some(mac)).find_map(|slot| slot.address)
    }

    /// Frees `address` if `mac` has it.
    pub fn release(&mut self, address: Ipv4Addr, mac: EthernetAddress) {
        if let Some(slot) = self.slot(address).filter(|slot| slot.owner() == Some(mac)) {
            slot.state = State::Free;
        }
    }

    /// Takes `address` out of use for a while if `mac` has it.
    pub fn decline(&mut self, address: Ipv4Addr, mac: EthernetAddress, now: Instant) {
        if let Some(slot) = self.slot(address).filter(|slot| slot.owner() == Some(mac)) {
            slot.state = State::Declined { at: now };
        }
    }

    pub fn slots(&self) -> [Option<EthernetAddress>; SLOTS] {
        self.slots.map(|slot| slot.owner())
    }

    pub fn set_slots(&mut self, owners: [Option<EthernetAddress>; SLOTS]) {
        for (slot, owner) in self.slots.iter_mut().zip(owners) {
            slot.state = owner.map_or(State::Free, |mac| State::Confirmed { mac });
        }
    }

    fn slot(&mut self, address: Ipv4Addr) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.address == Some(address))
    }
}

/// Whether a guest can have the address: inside the virtual network, neither the network's own nor its broadcast
/// address (which a /31 and a /32 do not have, RFC 3021), and not one the library answers for itself.
fn leasable(address: Ipv4Addr, config: &Config) -> bool {
    let mask = u32::from(config.vnetmask);
    let inside = u32::from(address) & mask == u32::from(config.vnetwork) & mask;
    let host_part = u32::from(address) & !mask;
    let reserved = !mask > 1 && (host_part == 0 || host_part == !mask);
    inside && !reserved && address != config.vhost && address != config.vnameserver
}
