//! Frames that wait until the Ethernet address of their destination is known (contract/ethernet-arp-ndp.md section 5).
//!
//! At most [`MAX_ADDRESSES`] addresses are waited for; a further one evicts the address that has waited longest, with
//! its frames. Each address holds at most [`MAX_FRAMES`] frames and [`MAX_BYTES`] bytes; a further frame is dropped.

use std::collections::VecDeque;
use std::net::IpAddr;

use smoltcp::wire::EthernetAddress;

use crate::time::{Duration, Instant};

/// Addresses waited for at a time.
pub const MAX_ADDRESSES: usize = 32;
/// Frames per address.
pub const MAX_FRAMES: usize = 64;
/// Bytes per address.
pub const MAX_BYTES: usize = 256 * 1024;
/// How long a request may stay unanswered.
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(1);

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It waits, and the caller has to send a request (ARP or neighbor solicitation) for its destination now.
    RequestNeeded,
    /// It waits for the answer to a request that is under way.
    Waiting,
    /// The address holds as much as it may; the frame is gone.
    Dropped,
}

impl Enqueued {
    /// Whether the caller has to send a request now.
    pub fn request_needed(self) -> bool {
        self == Enqueued::RequestNeeded
    }
}

/// Frames for one unresolved address.
#[derive(Debug)]
struct Unresolved {
    address: IpAddr,
    /// When the request under way was sent.
    requested: Instant,
    /// Frames in order, each with the time it came.
    frames: VecDeque<(Instant, Vec<u8>)>,
    /// Memory held by `frames`.
    bytes: usize,
}

impl Unresolved {
    fn deadline(&self) -> Instant {
        self.requested + REQUEST_LIFETIME
    }

    /// Drops the frames that have waited for a whole second if the request is over, and tells whether it was.
    fn expire(&mut self, now: Instant) -> bool {
        if now < self.deadline() {
            return false;
        }
        let bytes = &mut self.bytes;
        self.frames.retain(|(came, frame)| {
            let keep = now < *came + REQUEST_LIFETIME;
            if !keep {
                *bytes -= frame.capacity();
            }
            keep
        });
        true
    }
}

/// The queues of all unresolved addresses.
#[derive(Debug, Default)]
pub struct Pending {
    /// In the order in which the addresses began to wait.
    addresses: VecDeque<Unresolved>,
}

impl Pending {
    /// Nothing waits.
    pub const fn new() -> Self {
        Pending { addresses: VecDeque::new() }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Number of frames waiting for `address`.
    pub fn frames_for(&self, address: IpAddr) -> usize {
        self.addresses.iter().find(|entry| entry.address == address).map_or(0, |entry| entry.frames.len())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.addresses.clear();
    }

    /// Queues an Ethernet frame for `address`. The frame's destination field is filled in when it leaves.
    pub fn enqueue(&mut self, address: IpAddr, frame: Vec<u8>, now: Instant) -> Enqueued {
        let size = frame.capacity();
        if size > MAX_BYTES {
            return Enqueued::Dropped;
        }
        if let Some(entry) = self.addresses.iter_mut().find(|entry| entry.address == address) {
            let request_needed = entry.expire(now);
            if entry.frames.len() >= MAX_FRAMES || entry.bytes + size > MAX_BYTES {
                return Enqueued::Dropped;
            }
            entry.bytes += size;
            entry.frames.push_back((now, frame));
            if !request_needed {
                return Enqueued::Waiting;
            }
            entry.requested = now;
            return Enqueued::RequestNeeded;
        }
        while self.addresses.len() >= MAX_ADDRESSES {
            self.addresses.pop_front();
        }
        let frames = VecDeque::from([(now, frame)]);
        self.addresses.push_back(Unresolved { address, requested: now, frames, bytes: size });
        Enqueued::RequestNeeded
    }

    /// Gives out the frames that wait for `address`, oldest first, with `mac` as their destination. Frames whose time
    /// is over are not among them.
    pub fn resolved(
        &mut self,
        address: IpAddr,
        mac: EthernetAddress,
        now: Instant,
    ) -> impl Iterator<Item = Vec<u8>> + use<> {
        let index = self.addresses.iter().position(|entry| entry.address == address);
        let entry = index.and_then(|index| self.addresses.remove(index)).map(|mut entry| {
            entry.expire(now);
            entry
        });
        entry.into_iter().flat_map(|entry| entry.frames).map(move |(_, mut frame)| {
            if let Some(destination) = frame.first_chunk_mut::<6>() {
                *destination = mac.0;
            }
            frame
        })
    }

    /// When [`on_deadline`](Self::on_deadline) has to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.addresses.iter().map(Unresolved::deadline).min()
    }

    /// Drops frames whose time is over. Where frames remain that came during the last request's second, calls
    /// `request` with their address: the caller has to send another request for it now.
    pub fn on_deadline(&mut self, now: Instant, mut request: impl FnMut(IpAddr)) {
        self.addresses.retain_mut(|entry| {
            if entry.expire(now) {
                if entry.frames.is_empty() {
                    return false;
                }
                entry.requested = now;
                request(entry.address);
            }
            true
        });
    }
}
