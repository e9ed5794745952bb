//! Processes that were started and left alone: how many of them there still are. Whether one is, the system's own part says
//! (`running`).

use super::running::Process;
use crate::time::{Duration, Instant};

/// How soon those that are there may be looked at again: a look takes some system calls for each.
const PAUSE: Duration = Duration::from_millis(100);

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

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    /// Leads a session, and ends with its input.
    fn start() -> (Child, Process) {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        // SAFETY: setsid may be called between fork and exec.
        unsafe {
            command.pre_exec(|| if libc::setsid() < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) });
        }
        let child = command.spawn().unwrap();
        let number = libc::pid_t::try_from(child.id()).unwrap();
        (child, Process(number))
    }

    #[test]
    fn those_that_have_ended_make_room_waited_for_or_not() {
        for waited_for in [true, false] {
            let mut started = Started::new(2);
            let mut now = Instant::from_secs(1);
            let ((mut first, process), (mut second, other)) = (start(), start());
            assert!(started.has_room(now));
            started.add(process);
            assert!(started.has_room(now));
            started.add(other);
            assert!(!started.has_room(now));
            drop(first.stdin.take());
            if waited_for {
                first.wait().unwrap();
            }
            assert!(!started.has_room(now), "it was looked a moment ago");
            let began = std::time::Instant::now();
            while !started.has_room(now) {
                now += PAUSE;
                assert!(began.elapsed().as_secs() < 20, "it has not ended");
                std::thread::yield_now();
            }
            assert_eq!(started.processes.len(), 1);
            first.wait().unwrap();
            drop(second.stdin.take());
            second.wait().unwrap();
        }
    }
}
