//! Frames that wait until the Ethernet address of their destination is known (docs/contract/ethernet-arp-ndp.md section
//! 5).
//!
//! At most [`MAX_ADDRESSES`] addresses are waited for; a further one evicts the address that has waited longest, with
//! its frames. Each address holds at most [`MAX_FRAMES`] frames and [`MAX_BYTES`] bytes; a further frame is dropped.

use std::collections::VecDeque;
use std::net::IpAddr;

use smoltcp::wire::EthernetAddress;

use crate::time::{Duration, Instant};

/// Addresses waited for at a time.
pub(crate) const MAX_ADDRESSES: usize = 32;
/// Frames per address.
pub(crate) const MAX_FRAMES: usize = 64;
/// Bytes per address.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
/// How long a request may stay unanswered.
pub(crate) const REQUEST_LIFETIME: Duration = Duration::from_secs(1);

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enqueued {
    /// It waits, and the caller has to send a request (ARP or neighbor solicitation) for its destination now.
    RequestNeeded,
    /// It waits for the answer to a request that is under way.
    Waiting,
    /// The address holds as much as it may; the frame is gone.
    Dropped,
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
pub(crate) struct Pending {
    /// In the order in which the addresses began to wait.
    addresses: VecDeque<Unresolved>,
}

impl Pending {
    /// Nothing waits.
    pub(crate) const fn new() -> Self {
        Pending { addresses: VecDeque::new() }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Queues an Ethernet frame for `address`. The frame's destination field is filled in when it leaves.
    pub(crate) fn enqueue(&mut self, address: IpAddr, frame: Vec<u8>, now: Instant) -> Enqueued {
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
    pub(crate) fn resolved(
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
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.addresses.iter().map(Unresolved::deadline).min()
    }

    /// Drops frames whose time is over. Where frames remain that came during the last request's second, calls
    /// `request` with their address: the caller has to send another request for it now.
    pub(crate) fn on_deadline(&mut self, now: Instant, mut request: impl FnMut(IpAddr)) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    const START: Instant = Instant::from_micros(50_000_000);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 2, last])
    }

    fn at(millis: u64) -> Instant {
        START + Duration::from_millis(millis)
    }

    fn frame(tag: u8) -> Vec<u8> {
        vec![0, 0, 0, 0, 0, 0, tag]
    }

    fn tags(pending: &mut Pending, address: IpAddr, now: Instant) -> Vec<u8> {
        pending.resolved(address, MAC, now).map(|frame| frame[6]).collect()
    }

    /// Number of frames waiting for `address`.
    fn waiting(pending: &Pending, address: IpAddr) -> usize {
        pending.addresses.iter().find(|entry| entry.address == address).map_or(0, |entry| entry.frames.len())
    }

    fn requests(pending: &mut Pending, now: Instant) -> Vec<IpAddr> {
        let mut asked = Vec::new();
        pending.on_deadline(now, |address| asked.push(address));
        asked
    }

    #[test]
    fn one_request_is_needed_and_frames_leave_in_order_with_the_destination_filled_in() {
        let mut pending = Pending::new();
        assert_eq!(pending.deadline(), None);
        assert_eq!(pending.enqueue(ip(15), frame(1), at(0)), Enqueued::RequestNeeded);
        assert_eq!(pending.enqueue(ip(15), frame(2), at(1)), Enqueued::Waiting);
        assert_eq!(pending.enqueue(ip(16), frame(3), at(2)), Enqueued::RequestNeeded);
        assert_eq!(pending.deadline(), Some(at(1000)));
        let frames: Vec<_> = pending.resolved(ip(15), MAC, at(3)).collect();
        assert_eq!(frames, [[&MAC.0[..], &[1]].concat(), [&MAC.0[..], &[2]].concat()]);
        assert_eq!(pending.resolved(ip(15), MAC, at(3)).count(), 0);
        assert_eq!(waiting(&pending, ip(16)), 1);
    }

    #[test]
    fn an_arp_answer_1_1_s_later_finds_the_packet_gone() {
        let mut pending = Pending::new();
        pending.enqueue(ip(15), frame(1), at(0));
        assert!(tags(&mut pending, ip(15), at(1100)).is_empty());
        assert!(pending.is_empty());
        pending.enqueue(ip(15), frame(1), at(2000));
        assert!(requests(&mut pending, at(3000)).is_empty());
        assert!(pending.is_empty());
    }

    #[test]
    fn successors_get_a_request_and_a_second_of_their_own() {
        let mut pending = Pending::new();
        pending.enqueue(ip(15), frame(1), at(0));
        pending.enqueue(ip(15), frame(2), at(400));
        assert!(requests(&mut pending, at(999)).is_empty());
        assert_eq!(requests(&mut pending, at(1000)), [ip(15)]);
        assert_eq!(pending.deadline(), Some(at(2000)));
        assert_eq!(tags(&mut pending, ip(15), at(1999)), [2]);
    }

    #[test]
    fn a_frame_that_finds_the_request_expired_asks_again() {
        let mut pending = Pending::new();
        pending.enqueue(ip(15), frame(1), at(0));
        assert_eq!(pending.enqueue(ip(15), frame(2), at(1500)), Enqueued::RequestNeeded);
        assert_eq!(pending.deadline(), Some(at(2500)));
        assert_eq!(tags(&mut pending, ip(15), at(1600)), [2]);
    }

    #[test]
    fn the_65th_frame_of_an_address_is_dropped() {
        let mut pending = Pending::new();
        for n in 0..64 {
            assert_ne!(pending.enqueue(ip(15), frame(n), at(0)), Enqueued::Dropped);
        }
        assert_eq!(pending.enqueue(ip(15), frame(64), at(0)), Enqueued::Dropped);
        assert!(tags(&mut pending, ip(15), at(1)).into_iter().eq(0..64));
    }

    #[test]
    fn more_than_256_kib_for_an_address_are_dropped() {
        let mut pending = Pending::new();
        assert_eq!(pending.enqueue(ip(15), vec![0; MAX_BYTES + 1], at(0)), Enqueued::Dropped);
        assert!(pending.is_empty());
        for _ in 0..4 {
            assert_ne!(pending.enqueue(ip(15), vec![0; 65536], at(0)), Enqueued::Dropped);
        }
        assert_eq!(pending.enqueue(ip(15), frame(1), at(0)), Enqueued::Dropped);
        // The room comes back with the frames' time.
        assert_eq!(pending.enqueue(ip(15), frame(1), at(1000)), Enqueued::RequestNeeded);
        assert_eq!(waiting(&pending, ip(15)), 1);
    }

    #[test]
    fn the_33rd_address_evicts_the_one_that_waited_longest() {
        let mut pending = Pending::new();
        for n in 0..33 {
            assert_eq!(pending.enqueue(ip(n), frame(n), at(u64::from(n))), Enqueued::RequestNeeded);
        }
        assert_eq!(waiting(&pending, ip(0)), 0);
        assert!((1..33).all(|n| waiting(&pending, ip(n)) == 1));
        assert_eq!(pending.deadline(), Some(at(1001)));
    }

    #[test]
    fn frames_without_room_for_an_address_do_no_harm() {
        let mut pending = Pending::new();
        pending.enqueue(ip(15), vec![1, 2], at(0));
        assert!(pending.resolved(ip(15), MAC, at(0)).eq([vec![1, 2]]));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_every_frame_leaves_within_two_seconds_or_never(
            steps in prop::collection::vec((0u8..40, 0u8..4, 1usize..70_000, 0u64..700), 1..150),
        ) {
            let mut pending = Pending::new();
            let mut now = START;
            for (last, action, size, millis) in steps {
                now += Duration::from_millis(millis / 4);
                match action {
                    0 => pending.on_deadline(now, |_| ()),
                    1 => drop(pending.resolved(ip(last), MAC, now)),
                    _ => drop(pending.enqueue(ip(last), Vec::with_capacity(size), now)),
                }
                prop_assert!(pending.addresses.len() <= MAX_ADDRESSES);
                for entry in &pending.addresses {
                    let bytes: usize = entry.frames.iter().map(|(_, frame)| frame.capacity()).sum();
                    prop_assert_eq!(entry.bytes, bytes);
                    prop_assert!(bytes <= MAX_BYTES && (1..=MAX_FRAMES).contains(&entry.frames.len()));
                }
                if action == 0 {
                    prop_assert!(pending.deadline().is_none_or(|deadline| deadline > now));
                    let old = now - Duration::from_secs(2);
                    let kept = pending.addresses.iter().flat_map(|entry| &entry.frames);
                    prop_assert!(kept.clone().all(|(came, _)| *came > old));
                }
            }
            pending.on_deadline(now + Duration::from_secs(1), |_| ());
            pending.on_deadline(now + Duration::from_secs(2), |_| ());
            prop_assert!(pending.is_empty());
        }
    }
}
