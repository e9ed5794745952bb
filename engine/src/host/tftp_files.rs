//! The directory that TFTP serves, and nothing beside it.
//!
//! A name is looked up below the directory and cannot leave it: not by `..`, not as an absolute path, and not by a
//! symbolic link that points outside. Links that stay inside are followed where the kernel can watch over them (Linux 5.6
//! with `openat2`); elsewhere no link is followed. Only regular files are opened: opening a FIFO or a device can block,
//! or set something in motion.
//!
//! The directory is looked up by its path for every request, as upstream does, so that it may be made or replaced while
//! the program runs.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Each try of `openat2` may run into a rename at the same moment.
#[cfg(target_os = "linux")]
const TRIES: usize = 8;

/// A directory on the host.
#[derive(Debug)]
pub(crate) struct Directory {
    path: CString,
}

/// A regular file in it.
#[derive(Debug)]
pub(crate) struct ServedFile {
    file: File,
    size: u64,
}

impl Directory {
    /// The directory at `path`; nothing is opened yet. `None` when the path has a NUL in it.
    pub(crate) fn new(path: &Path) -> Option<Directory> {
        Some(Directory { path: CString::new(path.as_os_str().as_bytes()).ok()? })
    }

    /// What is wrong with the directory itself now, if something is: it is missing, say, or a file.
    pub(crate) fn fault(&self) -> Option<io::Error> {
        self.open_itself().err()
    }

    fn open_itself(&self) -> io::Result<OwnedFd> {
        open_at(libc::AT_FDCWD, &self.path, libc::O_RDONLY | libc::O_DIRECTORY)
    }

    /// Opens the file of this name, which is relative to the directory.
    ///
    /// # Errors
    /// The operating system's; `EXDEV`, `ELOOP` or `EACCES` for a name that leads out, `EACCES` for what is no regular
    /// file.
    pub(crate) fn open(&self, name: &[u8]) -> io::Result<ServedFile> {
        let directory = self.open_itself()?;
        #[cfg(target_os = "linux")]
        match watched::open(&directory, name) {
            // The kernel is too old, or a filter of system calls does not know the call.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {}
            result => return result,
        }
        by_component::open(directory, name)
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
    /// The operating system's.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // Offsets of the system are signed; there is nothing behind the largest one.
        if i64::try_from(offset).is_err() {
            return Ok(0);
        }
        self.file.read_at(buffer, offset)
    }
}

/// What was opened, if it is a regular file.
fn served(descriptor: OwnedFd) -> io::Result<ServedFile> {
    let file = File::from(descriptor);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(ServedFile { file, size: metadata.size() })
}

fn open_at(directory: RawFd, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string; no mode is needed, as nothing is created.
    owned(unsafe { libc::openat(directory, name.as_ptr(), flags | libc::O_CLOEXEC) })
}

/// The result of a system call that gives a descriptor: an `int`, or a `long`, which is the same with 32 bits.
fn owned(result: impl TryInto<RawFd>) -> io::Result<OwnedFd> {
    let descriptor = result.try_into().unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The kernel sees to it that the name does not lead out.
#[cfg(target_os = "linux")]
mod watched {
    use super::*;

    pub(super) fn open(directory: &OwnedFd, name: &[u8]) -> io::Result<ServedFile> {
        let name = CString::new(name)?;
        // First without opening it in earnest, which wakes a FIFO's writer or a device.
        let found = File::from(beneath(directory, &name, libc::O_PATH)?).metadata()?;
        if !found.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        served(beneath(directory, &name, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY)?)
    }

    fn beneath(directory: &OwnedFd, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
        // SAFETY: all members are numbers; zero means nothing asked for.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
        how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
        let mut result = Err(io::Error::from_raw_os_error(libc::EAGAIN));
        for _ in 0..TRIES {
            // SAFETY: the arguments are those of openat2: a descriptor, a C string, a structure and its size.
            result = owned(unsafe {
                libc::syscall(
                    libc::SYS_openat2,
                    directory.as_raw_fd(),
                    name.as_ptr(),
                    &raw const how,
                    size_of::<libc::open_how>(),
                )
            });
            match &result {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
                _ => break,
            }
        }
        result
    }
}

/// One component after the other, without following any link.
mod by_component {
    use super::*;

    pub(super) fn open(mut directory: OwnedFd, name: &[u8]) -> io::Result<ServedFile> {
        let mut components =
            name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").peekable();
        while let Some(component) = components.next() {
            if component == b".." {
                return Err(io::Error::from_raw_os_error(libc::EACCES));
            }
            let component = CString::new(component)?;
            if components.peek().is_none() {
                return last(&directory, &component);
            }
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            directory = open_at(directory.as_raw_fd(), &component, flags)?;
        }
        Err(io::Error::from_raw_os_error(libc::EISDIR))
    }

    fn last(directory: &OwnedFd, name: &CStr) -> io::Result<ServedFile> {
        // SAFETY: all-zero is a stat structure; the call fills it in, given a C string.
        let found = unsafe {
            let mut found: libc::stat = std::mem::zeroed();
            let flags = libc::AT_SYMLINK_NOFOLLOW;
            if libc::fstatat(directory.as_raw_fd(), name.as_ptr(), &raw mut found, flags) != 0 {
                return Err(io::Error::last_os_error());
            }
            found
        };
        // The same is asked again of what was opened: it may be another file by then.
        if found.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY;
        served(open_at(directory.as_raw_fd(), name, flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    type Open = fn(&Directory, &[u8]) -> io::Result<ServedFile>;

    fn component_wise(directory: &Directory, name: &[u8]) -> io::Result<ServedFile> {
        by_component::open(directory.open_itself()?, name)
    }

    /// A directory tree that goes away with this value: `root` is served, `outside` is beside it.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let at = std::env::temp_dir().join(format!("tftp-files-{}-{name}", std::process::id()));
            fs::create_dir_all(at.join("root/sub")).unwrap();
            fs::write(at.join("root/file"), b"inside").unwrap();
            fs::write(at.join("root/sub/x"), b"deeper").unwrap();
            fs::write(at.join("outside"), b"secret").unwrap();
            Tree(at)
        }

        fn root(&self) -> PathBuf {
            self.0.join("root")
        }

        fn directory(&self) -> Directory {
            Directory::new(&self.root()).unwrap()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn text(file: io::Result<ServedFile>) -> Option<String> {
        let file = file.ok()?;
        let mut buffer = [0; 64];
        let length = file.read_at(&mut buffer, 0).unwrap();
        assert_eq!(file.size(), length as u64);
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn both() -> [(&'static str, Open); 2] {
        [("as it is used", Directory::open), ("component-wise", component_wise)]
    }

    #[test]
    fn files_below_the_directory_are_opened() {
        let tree = Tree::new("below");
        for (how, open) in both() {
            let directory = tree.directory();
            assert_eq!(text(open(&directory, b"file")).as_deref(), Some("inside"), "{how}");
            assert_eq!(text(open(&directory, b"sub/x")).as_deref(), Some("deeper"), "{how}");
            assert_eq!(text(open(&directory, b"./sub//x")).as_deref(), Some("deeper"), "{how}");
            assert!(open(&directory, b"missing").is_err(), "{how}");
            assert!(open(&directory, b"file/x").is_err(), "{how}");
            assert!(open(&directory, b"a\0b").is_err(), "{how}");
        }
    }

    #[test]
    fn nothing_outside_of_the_directory_is_opened() {
        let tree = Tree::new("outside");
        let root = tree.root();
        symlink("../outside", root.join("relative")).unwrap();
        symlink(tree.0.join("outside"), root.join("absolute")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let absolute = tree.0.join("outside");
        for (how, open) in both() {
            let directory = tree.directory();
            let inside = absolute.as_os_str().as_bytes();
            for name in [
                &b"../outside"[..],
                b"sub/../../outside",
                b"..",
                b"relative",
                b"absolute",
                b"up/outside",
                b"magic",
                inside,
            ] {
                assert!(open(&directory, name).is_err(), "{how}: {}", String::from_utf8_lossy(name));
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn links_that_stay_inside_are_followed_where_the_kernel_can_tell() {
        let tree = Tree::new("links");
        symlink("sub/x", tree.root().join("link")).unwrap();
        assert_eq!(text(component_wise(&tree.directory(), b"link")), None);
        match watched::open(&tree.directory().open_itself().unwrap(), b"link") {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {}
            opened => assert_eq!(text(opened).as_deref(), Some("deeper")),
        }
    }

    #[test]
    fn only_regular_files_are_opened() {
        let tree = Tree::new("kinds");
        let fifo = CString::new(tree.root().join("fifo").as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a C string.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        let _socket = std::os::unix::net::UnixListener::bind(tree.root().join("socket")).unwrap();
        for (how, open) in both() {
            for name in ["fifo", "socket", "sub", ".", ""] {
                assert!(open(&tree.directory(), name.as_bytes()).is_err(), "{how}: {name}");
            }
        }
        let devices = Directory::new(Path::new("/dev")).unwrap();
        if Path::new("/dev/null").exists() {
            for (how, open) in both() {
                assert!(open(&devices, b"null").is_err(), "{how}");
            }
        }
    }

    #[test]
    fn offsets_beyond_four_gigabytes() {
        let tree = Tree::new("large");
        let file = File::create(tree.root().join("sparse")).unwrap();
        file.set_len(5 << 30).unwrap();
        file.write_at(b"end", (5 << 30) - 3).unwrap();
        let opened = Directory::open(&tree.directory(), b"sparse").unwrap();
        assert_eq!(opened.size(), 5 << 30);
        let mut buffer = [0; 8];
        assert_eq!(opened.read_at(&mut buffer, (5 << 30) - 3).unwrap(), 3);
        assert_eq!(&buffer[..3], b"end");
        assert_eq!(opened.read_at(&mut buffer, u64::MAX).unwrap(), 0);
    }

    #[test]
    fn the_directory_may_come_later_and_go() {
        let tree = Tree::new("later");
        let directory = Directory::new(&tree.0.join("late")).unwrap();
        assert!(Directory::open(&directory, b"file").is_err());
        fs::create_dir(tree.0.join("late")).unwrap();
        fs::write(tree.0.join("late/file"), b"now").unwrap();
        assert_eq!(text(Directory::open(&directory, b"file")).as_deref(), Some("now"));
        assert!(Directory::new(Path::new("a\0b")).is_none());
    }
}
