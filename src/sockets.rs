//! The system's own types of sockets, as C programs have them.

#[cfg(unix)]
pub(crate) use libc::{
    AF_INET, AF_INET6, AF_UNIX, in_addr, in6_addr, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un,
    socklen_t,
};
#[cfg(windows)]
pub(crate) use windows::{
    AF_INET, AF_INET6, AF_UNIX, in_addr, in6_addr, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un,
    socklen_t,
};

/// As `winsock2.h`, `ws2tcpip.h` and `afunix.h` have them.
///
/// cbindgen:ignore
#[cfg(windows)]
#[allow(missing_docs, non_camel_case_types, reason = "the names are those of C")]
mod windows {
    use std::ffi::c_char;

    pub(crate) type sa_family_t = u16;
    pub(crate) type socklen_t = i32;
    pub(crate) const AF_UNIX: i32 = 1;
    pub(crate) const AF_INET: i32 = 2;
    pub(crate) const AF_INET6: i32 = 23;

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct in_addr {
        pub s_addr: u32,
    }

    // As a union with eight words of two bytes.
    #[repr(C, align(2))]
    #[derive(Clone, Copy)]
    pub struct in6_addr {
        pub s6_addr: [u8; 16],
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct sockaddr {
        pub sa_family: sa_family_t,
        pub sa_data: [c_char; 14],
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct sockaddr_in {
        pub sin_family: sa_family_t,
        pub sin_port: u16,
        pub sin_addr: in_addr,
        pub sin_zero: [u8; 8],
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct sockaddr_in6 {
        pub sin6_family: sa_family_t,
        pub sin6_port: u16,
        pub sin6_flowinfo: u32,
        pub sin6_addr: in6_addr,
        pub sin6_scope_id: u32,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    pub(crate) struct sockaddr_un {
        pub(crate) sun_family: sa_family_t,
        pub(crate) sun_path: [c_char; 108],
    }
}
