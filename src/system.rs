//! What the door asks of the system itself.

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

/// The numbers of errors as C programs know them, which nothing else of the door takes from the system's C library.
pub(crate) mod errno {
    pub(crate) use libc::{EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, EIO, ENOENT, ENOMEM, ENOTSUP};
}

/// What the system's own `socket` says of a family that it has not: of winsock2.h on Windows.
#[cfg(test)]
pub(crate) const NO_FAMILY: i32 = if cfg!(windows) { 10047 } else { errno::EAFNOSUPPORT };

/// Options for a file that is read: opening what is no file must not wait for anybody.
#[cfg(unix)]
pub(crate) fn never_waiting(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(libc::O_NONBLOCK)
}

/// As for other systems; nothing waits here.
#[cfg(windows)]
pub(crate) fn never_waiting(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// The path that a C string stands for.
#[cfg(unix)]
pub(crate) fn path_of(text: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(text).into()
}

/// The path that a C string stands for, which is UTF-8 as in GLib.
#[cfg(windows)]
pub(crate) fn path_of(text: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&text).into_owned().into()
}

/// Sets what C programs find in `errno`.
#[cfg(unix)]
pub(crate) fn set_errno(errno: c_int) {
    ::errno::set_errno(::errno::Errno(errno));
}

/// Sets what C programs find in `errno`: that of the C library which this one is linked with.
#[cfg(windows)]
pub(crate) fn set_errno(errno: c_int) {
    unsafe extern "C" {
        fn _set_errno(value: c_int) -> c_int;
    }
    // SAFETY: the function takes a number, which it keeps for this thread.
    unsafe { _set_errno(errno) };
}

/// The number that C programs know an error by, or `otherwise` for one that has none.
#[cfg(unix)]
pub(crate) fn errno_of(error: &io::Error, otherwise: c_int) -> c_int {
    // Behind the name of a file there is the system's own error.
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    error.raw_os_error().or_else(|| source?.raw_os_error()).unwrap_or(otherwise)
}

/// The number that C programs know an error by, or `otherwise` for one that has none: the system has other numbers for its errors
/// than its C library.
#[cfg(windows)]
pub(crate) fn errno_of(error: &io::Error, otherwise: c_int) -> c_int {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => libc::EADDRINUSE,
        ErrorKind::AddrNotAvailable => libc::EADDRNOTAVAIL,
        ErrorKind::PermissionDenied => libc::EACCES,
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::NotADirectory => libc::ENOTDIR,
        ErrorKind::InvalidInput => libc::EINVAL,
        ErrorKind::OutOfMemory => libc::ENOMEM,
        ErrorKind::AlreadyExists => libc::EEXIST,
        ErrorKind::Unsupported => libc::ENOTSUP,
        _ => match error.raw_os_error() {
            // Of winsock2.h: WSAEAFNOSUPPORT, WSAEMFILE, WSAENOBUFS, WSAEINVAL.
            Some(10047) => libc::EAFNOSUPPORT,
            Some(10024) => libc::EMFILE,
            Some(10055) => libc::ENOBUFS,
            Some(10022) => libc::EINVAL,
            _ => otherwise,
        },
    }
}

/// Whether the program has more rights than whoever has started it and made its environment, as `secure_getenv` of the C
/// library asks it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn runs_with_other_rights() -> bool {
    // SAFETY: no pointer is involved.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The same for the systems that keep it by process.
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
pub(crate) fn runs_with_other_rights() -> bool {
    // SAFETY: no pointer is involved.
    unsafe { libc::issetugid() != 0 }
}

/// The same as far as any Unix can tell.
#[cfg(all(
    unix,
    not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd"
    ))
))]
pub(crate) fn runs_with_other_rights() -> bool {
    // SAFETY: no pointer is involved.
    unsafe { libc::getuid() != libc::geteuid() || libc::getgid() != libc::getegid() }
}

/// Programs have the rights of whoever starts them, and those of others only with a new environment.
#[cfg(windows)]
pub(crate) fn runs_with_other_rights() -> bool {
    false
}
