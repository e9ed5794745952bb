//! The folder that TFTP serves, and nothing beside it.
//!
//! A name is looked up below the folder and cannot leave it: not by `..`, which is never taken, not as an absolute path or one of another drive, not
//! by the name of a device or of a stream of a file, and not by a link that points outside: where a file lies is asked of what was
//! opened. The folder is looked up by its path for every request, so that it may be made or replaced while the program runs.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, GetFinalPathNameByHandleW};

/// The longest path there is, in UTF-16 units.
const LONGEST: usize = 32 * 1024;

/// A folder on the host.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

/// A file in it.
#[derive(Debug)]
pub(crate) struct ServedFile {
    file: File,
    size: u64,
}

impl Directory {
    /// The folder at `path`; nothing is opened yet.
    pub(crate) fn new(path: &Path) -> Option<Directory> {
        Some(Directory { path: path.into() })
    }

    /// What is wrong with the folder itself now, if something is: it is missing, say, or a file.
    pub(crate) fn fault(&self) -> Option<io::Error> {
        self.open_itself().err()
    }

    fn open_itself(&self) -> io::Result<File> {
        let folder = OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(&self.path)?;
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(folder)
    }

    /// Opens the file of this name, which is relative to the folder; its parts are parted by slashes of either kind.
    ///
    /// # Errors
    /// The system's; `PermissionDenied` for a name that leads out, or to what is no file of a disk.
    pub(crate) fn open(&self, name: &[u8]) -> io::Result<ServedFile> {
        let folder = place_of(&self.open_itself()?)?;
        let name = std::str::from_utf8(name).map_err(|_| io::ErrorKind::NotFound)?;
        let mut path = self.path.clone();
        for part in name.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".") {
            // A part with a colon is a drive or a stream; the system drops dots and blanks at the end.
            if part.contains([':', '\0']) || part.ends_with(['.', ' ']) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            path.push(part);
        }
        let file = OpenOptions::new().read(true).open(&path)?;
        let metadata = file.metadata()?;
        if !super::is_on_disk(&file) || !metadata.is_file() || !place_of(&file)?.starts_with(&folder) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(ServedFile { size: metadata.len(), file })
    }
}

/// Where an open file or folder lies, without any link on the way.
fn place_of(file: &File) -> io::Result<PathBuf> {
    let mut name = vec![0; LONGEST];
    // SAFETY: the handle is open as long as the file is, and the room is as long as is said.
    let length = unsafe { GetFinalPathNameByHandleW(file.as_raw_handle(), name.as_mut_ptr(), LONGEST as u32, 0) };
    match name.get(..length as usize) {
        None | Some([]) => Err(io::Error::last_os_error()),
        Some(name) => Ok(OsString::from_wide(name).into()),
    }
}

impl ServedFile {
    /// In bytes, when it was opened.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Reads at `offset`; 0 is the end of the file.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if i64::try_from(offset).is_err() {
            return Ok(0);
        }
        self.file.seek_read(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let root = std::env::temp_dir().join(format!("oxislirp-tftp-{}", std::process::id()));
        let served = root.join("served");
        std::fs::create_dir_all(served.join("below")).unwrap();
        std::fs::write(served.join("below").join("file"), "content").unwrap();
        std::fs::write(root.join("secret"), "no").unwrap();
        let directory = Directory::new(&served).unwrap();
        assert!(directory.fault().is_none());
        for name in ["below/file", "/below\\file", "./below//file"] {
            let file = directory.open(name.as_bytes()).unwrap();
            let mut buffer = [0; 16];
            assert_eq!((file.size(), file.read_at(&mut buffer, 3).unwrap(), &buffer[..4]), (7, 4, &b"tent"[..]));
            assert_eq!(file.read_at(&mut buffer, u64::MAX).unwrap(), 0);
        }
        for name in
            ["../secret", "..\\secret", "c:/windows/win.ini", "nul", "con", "below/file:stream", "below", "secret.", ""]
        {
            assert!(directory.open(name.as_bytes()).is_err(), "{name}");
        }
        std::fs::remove_dir_all(&root).unwrap();
        assert!(directory.fault().is_some() && directory.open(b"below/file").is_err());
    }
}
