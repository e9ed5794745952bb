//! Connections of HTTP whose first request a rule has let through: each further one on them is judged before the host gets a byte of it.
//!
//! What may not go yet stays in the connection's receive buffer, as with a limit. A flow has a [`Watch`] only if its first bytes
//! were a request.

use super::TcpFlow;
use crate::flow::context::Context;
use crate::flow::gate::Admission;
use crate::flow::journal::End;
use crate::policy::{Heard, Look, Requests};

/// What judging a request counts as, in bytes moved: a guest may put many into one segment.
const JUDGED: usize = 4096;

/// What is known of the requests of a connection.
pub(super) struct Watch {
    /// The host of the last one that was allowed. What has begun goes on, also when its name has ceased to count.
    host: Option<Box<str>>,
    real: std::net::SocketAddr,
    requests: Requests,
}

impl Watch {
    /// `host` was allowed in the first request, whose bytes are still to come here.
    pub(super) fn new(real: std::net::SocketAddr, host: Option<Box<str>>) -> Box<Watch> {
        Box::new(Watch { host, real, requests: Requests::default() })
    }

    /// Whether so many bytes are all held until more come, of either side.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        self.requests.holds(bytes)
    }
}

impl TcpFlow {
    /// How many of the guest's bytes may go to the host. None when the connection has ended for what they say.
    #[cold]
    pub(super) fn clear_requests(&mut self, cx: &mut Context) -> usize {
        let Some(mut watch) = self.host.take_watch() else { return usize::MAX };
        // What the host takes out of band is missing in what its program reads.
        let cleared = if self.conn.recv().urgent().is_some() { None } else { self.look(&mut watch, cx) };
        let ends = self.conn.peer_finished() && watch.holds(self.conn.recv().len());
        match cleared.filter(|_| !ends || self.conn.recv().is_empty()) {
            Some(clear) => {
                self.host.look_at_requests(watch);
                clear
            }
            None => {
                self.host.account.ends(End::Policy);
                self.reset_both(cx);
                0
            }
        }
    }

    fn look(&mut self, watch: &mut Watch, cx: &mut Context) -> Option<usize> {
        loop {
            let host = match watch.requests.look(self.conn.recv().slices()) {
                Look::Clear(clear) => return Some(clear),
                Look::Request(host) => host,
                Look::Unclear => return None,
            };
            if host != watch.host {
                cx.budget.moved(JUDGED);
                let heard = Heard::Http(host.clone());
                let admission = cx.gate.hello(self.key.guest, self.key.remote, watch.real, &heard, cx.now);
                #[cfg(feature = "control")]
                self.keep_heard(&heard, cx);
                // The connection leads where it leads.
                if !(admission.is_allowed() && self.stays(admission, cx)) {
                    return None;
                }
                watch.host = host;
            }
            watch.requests.go_on();
        }
    }

    /// Whether a verdict on what a connection says has it go on where it goes.
    pub(super) fn stays(&self, admission: Admission, cx: &Context) -> bool {
        cx.gate.via(admission).is_none()
    }

    /// The host has got so many of the bytes that were clear, or has sent so many.
    #[cold]
    pub(super) fn note_passed(&mut self, sent: usize) {
        if let Some(watch) = self.host.watch_mut() {
            watch.requests.passed(sent);
        }
    }

    /// The host has sent so many bytes, which the guest will get.
    #[cold]
    pub(super) fn note_answer(&mut self, length: usize, cx: &mut Context) {
        let Some(watch) = self.host.watch_mut() else { return };
        let send = self.conn.send();
        let (first, second) = send.slices(send.len().saturating_sub(length), length);
        if watch.requests.answered(first) || watch.requests.answered(second) {
            self.flush_to_host(cx);
        }
    }
}
