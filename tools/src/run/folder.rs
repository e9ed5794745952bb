//! A folder in which a library has the name that programs ask for, and nothing else is.

use std::env;
use std::ffi::OsStr;
use std::fs::{DirBuilder, read_link, rename, symlink_metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::Failure;

/// What programs ask for.
const NAME: &str = "libslirp.so.0";

/// The folder for a library. It stays, as the program and what it starts look into it as long as they run, and is the same one
/// for the next run on this library.
///
/// # Errors
/// It cannot be made, or is somebody else's.
pub(super) fn with(library: &Path) -> Result<PathBuf, Failure> {
    if library.file_name() == Some(OsStr::new(NAME))
        && library.parent().is_some_and(|folder| folder.ends_with("oxislirp"))
    {
        // A package's folder of its own.
        return Ok(library.parent().unwrap_or(library).to_owned());
    }
    let mut hash = DefaultHasher::new();
    library.hash(&mut hash);
    let parent = parent();
    let folder = parent.join(format!("run-{:016x}", hash.finish()));
    let failed = |path: &Path, error| Failure::refused(format!("{}: {error}", path.display()));
    for one in [&parent, &folder] {
        own(one).map_err(|error| failed(one, error))?;
    }
    let link = folder.join(NAME);
    if read_link(&link).is_ok_and(|target| target == library) {
        return Ok(folder);
    }
    // In one step, as another run may be looking.
    let new = folder.join(format!(".{}", std::process::id()));
    symlink(library, &new).and_then(|()| rename(&new, &link)).map_err(|error| failed(&link, error))?;
    Ok(folder)
}

/// Where the folders are: in the user's own one for such things, or else in the common one under a name with the user's number.
fn parent() -> PathBuf {
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute() && folder.is_dir()) {
        Some(folder) => folder.join("oxislirp"),
        None => env::temp_dir().join(format!("oxislirp-{}", geteuid().as_raw())),
    }
}

/// Makes a folder, or finds it, that nobody else can write into: whoever could would have programs load his own library.
fn own(folder: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let metadata = symlink_metadata(folder)?;
    if metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(std::io::Error::other("others may write into this folder"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, remove_dir_all, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_others_may_write_into_is_refused() {
        let parent = env::temp_dir().join(format!("oxislirp-folder-{}", std::process::id()));
        create_dir(&parent).unwrap();
        let open = parent.join("open");
        create_dir(&open).unwrap();
        set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let link = parent.join("link");
        symlink(&parent, &link).unwrap();
        let fresh = parent.join("fresh");
        let results = [own(&open).is_err(), own(&link).is_err(), own(&fresh).is_ok(), own(&fresh).is_ok()];
        remove_dir_all(&parent).unwrap();
        assert_eq!(results, [true; 4]);
    }
}
