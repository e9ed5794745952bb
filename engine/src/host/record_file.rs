//! A file that something is recorded into while the guest runs, as frames or a log. It is opened at once and never again: the
//! application may leave its file system behind afterwards.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, IoSlice, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::owned::Owned;

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

/// One that is on disk, or a character device.
#[derive(Debug)]
pub(crate) struct RecordFile {
    file: Owned<File>,
    /// How much was written, where that has a limit.
    written: Option<u64>,
}

impl RecordFile {
    /// Makes the file, which only its owner may read, or empties it.
    ///
    /// # Errors
    /// What the system says; or it is a pipe or a socket, whose end of the other side would end the whole program by a
    /// signal; or it is a link, belongs to somebody else, or somebody else records into it.
    pub(crate) fn create(path: &Path) -> io::Result<RecordFile> {
        // Nobody else is to say by a link which file it is, or to own it.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path);
        // A pipe that nobody reads.
        let file = file.map_err(|error| match error.raw_os_error() {
            Some(libc::ENXIO) => no_file(),
            Some(libc::ELOOP | libc::EMLINK) => io::Error::new(io::ErrorKind::InvalidInput, "it is a link"),
            _ => error,
        })?;
        let found = file.metadata()?;
        let kind = found.file_type();
        if kind.is_char_device() {
            return Ok(RecordFile { file: Owned::new(file), written: None });
        }
        if !kind.is_file() {
            return Err(no_file());
        }
        // SAFETY: no pointer is involved.
        if found.uid() != unsafe { libc::geteuid() } {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else"));
        }
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::other("somebody else writes into it"));
        }
        // One that was there already may be everybody's.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
        Ok(RecordFile { file: Owned::new(file), written: Some(0) })
    }

    /// Whether it is a device, which takes no place on a disk.
    pub(crate) fn is_device(&self) -> bool {
        self.written.is_none()
    }
}

impl Drop for RecordFile {
    /// A process that was forked meanwhile has the file as well, and would keep others from it for as long as it runs.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Whether there is something at a path that is neither a file nor a folder.
pub(crate) fn is_device_at(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no ordinary file")
}

impl RecordFile {
    /// Has so many bytes written.
    fn add(&mut self, length: usize, write: impl FnOnce(&mut File) -> io::Result<usize>) -> io::Result<usize> {
        // Who goes beyond the limit of the process is sent a signal that ends it.
        if let Some(written) = self.written
            && written.saturating_add(length as u64) > longest_file()
        {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        let count = write(&mut self.file)?;
        if let Some(written) = &mut self.written {
            *written = written.saturating_add(count as u64);
        }
        Ok(count)
    }
}

impl Record for RecordFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes.len(), |file| file.write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.add(pieces.iter().map(|piece| piece.len()).sum(), |file| file.write_vectored(pieces))
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        if self.written.is_some() {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.written = Some(0);
        }
        Ok(())
    }

    fn take_back(&mut self, bytes: usize) {
        // It has less already where somebody else has emptied it.
        if let Some(left) = self.written.and_then(|written| written.checked_sub(bytes as u64))
            && self.file.metadata().is_ok_and(|file| file.len() > left)
            && self.file.set_len(left).is_ok()
        {
            self.written = Some(left);
        }
    }
}

/// How long a file of this process may become.
fn longest_file() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place is one for a limit, and is only written to.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    // Where the system does not tell there is no limit to be met. (Its type is not the same everywhere.)
    #[allow(clippy::unnecessary_cast)]
    if got == 0 { limit.rlim_cur as u64 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("oxislirp-record-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_file_is_its_owners_alone_is_begun_anew_and_has_one_writer() {
        let path = place("file");
        std::fs::write(&path, "old").unwrap();
        let mut file = RecordFile::create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(RecordFile::create(&path).unwrap_err().to_string(), "somebody else writes into it");
        assert_eq!(file.write(b"first").unwrap(), 5);
        file.begin_anew().unwrap();
        assert_eq!(file.write(b"next and more").unwrap(), 13);
        file.take_back(9);
        assert_eq!(std::fs::read(&path).unwrap(), b"next");
        // What was everybody's to read is not any more, and a link is not followed.
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        // Nobody writes any more, though a process that was forked before has it still.
        let forked = file.file.try_clone().unwrap();
        drop(file);
        drop(RecordFile::create(&path).unwrap());
        drop(forked);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = place("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(RecordFile::create(&link).unwrap_err().to_string(), "it is a link");
        std::fs::remove_file(&link).unwrap();
        std::fs::remove_file(&path).unwrap();
        drop(RecordFile::create(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_full_disk_is_an_error() {
        assert!(RecordFile::create(&std::env::temp_dir()).is_err());
        assert!(RecordFile::create(Path::new("/nowhere/at/all")).is_err());
        let mut full = RecordFile::create(Path::new("/dev/full")).unwrap();
        assert_eq!(full.write(b"x").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }
}
