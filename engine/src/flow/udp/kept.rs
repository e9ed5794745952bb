//! Datagrams of the guest that are kept until it is known what becomes of them.

use super::FromGuest;
use crate::flow::key::Endpoint;

/// A datagram as it came.
pub(super) struct Kept {
    packet: Box<[u8]>,
    /// Where its payload begins, and how long that is.
    payload: (usize, usize),
    destination: Endpoint,
    ttl: u8,
    whole: bool,
}

impl Kept {
    pub(super) fn of(datagram: &FromGuest<'_>) -> Kept {
        // The payload is within the packet.
        let offset = (datagram.payload.as_ptr() as usize).wrapping_sub(datagram.packet.as_ptr() as usize);
        let FromGuest { packet, payload, destination, ttl, whole, .. } = *datagram;
        Kept { packet: packet.into(), payload: (offset, payload.len()), destination, ttl, whole }
    }

    pub(super) fn datagram(&self, source: Endpoint) -> FromGuest<'_> {
        let (at, length) = self.payload;
        let payload = self.packet.get(at..).and_then(|rest| rest.get(..length)).unwrap_or_default();
        let destination = self.destination;
        FromGuest { source, destination, ttl: self.ttl, whole: self.whole, payload, packet: &self.packet }
    }
}
