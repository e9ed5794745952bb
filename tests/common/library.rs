//! Finding and loading the library under test, and telling which one it is.

use super::ffi::*;
use super::system;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;

macro_rules! symbols {
    (required { $($name:ident: $type:ty;)* } optional { $($extra:ident: $extra_type:ty;)* }) => {
        /// Every exported function; the ones of SLIRP_4.9 are `None` in older libraries, and ours in upstream's.
        pub struct Library {
            $(pub $name: $type,)*
            $(pub $extra: Option<$extra_type>,)*
            /// Where the library was loaded from.
            pub path: PathBuf,
            /// True for upstream's libslirp (it needs GLib), false for ours; `SLIRP_IS=ours` holds upstream to our
            /// side of every difference, which shows that the tests can fail.
            pub upstream: bool,
            needs_glib: bool,
            _handle: libloading::Library,
        }

        impl Library {
            fn load(path: PathBuf) -> Library {
                let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
                let needs_glib = bytes.windows(17).any(|w| w == b"libglib-2.0.so.0\0");
                let upstream = match std::env::var("SLIRP_IS").as_deref() {
                    Ok("upstream") => true,
                    Ok("ours") => false,
                    _ => needs_glib,
                };
                // SAFETY: the library under test runs no constructor that could conflict with this process.
                #[cfg(unix)]
                let handle = unsafe { libloading::os::unix::Library::open(
                    Some(&path), libloading::os::unix::RTLD_NOW | libloading::os::unix::RTLD_LOCAL) };
                // SAFETY: as above.
                #[cfg(windows)]
                let handle = unsafe { libloading::os::windows::Library::new(&path) };
                let handle = handle.unwrap_or_else(|e| panic!("cannot load {}: {e}", path.display()));
                let handle = libloading::Library::from(handle);
                // SAFETY: the types are those of docs/contract/api.md section 2.
                unsafe {
                    Library {
                        $($name: *handle.get(concat!(stringify!($name), "\0").as_bytes())
                            .unwrap_or_else(|e| panic!("{}: {e}", stringify!($name))),)*
                        $($extra: handle.get(concat!(stringify!($extra), "\0").as_bytes()).ok().map(|s| *s),)*
                        path, upstream, needs_glib, _handle: handle,
                    }
                }
            }
        }
    };
}

type Handle = *mut Slirp;
type Info = unsafe extern "C" fn(Handle) -> *mut c_char;
type Fill = unsafe extern "C" fn(Handle, *mut u32, AddPoll, *mut c_void);
type FillSocket = unsafe extern "C" fn(Handle, *mut u32, AddPollSocket, *mut c_void);
type AddHostfwd = unsafe extern "C" fn(Handle, c_int, system::in_addr, c_int, system::in_addr, c_int) -> c_int;
type RemoveHostfwd = unsafe extern "C" fn(Handle, c_int, system::in_addr, c_int) -> c_int;
type AddHostxfwd = unsafe extern "C" fn(Handle, *const c_void, u32, *const c_void, u32, c_int) -> c_int;
type RemoveHostxfwd = unsafe extern "C" fn(Handle, *const c_void, u32, c_int) -> c_int;
type AddText = unsafe extern "C" fn(Handle, *const c_char, *mut system::in_addr, c_int) -> c_int;
type AddGuestfwd = unsafe extern "C" fn(Handle, WriteCb, *mut c_void, *mut system::in_addr, c_int) -> c_int;
type Init = unsafe extern "C" fn(
    c_int,
    bool,
    system::in_addr,
    system::in_addr,
    system::in_addr,
    bool,
    system::in6_addr,
    u8,
    system::in6_addr,
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
    system::in_addr,
    system::in_addr,
    system::in6_addr,
    *const *const c_char,
    *const c_char,
    *const SlirpCb,
    *mut c_void,
) -> Handle;

symbols! {
    required {
    slirp_version_string: unsafe extern "C" fn() -> *const c_char;
    slirp_state_version: unsafe extern "C" fn() -> c_int;
    slirp_new: unsafe extern "C" fn(*const SlirpConfig, *const SlirpCb, *mut c_void) -> Handle;
    slirp_init: Init;
    slirp_cleanup: unsafe extern "C" fn(Handle);
    slirp_input: unsafe extern "C" fn(Handle, *const u8, c_int);
    slirp_pollfds_fill: Fill;
    slirp_pollfds_poll: unsafe extern "C" fn(Handle, c_int, GetRevents, *mut c_void);
    slirp_handle_timer: unsafe extern "C" fn(Handle, c_int, *mut c_void);
    slirp_add_hostfwd: AddHostfwd;
    slirp_remove_hostfwd: RemoveHostfwd;
    slirp_add_hostxfwd: AddHostxfwd;
    slirp_remove_hostxfwd: RemoveHostxfwd;
    slirp_add_exec: AddText;
    slirp_add_unix: AddText;
    slirp_add_guestfwd: AddGuestfwd;
    slirp_remove_guestfwd: unsafe extern "C" fn(Handle, system::in_addr, c_int) -> c_int;
    slirp_socket_can_recv: unsafe extern "C" fn(Handle, system::in_addr, c_int) -> usize;
    slirp_socket_recv: unsafe extern "C" fn(Handle, system::in_addr, c_int, *const u8, c_int);
    slirp_connection_info: Info;
    slirp_neighbor_info: Info;
    slirp_state_save: unsafe extern "C" fn(Handle, WriteCb, *mut c_void) -> c_int;
    slirp_state_load: unsafe extern "C" fn(Handle, c_int, ReadCb, *mut c_void) -> c_int;
    }
    optional {
    slirp_pollfds_fill_socket: FillSocket;
    slirp_set_debug: unsafe extern "C" fn(c_uint);
    slirp_reset_debug: unsafe extern "C" fn(c_uint);
    oxislirp_counters: unsafe extern "C" fn(Handle, *mut c_void, usize) -> usize;
    }
}

impl Library {
    /// The text of `slirp_version_string`.
    pub fn version(&self) -> String {
        // SAFETY: a static NUL-terminated string.
        unsafe { CStr::from_ptr((self.slirp_version_string)()) }.to_string_lossy().into_owned()
    }

    /// True when the library behaves as upstream `4.minor` or newer does; ours always does.
    pub fn at_least(&self, minor: u32) -> bool {
        let version = self.version();
        let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u32>().unwrap_or(0));
        !self.needs_glib || (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (4, minor)
    }
}

/// What cargo has built for the tests, and put beside them (see tests/library).
fn built_by_cargo() -> PathBuf {
    let exe = std::env::current_exe().expect("the test executable has a path");
    exe.with_file_name(system::LIBRARY)
}

/// The library under test, loaded once per process.
///
/// A guest made by hand counts the frames of each call, so that the library is told to give everything at once; with
/// SLIRP_TEST_HANDOVER it does as in a program.
pub fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        if std::env::var_os("SLIRP_TEST_HANDOVER").is_none() {
            // SAFETY: done before anything of the library is called, which alone reads the variable.
            unsafe { std::env::set_var("OXISLIRP_HANDOVER", "off") };
        }
        Library::load(std::env::var_os("SLIRP_LIB").map_or_else(built_by_cargo, PathBuf::from))
    })
}
