//! CPU time of this process without that of the host's servers in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// The threads of this process, by number.
fn threads() -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/task")? {
        found.extend(entry?.file_name().to_string_lossy().parse::<u64>());
    }
    Ok(found)
}

/// The threads that do not count.
#[derive(Debug, Default)]
pub struct Servers(BTreeSet<u64>);

impl Servers {
    /// Starts something whose threads do not count.
    pub fn start<T>(&mut self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let before = threads()?;
        let started = start()?;
        self.0.extend(threads()?.difference(&before));
        Ok(started)
    }

    /// Seconds that all other threads have used, user and system.
    pub fn cpu_of_others(&self) -> io::Result<f64> {
        let mut nanoseconds = 0;
        for thread in threads()?.difference(&self.0) {
            // The first of three numbers: nanoseconds on a CPU (Documentation/scheduler/sched-stats.rst of Linux). A thread
            // that ends in between has none.
            let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
            nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(nanoseconds as f64 / 1e9)
    }
}
