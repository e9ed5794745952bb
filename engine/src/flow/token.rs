//! Tokens: how the poller and the queue of deadlines name a flow.
//!
//! A token is the flow's slot-map key (generation and slot) with the table's kind in the four bits of the slot number
//! that no bounded table ever reaches, so one that outlived its flow names nobody.

use slotmap::{Key, KeyData};

/// Which table a token belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Kind {
    Tcp = 0,
    Udp = 1,
    Icmp = 2,
    TcpListener = 3,
    /// No flow at all: the stack has woken its poller itself, or it is a socket of whoever attends to the stack from a floor above.
    Stack = 4,
}

const SHIFT: u32 = 28;
const MASK: u64 = 0xf << SHIFT;

/// The token of a flow.
pub(crate) fn pack(kind: Kind, key: impl Key) -> u64 {
    key.data().as_ffi() & !MASK | (kind as u64) << SHIFT
}

/// The kind of a token and the key data of its flow.
pub(crate) fn unpack(token: u64) -> (Kind, KeyData) {
    let kind = match (token & MASK) >> SHIFT {
        0 => Kind::Tcp,
        1 => Kind::Udp,
        2 => Kind::Icmp,
        3 => Kind::TcpListener,
        _ => Kind::Stack,
    };
    (kind, KeyData::from_ffi(token & !MASK))
}

/// The token of what is nobody's but the stack's.
pub(crate) const STACK: u64 = (Kind::Stack as u64) << SHIFT;

/// The token of a socket of the attendant's.
#[cfg(feature = "control")]
pub(crate) fn of_attendant(number: u8) -> u64 {
    STACK | (u64::from(number) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::{DefaultKey, SlotMap};

    #[test]
    fn a_token_names_its_flow_and_not_the_next_one_in_the_slot() {
        let mut flows: SlotMap<DefaultKey, u8> = SlotMap::new();
        let first = flows.insert(1);
        let token = pack(Kind::Udp, first);
        assert_eq!(unpack(token), (Kind::Udp, first.data()));
        flows.remove(first);
        let second = flows.insert(2);
        assert_eq!(flows.get(DefaultKey::from(unpack(token).1)), None);
        assert_eq!(flows.get(DefaultKey::from(unpack(pack(Kind::Tcp, second)).1)), Some(&2));
    }
}
