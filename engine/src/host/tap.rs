//! Opening tap and tun devices. Source: the kernel's Documentation/networking/tuntap.rst.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Ethernet frames: a tap device.
    Ethernet,
    /// IP packets: a tun device.
    Ip,
}

/// Makes the device `name` in the caller's network namespace, or attaches to it where it is there.
///
/// # Errors
/// `InvalidInput` when the name is empty or longer than 15 bytes or has a zero byte; what `open` and `ioctl` said: without
/// CAP_NET_ADMIN in the namespace it is `PermissionDenied`.
pub(crate) fn open(name: &str, layer: Layer) -> io::Result<File> {
    // SAFETY: all fields of this structure may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = Path::new(name).as_os_str().as_bytes();
    if bytes.is_empty() || bytes.len() >= request.ifr_name.len() || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name of a device"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let layer = if layer == Layer::Ethernet { libc::IFF_TAP } else { libc::IFF_TUN };
    request.ifr_ifru.ifru_flags = (layer | libc::IFF_NO_PI) as libc::c_short;
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: this request reads and writes one `ifreq`, which lives until the call has returned.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "a_name_of_sixteen", "with\0zero"] {
            assert_eq!(open(name, Layer::Ip).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
