//! The table of TCP flows: finding them, the lists of those with something to do, the bounds.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use slotmap::new_key_type;

use super::bounds::Bounds;
use super::guest::{CallbackFlows, MAX_COMMANDS, Rule};
use super::relief::Relief;
use super::{Side, TcpFlow};
use crate::flow::context::Context;
use crate::flow::effect::Leaving;
use crate::flow::journal::{Carrier, End};
use crate::flow::key::{Endpoint, FlowKey};
use crate::flow::table::{Flow, Table};
use crate::flow::token::Kind;
use crate::host::handle::{HostNamed, RawSocket};
use crate::host::poller::{News, Readiness};
use crate::host::started::Started;
use crate::ip::rate_limit::RateLimit;
use crate::pace::Hold;
use crate::tcp::{Closed, Flags, Segment, SeqNumber};
use crate::time::{Instant, earliest};

new_key_type! {
    /// Names a TCP flow.
    pub struct TcpId;
}

/// A TCP segment from the guest, in a packet whose checksums were found right.
pub(crate) struct FromGuest<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    /// A queue on the way has marked the packet (RFC 3168 section 5).
    pub marked: bool,
    /// The TCP header and payload.
    pub segment: &'a [u8],
    /// The whole IP packet, for ICMP errors.
    pub packet: &'a [u8],
}

/// All TCP flows of a stack.
pub(crate) struct TcpTable {
    pub flows: Table<TcpFlow>,
    /// The flow of the last segment: bulk transfers come in runs.
    last: Option<(FlowKey, TcpId)>,
    /// Flows with bytes staged for the host, in the order in which they came here.
    staged: VecDeque<TcpId>,
    pub(super) bounds: Bounds,
    pub(super) callbacks: CallbackFlows,
    /// Commands behind guest forwards.
    pub(super) started: Started,
    /// Flows whose first bytes decide whether they go on.
    #[cfg(feature = "policy")]
    pub(super) listening: super::hello::Listening,
    pub(super) relief: Relief,
    /// Of warnings that a guest can cause; made with the first one.
    pub(super) warnings: Option<RateLimit>,
}

impl Default for TcpTable {
    fn default() -> TcpTable {
        TcpTable {
            flows: Table::default(),
            last: None,
            staged: VecDeque::new(),
            bounds: Bounds::default(),
            callbacks: CallbackFlows::default(),
            started: Started::new(MAX_COMMANDS),
            #[cfg(feature = "policy")]
            listening: super::hello::Listening::default(),
            relief: Relief::default(),
            warnings: None,
        }
    }
}

impl TcpTable {
    /// Takes a segment from the guest. `forward_at` gives the guest forward at an address and port.
    pub(crate) fn on_segment(
        &mut self,
        from: &FromGuest<'_>,
        forward_at: &dyn Fn(Endpoint) -> Option<Arc<Rule>>,
        cx: &mut Context,
    ) {
        let Some(segment) = Segment::parse(from.segment) else { return };
        let Some(&[source_high, source_low, high, low]) = from.segment.first_chunk::<4>() else { return };
        let key = FlowKey {
            guest: Endpoint { ip: from.source, port: u16::from_be_bytes([source_high, source_low]) },
            remote: Endpoint { ip: from.destination, port: u16::from_be_bytes([high, low]) },
        };
        let mut found = self.find(&key);
        if segment.flags.contains(Flags::SYN)
            && let Some(id) = found
            && self.gives_way(id, &segment, from.ttl, cx)
        {
            self.end(id, End::Replaced, cx);
            found = None;
        }
        match found {
            Some(id) => self.advance(id, &segment, from, cx),
            None => self.on_unknown(key, &segment, from, forward_at(key.remote), cx),
        }
    }

    /// Takes a segment that belongs to no flow.
    #[inline(never)]
    fn on_unknown(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        from: &FromGuest<'_>,
        forward: Option<Arc<Rule>>,
        cx: &mut Context,
    ) {
        // Neither a connection nor a reset comes from a group or goes to one (RFC 9293 section 3.9.2.3).
        let nobody = key.guest.ip.is_unspecified() || cx.policy.is_group(key.guest.ip);
        if nobody || (forward.is_none() && cx.policy.is_group(key.remote.ip)) {
            return;
        }
        let controls = Flags::SYN | Flags::FIN | Flags::RST | Flags::URG | Flags::ACK;
        if segment.flags & controls == Flags::SYN {
            self.open_from_guest(key, segment, from, forward, cx);
        } else {
            stray(&key, segment, cx);
        }
    }

    /// The place for the payload of a segment, where that is the next of a flow and all there is to the segment; its checksum
    /// need not have been looked at. What is copied there becomes part of the stream with [`TcpTable::on_placed`], which has
    /// to be the next call then. `None` when the segment is one for [`TcpTable::on_segment`].
    pub(crate) fn place(
        &mut self,
        key: &FlowKey,
        ttl: u8,
        header: &Segment<'_>,
        length: usize,
        cx: &mut Context,
    ) -> Option<(TcpId, &mut [u8])> {
        let id = self.find(key)?;
        let flow = self.flows.get_mut(id)?;
        let plain = (flow.ttl == ttl || flow.ttl == 0) && flow.host.stream().is_some();
        let place = flow.conn.place(header, length, cx.now, &mut cx.pool);
        Some((id, place.filter(|_| plain)?))
    }

    /// The segment with this place was found to be wrong.
    #[cold]
    pub(crate) fn forget_place(&mut self, id: TcpId, cx: &mut Context) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.conn.forget_place(&mut cx.pool);
        }
    }

    /// Takes the segment whose payload lies in its place.
    pub(crate) fn on_placed(&mut self, id: TcpId, header: &Segment<'_>, length: usize, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.on_placed(header, length, cx);
        self.settle(id, cx);
    }

    /// Whether a SYN between the ends of a flow opens a new connection in its place.
    #[cold]
    fn gives_way(&self, id: TcpId, syn: &Segment<'_>, ttl: u8, cx: &Context) -> bool {
        let Some(flow) = self.flows.get(id) else { return false };
        if flow.conn.reopened_by(syn, cx.now) {
            flow.break_off();
            return true;
        }
        // While the host side is being connected, one with other hops is another try.
        let other_hops = flow.host.is_connecting() && flow.ttl != 0 && flow.ttl != ttl;
        other_hops || flow.conn.reusable_by(syn)
    }

    pub(super) fn find(&mut self, key: &FlowKey) -> Option<TcpId> {
        if let Some((last, id)) = &self.last
            && last == key
        {
            return Some(*id);
        }
        let id = self.flows.find(key)?;
        self.last = Some((*key, id));
        Some(id)
    }

    pub(super) fn forget_last(&mut self, id: TcpId) {
        if self.last.is_some_and(|(_, last)| last == id) {
            self.last = None;
        }
    }

    /// Takes a segment for a flow.
    fn advance(&mut self, id: TcpId, segment: &Segment<'_>, from: &FromGuest<'_>, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        if flow.ttl != from.ttl && flow.ttl != 0 && !flow.change_ttl(segment, from, cx) {
            return;
        }
        if from.marked || segment.flags.contains(Flags::CWR) {
            flow.conn.on_mark(segment, from.marked);
        }
        flow.on_segment(segment, cx);
        if flow.host.stream().is_none() {
            self.after_segment_for_program(id, cx);
        }
        self.settle(id, cx);
    }

    /// A segment has come for a flow without a host peer.
    #[cold]
    fn after_segment_for_program(&mut self, id: TcpId, cx: &mut Context) {
        let Some(flow) = self.flows.get(id) else { return };
        match flow.host.side() {
            Side::Waiting(_) => self.attach(id, cx),
            Side::Application(_) => self.tell_program(id, cx),
            #[cfg(feature = "policy")]
            Side::Queries(_) => self.converse(id, cx),
            _ => {}
        }
    }

    /// Puts a flow on the lists it belongs on after something happened to it, or ends it.
    pub(super) fn settle(&mut self, id: TcpId, cx: &mut Context) {
        let Some(mut held) = self.flows.hold(id) else { return };
        let flow = held.flow();
        if let Some(reason) = flow.conn.closed()
            && !flow.lingers()
        {
            if matches!(reason, Closed::ResetByPeer | Closed::TimedOut) {
                flow.break_off();
            }
            self.remove(id, cx);
            return;
        }
        if flow.has_staged() && !std::mem::replace(&mut flow.staged, true) {
            self.staged.push_back(id);
        }
        let stage = flow.stage_now();
        let before = std::mem::replace(&mut flow.stage, stage);
        held.settle(cx);
        if stage != before {
            self.change_stage(id, before, stage, cx);
        }
    }

    /// Ends a flow for a reason that it does not know of.
    #[cold]
    pub(super) fn end(&mut self, id: TcpId, why: End, cx: &mut Context) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.host.account.ends(why);
        }
        self.remove(id, cx);
    }

    /// Ends a flow. The guest was told before, or need not be.
    fn remove(&mut self, id: TcpId, cx: &mut Context) {
        let Some(mut entry) = self.flows.remove(id, cx) else { return };
        self.callbacks.remove(id, &entry);
        let otherwise = match entry.flow.conn.closed() {
            Some(Closed::Finished) => End::Closed,
            Some(Closed::ResetByPeer) => End::GuestReset,
            Some(Closed::TimedOut) => End::GuestSilent,
            Some(Closed::Aborted) | None => End::Reset,
        };
        let account = &entry.flow.host.account;
        cx.journal.ended(entry.number, Carrier::Tcp, account, (otherwise, || entry.flow.said()), cx.now);
        entry.flow.break_with_program(id, cx);
        self.forget_last(id);
        self.leave_stage(entry.flow.stage);
        entry.flow.conn.release(&mut cx.pool);
        cx.ends(entry.flow.host.take_meter());
        if let Some(stream) = entry.flow.host.leave() {
            cx.unwatch(Leaving::Stream(stream));
        }
    }

    /// Takes one turn of one flow that is ready; false when none is.
    pub(crate) fn work(&mut self, cx: &mut Context) -> bool {
        let Some(id) = self.flows.next_turn() else { return false };
        let alone = self.flows.backlog() == 0;
        let Some(mut flow) = self.flows.get_mut(id) else { return true };
        if flow.host.is_connecting() {
            self.try_other_address(id, cx);
            let Some(same) = self.flows.get_mut(id) else { return true };
            flow = same;
        }
        flow.turn(alone, cx);
        #[cfg(feature = "policy")]
        if matches!(flow.host.side(), Side::Queries(_)) {
            self.converse(id, cx);
        }
        self.settle(id, cx);
        true
    }

    /// Whether bytes are staged for the host.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Hands staged bytes to the host, unless they are held as more may come.
    pub(crate) fn flush(&mut self, hold: Hold, cx: &mut Context) {
        for _ in 0..self.staged.len() {
            if cx.room() == 0 {
                break;
            }
            let Some(id) = self.staged.pop_front() else { break };
            if let Some(flow) = self.flows.get_mut(id) {
                if flow.staging.is_held(hold) {
                    self.staged.push_back(id);
                    continue;
                }
                flow.staged = false;
                flow.flush(cx);
                flow.reset_when_delivered(cx);
                flow.answer(cx);
            }
            self.settle(id, cx);
        }
    }

    /// The deadline of a flow has come.
    pub(crate) fn on_deadline(&mut self, id: TcpId, cx: &mut Context) {
        self.follow_guest(id, cx);
        let Some(flow) = self.flows.fired(id) else { return };
        let timeouts = flow.conn.timeouts();
        flow.on_deadline(cx);
        flow.ask_for_guest(timeouts, cx);
        match flow.host.side() {
            Side::Waiting(_) => self.attach(id, cx),
            Side::Application(_) => self.on_program_deadline(id, cx),
            #[cfg(feature = "policy")]
            Side::Queries(_) => self.converse(id, cx),
            _ => {}
        }
        self.settle(id, cx);
    }

    /// Ends all flows without a word to the guest.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        for id in self.flows.newest_first() {
            self.end(id, End::Stopped, cx);
        }
    }
}

impl TcpFlow {
    /// [`Flow::wants_turn`] of one that has no host peer, or not yet.
    #[cold]
    fn wants_turn_without_peer(&self) -> bool {
        if self.host.is_connecting() {
            return self.host.has_connect_news();
        }
        #[cfg(feature = "policy")]
        if let Side::Queries(dialogue) = self.host.side() {
            return dialogue.has_news();
        }
        false
    }
}

impl Flow for TcpFlow {
    type Id = TcpId;
    type Key = FlowKey;
    /// Flows make room by what part of their life they are in: see [`Bounds`].
    type Order = ();
    const KIND: Kind = Kind::Tcp;
    const NEWS: News = News::Stream;

    fn key(&self) -> Option<FlowKey> {
        Some(self.key)
    }

    fn socket(&self) -> Option<RawSocket> {
        let stream = self.host.stream();
        #[cfg(feature = "policy")]
        let stream = match self.host.side() {
            Side::Queries(dialogue) => dialogue.stream(),
            _ => stream,
        };
        stream.map(HostNamed::raw_socket)
    }

    fn on_ready(&mut self, ready: Readiness) {
        self.host.on_ready(ready);
    }

    fn wants_turn(&self) -> bool {
        if self.unfinished {
            return true;
        }
        if self.host.is_connecting() || self.host.stream().is_none() {
            return self.wants_turn_without_peer();
        }
        self.can_pull()
            || (self.host.is_writable() && !self.staged && self.conn.is_established() && self.has_unflushed())
            || self.host.may_have_refused()
    }

    /// It has no bytes for the guest: it asks and answers, or owes no more than an acknowledgment. Else uploads would wait for
    /// theirs until each of all downloads has had its turn.
    fn is_light(&self) -> bool {
        self.conn.send().is_empty()
    }

    fn deadline(&self) -> Option<Instant> {
        let guest = self.conn.deadline();
        let guest = if self.exchange.is_waiting() { earliest(guest, self.exchange.deadline()) } else { guest };
        earliest(guest, self.host.deadline())
    }

    fn interest(&self) -> (bool, bool) {
        #[cfg(feature = "policy")]
        if let Side::Queries(dialogue) = self.host.side() {
            return dialogue.interest();
        }
        let write = self.host.wants_write() && (self.host.is_connecting() || self.has_unflushed());
        let reads = (self.conn.is_established() && self.conn.send_room() > 0) || self.host.is_talking();
        let read = self.host.wants_read() && reads;
        (read, write)
    }
}

/// Answers a segment that belongs to no flow (RFC 9293 section 3.10.7.1): a reset is never answered.
fn stray(key: &FlowKey, segment: &Segment<'_>, cx: &mut Context) {
    if !segment.flags.contains(Flags::RST) {
        reset(key, segment, cx);
    }
}

/// Sends the reset that answers `segment`.
pub(super) fn reset(key: &FlowKey, segment: &Segment<'_>, cx: &mut Context) {
    let (sequence, acknowledgment, flags) = if segment.flags.contains(Flags::ACK) {
        (segment.ack, SeqNumber(0), Flags::RST)
    } else {
        (SeqNumber(0), segment.seq + segment.len(), Flags::RST | Flags::ACK)
    };
    cx.egress.reset(key.remote, key.guest, sequence, acknowledgment, flags, cx.now);
}
