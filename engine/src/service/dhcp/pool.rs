//! The sixteen addresses of the server and who has them.
//!
//! A binding lasts for as long as nobody else needs the address; a client that comes back later finds it. When no slot is
//! free, two kinds make room, the oldest of each first: an offer that was never taken up by a REQUEST, once it is more than
//! [`OFFER_KEPT`] old, and then a lease that was not renewed in its time ([`LEASE`]).
//!
//! A lease of a saved state is hearsay until its client is heard of: QEMU before 8.2 loads the states of all its networks
//! into the first one, whose guests then find their addresses in the hands of others. Who uses an address is right.

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::Config;
use crate::service::elapsed;
use crate::time::{Duration, Instant};

/// How many addresses there are, beginning with `vdhcp_start`. A saved state holds exactly so many.
pub const SLOTS: usize = 16;

/// How long an address is the client's own without being renewed (option 51).
pub(super) const LEASE: Duration = Duration::from_secs(86_400);

/// How long an offer is kept for its client when addresses run out.
const OFFER_KEPT: Duration = Duration::from_secs(60);

/// How long an address is not given out after a client found somebody else using it (RFC 2131 section 4.3.3).
const DECLINED_FOR: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Offered { mac: EthernetAddress, at: Instant },
    Confirmed { mac: EthernetAddress, at: Instant, hearsay: bool },
    Declined { at: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// `None` when the address is not one to lease, see `leasable`.
    address: Option<Ipv4Addr>,
    /// Somebody else of the library has the address now: nobody gets it, not even who had it before.
    held: bool,
    state: State,
}

impl Slot {
    fn owner(&self) -> Option<EthernetAddress> {
        match self.state {
            State::Offered { mac, .. } | State::Confirmed { mac, .. } => Some(mac),
            State::Free | State::Declined { .. } => None,
        }
    }

    /// Whether `mac` may have the slot: it is free or already its own.
    fn open_to(&self, mac: EthernetAddress, now: Instant) -> bool {
        match self.state {
            _ if self.held => false,
            State::Free => true,
            State::Offered { mac: owner, .. } | State::Confirmed { mac: owner, .. } => owner == mac,
            State::Declined { at } => elapsed(at, now) >= DECLINED_FOR,
        }
    }

    /// Gives the slot to `mac`. An offer does not take back what a REQUEST has confirmed.
    fn give(&mut self, mac: EthernetAddress, confirm: bool, now: Instant) {
        if confirm {
            self.state = State::Confirmed { mac, at: now, hearsay: false };
            return;
        }
        match &mut self.state {
            State::Confirmed { mac: owner, hearsay, .. } if *owner == mac => *hearsay = false,
            state => *state = State::Offered { mac, at: now },
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pool {
    slots: [Slot; SLOTS],
}

impl Pool {
    pub(super) fn new(config: &Config) -> Pool {
        let addresses = addresses(config.vdhcp_start, config.vnetmask, [config.vhost, config.vnameserver]);
        Pool { slots: addresses.map(|address| Slot { address, held: false, state: State::Free }) }
    }

    /// Gives `address` to `mac` if it is in the pool and free or already its own. Says whether it did.
    pub(super) fn take(&mut self, address: Ipv4Addr, mac: EthernetAddress, confirm: bool, now: Instant) -> bool {
        match self.slot(address) {
            Some(slot) if slot.open_to(mac, now) => {
                slot.give(mac, confirm, now);
                true
            }
            _ => false,
        }
    }

    /// Gives `address` to `mac`, which uses it, if it is in the pool and free, or somebody else's by hearsay only. Says whether
    /// it did.
    pub(super) fn claim(&mut self, address: Ipv4Addr, mac: EthernetAddress, now: Instant) -> bool {
        if let Some(slot) = self.slot(address)
            && let State::Confirmed { hearsay: true, .. } = slot.state
        {
            slot.state = State::Free;
        }
        self.take(address, mac, true, now)
    }

    /// Gives `mac` the first address that is free or its own; when there is none, that of the oldest offer that has been
    /// kept long enough, else that of the lease that has been over for longest.
    pub(super) fn allocate(&mut self, mac: EthernetAddress, confirm: bool, now: Instant) -> Option<Ipv4Addr> {
        let usable = || self.slots.iter().enumerate().filter(|(_, slot)| slot.address.is_some() && !slot.held);
        let open = usable().find(|(_, slot)| slot.open_to(mac, now)).map(|(index, _)| index);
        let oldest = |since: fn(State, Instant) -> Option<Instant>| {
            usable().filter_map(|(index, slot)| Some((since(slot.state, now)?, index))).min().map(|(_, index)| index)
        };
        let stale = || {
            oldest(|state, now| match state {
                State::Offered { at, .. } if elapsed(at, now) > OFFER_KEPT => Some(at),
                _ => None,
            })
        };
        let expired = || {
            oldest(|state, now| match state {
                State::Confirmed { at, .. } if elapsed(at, now) > LEASE => Some(at),
                _ => None,
            })
        };
        let index = open.or_else(stale).or_else(expired)?;
        let slot = self.slots.get_mut(index)?;
        slot.give(mac, confirm, now);
        slot.address
    }

    /// The first address that `mac` has.
    pub(super) fn held_by(&self, mac: EthernetAddress) -> Option<Ipv4Addr> {
        self.slots.iter().filter(|slot| slot.owner() == Some(mac)).find_map(|slot| slot.address)
    }

    /// Whether somebody has taken `address` up, and the lease is not over.
    pub(super) fn has_leased(&self, address: Ipv4Addr, now: Instant) -> bool {
        let lasts = |state| matches!(state, State::Confirmed { at, .. } if elapsed(at, now) <= LEASE);
        self.slots.iter().any(|slot| slot.address == Some(address) && lasts(slot.state))
    }

    /// Frees what `mac` was offered and has not taken up. A lease that was only loaded may have been an offer.
    pub(super) fn withdraw(&mut self, mac: EthernetAddress) {
        let offered = |slot: &&mut Slot| {
            matches!(slot.state,
                State::Offered { mac: owner, .. } | State::Confirmed { mac: owner, hearsay: true, .. } if owner == mac)
        };
        for slot in self.slots.iter_mut().filter(offered) {
            slot.state = State::Free;
        }
    }

    /// Frees `address` if `mac` has it.
    pub(super) fn release(&mut self, address: Ipv4Addr, mac: EthernetAddress) {
        if let Some(slot) = self.slot(address).filter(|slot| slot.owner() == Some(mac)) {
            slot.state = State::Free;
        }
    }

    /// Takes `address` out of use for a while if `mac` has it.
    pub(super) fn decline(&mut self, address: Ipv4Addr, mac: EthernetAddress, now: Instant) {
        if let Some(slot) = self.slot(address).filter(|slot| slot.owner() == Some(mac)) {
            slot.state = State::Declined { at: now };
        }
    }

    /// Says of each address whether somebody else has it.
    pub(super) fn hold(&mut self, is_held: impl Fn(Ipv4Addr) -> bool) {
        for slot in &mut self.slots {
            slot.held = slot.address.is_some_and(&is_held);
        }
    }

    pub(super) fn slots(&self) -> [Option<EthernetAddress>; SLOTS] {
        self.slots.map(|slot| slot.owner())
    }

    /// Who has leased each address. An offer is none: after loading it would be one for a day, and a client that takes it up
    /// finds the address free.
    pub(super) fn leased(&self) -> [Option<EthernetAddress>; SLOTS] {
        self.slots.map(|slot| if let State::Confirmed { mac, .. } = slot.state { Some(mac) } else { None })
    }

    pub(super) fn leases(&self) -> impl DoubleEndedIterator<Item = (Ipv4Addr, EthernetAddress)> + '_ {
        self.slots.iter().filter_map(|slot| Some((slot.address?, slot.owner()?)))
    }

    /// Replaces all bindings. How old they are is not known: each has its whole lease from `now` on.
    pub(super) fn set_slots(&mut self, owners: [Option<EthernetAddress>; SLOTS], now: Instant) {
        for (slot, owner) in self.slots.iter_mut().zip(owners) {
            slot.state = owner.map_or(State::Free, |mac| State::Confirmed { mac, at: now, hearsay: true });
        }
    }

    fn slot(&mut self, address: Ipv4Addr) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.address == Some(address))
    }
}

/// The addresses from `start` on that guests of a network with this mask can have, where `ours` are the library's.
pub(crate) fn addresses(start: Ipv4Addr, mask: Ipv4Addr, ours: [Ipv4Addr; 2]) -> [Option<Ipv4Addr>; SLOTS] {
    let mut next = start.to_bits();
    std::array::from_fn(|_| {
        let address = Ipv4Addr::from_bits(next);
        next = next.wrapping_add(1);
        (leasable(address, start, mask) && !ours.contains(&address)).then_some(address)
    })
}

/// Whether a guest can have the address: inside the virtual network, neither the network's own nor its broadcast
/// address (which a /31 and a /32 do not have, RFC 3021). A pool that does not begin in the virtual network is somebody's
/// wish all the same (a program may let its user change the network and nothing else); the network it begins in then counts.
fn leasable(address: Ipv4Addr, start: Ipv4Addr, mask: Ipv4Addr) -> bool {
    let (host_bits, host_part) = (!mask.to_bits(), (address & !mask).to_bits());
    let reserved = host_bits > 1 && (host_part == 0 || host_part == host_bits);
    address & mask == start & mask && !reserved
}
