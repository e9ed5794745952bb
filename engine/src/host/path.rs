//! What datagram sockets say and hear of the way between host and peer: whether routers may cut what is sent, and how many
//! hops what is received may still go. Source: ip(7), ipv6(7).

#[cfg(unix)]
use std::io;
use std::net::SocketAddr;

#[cfg(unix)]
use super::socket::Datagram;

/// A received datagram: its length, its sender, and the time to live (IPv6: hop limit) that it came with, where the system
/// tells that.
pub(crate) type ReceivedFrom = (usize, Option<SocketAddr>, Option<u8>);

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::os::fd::AsRawFd;

    use super::{Datagram, ReceivedFrom, io};
    use crate::host::control::{Control, int};
    use crate::host::socket::ip_address;

    impl Datagram {
        /// Has what is received tell how many hops it may still go.
        pub(in crate::host) fn tell_hop_limits(&self, v6: bool) {
            let (level, option) =
                if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT) } else { (libc::IPPROTO_IP, libc::IP_RECVTTL) };
            // Where it fails, nothing is told.
            let _ = self.set_option(level, option, 1);
        }

        /// Says whether what is sent from now on is to arrive whole. What is known to be too large for the path is then
        /// refused with `EMSGSIZE`, and the MTU is kept as an error of the socket. Otherwise it is cut: over IPv4 where need
        /// be, over IPv6 here, by what is known of the path.
        pub(crate) fn set_whole(&self, v6: bool, whole: bool) {
            let (level, option, value) = match (v6, whole) {
                (false, true) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
                (false, false) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
                (true, true) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
                (true, false) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT),
            };
            // Where it fails, the kernel cuts as it likes.
            let _ = self.set_option(level, option, value);
        }

        /// Receives one datagram.
        ///
        /// # Errors
        /// `WouldBlock` when nothing is waiting; otherwise the socket's error.
        pub(crate) fn receive_with_hops(&self, buffer: &mut [u8]) -> io::Result<ReceivedFrom> {
            let mut control = Control::EMPTY;
            // SAFETY: sockaddr_in6 and msghdr are plain data for which all zero bytes are a valid value.
            let (mut name, mut message): (libc::sockaddr_in6, libc::msghdr) = unsafe { std::mem::zeroed() };
            let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            message.msg_name = (&raw mut name).cast();
            message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            control.receive_with(&mut message);
            // SAFETY: every pointer in `message` is to a live local, or to the buffer, of the stated length.
            let length = unsafe { libc::recvmsg(self.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
            let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
            let hops = control.received(&message).find_map(|(level, kind, data)| match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => int(data, 0),
                _ => None,
            });
            Ok((length, ip_address(&name), hops.and_then(|hops| u8::try_from(hops).ok())))
        }
    }
}

/// Other systems' ways are not used.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
impl Datagram {
    pub(in crate::host) fn tell_hop_limits(&self, _v6: bool) {}

    pub(crate) fn set_whole(&self, _v6: bool, _whole: bool) {}

    /// As [`Datagram::receive_from`]; nothing is told of hops.
    ///
    /// # Errors
    /// As for [`Datagram::receive_from`].
    pub(crate) fn receive_with_hops(&self, buffer: &mut [u8]) -> io::Result<ReceivedFrom> {
        self.receive_from(buffer).map(|(length, sender)| (length, sender, None))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn what_is_received_tells_its_hops() {
        for (address, v6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            // A machine without IPv6 has nothing to show there.
            let Ok(peer) = UdpSocket::bind(address) else { continue };
            let socket = Datagram::bind(address.parse().unwrap(), false).unwrap();
            let to = socket.local_address().unwrap();
            let mut buffer = [0; 16];
            peer.send_to(b"silent", to).unwrap();
            assert_eq!(socket.receive_with_hops(&mut buffer).unwrap(), (6, peer.local_addr().ok(), None));
            socket.tell_hop_limits(v6);
            if v6 {
                socket2::SockRef::from(&peer).set_unicast_hops_v6(7).unwrap();
            } else {
                peer.set_ttl(7).unwrap();
            }
            peer.send_to(b"told", to).unwrap();
            assert_eq!(socket.receive_with_hops(&mut buffer).unwrap(), (4, peer.local_addr().ok(), Some(7)));
            assert_eq!(socket.receive_with_hops(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
