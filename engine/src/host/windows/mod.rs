//! What is done in Windows' own way: each file here stands in the place of one of the same name a floor above, and has the same face.

use std::fs::File;
use std::os::windows::io::AsRawHandle;

use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_DISK, GetFileType};

mod local_address;
mod ping;
pub(crate) mod process;
#[cfg(feature = "capture")]
pub(crate) mod record_file;
pub(crate) mod reserve;
pub(crate) mod resolver;
pub(crate) mod running;
pub(crate) mod socket_calls;
pub(crate) mod tftp_files;
pub(crate) mod unix;

/// Whether a file is one of a disk, and no device and no pipe.
fn is_on_disk(file: &File) -> bool {
    // SAFETY: the handle is open as long as the file is.
    unsafe { GetFileType(file.as_raw_handle()) == FILE_TYPE_DISK }
}
