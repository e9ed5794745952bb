//! Looking for a guest that does not answer, because it may have moved. Its address may be at another station: the link
//! is asked for it. Or, where a forward leads to whatever address the guest has, the guest may have another address:
//! that is tried then.

use std::net::{Ipv4Addr, SocketAddr};

use super::table::{TcpId, TcpTable};
use super::{Origin, TcpFlow};
use crate::flow::context::Context;
use crate::flow::gate::Protocol;
use crate::flow::key::Endpoint;
use crate::tcp::{Connection, State};

/// Timeouts in a row after which the way to the guest is in doubt (RFC 1122 section 4.2.3.5, R1).
const DOUBT: u8 = 3;

impl TcpFlow {
    /// After a deadline of the connection: the guest is asked for when it does not answer.
    pub(super) fn ask_for_guest(&self, timeouts_before: u8, cx: &mut Context) {
        let timeouts = self.conn.timeouts();
        if timeouts > timeouts_before && (timeouts >= DOUBT || self.conn.state() == State::SynSent) {
            cx.egress.ask(self.key.guest.ip, cx.now);
            if self.origin == (Origin::Host { anywhere: true }) {
                cx.ask_silent_guests(self.key.guest.ip.is_ipv6());
            }
        }
    }
}

impl TcpFlow {
    /// Who has come through the host forward; `None` when that cannot be told any more. Who comes through a Unix socket is on
    /// this machine.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let stream = self.host.stream()?;
        match stream.local_address() {
            Some(_) => stream.peer_address(),
            None => Some((Ipv4Addr::LOCALHOST, 0).into()),
        }
    }
}

impl TcpTable {
    /// A deadline of a flow has come: if it waits for a guest that may be anywhere, and another address is now the better
    /// one, the connection is begun there anew. The host peer does not notice.
    pub(super) fn follow_guest(&mut self, id: TcpId, cx: &mut Context) {
        let Some(flow) = self.flows.get(id) else { return };
        if flow.origin != (Origin::Host { anywhere: true }) || flow.conn.state() != State::SynSent {
            return;
        }
        let old = flow.key;
        let Some(ip) = cx.guest_address(old.guest.ip.is_ipv6()).filter(|ip| *ip != old.guest.ip) else { return };
        let guest = Endpoint::new(ip, old.guest.port);
        // It was let in to the other address.
        let may_come = |peer| cx.gate.incoming(Protocol::Tcp, guest, peer).is_allowed();
        if !cx.gate.is_open() && !flow.peer().is_some_and(may_come) {
            return;
        }
        let Some(key) = self.free_key(guest, old.remote.ip, old.remote.port, cx) else { return };
        let conn = Connection::active(&cx.tcp_config_for(&key), cx.initial_sequence(&key), cx.now);
        let Some(flow) = self.flows.get_mut(id) else { return };
        std::mem::replace(&mut flow.conn, conn).release(&mut cx.pool);
        self.flows.rename(id, |flow| flow.key = key);
        self.forget_last(id);
    }
}
