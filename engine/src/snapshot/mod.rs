//! Saved state: libslirp's stream, version 4.
//!
//! What is saved: the connections of the C library's callback guest forwards, the IPv4 identification counter, and the pool of the DHCP
//! server.
// Source: docs/contract/state.md. `stream` has the primitives, `connection` the record of one connection.
#![forbid(unsafe_code)]

mod connection;
mod stream;

use std::sync::Arc;

use smoltcp::wire::EthernetAddress;

use crate::flow::table::Entry;
use crate::flow::tcp::Side;
use crate::flow::tcp::guest::Rule;
use crate::service::dhcp::SLOTS;
use crate::stack::Stack;
use crate::time::Instant;
use connection::Record;
use stream::{Reader, Writer};

/// The version of the stream, which is to be kept with it.
pub const VERSION: i32 = 4;
/// What stands before each connection.
const MARKER: u8 = 42;
/// Connections a stream may bring at most, and of those that there are the newest that are saved.
const MAX_CONNECTIONS: usize = 1024;

/// What the buffers of all its connections may hold together, in bytes.
const MAX_BUFFERED: usize = 256 * 1024 * 1024;

/// Why a state could not be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The stream was made by a later version.
    TooNew,
    /// The stream ended early, or reading failed.
    Truncated,
    /// Something in the stream contradicts itself.
    Invalid,
    /// The stream has a connection of a guest forward that is not there.
    NoForward,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::TooNew => "the stream is of a later version than 4",
            Error::Truncated => "the stream ended early",
            Error::Invalid => "the stream contradicts itself",
            Error::NoForward => "the stream has a connection of a guest forward that is not there",
        })
    }
}

impl std::error::Error for Error {}

impl Stack {
    /// What a guest would miss if it went on with another stack: the leases of the DHCP server, and the connections of guest
    /// forwards that a C program answers. It is libslirp's saved state of [`snapshot::VERSION`](VERSION), as this library and
    /// upstream's write it. Connections to hosts and to a Rust program's guest forwards are not in it; the guest sees them reset.
    pub fn save(&self) -> Vec<u8> {
        save(self).concat()
    }

    /// Takes over what [`Stack::save`] gave, or `slirp_state_save` of `version`: all of it, or nothing.
    ///
    /// # Errors
    /// See [`Error`]; bytes behind the end are [`Error::Invalid`].
    pub fn load(&mut self, version: i32, state: &[u8], now: Instant) -> Result<(), Error> {
        let mut rest = state;
        let loaded = read(version, |piece| {
            let (head, tail) = rest.split_at_checked(piece.len())?;
            piece.copy_from_slice(head);
            rest = tail;
            Some(())
        })?;
        if !rest.is_empty() {
            return Err(Error::Invalid);
        }
        self.set_now(now);
        loaded.restore(self)
    }
}

/// The stream of a stack, in the pieces in which it is written.
#[doc(hidden)]
pub fn save(stack: &Stack) -> Vec<Vec<u8>> {
    let tables = stack.tables();
    let mut to = Writer::default();
    let mut flows: Vec<_> = tables.tcp.flows.iter().map(|(_, entry)| entry).collect();
    flows.retain(|Entry { flow, .. }| matches!(flow.side(), Side::Callback) && flow.connection().save().is_some());
    // Upstream saves one connection a forward, but reads as many as there are and takes the last one for the newest.
    flows.sort_by_key(|entry| entry.number);
    let superfluous = flows.len().saturating_sub(MAX_CONNECTIONS);
    for Entry { flow, .. } in flows.into_iter().skip(superfluous) {
        let connection = flow.connection();
        let Some(tcp) = connection.save() else { continue };
        let (first, second) = connection.recv().slices();
        let received = [first, second].concat();
        let (first, second) = connection.send().slices(0, connection.send().len());
        let unacknowledged = [first, second].concat();
        to.u8(MARKER);
        Record { key: *flow.key(), tos: flow.tos(), tcp, received, unacknowledged }.write(&mut to);
    }
    to.u8(0);
    to.u16(tables.cx.egress.ip_id());
    let slots = tables.dhcp.map_or([None; SLOTS], |dhcp| dhcp.leased());
    for slot in slots {
        to.u16(u16::from(slot.is_some()));
        to.bytes(slot.unwrap_or(EthernetAddress([0; 6])).0.to_vec());
    }
    to.pieces
}

/// What a stream brought.
#[doc(hidden)]
#[derive(Debug)]
pub struct Loaded {
    connections: Vec<Record>,
    ip_id: Option<u16>,
    pool: Option<[Option<EthernetAddress>; SLOTS]>,
}

impl Loaded {
    /// Takes it over into a stack: all of it, or nothing. A stream of a machine of the other byte order is taken for one where its
    /// addresses are none of this network as they are, and all of them are the other way round.
    ///
    /// # Errors
    /// [`Error::NoForward`]; [`Error::Invalid`] when a connection is to what can be no guest.
    pub fn restore(mut self, stack: &mut Stack) -> Result<(), Error> {
        let forwards = self.forwards(stack).or_else(|error| {
            self.connections.iter_mut().for_each(Record::turn);
            self.forwards(stack).map_err(|_| error)
        })?;
        // In the order of the stream, so that the newest is the newest again.
        for (record, forward) in self.connections.iter().zip(forwards) {
            // As below, if it is not to be had any more.
            if !stack.admits(&record.key) {
                continue;
            }
            // Upstream loses bytes in flight when it loads, and saves what is left. Such a connection cannot go on: the
            // guest's next segment is answered with a reset.
            if let Some(connection) = stack.restored(&record.tcp, &record.received, &record.unacknowledged) {
                stack.adopt(record.key, connection, forward, record.tos);
            }
        }
        stack.restore(self.ip_id, self.pool);
        Ok(())
    }
}

impl Loaded {
    /// The guest forward of each connection.
    fn forwards(&self, stack: &Stack) -> Result<Vec<Arc<Rule>>, Error> {
        let keys = || self.connections.iter().map(|record| record.key);
        let forwards: Option<Vec<_>> = keys().map(|key| stack.callback_forward(key.remote)).collect();
        let forwards = forwards.ok_or(Error::NoForward)?;
        if keys().all(|key| stack.may_be_guest(key.guest)) { Ok(forwards) } else { Err(Error::Invalid) }
    }
}

/// Reads a stream of `version`, for a program that has it in pieces. `read` fills its argument whole, or says that it cannot.
///
/// # Errors
/// See [`Error`].
#[doc(hidden)]
pub fn read(version: i32, read: impl FnMut(&mut [u8]) -> Option<()>) -> Result<Loaded, Error> {
    if version > VERSION {
        return Err(Error::TooNew);
    }
    let mut from = Reader::new(read);
    let mut loaded = Loaded { connections: Vec::new(), ip_id: None, pool: None };
    let (mut count, mut buffered) = (0, 0);
    while from.u8().ok_or(Error::Truncated)? != 0 {
        count += 1;
        let record = Record::read(&mut from, version)?;
        buffered += record.as_ref().map_or(0, |record| record.received.len() + record.unacknowledged.len());
        if count > MAX_CONNECTIONS || buffered > MAX_BUFFERED {
            return Err(Error::Invalid);
        }
        loaded.connections.extend(record);
    }
    if version >= 2 {
        loaded.ip_id = Some(from.u16().ok_or(Error::Truncated)?);
    }
    if version >= 3 {
        let mut pool = [None; SLOTS];
        for slot in &mut pool {
            let allocated = from.u16().ok_or(Error::Truncated)?;
            let mac = from.mac().ok_or(Error::Truncated)?;
            // A group is nobody's client.
            *slot = (allocated != 0).then_some(EthernetAddress(mac)).filter(EthernetAddress::is_unicast);
        }
        loaded.pool = Some(pool);
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_state_goes_from_one_stack_into_another_as_bytes() {
        let mut state = Stack::new(Config::default()).unwrap().save();
        state[3..11].copy_from_slice(&[0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let mut other = Stack::new(Config::default()).unwrap();
        let now = Instant::from_secs(1);
        assert_eq!(other.load(VERSION, &state[..state.len() - 1], now), Err(Error::Truncated));
        assert_eq!(other.load(VERSION, &[&state[..], &[0]].concat(), now), Err(Error::Invalid));
        assert_eq!(other.load(VERSION + 1, &state, now), Err(Error::TooNew));
        assert_ne!(other.save()[3..], state[3..], "nothing was taken over");
        assert_eq!(other.load(VERSION, &state, now), Ok(()));
        assert_eq!(other.save(), state);
    }

    #[test]
    fn an_empty_stack_saves_131_bytes_and_loads_them_again() {
        let stack = Stack::new(Config::default()).unwrap();
        let stream = save(&stack).concat();
        assert_eq!((stream.len(), stream[0]), (131, 0));
        let mut changed = stream.clone();
        changed[1..3].copy_from_slice(&[0x12, 0x34]);
        changed[3..11].copy_from_slice(&[0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let mut other = Stack::new(Config::default()).unwrap();
        let mut rest = &changed[..];
        read(4, |piece| {
            let (head, tail) = rest.split_at_checked(piece.len())?;
            piece.copy_from_slice(head);
            rest = tail;
            Some(())
        })
        .unwrap()
        .restore(&mut other)
        .unwrap();
        assert!(rest.is_empty());
        assert_eq!(save(&other).concat(), changed);
    }

    #[test]
    fn a_stream_cut_anywhere_is_refused() {
        let whole = [0; 131];
        for length in 0..whole.len() {
            let mut rest = &whole[..length];
            let outcome = read(4, |piece| {
                let (head, tail) = rest.split_at_checked(piece.len())?;
                piece.copy_from_slice(head);
                rest = tail;
                Some(())
            });
            assert_eq!(outcome.err(), Some(Error::Truncated), "{length}");
        }
        assert_eq!(read(5, |_| Some(())).err(), Some(Error::TooNew));
    }
}
