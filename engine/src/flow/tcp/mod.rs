//! TCP flows: the protocol state towards the guest ([`crate::tcp::Connection`]) joined to what is on the host's side
//! (`host_half`). Neither half knows the other; what follows from one for the other is decided here.
//!
//! `table` finds the flows, `bounds` bounds them, `pump` moves bytes between the two halves of one flow, `question` the few of a short segment, `open` makes new ones,
//! `guest` is the room of the guest forwards, `path` hears of a smaller MTU on the way to the guest,
//! `hops` passes the guest's time to live on, `seek` looks for a guest that does not answer, `silence` looks after ends that
//! may have gone without a word, `hello` holds a connection until its first bytes have said where it goes (`no_hello` does
//! not), `requests` looks at the further ones of HTTP, `through` talks to a proxy, `fallback` looks for a service on the host's other loopback address, `queries` are those that are looked at, `trouble` is what becomes of a flow when the host says no,
//! `forbid` when a later policy does, `again` when it is asked once more, `meter` slows it where that is wished for, `proof` tells the hand-over what the guest has read,
//! `relief` has those that stand still make room when memory runs out.

mod again;
mod bounds;
mod fallback;
#[cfg(feature = "control")]
mod forbid;
pub(crate) mod guest;
#[cfg(feature = "policy")]
mod hello;
mod hops;
mod host_half;
mod meter;
#[cfg(not(feature = "policy"))]
mod no_hello;
mod open;
mod path;
mod proof;
mod pump;
#[cfg(feature = "policy")]
mod queries;
mod question;
mod relief;
#[cfg(feature = "policy")]
mod requests;
mod seek;
mod silence;
mod table;
#[cfg(feature = "policy")]
mod through;
mod trouble;

use bounds::Stage;
use guest::Rule;
pub(crate) use host_half::Side;
use host_half::{Connecting, HostHalf};
use proof::Proofs;
use relief::Stillness;
#[cfg(feature = "control")]
pub(crate) use table::TcpId;
pub(crate) use table::{FromGuest, TcpTable};

use std::sync::Arc;

#[cfg(feature = "control")]
use crate::flow::context::Context;
#[cfg(feature = "control")]
use crate::flow::journal::Account;
use crate::flow::key::FlowKey;
use crate::pace::{Exchange, Part, Staging};
#[cfg(feature = "control")]
use crate::policy::Heard;
use crate::tcp::{Connection, SeqNumber};

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
    /// The guest's half.
    conn: Connection,
    host: HostHalf,
    /// Segments whose acknowledgment proves what the guest was handed before them.
    proofs: Proofs,
    /// The guest forward that the flow goes through.
    forward: Option<Arc<Rule>>,
    /// What its first bytes have said, where the policy wanted to know.
    #[cfg(feature = "control")]
    heard: Option<Box<Heard>>,
    origin: Origin,
    tos: u8,
    /// The time to live of the guest's last segment; 0 where it is not passed on.
    ttl: u8,
    /// The flow is on the list of those with bytes staged for the host.
    staged: bool,
    /// How long they may be held for more to come.
    staging: Staging,
    exchange: Exchange,
    /// What it has carried of late.
    part: Part,
    still: Stillness,
    /// The connection may have more for the guest than there was room for.
    unfinished: bool,
    /// The stage that the flow is counted in.
    stage: Stage,
    /// The largest segment the guest has sent: shorter ones end a burst.
    full_segment: u16,
    /// The right edge of the guest's window at the last read from the host.
    read_edge: SeqNumber,
}

impl TcpFlow {
    pub(crate) fn key(&self) -> &FlowKey {
        &self.key
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(crate) fn side(&self) -> &Side {
        self.host.side()
    }

    /// The type of service of packets to the guest.
    pub(crate) fn tos(&self) -> u8 {
        self.tos
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// What its first bytes have said, where the policy wanted to know.
    #[cfg(feature = "control")]
    pub(crate) fn heard(&self) -> Option<&Heard> {
        self.heard.as_deref()
    }

    /// Keeps what its first bytes have said, where that may be asked for: another policy may come, and the log has it at the end.
    #[cfg(feature = "control")]
    fn keep_heard(&mut self, heard: &Heard, cx: &Context) {
        self.heard = cx.journal.asks_what_was_said().then(|| Box::new(heard.clone()));
    }

    /// The name in its first bytes, or in those of its last request, where the policy wanted to know and it is one that a host may have.
    #[cfg(feature = "control")]
    fn said(&self) -> Option<String> {
        self.heard()?.name()?.parse().ok().map(|name: crate::policy::Name| name.to_string())
    }

    #[cfg(not(feature = "control"))]
    #[expect(clippy::unused_self, reason = "as with it")]
    fn said(&self) -> Option<String> {
        None
    }

    /// Whether its first bytes are waited for.
    #[cfg(feature = "control")]
    pub(crate) fn is_listening(&self) -> bool {
        self.host.is_listening()
    }

    /// Whether it goes through a guest forward.
    #[cfg(feature = "control")]
    pub(crate) fn has_guest_forward(&self) -> bool {
        self.forward.is_some()
    }

    /// What has gone through it.
    #[cfg(feature = "control")]
    pub(crate) fn account(&self) -> &Account {
        &self.host.account
    }
}
