//! Connections with the virtual name server whose messages are looked at: the guest's bytes on their way into a
//! [`Dialogue`] and out of it.

use super::TcpFlow;
use super::table::{TcpId, TcpTable};
use super::{Origin, Side};
use crate::flow::context::Context;
use crate::flow::effect::Leaving;
use crate::flow::gate::{Admission, Service};
use crate::flow::journal::{About, Carrier};
use crate::flow::key::FlowKey;
use crate::flow::name_server::Dialogue;
use crate::flow::token::{self, Kind};
use crate::tcp::{Connection, Segment};

/// Messages that one turn looks at.
const MESSAGES: usize = 64;
/// Bytes that the guest may be given ahead of what it has acknowledged.
const AHEAD: usize = 64 * 1024;

impl TcpTable {
    /// A connection that ends here.
    pub(super) fn open_dialogue(
        &mut self,
        key: FlowKey,
        segment: &Segment<'_>,
        admission: Admission,
        cx: &mut Context,
    ) {
        let config = cx.tcp_config_for(&key);
        let conn = Connection::passive(&config, segment, cx.initial_sequence(&key), cx.now, &mut cx.pool);
        let about = About::out(Carrier::Tcp, key.guest, key.remote, None).for_service(Some(Service::Dns)).by(admission);
        let id = self.insert(key, conn, Side::Queries(Box::default()), Origin::Guest, &about, cx);
        if let Some(flow) = self.flows.get_mut(id) {
            flow.conn.accept(cx.now);
            flow.transmit(cx);
        }
        self.settle(id, cx);
    }

    /// Something has come of either side, or a deadline has.
    #[cold]
    pub(super) fn converse(&mut self, id: TcpId, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Some(mut dialogue) = flow.host.take_dialogue() else { return };
        let is_open = flow.go_on_with(&mut dialogue, token::pack(Kind::Tcp, id), cx);
        if is_open.is_some() {
            flow.host.put_dialogue(dialogue);
        } else if let Some(stream) = dialogue.leave() {
            cx.unwatch(Leaving::Stream(stream));
        }
        flow.transmit(cx);
        flow.unfinished |= is_open == Some(true);
    }
}

impl TcpFlow {
    /// Whether there is more to do at once; `None` when all is said.
    fn go_on_with(&mut self, dialogue: &mut Dialogue, token: u64, cx: &mut Context) -> Option<bool> {
        let mut more = false;
        for _ in 0..MESSAGES {
            let taken = self.hear(dialogue, cx);
            let Ok(went_on) = dialogue.go_on(&self.key, token, cx) else {
                self.reset_both(cx);
                return None;
            };
            let given = self.tell(dialogue, cx);
            more = taken || went_on || given;
            if !more {
                break;
            }
        }
        if dialogue.is_done() && self.conn.peer_finished() && self.conn.recv().is_empty() {
            self.host.note_end();
            self.host.finish();
            self.conn.close_send();
            return None;
        }
        Some(more)
    }

    /// Takes as much of the guest's bytes as its next message has.
    fn hear(&mut self, dialogue: &mut Dialogue, cx: &mut Context) -> bool {
        let mut taken = 0;
        let (first, second) = self.conn.recv().slices();
        for part in [first, second] {
            let mut part = part;
            // The length comes first, and says how much follows.
            while !part.is_empty() && dialogue.room_for_guest() > 0 {
                let (now, rest) = part.split_at(part.len().min(dialogue.room_for_guest()));
                dialogue.hear_guest(now);
                taken += now.len();
                part = rest;
            }
        }
        if taken > 0 {
            cx.budget.moved(taken);
            self.conn.consume_received(taken, &mut cx.pool);
            self.host.account.gave_host(taken);
        }
        taken > 0
    }

    /// Gives the guest what there is room for.
    fn tell(&mut self, dialogue: &mut Dialogue, cx: &mut Context) -> bool {
        let bytes = dialogue.for_guest();
        if bytes.is_empty() {
            return false;
        }
        self.conn.look_at_share(&cx.pool);
        let room = self.conn.send_room().min(AHEAD.saturating_sub(self.conn.send().len()));
        let limit = self.conn.send_limit();
        let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        let given = if bytes.is_empty() { 0 } else { self.conn.send_mut().push(bytes, limit, &mut cx.pool) };
        cx.budget.moved(given);
        cx.budget.moved(given);
        self.host.account.gave_guest(given);
        dialogue.gave_guest(given);
        given > 0
    }
}
