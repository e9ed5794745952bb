//! Flows that a policy forbids which came after them: they end as one that it refuses.

use super::table::{TcpId, TcpTable};
use crate::flow::context::Context;
use crate::flow::journal::End;

impl TcpTable {
    /// Ends a flow with a reset on the host's side, and on the guest's where the guest is `told`.
    pub(crate) fn forbid(&mut self, id: TcpId, told: bool, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.host.account.ends(End::Policy);
        if !told {
            flow.host.reset_on_close();
            return self.end(id, End::Policy, cx);
        }
        flow.break_with_program(id, cx);
        flow.reset_both(cx);
        flow.transmit(cx);
        self.settle(id, cx);
    }
}
