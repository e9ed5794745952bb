//! Where the files come from that the TFTP server reads.

use std::path::PathBuf;
use std::sync::Arc;

use crate::service::tftp::TftpSource;

/// The files that the guest can read with TFTP, from the address of the virtual host. Nothing can be written.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum TftpFiles {
    /// Every request is refused.
    #[default]
    None,
    /// The regular files in this directory of the host and below it. No name and no link leads out of it. The directory is
    /// looked up for each request, so it may be made or replaced at any time.
    Directory(PathBuf),
    /// Whatever the program says.
    Custom(Arc<dyn TftpSource>),
}
