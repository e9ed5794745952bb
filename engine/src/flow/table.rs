//! All flows of one kind: the table that finds them, knows which of them want a turn and when each is due, and has their host
//! sockets watched. TCP flows, UDP flows, pings and the listeners of host forwards are each in one; what differs between
//! them is what [`Flow`] asks. What a turn and a deadline do is no business of the table.

use std::cmp::Reverse;
use std::hash::Hash;
use std::io;

use hashbrown::HashMap;
use slotmap::{Key, SlotMap};

use super::clock_hand::{ClockHand, Visit};
use super::context::Context;
use super::ready::{Mark, ReadyQueue};
use super::timers::Slot;
use super::token::{self, Kind};
use crate::host::handle::RawSocket;
use crate::host::owned::is_open;
use crate::host::poller::{News, Readiness};
use crate::time::Instant;

/// What a table has to know of a flow.
pub(crate) trait Flow {
    /// Names a flow.
    type Id: Key;
    /// What a flow is found by; [`Infallible`](std::convert::Infallible) where none is looked for.
    type Key: Copy + Eq + Hash;
    /// The order in which flows make room for new ones; nothing where none does, or where that is no business of the table.
    type Order: Default;
    const KIND: Kind;
    /// What the poller tells of the host socket.
    const NEWS: News;

    fn key(&self) -> Option<Self::Key>;

    /// The host socket, where there is one.
    fn socket(&self) -> Option<RawSocket>;

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

    /// A second socket that it is to watch, and what for.
    fn interest_beside(&self) -> Option<(RawSocket, bool, bool)> {
        None
    }
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

/// Why a flow was not taken in.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// There are as many as there may be.
    Full(usize),
    /// The poller has no room for its socket.
    Unwatched(io::Error),
}

/// See the module.
pub(crate) struct Table<F: Flow> {
    entries: SlotMap<F::Id, Entry<F>>,
    by_key: HashMap<F::Key, F::Id, foldhash::fast::RandomState>,
    ready: ReadyQueue<F::Id>,
    pub order: F::Order,
}

/// A flow in its table.
pub(crate) struct Held<'a, F: Flow> {
    id: F::Id,
    entry: &'a mut Entry<F>,
    ready: &'a mut ReadyQueue<F::Id>,
}

impl<F: Flow> Held<'_, F> {
    #[inline]
    pub(crate) fn flow(&mut self) -> &mut F {
        &mut self.entry.flow
    }

    /// See [`Table::settle`].
    #[inline]
    pub(crate) fn settle(mut self, cx: &mut Context) {
        self.queue();
        self.arm(cx);
    }

    #[inline]
    fn queue(&mut self) {
        if !self.entry.flow.wants_turn() {
            return;
        }
        if self.entry.flow.is_light() {
            self.ready.push_light(self.id, &mut self.entry.queued);
        } else {
            self.ready.push(self.id, &mut self.entry.queued);
        }
    }

    #[inline]
    fn arm(&mut self, cx: &mut Context) {
        cx.timers.arm(&mut self.entry.timer, self.entry.flow.deadline(), token::pack(F::KIND, self.id));
    }
}

impl<F: Flow> Default for Table<F> {
    fn default() -> Table<F> {
        let (entries, by_key) = (SlotMap::with_key(), HashMap::default());
        Table { entries, by_key, ready: ReadyQueue::default(), order: F::Order::default() }
    }
}

impl<F: Flow> Table<F> {
    #[inline]
    pub(crate) fn get(&self, id: F::Id) -> Option<&F> {
        self.entries.get(id).map(|entry| &entry.flow)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: F::Id) -> Option<&mut F> {
        self.entries.get_mut(id).map(|entry| &mut entry.flow)
    }

    /// A flow with what is noted of it.
    pub(crate) fn entry(&self, id: F::Id) -> Option<&Entry<F>> {
        self.entries.get(id)
    }

    /// The flow with this key.
    #[inline]
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
    #[inline]
    pub(crate) fn insert(&mut self, flow: F, cx: &mut Context) -> F::Id {
        let key = flow.key();
        let entry = Entry { flow, number: cx.number(), queued: Mark::default(), timer: Slot::default() };
        let id = self.entries.insert(entry);
        if let Some(key) = key {
            self.by_key.insert(key, id);
        }
        id
    }

    /// Takes a flow in and has its host socket watched.
    ///
    /// # Errors
    /// What the poller said, which has no room for it; the flow is gone.
    pub(crate) fn admit(&mut self, flow: F, cx: &mut Context) -> io::Result<F::Id> {
        let id = self.insert(flow, cx);
        match self.watch(id, cx) {
            Ok(()) => {
                self.settle(id, cx);
                Ok(id)
            }
            Err(error) => {
                self.remove(id, cx);
                Err(error)
            }
        }
    }

    /// Has the poller watch the host socket, if there is one.
    ///
    /// # Errors
    /// What the poller said. The application was not told of the socket, and is not to be told of its end.
    pub(crate) fn watch(&self, id: F::Id, cx: &mut Context) -> io::Result<()> {
        let socket = self.get(id).and_then(F::socket);
        socket.map_or(Ok(()), |socket| cx.watch(socket, token::pack(F::KIND, id), F::NEWS))
    }

    /// Changes what a flow is found by.
    pub(crate) fn rename(&mut self, id: F::Id, rename: impl FnOnce(&mut F)) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(old) = entry.flow.key() {
            self.by_key.remove(&old);
        }
        rename(&mut entry.flow);
        if let Some(new) = entry.flow.key() {
            self.by_key.insert(new, id);
        }
    }

    /// Takes a flow out. What becomes of its host socket is up to the caller.
    #[inline]
    pub(crate) fn remove(&mut self, id: F::Id, cx: &mut Context) -> Option<Entry<F>> {
        let entry = self.entries.get_mut(id)?;
        cx.timers.disarm(&mut entry.timer, token::pack(F::KIND, id));
        if let Some(key) = entry.flow.key() {
            self.by_key.remove(&key);
        }
        // Flows are large: what is moved once more here costs as much as all the rest.
        self.entries.remove(id)
    }

    /// To be called when something has happened to a flow: queues it for a turn if it wants one, and sees to its deadline.
    /// (One that has only moved later need not be seen to.)
    pub(crate) fn settle(&mut self, id: F::Id, cx: &mut Context) {
        if let Some(held) = self.hold(id) {
            held.settle(cx);
        }
    }

    /// A flow that is to be settled once something was done with it.
    #[inline]
    pub(crate) fn hold(&mut self, id: F::Id) -> Option<Held<'_, F>> {
        let ready = &mut self.ready;
        self.entries.get_mut(id).map(|entry| Held { id, entry, ready })
    }

    /// Sees to the deadline of a flow.
    pub(crate) fn arm(&mut self, id: F::Id, cx: &mut Context) {
        if let Some(mut held) = self.hold(id) {
            held.arm(cx);
        }
    }

    /// Takes a report of the poller.
    #[inline(always)]
    pub(crate) fn on_ready(&mut self, id: F::Id, ready: Readiness) {
        if let Some(mut held) = self.hold(id) {
            held.flow().on_ready(ready);
            held.queue();
        }
    }

    /// Has each flow whose host socket is there no more find that out, as by a report. Whether there are such.
    pub(crate) fn report_lost(&mut self) -> bool {
        const BROKEN: Readiness =
            Readiness { readable: true, writable: true, read_closed: true, priority: false, error: true };
        let mut any = false;
        for (id, entry) in &mut self.entries {
            if entry.flow.socket().is_some_and(|socket| !is_open(socket)) {
                any = true;
                entry.flow.on_ready(BROKEN);
                Held { id, entry, ready: &mut self.ready }.queue();
            }
        }
        any
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
    pub(crate) fn interests(&self, mut interest: impl FnMut(u64, RawSocket, bool, bool)) {
        for (id, Entry { flow, .. }) in &self.entries {
            let (read, write) = flow.interest();
            if let Some(socket) = flow.socket().filter(|_| read || write) {
                interest(token::pack(F::KIND, id), socket, read, write);
            }
            if let Some((socket, read, write)) = flow.interest_beside() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::DefaultKey;

    /// What it is found by, and whether it was used.
    struct Toy(Option<u8>, bool);

    impl Flow for Toy {
        type Id = DefaultKey;
        type Key = u8;
        type Order = ClockHand<DefaultKey>;
        const KIND: Kind = Kind::Icmp;
        const NEWS: News = News::Incoming;

        fn key(&self) -> Option<u8> {
            self.0
        }

        fn socket(&self) -> Option<RawSocket> {
            None
        }

        fn on_ready(&mut self, ready: Readiness) {
            self.1 |= ready.readable;
        }

        fn wants_turn(&self) -> bool {
            self.1
        }

        fn deadline(&self) -> Option<Instant> {
            None
        }

        fn interest(&self) -> (bool, bool) {
            (true, false)
        }
    }

    impl GivesWay for Toy {
        fn used(&mut self) -> &mut bool {
            &mut self.1
        }
    }

    fn table(flows: impl IntoIterator<Item = (Toy, u64)>) -> (Table<Toy>, Vec<DefaultKey>) {
        let mut table = Table::default();
        let ids = flows.into_iter().map(|(flow, number)| {
            let key = flow.key();
            let entry = Entry { flow, number, queued: Mark::default(), timer: Slot::default() };
            let id = table.entries.insert(entry);
            table.by_key.extend(key.map(|key| (key, id)));
            id
        });
        let ids = ids.collect();
        (table, ids)
    }

    #[test]
    fn the_newest_goes_first() {
        let (table, ids) = table([(Toy(None, false), 1), (Toy(None, false), 9), (Toy(None, false), 4)]);
        assert_eq!(table.newest_first(), [ids[1], ids[2], ids[0]]);
    }

    #[test]
    fn who_wants_a_turn_has_one_and_who_is_gone_has_none() {
        let (mut table, ids) = table((0..3).map(|number| (Toy(None, false), number)));
        let readable = Readiness { readable: true, ..Readiness::default() };
        table.on_ready(ids[0], Readiness::default());
        assert_eq!(table.backlog(), 0);
        for id in [ids[1], ids[2], ids[1]] {
            table.on_ready(id, readable);
        }
        assert_eq!(table.backlog(), 2);
        table.entries.remove(ids[1]);
        assert_eq!((table.next_turn(), table.next_turn()), (Some(ids[2]), None));
        table.on_ready(ids[1], readable);
        assert_eq!(table.backlog(), 0);
    }

    #[test]
    fn a_flow_is_found_by_its_new_name_only() {
        let (mut table, ids) = table([(Toy(Some(1), false), 1)]);
        table.rename(ids[0], |flow| flow.0 = Some(2));
        assert_eq!((table.find(&1), table.find(&2)), (None, Some(ids[0])));
    }

    #[test]
    fn the_one_that_was_not_used_makes_room() {
        let (mut table, ids) = table([(Toy(Some(1), true), 1), (Toy(Some(2), false), 2)]);
        ids.iter().for_each(|&id| table.give_way(id));
        assert_eq!((table.giving_way(), table.victim()), (2, Some(ids[1])));
    }
}
