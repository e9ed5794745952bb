//! Host forwards for streams: TCP and Unix sockets that listen on the host for peers that want to reach the guest.
//! (A UDP forward has no connections to accept; its socket is a flow.) Source: docs/contract/hostfwd.md.

use std::io::ErrorKind;

use hashbrown::HashMap;
use slotmap::{SlotMap, new_key_type};

use super::host::ListenAddress;
use crate::flow::Context;
use crate::flow::effect::HostSocket;
use crate::flow::key::Endpoint;
use crate::flow::ready::{Mark, ReadyQueue};
use crate::flow::tcp::TcpTable;
use crate::flow::timers::Slot;
use crate::flow::token::{self, Kind};
use crate::host::poller::{News, Readiness};
use crate::host::socket::Listener;
use crate::host::unix::UnixAddress;
use crate::time::Duration;

/// Listeners at one time; a further one is refused.
const MAX_LISTENERS: usize = 4096;
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
    queued: Mark,
    number: u64,
    timer: Slot,
    /// The host had no descriptor for the next connection, and is asked again when the timer fires.
    paused: bool,
}

impl TcpForward {
    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<&ListenAddress> {
        self.address.as_ref()
    }

    /// Forwards are numbered as they are made, in one row with the flows.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn guest(&self) -> Endpoint {
        self.guest
    }

    /// Whether it is of no use to watch the listener: there is a connection, and no descriptor for it.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
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
    forwards: SlotMap<ListenerId, TcpForward>,
    by_place: HashMap<Place, Vec<ListenerId>, foldhash::fast::RandomState>,
    ready: ReadyQueue<ListenerId>,
}

impl TcpForwards {
    /// Adds a forward: who connects to `listener` reaches `guest`. `None` when the table is full or the poller has no room.
    pub(crate) fn add(&mut self, listener: Listener, guest: Endpoint, cx: &mut Context) -> Option<ListenerId> {
        if self.forwards.len() >= MAX_LISTENERS {
            return None;
        }
        let address = address_of(&listener);
        let place = address.as_ref().map(Place::from);
        let id = self.forwards.insert(TcpForward {
            listener,
            address,
            guest,
            queued: Mark::default(),
            number: cx.number(),
            timer: Slot::default(),
            paused: false,
        });
        let watched = self
            .forwards
            .get(id)
            .is_some_and(|forward| cx.watch(&forward.listener, token::pack(Kind::TcpListener, id), News::Incoming));
        if watched {
            if let Some(place) = place {
                self.by_place.entry(place).or_default().push(id);
            }
            return Some(id);
        }
        self.forwards.remove(id);
        None
    }

    /// The forward that listens on `address`; the oldest one, should there be several.
    pub(crate) fn find(&self, address: &ListenAddress) -> Option<ListenerId> {
        self.by_place.get(&Place::from(address))?.first().copied()
    }

    pub(crate) fn get(&self, id: ListenerId) -> Option<&TcpForward> {
        self.forwards.get(id)
    }

    /// Removes a forward; false when there is none. Its connections go on.
    pub(crate) fn remove(&mut self, id: ListenerId, cx: &mut Context) -> bool {
        let Some(mut forward) = self.forwards.remove(id) else { return false };
        if let Some(place) = forward.address.as_ref().map(Place::from)
            && let Some(ids) = self.by_place.get_mut(&place)
        {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.by_place.remove(&place);
            }
        }
        cx.timers.disarm(&mut forward.timer, token::pack(Kind::TcpListener, id));
        cx.unwatch(HostSocket::Listener(forward.listener));
        true
    }

    /// Takes a report of the poller.
    pub(crate) fn on_ready(&mut self, id: ListenerId, ready: Readiness) {
        let Some(forward) = self.forwards.get_mut(id) else { return };
        if ready.readable {
            self.ready.push(id, &mut forward.queued);
        }
    }

    /// Takes one turn of one listener that is ready; false when none is.
    pub(crate) fn work(&mut self, tcp: &mut TcpTable, cx: &mut Context) -> bool {
        let Some(id) = self.ready.pop() else { return false };
        let Some(forward) = self.forwards.get_mut(id) else { return true };
        forward.queued.taken();
        forward.paused = false;
        for _ in 0..BUDGET {
            if cx.room() == 0 {
                break;
            }
            match cx.open_stream(|| forward.listener.accept()) {
                Ok((stream, peer)) => tcp.open_from_host(stream, peer, forward.guest, cx),
                // A peer that has gone again while it waited is no reason to leave the next one waiting.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) => {
                }
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        // Out of descriptors or memory: the peer keeps waiting in the kernel, which will not report it
                        // again, so the listener is tried again after a while.
                        forward.paused = true;
                        let again = cx.now + RETRY;
                        cx.timers.arm(&mut forward.timer, Some(again), token::pack(Kind::TcpListener, id));
                    }
                    return true;
                }
            }
        }
        self.ready.push(id, &mut forward.queued);
        true
    }

    /// The time for another try has come.
    pub(crate) fn on_deadline(&mut self, id: ListenerId) {
        let Some(forward) = self.forwards.get_mut(id) else { return };
        forward.timer.fired();
        self.ready.push(id, &mut forward.queued);
    }

    /// Listeners that still have something to bring in.
    pub(crate) fn backlog(&self) -> usize {
        self.ready.len()
    }

    /// All forwards, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ListenerId, &TcpForward)> {
        self.forwards.iter()
    }

    /// Ends all forwards.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        self.by_place.clear();
        for (id, mut forward) in self.forwards.drain() {
            cx.timers.disarm(&mut forward.timer, token::pack(Kind::TcpListener, id));
            cx.unwatch(HostSocket::Listener(forward.listener));
        }
    }
}
