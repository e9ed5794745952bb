//! Connections that can be had at two addresses: the second one is tried when the first one refuses, before the guest is
//! told anything. This is so for the host's own services, which may listen on the loopback address of either family: what
//! the guest calls the virtual host is "localhost", which is both, and the address of the guest's family comes first. And
//! it is so for the host's name servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Connecting;
use super::table::{TcpId, TcpTable};
use crate::flow::context::Context;
use crate::flow::effect::Leaving;
use crate::flow::journal::End;
use crate::flow::key::FlowKey;
use crate::host::fault::Fault;
use crate::host::handle::HostNamed;
use crate::host::socket::{Hops, Stream};

/// The host's other loopback address, where a connection to `destination` is one to the virtual host. Who names a loopback
/// address gets that one.
pub(super) fn other_loopback(key: &FlowKey, destination: SocketAddr, cx: &Context) -> Option<SocketAddr> {
    let to_virtual_host = match key.remote.ip {
        IpAddr::V4(ip) => ip == cx.policy.v4.host,
        IpAddr::V6(ip) => cx.policy.is_virtual_host6(ip),
    };
    let port = destination.port();
    match destination.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) if to_virtual_host => Some((Ipv6Addr::LOCALHOST, port).into()),
        IpAddr::V6(Ipv6Addr::LOCALHOST) if to_virtual_host => Some((Ipv4Addr::LOCALHOST, port).into()),
        _ => None,
    }
}

/// Begins to connect to `destination`, or to `other` when that is refused at once. What is left to be tried is taken out
/// of `other`. The error is that of the first try.
pub(super) fn connect(
    destination: SocketAddr,
    other: &mut Option<SocketAddr>,
    hops: Hops,
    cx: &mut Context,
) -> io::Result<Stream> {
    let first = cx.connect(destination, hops);
    match (first, *other) {
        (Err(error), Some(second)) if is_nobody(&error) => {
            *other = None;
            cx.connect(second, Hops::Default).map_err(|_| error)
        }
        (first, _) => first,
    }
}

/// Whether an error says that nobody is at the address, or that the host does not have it.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        Fault::of(error),
        Fault::Refused | Fault::NoAddress | Fault::NetworkUnreachable | Fault::HostUnreachable | Fault::NoFamily
    )
}

impl TcpTable {
    /// There is news of a flow that is being connected: if the first address is refused and there is another one to try,
    /// that is done. Else the flow finds out for itself.
    pub(super) fn try_other_address(&mut self, id: TcpId, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        // A connect that failed is reported with an error; applications that watch the socket themselves may not say so.
        if !flow.host.has_connect_news() || !(flow.host.is_read_closed() || cx.poller.is_none()) {
            return;
        }
        let Some((connecting, stream)) = flow.host.connecting() else { return };
        if connecting.other.is_none() {
            return;
        }
        let Err(error) = stream.take_error() else { return };
        let Some(second) = connecting.other.take().filter(|_| is_nobody(&error)) else {
            connecting.failed = Some(error);
            return;
        };
        match cx.connect(second, Hops::Default) {
            Ok(another) => {
                if let Some(server) = &mut connecting.name_server {
                    cx.name_servers.failed(*server, cx.now);
                    *server = second;
                }
                if let Some(refused) = flow.host.begin_anew(another) {
                    // At once, as reports of it would be taken for the other one's.
                    if let Some(poller) = cx.poller.as_ref() {
                        poller.remove(refused.raw_socket());
                    }
                    cx.unwatch(Leaving::Stream(refused));
                }
                if !self.watch(id, cx)
                    && let Some(flow) = self.flows.get_mut(id)
                {
                    flow.host.end_connect();
                    flow.host.account.ends(End::NoResources);
                    flow.conn.abort(cx.now);
                }
            }
            Err(_) => connecting.failed = Some(error),
        }
    }
}

impl Connecting {
    /// How the connect ended, when that was found out before; else what the stream says.
    pub(super) fn outcome(&mut self, ask: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.failed.take().map_or_else(ask, Err)
    }
}
