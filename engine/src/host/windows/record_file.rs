//! A file that something is recorded into while the guest runs, as frames or a log. It is opened at once and never again.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Seek, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;

/// A file that takes bytes, and that can be begun anew.
pub(crate) trait Record {
    /// Writes bytes, and tells how many.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when none are taken for now; whatever else the system says is the end of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes bytes that are in several places, one behind the other, and tells how many; or those of the first place alone.
    ///
    /// # Errors
    /// As for [`Record::write`].
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(pieces.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece))
    }

    /// Forgets what was written.
    ///
    /// # Errors
    /// What the system says.
    fn begin_anew(&mut self) -> io::Result<()>;

    /// Forgets so many of the bytes that were written last, as far as that can be done: nothing more is written.
    fn take_back(&mut self, bytes: usize);
}

/// One that is on disk.
#[derive(Debug)]
pub(crate) struct RecordFile(File);

impl RecordFile {
    /// Makes the file, or empties it. Who may read it the folder says; nobody else may write into it meanwhile.
    ///
    /// # Errors
    /// What the system says; or it is no file of a disk; or somebody else writes into it.
    pub(crate) fn create(path: &Path) -> io::Result<RecordFile> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).share_mode(FILE_SHARE_READ).open(path);
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(number) if number as u32 == ERROR_SHARING_VIOLATION => {
                io::Error::other("somebody else writes into it")
            }
            _ => error,
        })?;
        if !super::is_on_disk(&file) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file"));
        }
        file.set_len(0)?;
        Ok(RecordFile(file))
    }

    /// Whether it is a device; there are none here.
    #[expect(clippy::unused_self, reason = "as elsewhere")]
    pub(crate) fn is_device(&self) -> bool {
        false
    }
}

/// Whether there is something at a path that is neither a file nor a folder: nothing is recorded into such.
pub(crate) fn is_device_at(_: &Path) -> bool {
    false
}

impl Record for RecordFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()
    }

    fn take_back(&mut self, bytes: usize) {
        if let Some(left) = self.0.metadata().ok().and_then(|file| file.len().checked_sub(bytes as u64)) {
            let _ = self.0.set_len(left);
        }
    }
}
