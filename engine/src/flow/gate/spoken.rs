//! What connections of QUIC have said in their first datagrams, by their ends. It is remembered for when another policy comes, and to
//! tell a datagram that belongs to such a connection from one that begins another between the same ends.

use std::net::SocketAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Endpoint;
use crate::flow::halving::forget_older_half;
use crate::policy::{Heard, QuicFollows, QuicSpoken, begins_other_quic};
use crate::time::Instant;

/// Pairs of ends. When there are more, the half that was looked at longest ago is forgotten: what has begun there goes on, but for when
/// another policy comes.
const MOST: usize = 2048;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spoken(HashMap<Ends, Said, RandomState>);

/// The guest's end, and the other one as it is on the host's side.
type Ends = (Endpoint, SocketAddr);

#[derive(Debug)]
struct Said {
    heard: Heard,
    /// Until the connection has begun: what its first datagrams may say once more.
    spoken: Option<QuicSpoken>,
    looked_at: Instant,
}

impl Spoken {
    /// The last connection between these ends has said this, and may go on.
    pub(super) fn note(&mut self, ends: Ends, heard: Heard, spoken: Option<QuicSpoken>, now: Instant) {
        if self.0.len() >= MOST && !self.0.contains_key(&ends) {
            forget_older_half(&mut self.0, |said| said.looked_at);
        }
        self.0.insert(ends, Said { heard, spoken, looked_at: now });
    }

    pub(super) fn heard(&self, guest: Endpoint, real: SocketAddr) -> Option<&Heard> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(guest, real)).map(|said| &said.heard)
    }

    /// Whether a datagram belongs to the last connection between these ends, so that it begins no other one.
    pub(super) fn belongs(&mut self, ends: Ends, datagram: &[u8], now: Instant) -> bool {
        let Some(said) = self.0.get_mut(&ends) else { return !begins_other_quic(datagram) };
        said.looked_at = now;
        let Some(spoken) = &mut said.spoken else { return !begins_other_quic(datagram) };
        match spoken.follows(datagram) {
            QuicFollows::Begun => said.spoken = None,
            QuicFollows::Other => return false,
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ones_looked_at_last_are_remembered() {
        let mut spoken = Spoken::default();
        let guest = Endpoint::new([10, 0, 2, 15], 1);
        let real = |number: usize| SocketAddr::from(([192, 0, (number >> 8) as u8, number as u8], 443));
        for number in 0..3 * MOST {
            spoken.note((guest, real(number)), Heard::Tls(None), None, Instant::from_millis(number as i64));
            // The first one is looked at all the time.
            assert!(spoken.belongs((guest, real(0)), &[0x40], Instant::from_millis(number as i64)));
            assert!(spoken.0.len() <= MOST);
        }
        assert!(spoken.heard(guest, real(0)).is_some() && spoken.heard(guest, real(3 * MOST - 1)).is_some());
        assert!(spoken.heard(guest, real(1)).is_none());
        // All at one moment.
        for number in 0..2 * MOST {
            spoken.note((guest, real(60_000 - number)), Heard::Tls(None), None, Instant::from_secs(99));
            assert!(spoken.0.len() <= MOST);
        }
    }
}
