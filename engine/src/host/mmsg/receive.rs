//! Receiving many datagrams, some of which the kernel may have put together.

use std::io;
use std::net::SocketAddr;

use crate::host::local_address::LocalAddress;
use crate::host::socket::Datagram;

/// The most messages one call receives.
pub(crate) const MAX_RECEIVE: usize = 32;
/// The largest message there can be, in bytes.
const MAX_MESSAGE: usize = 65536;
/// From one slot to the next. The odd rest keeps the slots' first lines out of one and the same set of a cache.
const STRIDE: usize = MAX_MESSAGE + 1088;
/// What a socket that carries much asks to have kept while nobody reads, in bytes; the kernel grants what its own limit
/// (`net.core.rmem_max`) permits.
const MUCH: usize = 1024 * 1024;

/// What one slot holds: a datagram, or several of one sender, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    bytes: &'a [u8],
    /// How long each datagram is; the last may be shorter. 0 for a single one.
    segment: usize,
    pub sender: Option<SocketAddr>,
    /// Which of the host's addresses it was sent to, on a socket bound to all of them.
    pub local: Option<LocalAddress>,
}

impl<'a> Received<'a> {
    /// The datagrams, oldest first.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut rest, mut any) = (self.bytes, false);
        let segment = if self.segment == 0 { usize::MAX } else { self.segment };
        std::iter::from_fn(move || {
            // A single datagram may be empty.
            if rest.is_empty() && any {
                return None;
            }
            any = true;
            let (datagram, behind) = rest.split_at(segment.min(rest.len()));
            rest = behind;
            Some(datagram)
        })
    }

    /// How many bytes there are.
    pub(crate) fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// How many datagrams there are.
    pub(crate) fn count(&self) -> usize {
        if self.segment == 0 { 1 } else { self.bytes.len().div_ceil(self.segment).max(1) }
    }
}

#[derive(Debug)]
struct Slot {
    length: usize,
    segment: usize,
    sender: Option<SocketAddr>,
    local: Option<LocalAddress>,
}

/// Room for several messages of the largest size. Memory is taken when it is first used, and the pages of a slot only
/// when a message is as long.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots that were taken by [`ReceiveBuffer::next_if`].
    taken: usize,
}

impl ReceiveBuffer {
    /// Receives up to `count` messages and says how many came. Fewer than asked for means that no more wait, or that an
    /// error does, of which the poller tells.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise the socket's pending error.
    pub(crate) fn receive(&mut self, socket: &Datagram, count: usize) -> io::Result<usize> {
        let count = count.clamp(1, MAX_RECEIVE);
        if self.bytes.len() < STRIDE * count {
            self.bytes = vec![0; STRIDE * MAX_RECEIVE];
        }
        self.slots.clear();
        self.taken = 0;
        system::receive_some(socket, &mut self.bytes, count, &mut self.slots)?;
        Ok(self.slots.len())
    }

    /// Takes the next message, if there is one and `wanted`.
    pub(crate) fn next_if(&mut self, wanted: bool) -> Option<Received<'_>> {
        if !wanted || !self.has_rest() {
            return None;
        }
        self.taken += 1;
        self.get(self.taken - 1)
    }

    /// Whether messages were received that nobody has taken.
    pub(crate) fn has_rest(&self) -> bool {
        self.taken < self.slots.len()
    }

    /// Drops what nobody has taken.
    pub(crate) fn drop_rest(&mut self) {
        self.taken = self.slots.len();
    }

    /// What the slot holds.
    pub(crate) fn get(&self, slot: usize) -> Option<Received<'_>> {
        let &Slot { length, segment, sender, local } = self.slots.get(slot)?;
        let start = slot.checked_mul(STRIDE)?;
        let bytes = self.bytes.get(start..start.checked_add(length)?)?;
        Some(Received { bytes, segment, sender, local })
    }
}

impl Datagram {
    /// Prepares the socket for much traffic: the kernel may hand over several datagrams of one sender as one message
    /// (`UDP_GRO` of udp(7), since Linux 5.0), and keeps more of them while nobody reads. What it refuses is not had.
    pub(crate) fn expect_much(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let _ = self.set_option(libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        let _ = self.set_receive_buffer(MUCH);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::io;
    use std::mem::zeroed;
    use std::os::fd::AsRawFd;

    use super::{Datagram, MAX_MESSAGE, MAX_RECEIVE, STRIDE, Slot};
    use crate::host::control::{Control, int};
    use crate::host::local_address::LocalAddress;
    use crate::host::socket::ip_address;

    /// The most messages for which little room is prepared.
    const FEW: usize = 4;

    pub(super) fn receive_some(
        socket: &Datagram,
        bytes: &mut [u8],
        count: usize,
        slots: &mut Vec<Slot>,
    ) -> io::Result<()> {
        let (few, many) = (receive_up_to::<FEW>, receive_up_to::<MAX_RECEIVE>);
        (if count <= FEW { few } else { many })(socket, bytes, count, slots)
    }

    fn receive_up_to<const N: usize>(
        socket: &Datagram,
        bytes: &mut [u8],
        count: usize,
        slots: &mut Vec<Slot>,
    ) -> io::Result<()> {
        type All<const N: usize> = ([libc::mmsghdr; N], [libc::iovec; N], [libc::sockaddr_in6; N]);
        // SAFETY: these are plain data for which all zero bytes are a valid value.
        let (mut messages, mut vectors, mut names): All<N> = unsafe { zeroed() };
        let mut controls = [Control::EMPTY; N];
        let rooms = vectors.iter_mut().zip(&mut names).zip(&mut controls).zip(bytes.chunks_exact_mut(STRIDE));
        let mut used = 0;
        for (message, (((vector, name), control), room)) in messages.iter_mut().zip(rooms).take(count) {
            *vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: MAX_MESSAGE };
            let header = &mut message.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = &raw mut *vector;
            header.msg_iovlen = 1;
            control.receive_with(header);
            used += 1;
        }
        let none = std::ptr::null_mut();
        let flags = libc::MSG_DONTWAIT as _;
        // SAFETY: the first `used` messages point to live locals and to rooms longer than the stated lengths.
        let came = unsafe { libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), used, flags, none) };
        let Ok(came) = usize::try_from(came) else { return Err(io::Error::last_os_error()) };
        for ((message, name), control) in messages.iter().zip(&names).zip(&controls).take(came) {
            let mut slot = Slot {
                length: (message.msg_len as usize).min(MAX_MESSAGE),
                segment: 0,
                sender: ip_address(name),
                local: None,
            };
            for (level, kind, data) in control.received(&message.msg_hdr) {
                if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) {
                    slot.segment = int(data, 0).and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
                } else {
                    slot.local = slot.local.or_else(|| LocalAddress::told(level, kind, data));
                }
            }
            slots.push(slot);
        }
        Ok(())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::io;

    use super::{Datagram, MAX_MESSAGE, STRIDE, Slot};

    pub(super) fn receive_some(
        socket: &Datagram,
        bytes: &mut [u8],
        count: usize,
        slots: &mut Vec<Slot>,
    ) -> io::Result<()> {
        for room in bytes.chunks_exact_mut(STRIDE).take(count) {
            match room.get_mut(..MAX_MESSAGE).map(|room| socket.receive_told(room)) {
                Some(Ok((length, sender, local))) => slots.push(Slot { length, segment: 0, sender, local }),
                Some(Err(error)) if slots.is_empty() => return Err(error),
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

    fn datagrams(buffer: &ReceiveBuffer, slot: usize) -> Vec<Vec<u8>> {
        buffer.get(slot).expect("the slot holds something").datagrams().map(<[u8]>::to_vec).collect()
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
        assert_eq!(datagrams(&buffer, 0), [[0; 0]]);
        assert_eq!(buffer.get(0).unwrap().sender, Some(peer.local_addr().unwrap()));
        assert_eq!(datagrams(&buffer, 1), [vec![7; 65507]]);
        assert!(buffer.get(2).is_none());
        assert_eq!(buffer.receive(&socket, MAX_RECEIVE).unwrap(), 1);
        assert_eq!(datagrams(&buffer, 0), [[7; 5]]);
    }

    /// A sender with `UDP_SEGMENT` over loopback is what reaches a socket as one message.
    #[cfg(target_os = "linux")]
    #[test]
    fn datagrams_that_the_kernel_put_together_come_apart_again() {
        let socket = Datagram::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let to = socket.local_address().unwrap();
        let peer = Datagram::outgoing(false, None).unwrap();
        let sizes = [500, 500, 500, 300, 0, 1000, 1000];
        let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, &size)| vec![i as u8; size]).collect();
        let payloads: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
        let mut buffer = ReceiveBuffer::default();
        for prepared in [false, true] {
            if prepared {
                socket.expect_much();
            }
            peer.send_many(&payloads, to, None, &mut true).unwrap();
            let count = buffer.receive(&socket, MAX_RECEIVE).unwrap();
            let came: Vec<Vec<u8>> = (0..count).flat_map(|slot| datagrams(&buffer, slot)).collect();
            assert_eq!(came, sent);
            assert_eq!((0..count).map(|slot| buffer.get(slot).unwrap().count()).sum::<usize>(), sizes.len());
            // Kernels before 5.0 do not put together, and give as many messages as datagrams.
            assert!(if prepared { count <= sizes.len() } else { count == sizes.len() }, "{count} messages");
        }
    }
}
