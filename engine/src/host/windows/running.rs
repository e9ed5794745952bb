//! A process that was started and left alone: whether it is there still.

use std::process::Child;

/// A process that was started. It goes on when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(pub(super) Child);

impl Process {
    /// Whether it is there still.
    pub(in crate::host) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}
