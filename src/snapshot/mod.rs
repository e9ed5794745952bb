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

/// Takes a stream of `version` over into a stack. `read` fills its argument whole, or says that it cannot. The stack
/// changes only when the whole stream was read.
///
/// # Errors
/// See [`Error`].
pub fn load(stack: &mut Stack, version: i32, mut read: impl FnMut(&mut [u8]) -> Option<()>) -> Result<(), Error> {
    if version > VERSION {
        return Err(Error::TooNew);
    }
    let mut marker = [0; 1];
    read(&mut marker).ok_or(Error::Truncated)?;
    if marker != [0] {
        return Err(Error::HasConnections);
    }
    let mut ip_id = None;
    if version >= 2 {
        let mut id = [0; 2];
        read(&mut id).ok_or(Error::Truncated)?;
        ip_id = Some(u16::from_be_bytes(id));
    }
    let mut slots = None;
    if version >= 3 {
        let mut pool = [None; SLOTS];
        for slot in &mut pool {
            let (mut allocated, mut mac) = ([0; 2], [0; 6]);
            read(&mut allocated).ok_or(Error::Truncated)?;
            read(&mut mac).ok_or(Error::Truncated)?;
            *slot = (allocated != [0, 0]).then_some(EthernetAddress(mac));
        }
        slots = Some(pool);
    }
    stack.restore(ip_id, slots);
    Ok(())
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
        load(&mut other, 4, |piece| {
            let (head, tail) = rest.split_at_checked(piece.len())?;
            piece.copy_from_slice(head);
            rest = tail;
            Some(())
        })
        .unwrap();
        assert!(rest.is_empty());
        assert_eq!(save(&other).unwrap().concat(), changed);
    }

    #[test]
    fn a_stream_cut_anywhere_changes_nothing() {
        let mut stack = Stack::new(Config::default()).unwrap();
        let whole = vec![0; 131];
        for length in 0..whole.len() {
            let mut rest = &whole[..length];
            let outcome = load(&mut stack, 4, |piece| {
                let (head, tail) = rest.split_at_checked(piece.len())?;
                piece.copy_from_slice(head);
                rest = tail;
                Some(())
            });
            assert_eq!(outcome, Err(Error::Truncated), "{length}");
        }
        assert_eq!(load(&mut stack, 5, |_| Some(())), Err(Error::TooNew));
    }
}
