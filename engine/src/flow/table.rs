//! All flows of one kind: the table that finds them, knows which of them want a turn and when each is due, and has their host
//! sockets watched. TCP flows, UDP flows, pings and the listeners of host forwards are each in one; what differs between
//! them is what [`Flow`] asks. What a turn and a deadline do is no business of the table.

use std::cmp::Reverse;
use std::hash::Hash;
use std::os::fd::RawFd;

use hashbrown::HashMap;
use slotmap::{Key, SlotMap};

use super::clock_hand::{ClockHand, Visit};
use super::context::Context;
use super::ready::{Mark, ReadyQueue};
use super::timers::Slot;
use super::token::{self, Kind};
use crate::host::poller::{News, Readiness};
use crate::time::Instant;

/// What a table has to know of a flow.
pub(crate) trait Flow {
    /// Names a flow.
    type Id: Key;
    /// What a flow is found by; [`Infallible`](std::convert::Infallible) where none is looked for.
    type Key: Copy + Eq + Hash;
    /// Which flows make room for new ones; nothing where none does.
    type Order: Default;
    const KIND: Kind;
    /// What the poller tells of the host socket.
    const NEWS: News;

    fn key(&self) -> Option<Self::Key>;

    /// The host socket, where there is one.
    fn socket(&self) -> Option<RawFd>;

    /// Takes a report of the poller.
    fn on_ready(&mut self, ready: Readiness);

    /// Whether there is something to bring in or to send now.
    fn wants_turn(&self) -> bool;

    /// Whether that is little, so that it may go before what others have.
    fn is_light(&self) -> bool {
        false
    }

    /// The next moment at which something is due without any event.
    fn deadline(&self) -> Option<Instant>;

    /// What the application is to watch the host socket for in direct mode: reading, writing.
    fn interest(&self) -> (bool, bool);
}

/// A flow that makes room: of those that have a key, the one least used goes.
pub(crate) trait GivesWay: Flow<Order = ClockHand<<Self as Flow>::Id>> {
    /// Set when the flow carries something.
    fn used(&mut self) -> &mut bool;
}

/// A flow, and what its table has noted of it.
pub(crate) struct Entry<F> {
    pub flow: F,
    /// Flows and forwards are numbered in one row as they are made.
    pub number: u64,
    queued: Mark,
    timer: Slot,
}

/// See the module.
pub(crate) struct Table<F: Flow> {
    entries: SlotMap<F::Id, Entry<F>>,
    by_key: HashMap<F::Key, F::Id, foldhash::fast::RandomState>,
    ready: ReadyQueue<F::Id>,
    pub order: F::Order,
}

impl<F: Flow> Default for Table<F> {
    fn default() -> Table<F> {
        let (entries, by_key) = (SlotMap::with_key(), HashMap::default());
        Table { entries, by_key, ready: ReadyQueue::default(), order: F::Order::default() }
    }
}

impl<F: Flow> Table<F> {
    pub(crate) fn get(&self, id: F::Id) -> Option<&F> {
        self.entries.get(id).map(|entry| &entry.flow)
    }

    pub(crate) fn get_mut(&mut self, id: F::Id) -> Option<&mut F> {
        self.entries.get_mut(id).map(|entry| &mut entry.flow)
    }

    /// A flow with what is noted of it.
    pub(crate) fn entry(&self, id: F::Id) -> Option<&Entry<F>> {
        self.entries.get(id)
    }

    /// The flow with this key.
    pub(crate) fn find(&self, key: &F::Key) -> Option<F::Id> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All flows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (F::Id, &Entry<F>)> {
        self.entries.iter()
    }

    /// All flows in the order in which they are ended: newest first, as the application sees their sockets go in the order
    /// in which upstream lists them.
    pub(crate) fn newest_first(&self) -> Vec<F::Id> {
        let mut ids: Vec<F::Id> = self.entries.keys().collect();
        ids.sort_by_key(|&id| Reverse(self.entries.get(id).map(|entry| entry.number)));
        ids
    }

    /// Takes a flow in. Nobody else may have its key.
    pub(crate) fn insert(&mut self, flow: F, cx: &mut Context) -> F::Id {
        let key = flow.key();
        let entry = Entry { flow, number: cx.number(), queued: Mark::default(), timer: Slot::default() };
        let id = self.entries.insert(entry);
        if let Some(key) = key {
            self.by_key.insert(key, id);
        }
        id
    }

    /// Takes a flow in and has its host socket watched. `None`, and the flow is gone, when the poller has no room for it.
    pub(crate) fn admit(&mut self, flow: F, cx: &mut Context) -> Option<F::Id> {
        let id = self.insert(flow, cx);
        if self.watch(id, cx) {
            self.settle(id, cx);
            return Some(id);
        }
        self.remove(id, cx);
        None
    }

    /// Has the poller watch the host socket, if there is one. When it has no room for it the application was not told of
    /// the socket, and is not to be told of its end.
    pub(crate) fn watch(&self, id: F::Id, cx: &mut Context) -> bool {
        let socket = self.get(id).and_then(F::socket);
        socket.is_none_or(|socket| cx.watch(&socket, token::pack(F::KIND, id), F::NEWS))
    }

    /// Takes a flow out. What becomes of its host socket is up to the caller.
    pub(crate) fn remove(&mut self, id: F::Id, cx: &mut Context) -> Option<Entry<F>> {
        let mut entry = self.entries.remove(id)?;
        cx.timers.disarm(&mut entry.timer, token::pack(F::KIND, id));
        if let Some(key) = entry.flow.key() {
            self.by_key.remove(&key);
        }
        Some(entry)
    }

    /// To be called when something has happened to a flow: queues it for a turn if it wants one, and sees to its deadline.
    /// (One that has only moved later need not be seen to.)
    pub(crate) fn settle(&mut self, id: F::Id, cx: &mut Context) {
        self.queue(id);
        self.arm(id, cx);
    }

    fn queue(&mut self, id: F::Id) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.flow.wants_turn()) else { return };
        if entry.flow.is_light() {
            self.ready.push_light(id, &mut entry.queued);
        } else {
            self.ready.push(id, &mut entry.queued);
        }
    }

    /// Sees to the deadline of a flow.
    pub(crate) fn arm(&mut self, id: F::Id, cx: &mut Context) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        cx.timers.arm(&mut entry.timer, entry.flow.deadline(), token::pack(F::KIND, id));
    }

    /// Takes a report of the poller.
    pub(crate) fn on_ready(&mut self, id: F::Id, ready: Readiness) {
        if let Some(flow) = self.get_mut(id) {
            flow.on_ready(ready);
            self.queue(id);
        }
    }

    /// The flow whose turn it is.
    pub(crate) fn next_turn(&mut self) -> Option<F::Id> {
        loop {
            let id = self.ready.pop()?;
            if let Some(entry) = self.entries.get_mut(id) {
                entry.queued.taken();
                return Some(id);
            }
        }
    }

    /// How many wait for a turn.
    pub(crate) fn backlog(&self) -> usize {
        self.ready.len()
    }

    /// The entry of a flow was taken from the queue of deadlines; to be followed by [`Table::settle`] or [`Table::remove`].
    pub(crate) fn fired(&mut self, id: F::Id) -> Option<&mut F> {
        let entry = self.entries.get_mut(id)?;
        entry.timer.fired();
        Some(&mut entry.flow)
    }

    /// What the application is to watch in direct mode: token, socket, for reading, for writing.
    pub(crate) fn interests(&self, mut interest: impl FnMut(u64, RawFd, bool, bool)) {
        for (id, Entry { flow, .. }) in &self.entries {
            let (read, write) = flow.interest();
            if let Some(socket) = flow.socket().filter(|_| read || write) {
                interest(token::pack(F::KIND, id), socket, read, write);
            }
        }
    }
}

impl<F: GivesWay> Table<F> {
    /// How many flows may have to go.
    pub(crate) fn giving_way(&self) -> usize {
        self.by_key.len()
    }

    /// Notes a flow that may have to go from now on.
    pub(crate) fn give_way(&mut self, id: F::Id) {
        let entries = &self.entries;
        self.order.insert(id, self.by_key.len(), |id| entries.contains_key(id));
    }

    /// The flow that is to go, or `None` when all were used again meanwhile.
    pub(crate) fn victim(&mut self) -> Option<F::Id> {
        let entries = &mut self.entries;
        self.order.victim(|id| match entries.get_mut(id) {
            None => Visit::Gone,
            Some(entry) => Visit::of(entry.flow.used()),
        })
    }
}
