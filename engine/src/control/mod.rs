//! Requests to a stack that runs, over a Unix socket: forwards that come and go, the flows that there are, another policy, a capture.
//!
//! `server` has the socket and its clients, which stand in the stack's own poller: there is no thread. `session` is one client without
//! its socket: bytes in, answers out, `lines` is its two bounded buffers. `request` says what a line asks for (`unique`: no member twice) and `answer` how it is
//! answered, `job` is what takes more than one round, with `turns` for who changes forwards (one client at a time) (`reading` only reads, for the fuzz target). Of the requests, `forwards` (with `range` for what is written and `waiting` for
//! what waits for its address), `flows`, `counters`, `records` and `rules` each do some. docs/control.md tells all of them.
//!
//! It reads the stack's tables and calls its methods, as a program would; the stack knows an `Attendant`. Nothing comes in here of
//! frames, or of how a flow works. Whatever a client sends costs a bounded amount of work and of memory.
#![forbid(unsafe_code)]

mod answer;
mod counters;
mod flows;
mod forwards;
mod job;
mod lines;
mod range;
pub(crate) mod reading;
mod records;
mod request;
mod rules;
mod server;
mod session;
mod turns;
mod unique;
mod waiting;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::policy::Policy;
use crate::stack::Stack;

/// Reads the text of a policy, or says what is wrong with it.
pub type PolicyReader = Arc<dyn Fn(&str) -> Result<Policy, String> + Send + Sync>;

/// Where requests come in, and what is needed for them: see [`Stack::start_control`].
#[derive(Clone)]
pub struct ControlOptions {
    path: PathBuf,
    reader: Option<PolicyReader>,
}

impl ControlOptions {
    /// A socket at this path.
    pub fn new(path: impl Into<PathBuf>) -> ControlOptions {
        ControlOptions { path: path.into(), reader: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What reads the text of a policy that a client sends. Without it there is no such request: the language in which policies are
    /// written is not the engine's.
    #[must_use]
    pub fn policy_reader(self, reader: PolicyReader) -> ControlOptions {
        ControlOptions { reader: Some(reader), ..self }
    }
}

impl fmt::Debug for ControlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlOptions").field("path", &self.path).finish_non_exhaustive()
    }
}

/// # Control
///
/// Requests to a stack that runs: lines of JSON over a Unix socket, which is watched like every other socket of the stack.
impl Stack {
    /// Takes requests from now on, at a Unix socket that only its owner may connect to, in the place of one that there was. A socket
    /// file that a process has left behind is replaced. The file goes with the stack, or with [`Stack::shut_down`]. What the first bytes of a
    /// connection have said is known from then on: one that has said them before has none to show to another policy.
    ///
    /// # Errors
    /// What the system says of the socket: [`io::ErrorKind::AddrInUse`] when somebody listens there, or the file is no socket. Its text
    /// names the path.
    pub fn start_control(&mut self, options: &ControlOptions) -> io::Result<()> {
        server::start(self, options)
    }
}
