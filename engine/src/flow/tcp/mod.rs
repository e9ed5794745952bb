//! TCP flows: the protocol state towards the guest ([`crate::tcp::Connection`]) joined to what is on the host's side.
//!
//! `table` finds the flows, `bounds` bounds them, `pump` moves bytes between the two sides of one flow, `open` makes new ones,
//! `guest` is the room of the guest forwards, `path` hears of a smaller MTU on the way to the guest,
//! `hops` passes the guest's time to live on, `seek` looks for a guest that does not answer, `silence` looks after ends that
//! may have gone without a word, `fallback` looks for a service on the host's other loopback address, `trouble` is what becomes
//! of a flow when the host says no, `proof` tells the hand-over what the guest has read.

mod bounds;
mod fallback;
pub(crate) mod guest;
mod hops;
mod open;
mod path;
mod proof;
mod pump;
mod seek;
mod silence;
mod table;
mod trouble;

use bounds::Stage;
use guest::{Attaching, Program, Rule};
use proof::Proofs;
pub(crate) use table::{FromGuest, TcpTable};
use trouble::Again;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::flow::key::FlowKey;
use crate::host::socket::Stream;
use crate::pace::{Exchange, Staging};
use crate::tcp::Connection;
use crate::time::Instant;

/// What a flow is joined to on the host's side.
#[derive(Debug)]
pub(crate) enum Side {
    /// A host peer.
    Host(Stream),
    /// A guest forward's callback.
    Callback,
    /// This program, which hears of what comes and takes it when it likes.
    Application(Program),
    /// What is behind a guest forward, to be attached when the guest has completed its handshake.
    Waiting(Attaching),
    /// Nothing any more: both directions ended in order, or the peer is gone.
    Gone,
}

/// Who opened the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Guest,
    /// A host peer, through a host forward. One that leads to wherever the guest is may have to look for it.
    Host {
        anywhere: bool,
    },
}

/// One TCP mapping.
pub(crate) struct TcpFlow {
    key: FlowKey,
    conn: Connection,
    /// Segments whose acknowledgment proves what the guest was handed before them.
    proofs: Proofs,
    side: Side,
    /// The guest forward that the flow goes through.
    forward: Option<Arc<Rule>>,
    origin: Origin,
    tos: u8,
    /// The time to live of the guest's last segment; 0 where it is not passed on.
    ttl: u8,
    /// Reading from the host will not block, as far as we know.
    readable: bool,
    /// Writing to the host will not block, as far as we know.
    writable: bool,
    /// The host peer has closed its direction; what is left to read ends with an end of stream or an error.
    read_closed: bool,
    /// Urgent data waits on the host's side.
    urgent: bool,
    /// Everything from the host was read, up to its end.
    host_finished: bool,
    /// The guest's end was passed on to the host.
    shut: bool,
    /// A write failed, or what was written was refused: the host takes no more.
    write_failed: bool,
    /// The host lacked memory, and is asked again.
    again: Again,
    /// The poller has told of an error.
    failed: bool,
    /// The flow is on the list of those with bytes staged for the host.
    staged: bool,
    /// How long they may be held for more to come.
    staging: Staging,
    exchange: Exchange,
    /// The connection may have more for the guest than there was room for.
    unfinished: bool,
    /// The stage that the flow is counted in.
    stage: Stage,
    /// The largest segment the guest has sent: shorter ones end a burst.
    full_segment: u16,
    /// How much the next read from the host asks for; grows with use.
    read_size: u32,
    /// Set while the host side is being connected.
    connecting: Option<Box<Connecting>>,
}

/// What only a flow that is being connected needs.
struct Connecting {
    /// The guest's SYN as it came, to be quoted in an ICMP error. Empty when it was too large to be kept.
    packet: Vec<u8>,
    /// The SYN may be lost on the way by its time to live, of which the host is to tell.
    few_hops: bool,
    /// The host's name server, when this is a query to it.
    name_server: Option<SocketAddr>,
    /// Where else the host's service may be.
    other: Option<SocketAddr>,
    /// How the connect ended, if it failed and that is known already.
    failed: Option<std::io::Error>,
    deadline: Instant,
}

impl TcpFlow {
    pub(crate) fn key(&self) -> &FlowKey {
        &self.key
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(crate) fn side(&self) -> &Side {
        &self.side
    }

    /// The type of service of packets to the guest.
    pub(crate) fn tos(&self) -> u8 {
        self.tos
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }
}
