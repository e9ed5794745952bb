//! Why a forward was refused, as C programs are told: by `errno`.

use std::ffi::c_int;

use super::system::{errno, errno_of};
use oxislirp::ForwardError;

/// The number for a forward, of either direction, that could not be added. The system's own error comes first; a Unix socket is
/// refused with one number in both directions.
// Source: upstream sets none for guest forwards (docs/contract/guestfwd-exec-unix.md section 1); for those of the host it is that
// of the call that failed (docs/contract/hostfwd.md section 1).
pub(crate) fn errno_of_refusal(error: &ForwardError) -> c_int {
    match error {
        ForwardError::Listen { error, .. } => errno_of(error, errno::EIO),
        ForwardError::NoUnixSockets(error) => errno_of(error, errno::EAFNOSUPPORT),
        ForwardError::TooMany { .. } | ForwardError::Unwatched(_) => errno::ENOMEM,
        ForwardError::OutsideNetwork(_) | ForwardError::NameServer(_) | ForwardError::Taken(_) => errno::EADDRNOTAVAIL,
        _ => errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::system::NO_FAMILY;
    use super::*;
    use oxislirp::{ListenAddress, UnixAddress};
    use std::io;

    #[test]
    fn a_unix_socket_that_the_system_has_not_is_one_number_in_both_directions() {
        let said = || io::Error::from_raw_os_error(NO_FAMILY);
        let address = ListenAddress::Unix(UnixAddress::new(b"/socket").unwrap());
        assert_eq!(errno_of_refusal(&ForwardError::Listen { address, error: said() }), errno::EAFNOSUPPORT);
        assert_eq!(errno_of_refusal(&ForwardError::NoUnixSockets(said())), errno::EAFNOSUPPORT);
        // One that has no number is the same: it is about the family.
        let nameless = io::Error::other("no such sockets");
        assert_eq!(errno_of_refusal(&ForwardError::NoUnixSockets(nameless)), errno::EAFNOSUPPORT);
    }

    #[test]
    fn what_is_refused_before_the_system_is_asked_has_its_number_as_well() {
        let outside = ForwardError::OutsideNetwork([192, 0, 2, 1].into());
        assert_eq!(errno_of_refusal(&outside), errno::EADDRNOTAVAIL);
        assert_eq!(errno_of_refusal(&ForwardError::Taken(([10, 0, 2, 100], 80).into())), errno::EADDRNOTAVAIL);
        assert_eq!(errno_of_refusal(&ForwardError::TooMany { most: 1024 }), errno::ENOMEM);
    }
}
