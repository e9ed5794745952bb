//! Processes that were started and left alone: how many of them there still are.

use std::process::Child;

use crate::time::{Duration, Instant};

/// A process that was started. It goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(pub(super) Child);

/// How soon those that are there may be looked at again: a look takes a system call for each.
const PAUSE: Duration = Duration::from_millis(100);

impl Process {
    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

/// The processes that were started, as far as they may be there.
#[derive(Debug)]
pub(crate) struct Started {
    most: usize,
    processes: Vec<Process>,
    looked: Option<Instant>,
}

impl Started {
    /// None; there may be so many at a time.
    pub(crate) fn new(most: usize) -> Started {
        Started { most, processes: Vec::new(), looked: None }
    }

    /// Whether one more may be started.
    pub(crate) fn has_room(&mut self, now: Instant) -> bool {
        let lately = self.looked.is_some_and(|at| at <= now && now - at < PAUSE);
        if self.processes.len() >= self.most && !lately {
            self.processes.retain_mut(Process::is_running);
            self.looked = Some(now);
        }
        self.processes.len() < self.most
    }

    /// One was started.
    pub(crate) fn add(&mut self, process: Process) {
        self.processes.push(process);
    }
}
