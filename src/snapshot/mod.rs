//! Saved state: upstream's stream, version 4. Source: contract/state.md.
//!
//! What is saved is the IPv4 identification counter and the pool of the DHCP server. Connections of callback guest
//! forwards, the stream's third part, are not carried yet: saving a stack that has one fails, and so does loading a
//! stream that brings one.
#![forbid(unsafe_code)]

use smoltcp::wire::EthernetAddress;

use crate::flow::tcp::Side;
use crate::service::dhcp::SLOTS;
use crate::stack::Stack;

/// The version of the stream.
pub const VERSION: i32 = 4;

/// Why a state could not be saved or loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The stack, or the stream, has a connection of a guest forward.
    HasConnections,
    /// The stream was made by a later version.
    TooNew,
    /// The stream ended early, or reading failed.
    Truncated,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::HasConnections => "connections of guest forwards are not carried yet",
            Error::TooNew => "the stream is of a later version than 4",
            Error::Truncated => "the stream ended early",
        })
    }
}

impl std::error::Error for Error {}

/// The stream of a stack, in the pieces in which it is written.
///
/// # Errors
/// [`Error::HasConnections`].
pub fn save(stack: &Stack) -> Result<Vec<Vec<u8>>, Error> {
    let tables = stack.tables();
    if tables.tcp.iter().any(|(_, flow)| matches!(flow.side(), Side::Callback(_))) {
        return Err(Error::HasConnections);
    }
    let mut pieces = vec![vec![0], tables.cx.egress.ip_id().to_be_bytes().to_vec()];
    let slots = tables.dhcp.map_or([None; SLOTS], |dhcp| dhcp.slots());
    for slot in slots {
        pieces.push(u16::from(slot.is_some()).to_be_bytes().to_vec());
        pieces.push(slot.unwrap_or(EthernetAddress([0; 6])).0.to_vec());
    }
    Ok(pieces)
}

/// What a stream brought.
#[derive(Debug)]
pub struct Loaded {
    ip_id: Option<u16>,
    pool: Option<[Option<EthernetAddress>; SLOTS]>,
}

impl Loaded {
    /// Takes it over into a stack.
    pub fn restore(self, stack: &mut Stack) {
        stack.restore(self.ip_id, self.pool);
    }
}

/// Reads a stream of `version`. `read` fills its argument whole, or says that it cannot.
///
/// # Errors
/// See [`Error`].
pub fn read(version: i32, mut read: impl FnMut(&mut [u8]) -> Option<()>) -> Result<Loaded, Error> {
    if version > VERSION {
        return Err(Error::TooNew);
    }
    let mut loaded = Loaded { ip_id: None, pool: None };
    let mut marker = [0; 1];
    read(&mut marker).ok_or(Error::Truncated)?;
    if marker != [0] {
        return Err(Error::HasConnections);
    }
    if version >= 2 {
        let mut id = [0; 2];
        read(&mut id).ok_or(Error::Truncated)?;
        loaded.ip_id = Some(u16::from_be_bytes(id));
    }
    if version >= 3 {
        let mut pool = [None; SLOTS];
        for slot in &mut pool {
            let (mut allocated, mut mac) = ([0; 2], [0; 6]);
            read(&mut allocated).ok_or(Error::Truncated)?;
            read(&mut mac).ok_or(Error::Truncated)?;
            *slot = (allocated != [0, 0]).then_some(EthernetAddress(mac));
        }
        loaded.pool = Some(pool);
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::Config;

    #[test]
    fn an_empty_stack_saves_131_bytes_and_loads_them_again() {
        let stack = Stack::new(Config::default()).unwrap();
        let stream = save(&stack).unwrap().concat();
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
        .restore(&mut other);
        assert!(rest.is_empty());
        assert_eq!(save(&other).unwrap().concat(), changed);
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
