//! What the host says when it is out of something for a while: descriptors, memory, room for a socket's bytes.

use std::io;

/// Whether the host lacked descriptors or memory for what was asked. It may have them again at any time: that says nothing
/// about the other end, and is no reason to give anything up that works.
pub(crate) fn is_lack(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS))
}

/// Whether the process, or the system, has no descriptor left: closing some helps.
pub(crate) fn is_lack_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
