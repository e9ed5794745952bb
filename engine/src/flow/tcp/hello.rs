//! Connections whose first bytes decide whether they go on: a rule of the policy wants the name that these say.
//!
//! The host is connected first, and the guest hears of it as ever, so that it is told what is true: that nobody is there, or that
//! there is no way, of which it would take another address (RFC 8305). Then the guest's bytes stay in the connection's receive
//! buffer, and nothing is read from the host, until they have said enough. The peer sees a connection on which nothing comes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::requests::Watch;
use super::table::{TcpId, TcpTable};
use super::{Connecting, TcpFlow};
use crate::flow::context::Context;
use crate::flow::gate::Admission;
use crate::flow::journal::End;
use crate::policy::{Heard, Hearing, Hello};
use crate::time::{Duration, Instant};

/// How long the first bytes may take, from the connect on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many connections are held at a time. When there are more, the older half of them is refused.
const MOST: usize = 1024;

/// What is known of a connection that is held.
pub(super) struct Hold {
    /// The real address at the other end.
    real: SocketAddr,
    hello: Hello,
    /// How many of the bytes in the receive buffer it knows.
    heard: usize,
    /// The host is connected.
    begun: bool,
}

impl Hold {
    pub(super) fn new(real: SocketAddr) -> Hold {
        Hold { real, hello: Hello::default(), heard: 0, begun: false }
    }

    fn hear(&mut self, (first, second): (&[u8], &[u8])) -> Hearing {
        let mut hearing = Hearing::More;
        let behind = self.heard.saturating_sub(first.len());
        for part in [first.get(self.heard..).unwrap_or_default(), second.get(behind..).unwrap_or_default()] {
            if hearing == Hearing::More {
                hearing = self.hello.hear(part);
            }
        }
        self.heard = first.len() + second.len();
        hearing
    }
}

/// The connections that are held, oldest first. Those that are not held any more stay until there are too many.
#[derive(Debug, Default)]
pub(super) struct Listening(VecDeque<TcpId>);

impl Connecting {
    /// Whether the host is connected, and the guest's first bytes are waited for.
    pub(super) fn is_held(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.begun)
    }
}

impl TcpFlow {
    /// The host is connected: the guest's first bytes are waited for, if they matter.
    pub(super) fn hold(&mut self, mut connecting: Box<Connecting>, now: Instant) {
        let Some(hold) = &mut connecting.hold else { return };
        hold.begun = true;
        connecting.deadline = now + PATIENCE;
        self.host.connect_anew(connecting);
    }

    /// Whether there are bytes of the guest's, or its end, that were not looked at.
    #[cold]
    pub(super) fn has_unheard(&self) -> bool {
        let heard = self.host.held().map(|hold| hold.heard);
        self.conn.is_established()
            && heard.is_some_and(|heard| heard < self.conn.recv().len() || self.conn.peer_finished())
    }

    /// Looks at what has come of the guest's first bytes. Once they are whole they go to the host, or the connection ends.
    #[cold]
    pub(super) fn listen(&mut self, cx: &mut Context) {
        if !self.conn.is_established() {
            return;
        }
        let Some(hold) = self.host.held_mut() else { return };
        let heard = match hold.hear(self.conn.recv().slices()) {
            // What the host takes out of band is missing in what its program reads.
            _ if self.conn.recv().urgent().is_some() => None,
            Hearing::More if !self.conn.peer_finished() => return,
            Hearing::Heard(heard) => Some(heard),
            Hearing::More | Hearing::Unclear => None,
        };
        let real = hold.real;
        self.host.end_connect();
        #[cfg(feature = "control")]
        if let Some(heard) = &heard {
            self.keep_heard(heard, cx);
        }
        let admission = heard.as_ref().map(|it| cx.gate.hello(self.key.guest, self.key.remote, real, it, cx.now));
        // A rule that leads elsewhere stands before this one, and has come to be about the connection only now.
        let stays = |admission: &Admission| admission.is_allowed() && self.stays(*admission, cx);
        let why = match admission.filter(stays) {
            Some(admission) if cx.joins(self.host.meter_mut(), admission.rule()) => {
                if let Some(Heard::Http(host)) = &heard {
                    self.host.look_at_requests(Watch::new(real, host.clone()));
                }
                return self.flush_to_host(cx);
            }
            Some(_) => End::Limit,
            None => End::Policy,
        };
        self.host.account.ends(why);
        self.reset_both(cx);
    }
}

impl TcpTable {
    /// A flow will be held when its host is connected.
    pub(super) fn listen_to(&mut self, id: TcpId, cx: &mut Context) {
        self.listening.0.push_back(id);
        if self.listening.0.len() <= MOST {
            return;
        }
        let flows = &self.flows;
        self.listening.0.retain(|&id| flows.get(id).is_some_and(|flow| flow.host.is_listening()));
        // Half of them at once, so that a flood of them does not have all looked at for each.
        while self.listening.0.len() > MOST / 2 {
            let Some(oldest) = self.listening.0.pop_front() else { return };
            if let Some(flow) = self.flows.get_mut(oldest) {
                flow.host.reset_on_close();
                flow.reset_now(cx);
            }
            self.end(oldest, End::MadeRoom, cx);
        }
    }
}
