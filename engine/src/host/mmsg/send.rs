//! Sending many datagrams to one destination.

use std::io;
use std::net::SocketAddr;

use crate::host::local_address::LocalAddress;
use crate::host::socket::Datagram;

/// The most datagrams one call sends.
pub(crate) const MAX_SEND: usize = 64;

impl Datagram {
    /// Sends datagrams to one destination, in their order, from one of the host's addresses or from any. `segmenting` says
    /// whether the kernel is to cut runs of equal size itself; it is cleared when the kernel refuses that, and the
    /// datagrams are then sent one by one.
    ///
    /// # Errors
    /// How many datagrams were sent before the first that failed, and its error: as for [`Datagram::send_to`].
    pub(crate) fn send_many(
        &self,
        payloads: &[&[u8]],
        destination: SocketAddr,
        source: Option<LocalAddress>,
        segmenting: &mut bool,
    ) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        // Where the kernel refused a run.
        let mut refused_at = None;
        while let Some(rest) = payloads.get(done..).filter(|rest| !rest.is_empty()) {
            match system::send_some(self, rest, destination, source, *segmenting) {
                Ok(sent) => done += sent.max(1),
                // What is too large for one link, or a device that cannot compute checksums, is no failure of the datagram.
                Err(error)
                    if *segmenting
                        && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE)) =>
                {
                    *segmenting = false;
                    refused_at = Some(done);
                }
                Err(error) => {
                    // What fails by itself as well says nothing of runs.
                    *segmenting |= refused_at == Some(done);
                    return Err((done, error));
                }
            }
        }
        Ok(())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;
    use std::mem::zeroed;
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use socket2::SockAddr;

    use super::{Datagram, LocalAddress, MAX_SEND};
    use crate::host::control::Control;

    /// The most bytes in one run: what fits into the length field of UDP over IPv4, less headers with options.
    const MAX_RUN: usize = 65000;
    /// The most datagrams for which little room is prepared.
    const FEW: usize = 4;

    /// How many of the first datagrams go into one message: equal sizes, of which the last may be shorter.
    fn run(payloads: &[&[u8]]) -> usize {
        let size = payloads.first().map_or(0, |first| first.len());
        if size == 0 {
            return 1;
        }
        let mut bytes = 0;
        let mut count = 0;
        for payload in payloads {
            bytes += payload.len();
            if payload.is_empty() || payload.len() > size || bytes > MAX_RUN {
                break;
            }
            count += 1;
            if payload.len() < size {
                break;
            }
        }
        count.max(1)
    }

    pub(super) fn send_some(
        socket: &Datagram,
        payloads: &[&[u8]],
        destination: SocketAddr,
        source: Option<LocalAddress>,
        segmenting: bool,
    ) -> io::Result<usize> {
        let (few, many) = (send_up_to::<FEW>, send_up_to::<MAX_SEND>);
        (if payloads.len() <= FEW { few } else { many })(socket, payloads, destination, source, segmenting)
    }

    /// Sends at most `N` datagrams; says how many were sent.
    fn send_up_to<const N: usize>(
        socket: &Datagram,
        payloads: &[&[u8]],
        destination: SocketAddr,
        source: Option<LocalAddress>,
        segmenting: bool,
    ) -> io::Result<usize> {
        let name = SockAddr::from(destination);
        // SAFETY: these are plain data for which all zero bytes are a valid value.
        let (mut messages, mut vectors): ([libc::mmsghdr; N], [libc::iovec; N]) = unsafe { zeroed() };
        let mut controls = [Control::EMPTY; N];
        let mut counts = [0usize; N];
        let payloads = payloads.get(..N).unwrap_or(payloads);
        for (vector, payload) in vectors.iter_mut().zip(payloads) {
            *vector = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        }
        let mut taken = 0;
        let mut used = 0;
        for ((message, control), count) in messages.iter_mut().zip(&mut controls).zip(&mut counts) {
            let (Some(rest), Some(vector)) =
                (payloads.get(taken..).filter(|r| !r.is_empty()), vectors.get_mut(taken..))
            else {
                break;
            };
            *count = if segmenting { run(rest) } else { 1 };
            let header = &mut message.msg_hdr;
            header.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_namelen = name.len();
            header.msg_iov = vector.as_mut_ptr();
            header.msg_iovlen = *count as _;
            if let Some(source) = source {
                source.push_to(control);
            }
            if let (2.., Some(size)) = (*count, rest.first().and_then(|first| u16::try_from(first.len()).ok())) {
                control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
            }
            control.send_with(header);
            taken += *count;
            used += 1;
        }
        // SAFETY: the first `used` messages point to live locals and slices of the stated lengths, which are only read.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), used, libc::MSG_NOSIGNAL as _) };
        match usize::try_from(sent) {
            Ok(sent) => Ok(counts.iter().take(sent).sum()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::run;

        #[test]
        fn a_run_is_of_one_size_but_for_a_shorter_end() {
            let (full, short, empty): (&[u8], &[u8], &[u8]) = (&[1; 100], &[2; 40], &[]);
            assert_eq!(run(&[full, full, full]), 3);
            assert_eq!(run(&[full, full, short, short]), 3);
            assert_eq!(run(&[short, full]), 1);
            assert_eq!(run(&[full, empty]), 1);
            assert_eq!(run(&[empty, empty]), 1);
            let large: &[u8] = &[0; 30000];
            assert_eq!(run(&[large, large, large]), 2);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;
    use std::net::SocketAddr;

    use super::{Datagram, LocalAddress};

    pub(super) fn send_some(
        socket: &Datagram,
        payloads: &[&[u8]],
        destination: SocketAddr,
        source: Option<LocalAddress>,
        _segmenting: bool,
    ) -> io::Result<usize> {
        let first = payloads.first().copied().unwrap_or_default();
        socket.send_from(first, destination, source).map(|_| 1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::host::fault::Fault;

    #[test]
    fn datagrams_of_all_sizes_arrive_whole_and_in_order_with_and_without_segmenting() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = Datagram::outgoing(false, None).unwrap();
        let sizes = [0, 1, 1000, 1000, 1000, 999, 1000, 0, 0, 60000, 1472, 1472];
        let bytes: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, &size)| vec![i as u8; size]).collect();
        let payloads: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        for (mut segmenting, length) in [(true, 12), (false, 12), (true, 3)] {
            socket.send_many(&payloads[..length], peer.local_addr().unwrap(), None, &mut segmenting).unwrap();
            let mut buffer = [0; 65536];
            for expected in &bytes[..length] {
                let (length, sender) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], expected);
                assert_eq!(Some(sender.port()), socket.local_address().map(|local| local.port()));
            }
        }
    }

    #[test]
    fn what_fails_by_itself_too_is_no_reason_to_cut_runs_here() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = Datagram::outgoing(false, None).unwrap();
        let (fits, too_large) = ([1; 100], vec![2; 65_535]);
        let payloads: [&[u8]; 3] = [&fits, &fits, &too_large];
        let mut segmenting = true;
        let failed = socket.send_many(&payloads, peer.local_addr().unwrap(), None, &mut segmenting);
        let (done, error) = failed.unwrap_err();
        assert_eq!((done, Fault::of(&error), segmenting), (2, Fault::TooLong, true));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn runs_leave_from_the_address_that_was_asked() {
        let server = Datagram::bind("0.0.0.0:0".parse().unwrap(), false).unwrap();
        let port = server.local_address().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"ask", ("127.0.0.8", port)).unwrap();
        let mut buffer = crate::host::mmsg::ReceiveBuffer::default();
        assert_eq!(buffer.receive(&server, 2).unwrap(), 1);
        let local = buffer.get(0).unwrap().local;
        assert_eq!(local.map(|local| local.ip), Some([127, 0, 0, 8].into()));
        let payloads: [&[u8]; 6] = [b"one", b"two", b"six", b"ten", b"four", b""];
        server.send_many(&payloads, client.local_addr().unwrap(), local, &mut true).unwrap();
        for expected in payloads {
            let mut bytes = [0; 16];
            let (length, from) = client.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from), (expected, SocketAddr::from(([127, 0, 0, 8], port))));
        }
    }
}
