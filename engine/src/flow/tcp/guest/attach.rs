//! What is behind a guest forward, and how it is attached to a flow: after the guest has completed its handshake, so that
//! a guest that only knocks starts nothing. Source: docs/contract/guestfwd-exec-unix.md section 2.

use std::io::{self, ErrorKind};

use super::Target;
use crate::flow::context::Context;
use crate::flow::effect::Effect;
use crate::flow::tcp::table::{TcpId, TcpTable};
use crate::flow::tcp::{Side, TcpFlow};
use crate::flow::token::{self, Kind};
use crate::host::fault::{is_lack, no_memory};
use crate::host::handle::HostNamed;
use crate::host::pair::Pair;
use crate::host::poller::News;
use crate::host::process;
use crate::host::running::Process;
use crate::host::socket::Stream;
use crate::ip::rate_limit::RateLimit;
use crate::tcp::HANDSHAKE_PATIENCE;
use crate::time::{Duration, Instant};

/// Connections to commands at one time, and processes that were started for one; a further one is ended at once.
pub(in crate::flow::tcp) const MAX_COMMANDS: usize = 512;
/// How long to wait for room in the queue of a Unix socket, or for a descriptor, before trying again.
const RETRY: Duration = Duration::from_millis(50);
/// How long that is tried; as long as a TCP connect.
const PATIENCE: Duration = HANDSHAKE_PATIENCE;
/// The same for the connection with a command, which the host's kernel makes with itself.
const COMMAND_RETRY: Duration = Duration::from_millis(5);
const COMMAND_PATIENCE: Duration = Duration::from_secs(1);
/// Warnings a guest can cause: this many at once, and one a second.
const WARNINGS: u32 = 10;

/// A target that is still to be attached.
#[derive(Debug, Default)]
pub(crate) struct Attaching {
    /// When to try again, and when to give up; `None` before the first try.
    again: Option<(Instant, Instant)>,
    /// The connection with a command, as far as it was made.
    pair: Option<Box<Pair>>,
}

impl Attaching {
    pub(in crate::flow::tcp) fn deadline(&self) -> Option<Instant> {
        self.again.map(|(next, _)| next)
    }
}

impl Target {
    fn open(&self, pair: &mut Option<Box<Pair>>) -> io::Result<(Stream, Option<Process>)> {
        match self {
            Target::Callback | Target::Application => Err(ErrorKind::Unsupported.into()),
            Target::Command(line) => process::start(line, pair),
            Target::Unix(address) => Ok((Stream::connect_unix(address)?, None)),
        }
    }

    fn describe(&self) -> String {
        match self {
            Target::Callback | Target::Application => "the application".into(),
            Target::Command(line) => format!("the command \"{}\"", line.escape_ascii()),
            Target::Unix(address) => format!("the Unix socket \"{address}\""),
        }
    }
}

/// Whether the same may succeed a little later.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || is_lack(error)
}

impl TcpTable {
    /// Attaches the target of a guest forward to a flow that waits for it, if the time has come.
    pub(in crate::flow::tcp) fn attach(&mut self, id: TcpId, cx: &mut Context) {
        let Some(flow) = self.flows.get(id) else { return };
        let Side::Waiting(attaching) = flow.side() else { return };
        let early = attaching.deadline().is_some_and(|next| next > cx.now);
        if early || !flow.conn.is_established() || flow.conn.closed().is_some() {
            return;
        }
        let Some(forward) = flow.forward.clone() else { return };
        let Some(attaching) = self.flows.get_mut(id).and_then(|flow| flow.host.attaching()) else { return };
        let mut attaching = std::mem::take(attaching);
        let is_first = attaching.pair.is_none();
        let crowded = is_first && matches!(forward.target, Target::Command(_)) && !self.may_start(cx.now);
        let opened = if crowded {
            Err(io::Error::other("there are too many already"))
        } else {
            cx.open_stream(|| forward.target.open(&mut attaching.pair))
        };
        let opened = opened.and_then(|(stream, process)| {
            process.into_iter().for_each(|process| self.started.add(process));
            let watched = cx.watch(stream.raw_socket(), token::pack(Kind::Tcp, id), News::Stream);
            // Whatever the poller lacks it may have a little later.
            watched.map(|()| stream).map_err(|_| no_memory())
        });
        let Some(flow) = self.flows.get_mut(id) else { return };
        match opened {
            Ok(stream) => {
                flow.host.attach(stream);
                flow.flush(cx);
            }
            Err(error) if is_passing(&error) && flow.is_patient(attaching, cx.now) => return,
            Err(error) => {
                let late = !is_first && error.kind() == ErrorKind::WouldBlock;
                let error = if late { io::Error::from(ErrorKind::TimedOut) } else { error };
                flow.detach(cx);
                if self.warnings.get_or_insert_with(|| RateLimit::new(1, WARNINGS)).allow(cx.now) {
                    let text = format!("guest forward: {} failed: {error}", forward.target.describe());
                    cx.effects.push(Effect::Warning(text));
                }
            }
        }
        if let Some(flow) = self.flows.get_mut(id) {
            flow.transmit(cx);
        }
    }

    /// Whether one more command may be started: neither are there too many connections with one, nor too many processes, which
    /// can outlive theirs.
    fn may_start(&mut self, now: Instant) -> bool {
        self.commands() < MAX_COMMANDS && self.started.has_room(now)
    }

    /// How many commands are running, as far as their connections tell.
    fn commands(&self) -> usize {
        let is_command = |flow: &TcpFlow| {
            let has_one = match flow.side() {
                Side::Host(_) => true,
                Side::Waiting(attaching) => attaching.pair.is_some(),
                _ => false,
            };
            has_one && flow.forward.as_ref().is_some_and(|forward| matches!(forward.target, Target::Command(_)))
        };
        // Starting a process takes longer than looking at every flow.
        self.flows.iter().filter(|(_, entry)| is_command(&entry.flow)).count()
    }
}

impl TcpFlow {
    /// Plans another try; false when there were enough.
    fn is_patient(&mut self, attaching: Attaching, now: Instant) -> bool {
        let (retry, patience) =
            if attaching.pair.is_some() { (COMMAND_RETRY, COMMAND_PATIENCE) } else { (RETRY, PATIENCE) };
        let end = attaching.again.map_or(now + patience, |(_, end)| end);
        self.host.wait_on(Attaching { again: Some((now + retry, end)), ..attaching });
        now < end
    }

    /// There is nothing to attach: the guest is told by an orderly end.
    fn detach(&mut self, cx: &mut Context) {
        self.host.leave();
        self.host.finish();
        self.conn.close_send();
        self.flush(cx);
        // Nobody listens: the guest has a minute for its own end.
        self.conn.discard_received(&mut cx.pool);
    }
}
