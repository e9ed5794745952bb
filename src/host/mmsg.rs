//! Many datagrams in one system call: `sendmmsg` with `UDP_SEGMENT` (udp(7)) where the kernel has it, and `recvmmsg`.
//! Other systems take one datagram per call behind the same functions.

use std::io;
use std::net::SocketAddr;

use super::socket::Datagram;

/// The most datagrams one call sends.
pub const MAX_SEND: usize = 64;
/// The most datagrams one call receives.
pub const MAX_RECEIVE: usize = 32;
/// The largest datagram there can be, in bytes.
const MAX_DATAGRAM: usize = 65536;
/// From one slot to the next. The odd rest keeps the slots' first lines out of one and the same set of a cache.
const STRIDE: usize = MAX_DATAGRAM + 1088;

impl Datagram {
    /// Sends datagrams to one destination, in their order. `segmenting` says whether the kernel is to cut runs of equal
    /// size itself; it is cleared when the kernel refuses that, and the datagrams are then sent one by one.
    ///
    /// # Errors
    /// How many datagrams were sent before the first that failed, and its error: as for [`Datagram::send_to`].
    pub fn send_many(
        &self,
        payloads: &[&[u8]],
        destination: SocketAddr,
        segmenting: &mut bool,
    ) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while let Some(rest) = payloads.get(done..).filter(|rest| !rest.is_empty()) {
            match system::send_some(self, rest, destination, *segmenting) {
                Ok(sent) => done += sent.max(1),
                // What is too large for one link, or a device that cannot compute checksums, is no failure of the datagram.
                Err(error)
                    if *segmenting
                        && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE)) =>
                {
                    *segmenting = false;
                }
                Err(error) => return Err((done, error)),
            }
        }
        Ok(())
    }
}

/// Room for several datagrams of the largest size. Memory is taken when it is first used, and the pages of a slot only
/// when a datagram is as long.
#[derive(Debug, Default)]
pub struct ReceiveBuffer {
    bytes: Vec<u8>,
    /// Length and sender of what each slot holds.
    received: Vec<(usize, Option<SocketAddr>)>,
}

impl ReceiveBuffer {
    /// Receives up to `count` datagrams and says how many came. Fewer than asked for means that no more wait, or that an
    /// error does, of which the poller tells.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise the socket's pending error.
    pub fn receive(&mut self, socket: &Datagram, count: usize) -> io::Result<usize> {
        let count = count.clamp(1, MAX_RECEIVE);
        if self.bytes.len() < STRIDE * count {
            self.bytes = vec![0; STRIDE * MAX_RECEIVE];
        }
        self.received.clear();
        system::receive_some(socket, &mut self.bytes, count, &mut self.received)?;
        Ok(self.received.len())
    }

    /// What the slot holds, and who sent it.
    pub fn get(&self, slot: usize) -> Option<(&[u8], Option<SocketAddr>)> {
        let &(length, sender) = self.received.get(slot)?;
        let start = slot.checked_mul(STRIDE)?;
        Some((self.bytes.get(start..start.checked_add(length)?)?, sender))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;
    use std::mem::{offset_of, zeroed};
    use std::net::{IpAddr, Ipv6Addr, SocketAddr};
    use std::os::fd::AsRawFd;

    use socket2::SockAddr;

    use super::{Datagram, MAX_DATAGRAM, MAX_RECEIVE, MAX_SEND, STRIDE};

    /// The most bytes in one run: what fits into the length field of UDP over IPv4, less headers with options.
    const MAX_RUN: usize = 65000;
    /// The control message that carries the segment size.
    const CONTROL: usize = size_of::<libc::cmsghdr>() + size_of::<u64>();

    #[derive(Clone, Copy)]
    #[repr(C, align(8))]
    struct Control([u8; CONTROL]);

    impl Control {
        /// `UDP_SEGMENT` with its size, laid out as cmsg(3) says.
        fn segments_of(size: u16) -> Control {
            let mut bytes = [0; CONTROL];
            let length = size_of::<libc::cmsghdr>() + size_of::<u16>();
            let mut put = |at: usize, field: &[u8]| {
                if let Some(to) = bytes.get_mut(at..at + field.len()) {
                    to.copy_from_slice(field);
                }
            };
            put(offset_of!(libc::cmsghdr, cmsg_len), &length.to_ne_bytes());
            put(offset_of!(libc::cmsghdr, cmsg_level), &libc::SOL_UDP.to_ne_bytes());
            put(offset_of!(libc::cmsghdr, cmsg_type), &libc::UDP_SEGMENT.to_ne_bytes());
            put(size_of::<libc::cmsghdr>(), &size.to_ne_bytes());
            Control(bytes)
        }
    }

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
        segmenting: bool,
    ) -> io::Result<usize> {
        let name = SockAddr::from(destination);
        // SAFETY: these are plain data for which all zero bytes are a valid value.
        let (mut messages, mut vectors): ([libc::mmsghdr; MAX_SEND], [libc::iovec; MAX_SEND]) = unsafe { zeroed() };
        let mut controls = [Control([0; CONTROL]); MAX_SEND];
        let mut counts = [0usize; MAX_SEND];
        let payloads = payloads.get(..MAX_SEND).unwrap_or(payloads);
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
            if let (2.., Some(size)) = (*count, rest.first().and_then(|first| u16::try_from(first.len()).ok())) {
                *control = Control::segments_of(size);
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL as _;
            }
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

    pub(super) fn receive_some(
        socket: &Datagram,
        bytes: &mut [u8],
        count: usize,
        received: &mut Vec<(usize, Option<SocketAddr>)>,
    ) -> io::Result<()> {
        type All = ([libc::mmsghdr; MAX_RECEIVE], [libc::iovec; MAX_RECEIVE], [libc::sockaddr_in6; MAX_RECEIVE]);
        // SAFETY: these are plain data for which all zero bytes are a valid value.
        let (mut messages, mut vectors, mut names): All = unsafe { zeroed() };
        let slots = messages.iter_mut().zip(&mut vectors).zip(&mut names).zip(bytes.chunks_exact_mut(STRIDE));
        let mut used = 0;
        for (((message, vector), name), slot) in slots.take(count) {
            *vector = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: MAX_DATAGRAM };
            let header = &mut message.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = &raw mut *vector;
            header.msg_iovlen = 1;
            used += 1;
        }
        let none = std::ptr::null_mut();
        let flags = libc::MSG_DONTWAIT as _;
        // SAFETY: the first `used` messages point to live locals and to slots longer than the stated lengths.
        let came = unsafe { libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), used, flags, none) };
        let Ok(came) = usize::try_from(came) else { return Err(io::Error::last_os_error()) };
        for (message, name) in messages.iter().zip(&names).take(came) {
            received.push(((message.msg_len as usize).min(MAX_DATAGRAM), address(name)));
        }
        Ok(())
    }

    /// The address in a name, which is of either family.
    fn address(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
        match i32::from(name.sin6_family) {
            libc::AF_INET => {
                // SAFETY: a sockaddr_in is smaller than a sockaddr_in6 and aligned alike; the family says it is one.
                let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
                Some(SocketAddr::new(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                Some(SocketAddr::new(Ipv6Addr::from(name.sin6_addr.s6_addr).into(), u16::from_be(name.sin6_port)))
            }
            _ => None,
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

    use super::{Datagram, MAX_DATAGRAM};

    pub(super) fn send_some(
        socket: &Datagram,
        payloads: &[&[u8]],
        destination: SocketAddr,
        _segmenting: bool,
    ) -> io::Result<usize> {
        let first = payloads.first().copied().unwrap_or_default();
        socket.send_to(first, destination).map(|_| 1)
    }

    pub(super) fn receive_some(
        socket: &Datagram,
        bytes: &mut [u8],
        count: usize,
        received: &mut Vec<(usize, Option<SocketAddr>)>,
    ) -> io::Result<()> {
        for slot in bytes.chunks_exact_mut(super::STRIDE).take(count) {
            match slot.get_mut(..MAX_DATAGRAM).map(|slot| socket.receive_from(slot)) {
                Some(Ok(came)) => received.push(came),
                Some(Err(error)) if received.is_empty() => return Err(error),
                _ => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn datagrams_of_all_sizes_arrive_whole_and_in_order_with_and_without_segmenting() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = Datagram::outgoing(false, None).unwrap();
        let sizes = [0, 1, 1000, 1000, 1000, 999, 1000, 0, 0, 60000, 1472, 1472];
        let bytes: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, &size)| vec![i as u8; size]).collect();
        let payloads: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        for mut segmenting in [true, false] {
            socket.send_many(&payloads, peer.local_addr().unwrap(), &mut segmenting).unwrap();
            let mut buffer = [0; 65536];
            for expected in &bytes {
                let (length, sender) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], expected);
                assert_eq!(Some(sender.port()), socket.local_address().map(|local| local.port()));
            }
        }
    }

    #[test]
    fn what_waits_comes_in_one_call_and_large_datagrams_stay_whole() {
        let socket = Datagram::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let to = socket.local_address().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut buffer = ReceiveBuffer::default();
        assert_eq!(buffer.receive(&socket, 4).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for size in [0, 65507, 5] {
            peer.send_to(&vec![7; size], to).unwrap();
        }
        assert_eq!(buffer.receive(&socket, 2).unwrap(), 2);
        assert_eq!(buffer.get(0), Some((&[][..], Some(peer.local_addr().unwrap()))));
        assert!(buffer.get(1).is_some_and(|(bytes, _)| bytes.len() == 65507 && bytes.iter().all(|&b| b == 7)));
        assert_eq!(buffer.get(2), None);
        assert_eq!(buffer.receive(&socket, MAX_RECEIVE).unwrap(), 1);
        assert_eq!(buffer.get(0).map(|(bytes, _)| bytes), Some(&[7; 5][..]));
    }
}
