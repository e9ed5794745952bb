//! Datagrams that wait until the first ones of their connection have said where it goes: a rule of the policy wants the name that is in a
//! ClientHello of QUIC.
//!
//! The host gets none of them before, so that nobody hears of a connection that is refused. What the guest sends meanwhile is kept, a
//! few datagrams of each of a few connections; what is lost of it the guest sends again.

use std::net::SocketAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::FromGuest;
use super::kept::Kept;
use super::table::UdpTable;
use crate::flow::context::Context;
use crate::flow::gate::Admission;
use crate::flow::halving::forget_older_half;
use crate::flow::journal::{About, Carrier};
use crate::flow::key::Endpoint;
use crate::policy::{Hearing, QuicHello, may_begin_quic};
use crate::time::{Duration, Instant};

/// How long the first datagrams may take to say it all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that are waited for at a time. When there are more, the older half of them is forgotten.
const MOST: usize = 256;
/// Datagrams of one connection that are kept, and bytes of them.
const MOST_KEPT: usize = 16;
const MOST_BYTES: usize = 24 * 1024;

/// See the module.
#[derive(Default)]
pub(super) struct Listening {
    held: HashMap<Ends, Held, RandomState>,
    /// What was kept goes its way.
    lets_go: bool,
}

/// The guest's end, the other one as the guest names it, and as it is.
type Ends = (Endpoint, Endpoint, SocketAddr);

struct Held {
    hello: QuicHello,
    kept: Vec<Kept>,
    bytes: usize,
    since: Instant,
}

impl Listening {
    /// What is kept of a connection, which is a new one when the old one has taken too long.
    fn of(&mut self, ends: Ends, now: Instant) -> &mut Held {
        if self.held.len() >= MOST && !self.held.contains_key(&ends) {
            forget_older_half(&mut self.held, |held| held.since);
        }
        let new = || Held { hello: QuicHello::default(), kept: Vec::new(), bytes: 0, since: now };
        let held = self.held.entry(ends).or_insert_with(new);
        if now >= held.since + PATIENCE {
            *held = new();
        }
        held
    }
}

impl UdpTable {
    /// Whether a datagram may pass that goes a way whose first datagrams had to say a name, or have to. If not, it is kept until it may, or
    /// was refused.
    #[cold]
    pub(super) fn hears(
        &mut self,
        datagram: &FromGuest<'_>,
        (real, admission): (SocketAddr, Admission),
        cx: &mut Context,
    ) -> bool {
        let (guest, named) = (datagram.source, datagram.destination);
        if self.listening.lets_go {
            return true;
        }
        if !admission.listens() && cx.gate.belongs(guest, real, datagram.payload, cx.now) {
            return true;
        }
        let ends = (guest, named, real);
        let held = self.listening.of(ends, cx.now);
        let heard = match held.hello.hear(datagram.payload) {
            Hearing::More if held.kept.len() < MOST_KEPT && held.bytes < MOST_BYTES => {
                held.bytes += datagram.packet.len();
                held.kept.push(Kept::of(datagram));
                return false;
            }
            Hearing::Heard(heard) => Some(heard),
            Hearing::More | Hearing::Unclear => None,
        };
        let spoken = held.hello.spoken();
        let kept = self.listening.held.remove(&ends).map(|held| held.kept).unwrap_or_default();
        let verdict = heard.map(|heard| cx.gate.quic((guest, named), real, heard, spoken, cx.now));
        if verdict.is_some_and(Admission::is_allowed) {
            self.listening.lets_go = true;
            for one in kept.iter().map(|kept| kept.datagram(guest)) {
                self.on_datagram(&one, cx);
            }
            self.on_datagram(datagram, cx);
            self.listening.lets_go = false;
            return false;
        }
        let by = verdict.unwrap_or(Admission::unheard(admission));
        cx.journal.refused(&About::out(Carrier::Udp, guest, named, None).by(by), by.refusal(), cx.now);
        cx.turns_away(by, datagram.packet);
        false
    }
}

/// Whether a datagram that goes such a way has to be looked at.
pub(super) fn is_to_be_heard(admission: Admission, datagram: &FromGuest<'_>) -> bool {
    admission.listens() || (admission.is_spoken() && may_begin_quic(datagram.payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_are_waited_for_are_bounded() {
        let mut listening = Listening::default();
        let named = Endpoint::new([192, 0, 2, 1], 443);
        let ends = |number: usize| (Endpoint::new([10, 0, 2, 15], number as u16), named, named.socket_address());
        for number in 0..3 * MOST {
            listening.of(ends(number), Instant::from_millis(number as i64 / 100)).bytes = number;
            assert!(listening.held.len() <= MOST);
        }
        let last = 3 * MOST - 1;
        assert_eq!(listening.of(ends(last), Instant::from_millis(9)).bytes, last);
        assert_eq!(listening.of(ends(last), Instant::from_secs(11)).bytes, 0, "it has taken too long");
    }
}
