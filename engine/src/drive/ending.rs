//! What a read of nothing means: a packet without a byte, or the end of the link.

use std::io;
use std::os::fd::AsFd;

use crate::host::wait::has_ended;

/// Receives a packet by `read`, and tells one without a byte, which a socket's peer may send, from the end.
///
/// # Errors
/// What `read` said, and [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) at the end.
pub(super) fn receive(
    descriptor: &impl AsFd,
    is_socket: bool,
    mut read: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    match read()? {
        0 if !is_socket => Err(io::ErrorKind::UnexpectedEof.into()),
        // Before the end there may be frames behind a packet without a byte.
        0 if has_ended(descriptor) => match read()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => Ok(length),
        },
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use crate::drive::{DatagramLink, DriveError, Driver, FrameLink, Stop, TapLink, TunLink};
    use crate::{Config, Stack};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, send, shutdown, socketpair};
    use std::io::ErrorKind;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    /// A driver that would go on for ever hangs the test.
    fn assert_ends(link: impl FrameLink) {
        let mut driver = Driver::new(Stack::new(Config::default()).unwrap(), link).unwrap();
        let error = driver.run(&Stop::new().unwrap(), drop).unwrap_err();
        assert!(
            matches!(&error, DriveError::GuestGone(cause) if cause.kind() == ErrorKind::UnexpectedEof),
            "{error:?}"
        );
        assert!(driver.counts().rounds <= 3, "{:?}", driver.counts());
    }

    /// A link of each kind over the descriptor that `make` gives.
    fn links(make: impl Fn() -> OwnedFd) -> [Box<dyn FrameLink>; 3] {
        [
            Box::new(DatagramLink::new(make().into()).unwrap()),
            Box::new(TapLink::new(make()).unwrap()),
            Box::new(TunLink::new(make(), []).unwrap()),
        ]
    }

    #[test]
    fn packets_in_sequence_end_when_the_peer_goes() {
        links(|| pair(SocketType::SEQPACKET).0).into_iter().for_each(assert_ends);
    }

    #[test]
    fn a_datagram_socket_that_was_shut_down_ends() {
        for how in [shutdown_both as fn(&OwnedFd), shutdown_read] {
            let (ours, _theirs) = pair(SocketType::DGRAM);
            how(&ours);
            assert_ends(DatagramLink::new(UnixDatagram::from(ours)).unwrap());
        }
    }

    fn shutdown_both(socket: &OwnedFd) {
        shutdown(socket, rustix::net::Shutdown::Both).unwrap();
    }

    fn shutdown_read(socket: &OwnedFd) {
        shutdown(socket, rustix::net::Shutdown::Read).unwrap();
    }

    #[test]
    fn a_device_that_gives_nothing_has_ended() {
        let null = || std::fs::File::options().read(true).write(true).open("/dev/null").unwrap().into();
        assert_ends(TapLink::new(null()).unwrap());
        assert_ends(TunLink::new(null(), []).unwrap());
    }

    #[test]
    fn a_datagram_socket_whose_peer_was_closed_ends_when_it_sends() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut driver = Driver::new(Stack::new(Config::default()).unwrap(), DatagramLink::new(ours).unwrap()).unwrap();
        theirs.send(&crate::drive::test_guest::arp_request()).unwrap();
        drop(theirs);
        let error = driver.run(&Stop::new().unwrap(), drop).unwrap_err();
        assert!(matches!(error, DriveError::GuestGone(_)), "{error:?}");
    }

    /// What the end could be taken for.
    #[test]
    fn a_packet_without_a_byte_is_no_end_and_frames_before_the_end_are_received() {
        for kind in [SocketType::DGRAM, SocketType::SEQPACKET] {
            let (ours, theirs) = pair(kind);
            let mut link = DatagramLink::new(UnixDatagram::from(ours)).unwrap();
            let mut buffer = [0; 100];
            send(&theirs, b"", rustix::net::SendFlags::empty()).unwrap();
            assert_eq!(link.receive(&mut buffer).unwrap(), 0);
            send(&theirs, b"", rustix::net::SendFlags::empty()).unwrap();
            send(&theirs, b"a frame", rustix::net::SendFlags::empty()).unwrap();
            drop(theirs);
            let received = (0..2).map(|_| link.receive(&mut buffer).unwrap()).find(|length| *length > 0);
            assert_eq!(received, Some(7));
            let rest = link.receive(&mut buffer).unwrap_err().kind();
            let end = if kind == SocketType::DGRAM { ErrorKind::WouldBlock } else { ErrorKind::UnexpectedEof };
            assert_eq!(rest, end);
        }
    }
}
