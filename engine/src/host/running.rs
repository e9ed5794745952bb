//! A process that was started and left alone, of which nobody hears when it ends: whether it is there still. It is no child of this
//! process, and no descriptor is kept of it.

/// A process that was started as the leader of a session of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Process(pub(super) libc::pid_t);

impl Process {
    /// Whether it is there still. Another one that has got its number counts when it leads a session too; that is rare,
    /// and ends with it.
    pub(super) fn is_running(&mut self) -> bool {
        // SAFETY: the call takes no pointers.
        if unsafe { libc::getsid(self.0) } != self.0 {
            return false;
        }
        // One that has ended and that nobody waits for, as where the first process of a container does not, stays in the list.
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // The state stands behind the program's name, which is in parentheses and may have some of its own.
        let state = status.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        !matches!(state, Some('Z' | 'X'))
    }
}
