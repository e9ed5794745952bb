//! Host forwards for streams: TCP and Unix sockets that listen on the host for peers that want to reach the guest.
//! (A UDP forward has no connections to accept; its socket is a flow.) Source: docs/contract/hostfwd.md.

use std::convert::Infallible;
use std::io::ErrorKind;

use slotmap::new_key_type;

use super::host::ListenAddress;
use crate::flow::Context;
use crate::flow::effect::Leaving;
use crate::flow::key::Endpoint;
use crate::flow::several::Several;
use crate::flow::table::{Entry, Flow, NotAdmitted, Table};
use crate::flow::tcp::TcpTable;
use crate::flow::token::Kind;
use crate::host::fault::Fault;
use crate::host::handle::{HostNamed, RawSocket};
use crate::host::poller::{News, Readiness};
use crate::host::socket::Listener;
use crate::host::unix::UnixAddress;
use crate::time::{Duration, Instant};

/// Listeners at one time; a further one is refused.
const MAX_LISTENERS: usize = 65_536;
/// Connections one listener may bring in one turn before others have theirs.
const BUDGET: usize = 64;
/// How long a listener pauses when the host had no descriptor for the next connection.
const RETRY: Duration = Duration::from_millis(250);

new_key_type! {
    /// Names a listener.
    pub struct ListenerId;
}

/// One host forward for streams.
pub(crate) struct TcpForward {
    listener: Listener,
    /// The kernel is asked for it once.
    address: Option<ListenAddress>,
    guest: Endpoint,
    /// There may be a connection to take.
    readable: bool,
    /// The host had no descriptor for the next connection, and is asked again at this time.
    again: Option<Instant>,
}

impl TcpForward {
    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<&ListenAddress> {
        self.address.as_ref()
    }

    pub(crate) fn guest(&self) -> Endpoint {
        self.guest
    }

    /// Whether it listens at all addresses of IPv6 and none of IPv4.
    pub(crate) fn is_only_v6(&self) -> bool {
        matches!(self.address, Some(ListenAddress::Inet(listen)) if self.listener.is_only_v6(listen))
    }
}

impl Flow for TcpForward {
    type Id = ListenerId;
    /// Where it listens is looked for only when a forward is removed, and may be said of several.
    type Key = Infallible;
    type Order = ();
    const KIND: Kind = Kind::TcpListener;
    const NEWS: News = News::Incoming;

    fn key(&self) -> Option<Infallible> {
        None
    }

    fn socket(&self) -> Option<RawSocket> {
        Some(self.listener.raw_socket())
    }

    fn on_ready(&mut self, ready: Readiness) {
        if ready.readable {
            self.readable = true;
            self.again = None;
        }
    }

    fn wants_turn(&self) -> bool {
        self.readable && self.again.is_none() && !self.listener.is_lost()
    }

    fn deadline(&self) -> Option<Instant> {
        self.again
    }

    fn interest(&self) -> (bool, bool) {
        (self.again.is_none() && !self.listener.is_lost(), false)
    }
}

/// What a listener is found by when it is removed. The scope of a link-local address is not told apart.
#[derive(PartialEq, Eq, Hash)]
enum Place {
    Ip(Endpoint),
    Unix(UnixAddress),
}

impl From<&ListenAddress> for Place {
    fn from(address: &ListenAddress) -> Place {
        match address {
            ListenAddress::Inet(address) => Place::Ip((*address).into()),
            ListenAddress::Unix(address) => Place::Unix(address.clone()),
        }
    }
}

/// Where a listener listens, as far as the kernel tells.
fn address_of(listener: &Listener) -> Option<ListenAddress> {
    match listener.unix_address() {
        Some(address) => Some(ListenAddress::Unix(address.clone())),
        None => listener.local_address().map(ListenAddress::Inet),
    }
}

/// All TCP host forwards of a stack.
#[derive(Default)]
pub(crate) struct TcpForwards {
    pub flows: Table<TcpForward>,
    by_place: Several<Place, ListenerId>,
}

impl TcpForwards {
    /// Adds a forward: who connects to `listener` reaches `guest`.
    ///
    /// # Errors
    /// The table is full, or the poller.
    pub(crate) fn add(
        &mut self,
        listener: Listener,
        guest: Endpoint,
        cx: &mut Context,
    ) -> Result<ListenerId, NotAdmitted> {
        if self.flows.len() >= MAX_LISTENERS {
            return Err(NotAdmitted::Full(MAX_LISTENERS));
        }
        let address = address_of(&listener);
        let place = address.as_ref().map(Place::from);
        let forward = TcpForward { listener, address, guest, readable: false, again: None };
        let id = self.flows.admit(forward, cx).map_err(NotAdmitted::Unwatched)?;
        if let Some(place) = place {
            self.by_place.push(place, id);
        }
        Ok(id)
    }

    /// The forward that listens on `address`; the oldest one, should there be several.
    pub(crate) fn find(&self, address: &ListenAddress) -> Option<ListenerId> {
        self.by_place.get(&Place::from(address)).first().copied()
    }

    /// Has a forward lead to another address of the guest from the next connection on.
    #[cfg(feature = "control")]
    pub(crate) fn lead(&mut self, id: ListenerId, guest: Endpoint) {
        if let Some(forward) = self.flows.get_mut(id) {
            forward.guest = guest;
        }
    }

    /// Removes a forward; false when there is none. Its connections go on.
    pub(crate) fn remove(&mut self, id: ListenerId, cx: &mut Context) -> bool {
        let Some(Entry { flow: forward, .. }) = self.flows.remove(id, cx) else { return false };
        if let Some(address) = &forward.address {
            self.by_place.remove(&Place::from(address), id);
        }
        cx.unwatch(Leaving::Listener(forward.listener));
        true
    }

    /// Takes one turn of one listener that is ready; false when none is.
    pub(crate) fn work(&mut self, tcp: &mut TcpTable, cx: &mut Context) -> bool {
        let Some(id) = self.flows.next_turn() else { return false };
        if let Some(forward) = self.flows.get_mut(id) {
            forward.accept(tcp, cx);
        }
        self.flows.settle(id, cx);
        true
    }

    /// The time for another try has come.
    pub(crate) fn on_deadline(&mut self, id: ListenerId, cx: &mut Context) {
        if let Some(forward) = self.flows.fired(id) {
            forward.again = forward.again.filter(|&again| again > cx.now);
            self.flows.settle(id, cx);
        }
    }

    /// Ends all forwards.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        self.by_place.clear();
        for id in self.flows.newest_first() {
            if let Some(entry) = self.flows.remove(id, cx) {
                cx.unwatch(Leaving::Listener(entry.flow.listener));
            }
        }
    }
}

impl TcpForward {
    /// Takes the connections that wait, as many as one turn may.
    fn accept(&mut self, tcp: &mut TcpTable, cx: &mut Context) {
        for _ in 0..BUDGET {
            if cx.room() == 0 {
                return;
            }
            match cx.open_stream(|| self.listener.accept()) {
                Ok((stream, peer)) => tcp.open_from_host(stream, peer, self.guest, cx),
                // A peer that has gone again while it waited is no reason to leave the next one waiting.
                Err(error) if matches!(Fault::of(&error), Fault::Aborted | Fault::Interrupted | Fault::NoProtocol) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return;
                }
                // The forward stays, and lets nobody in any more, until it is removed.
                Err(error) if Fault::of(&error) == Fault::Gone => {
                    self.listener.lose();
                    cx.tell_of_lost();
                    return;
                }
                // Out of descriptors or memory: the peer keeps waiting in the kernel, which will not report it again, so
                // the listener is tried again after a while.
                Err(_) => {
                    self.again = Some(cx.now + RETRY);
                    return;
                }
            }
        }
    }
}
