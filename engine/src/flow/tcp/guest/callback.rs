//! Guest forwards that lead to a callback of the application: their flows by address and age, because what the
//! application gives for an address goes to the newest flow there. Source: docs/contract/guestfwd-exec-unix.md section
//! 3.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Rule;
use crate::flow::context::Context;
use crate::flow::effect::Effect;
use crate::flow::key::Endpoint;
use crate::flow::table::Entry;
use crate::flow::tcp::table::{TcpId, TcpTable};
use crate::flow::tcp::{Side, TcpFlow};

/// The flows of callbacks, oldest first at each address and port.
#[derive(Debug, Default)]
pub(in crate::flow::tcp) struct CallbackFlows {
    /// Where, the flow's number, and the flow.
    flows: BTreeSet<(Endpoint, u64, TcpId)>,
}

impl CallbackFlows {
    /// Notes a new flow, if it is one of a callback.
    pub(in crate::flow::tcp) fn insert(&mut self, id: TcpId, Entry { flow, number, .. }: &Entry<TcpFlow>) {
        if let Side::Callback = flow.side() {
            self.flows.insert((flow.key.remote, *number, id));
        }
    }

    /// Forgets a flow that is going.
    pub(in crate::flow::tcp) fn remove(&mut self, id: TcpId, Entry { flow, number, .. }: &Entry<TcpFlow>) {
        if let Side::Callback = flow.side() {
            self.flows.remove(&(flow.key.remote, *number, id));
        }
    }

    fn newest(&self, remote: Endpoint) -> Option<TcpId> {
        let first = (remote, 0, TcpId::default());
        let behind = (remote, u64::MAX, TcpId::default());
        self.flows.range(first..behind).next_back().map(|&(_, _, id)| id)
    }
}

impl TcpTable {
    /// How many bytes [`TcpTable::receive_for`] takes now.
    pub(crate) fn room_for(&self, remote: Endpoint) -> usize {
        self.callbacks.newest(remote).and_then(|id| self.flows.get(id)).map_or(0, TcpFlow::callback_room)
    }

    /// Takes bytes for the guest from a guest forward's application.
    pub(crate) fn receive_for(&mut self, remote: Endpoint, data: &[u8], cx: &mut Context) {
        let Some(id) = self.callbacks.newest(remote) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        if !flow.push_from_callback(data, cx) {
            cx.effects.push(Effect::Warning("slirp_socket_recv: more bytes than slirp_socket_can_recv allows".into()));
        }
        flow.transmit(cx);
        self.settle(id, cx);
    }

    /// Resets the connections of a guest forward that was removed: the application may free what its callback uses.
    pub(crate) fn end_forward(&mut self, forward: &Arc<Rule>, cx: &mut Context) {
        let of_forward = |flow: &TcpFlow| flow.forward.as_ref().is_some_and(|of| Arc::ptr_eq(of, forward));
        // The application removes a forward now and then; this is no place for an index.
        let ids: Vec<TcpId> =
            self.flows.iter().filter(|(_, entry)| of_forward(&entry.flow)).map(|(id, _)| id).collect();
        for id in ids {
            if let Some(flow) = self.flows.get_mut(id) {
                flow.break_with_program(id, cx);
                flow.conn.abort(cx.now);
                flow.transmit(cx);
            }
            self.settle(id, cx);
        }
    }
}
