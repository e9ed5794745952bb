//! Why a file, or a socket, could not be made here, as far as it can be told without making it.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// The longest path of a socket, without the zero behind it (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// What is in the way of a file that is to be recorded into.
pub(crate) fn of_file(path: &Path) -> Option<String> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => of_folder(path),
        Err(error) => Some(error.to_string()),
        Ok(found) if found.file_type().is_char_device() => None,
        Ok(found) if found.file_type().is_symlink() => Some("it is a link".into()),
        Ok(found) if !found.is_file() => Some("it is no ordinary file".into()),
        Ok(found) if is_anothers(&found) => Some("it belongs to somebody else".into()),
        Ok(_) => not_allowed(path, Access::WRITE_OK),
    }
}

/// What is in the way of a socket.
pub(crate) fn of_socket(path: &Path) -> Option<String> {
    if path.as_os_str().as_bytes().len() > LONGEST_SOCKET {
        return Some(format!("the path of a socket has at most {LONGEST_SOCKET} bytes"));
    }
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => of_folder(path),
        Err(error) => Some(error.to_string()),
        Ok(found) if !found.file_type().is_socket() => Some("there is something else that is no socket".into()),
        Ok(_) if UnixStream::connect(path).is_ok() => Some("somebody listens there".into()),
        Ok(_) => of_folder(path),
    }
}

/// What is in the way of something new in the folder of a path.
fn of_folder(path: &Path) -> Option<String> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Some("it is a folder".into()),
    };
    match folder.metadata() {
        Err(error) => Some(format!("the folder {}: {error}", folder.display())),
        Ok(found) if !found.is_dir() => Some(format!("{} is no folder", folder.display())),
        Ok(_) => not_allowed(folder, Access::WRITE_OK | Access::EXEC_OK)
            .map(|why| format!("the folder {}: {why}", folder.display())),
    }
}

fn is_anothers(found: &Metadata) -> bool {
    found.uid() != rustix::process::geteuid().as_raw()
}

/// What the system says when this is to be done with it.
fn not_allowed(path: &Path, mode: Access) -> Option<String> {
    let allowed = accessat(CWD, path, mode, AtFlags::EACCESS);
    allowed.err().map(|error| io::Error::from(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_seen_without_making_anything() {
        let folder = std::env::temp_dir().join(format!("oxislirp-obstacle-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        assert_eq!((of_file(&at("new")), of_socket(&at("new"))), (None, None));
        assert!(!at("new").exists());
        assert!(of_file(&at("none/new")).unwrap().contains("No such file"));
        assert!(of_socket(&at("none/new")).unwrap().contains("No such file"));
        assert_eq!(of_file(&folder).as_deref(), Some("it is no ordinary file"));
        assert_eq!(of_file(Path::new("/dev/null")), None);
        std::fs::write(at("file"), "").unwrap();
        assert_eq!(of_file(&at("file")), None);
        assert!(of_file(&at("file/new")).is_some());
        assert!(of_socket(&at("file")).unwrap().contains("no socket"));
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert_eq!(of_file(&at("link")).as_deref(), Some("it is a link"));
        let listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(of_socket(&at("socket")).as_deref(), Some("somebody listens there"));
        drop(listener);
        assert_eq!(of_socket(&at("socket")), None, "it is replaced");
        assert!(of_socket(&at(&"x".repeat(120))).unwrap().contains("at most 107 bytes"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
