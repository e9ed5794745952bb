//! Which file is put under a program.

use std::env::{self, consts::ARCH};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol, ReadCache};

use super::Failure;

/// The variable that names a library, as for `script/with`.
const VARIABLE: &str = "OXISLIRP_LIBRARY";
/// A function that libslirp does not have.
const OWN_FUNCTION: &[u8] = b"oxislirp_counters";
/// The library's names: when it is installed, and as cargo makes it.
const NAMES: [&str; 2] = ["libslirp.so.0", "libslirp.so"];

/// The library: the one that is given, or the first of this project in the usual places.
///
/// # Errors
/// What is given is not there, or nothing was found.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = given.map(Path::to_owned).or(variable) {
        // Also upstream's, for who wants to compare.
        return path.canonicalize().map_err(|error| Failure::refused(format!("{}: {error}", path.display())));
    }
    let own = env::current_exe().ok().and_then(|path| path.canonicalize().ok());
    let own = own.as_deref().and_then(Path::parent);
    let places = own.map(places).unwrap_or_default();
    let found = places.iter().flat_map(|folder| NAMES.map(|name| folder.join(name))).find(|path| is_ours(path));
    found.and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Failure::refused(format!(
            "there is no library of oxislirp in {}; --library says where one is",
            places.join(", ")
        ))
    })
}

/// Where it may be for a command in the folder `own`: beside it, as cargo makes both; in a folder of its own, where a package has put it
/// beside another libslirp; and where libraries are.
fn places(own: &Path) -> Vec<PathBuf> {
    let mut places = vec![own.to_owned()];
    if own.file_name() != Some(OsStr::new("bin")) {
        return places;
    }
    let Some(prefix) = own.parent() else { return places };
    let triplets = ["gnu", "musl"].map(|system| prefix.join(format!("lib/{ARCH}-linux-{system}")));
    let folders = [&triplets[..], &[prefix.join("lib64"), prefix.join("lib")]].concat();
    places.extend(folders.iter().map(|folder| folder.join("oxislirp")));
    places.extend(folders);
    places
}

/// Whether a file is a library of this project.
fn is_ours(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let data = ReadCache::new(file);
    object::File::parse(&data).is_ok_and(|file| {
        file.dynamic_symbols().any(|symbol| symbol.name_bytes().is_ok_and(|name| name == OWN_FUNCTION))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_its_own_goes_before_the_systems() {
        let found = places(Path::new("/usr/bin"));
        let position = |path: &str| found.iter().position(|one| one == Path::new(path)).unwrap();
        assert!(position(&format!("/usr/lib/{ARCH}-linux-gnu/oxislirp")) < position("/usr/lib64"));
        assert!(position("/usr/lib/oxislirp") < position("/usr/lib"));
        assert_eq!(places(Path::new("/x/target/release")), [PathBuf::from("/x/target/release")]);
    }

    #[test]
    fn what_is_no_library_is_not_taken() {
        assert!(!is_ours(&env::current_exe().unwrap()));
        assert!(!is_ours(Path::new("/etc/passwd")) && !is_ours(Path::new("/nowhere")));
    }
}
