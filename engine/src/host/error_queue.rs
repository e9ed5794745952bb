//! The errors the kernel keeps for a datagram socket, and for a stream that is being connected (Linux: `IP_RECVERR` of ip(7),
//! `recvmsg` with `MSG_ERRQUEUE`).

use std::net::{IpAddr, SocketAddr};

use super::fault::Fault;
#[cfg(unix)]
use super::socket::Datagram;
use super::socket::Stream;

/// An error the kernel kept for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    /// The ICMP type and code, when a router or host sent one.
    pub icmp: Option<(u8, u8)>,
    /// Who reported it.
    pub offender: Option<IpAddr>,
    /// Where the packet had been sent.
    pub destination: Option<SocketAddr>,
    /// What the operating system calls it.
    pub fault: Fault,
    /// For "fragmentation needed" and "packet too big": the MTU of the next hop; for a parameter problem over IPv6: where
    /// it is; else 0.
    pub info: u32,
    /// How many bytes of what was sent came with the error: of a datagram's payload.
    pub quoted: usize,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::mem::offset_of;
    use std::net::IpAddr;
    use std::os::fd::{AsRawFd, RawFd};

    use super::{Datagram, QueuedError, Stream};
    use crate::host::control::{Control, int};
    use crate::host::fault::Fault;
    use crate::host::socket::{ip_address, set_option};

    impl Datagram {
        /// Asks the kernel to keep ICMP errors for [`Datagram::queued_error`].
        pub(in crate::host) fn keep_errors(&self, v6: bool) {
            keep(self, v6, true);
        }

        /// Takes the oldest error the kernel kept. `None` when there is none. What is left of the datagram's payload is
        /// put into `quoted`.
        pub(crate) fn queued_error(&self, quoted: &mut [u8]) -> Option<QueuedError> {
            oldest(self.as_raw_fd(), quoted)
        }
    }

    impl Stream {
        /// Asks the kernel to keep the ICMP error that ends the connect, for [`Stream::queued_error`].
        pub(in crate::host) fn keep_errors(&self, v6: bool) {
            keep(self, v6, true);
        }

        /// Ends that: such errors would be fatal to a connection that is open (RFC 1122 section 4.2.3.9).
        pub(crate) fn forget_errors(&self, v6: bool) {
            keep(self, v6, false);
        }

        /// The error that ended the connect, if the kernel kept one (Linux: since 5.8).
        pub(crate) fn queued_error(&self) -> Option<QueuedError> {
            oldest(self.as_raw_fd(), &mut [0; 64])
        }
    }

    fn keep(socket: &impl AsRawFd, v6: bool, value: bool) {
        let (level, option) =
            if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
        // Where it fails, errors come with the next call.
        let _ = set_option(socket, level, option, value.into());
    }

    fn oldest(descriptor: RawFd, quoted: &mut [u8]) -> Option<QueuedError> {
        let mut control = Control::EMPTY;
        // SAFETY: sockaddr_in6 and msghdr are plain data for which all zero bytes are a valid value.
        let (mut name, mut message): (libc::sockaddr_in6, libc::msghdr) = unsafe { std::mem::zeroed() };
        let mut vector = libc::iovec { iov_base: quoted.as_mut_ptr().cast(), iov_len: quoted.len() };
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        control.receive_with(&mut message);
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: every pointer in `message` is to a live local of the stated length.
        let length = unsafe { libc::recvmsg(descriptor, &raw mut message, flags) };
        let quoted = usize::try_from(length).ok()?;
        let is_error = |&(level, kind, _): &(i32, i32, &[u8])| {
            (level, kind) == (libc::SOL_IP, libc::IP_RECVERR) || (level, kind) == (libc::SOL_IPV6, libc::IPV6_RECVERR)
        };
        let (_, _, data) = control.received(&message).find(is_error)?;
        let byte = |offset: usize| data.get(offset).copied();
        let origin = byte(offset_of!(libc::sock_extended_err, ee_origin))?;
        let icmp =
            (byte(offset_of!(libc::sock_extended_err, ee_type))?, byte(offset_of!(libc::sock_extended_err, ee_code))?);
        let is_icmp = origin == libc::SO_EE_ORIGIN_ICMP || origin == libc::SO_EE_ORIGIN_ICMP6;
        Some(QueuedError {
            icmp: is_icmp.then_some(icmp),
            offender: offender(data.get(size_of::<libc::sock_extended_err>()..)?),
            destination: ip_address(&name),
            fault: Fault::numbered(int(data, offset_of!(libc::sock_extended_err, ee_errno))?),
            info: int(data, offset_of!(libc::sock_extended_err, ee_info))? as u32,
            quoted,
        })
    }

    /// The `sockaddr` that follows the extended error.
    fn offender(data: &[u8]) -> Option<IpAddr> {
        let family = i32::from(u16::from_ne_bytes(*data.first_chunk()?));
        let octets = |offset: usize| data.get(offset..);
        match family {
            libc::AF_INET => {
                let octets: [u8; 4] = *octets(offset_of!(libc::sockaddr_in, sin_addr))?.first_chunk()?;
                Some(IpAddr::from(octets))
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = *octets(offset_of!(libc::sockaddr_in6, sin6_addr))?.first_chunk()?;
                Some(IpAddr::from(octets))
            }
            _ => None,
        }
    }
}

/// Other systems keep no queue: the error is what the next receive returns.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
impl Datagram {
    pub(in crate::host) fn keep_errors(&self, _v6: bool) {}

    /// There is never one.
    pub(crate) fn queued_error(&self, _quoted: &mut [u8]) -> Option<QueuedError> {
        None
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Stream {
    pub(in crate::host) fn keep_errors(&self, _v6: bool) {}

    pub(crate) fn forget_errors(&self, _v6: bool) {}

    /// There is never one.
    pub(crate) fn queued_error(&self) -> Option<QueuedError> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn the_error_queue_tells_who_refused_a_datagram() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = Datagram::outgoing(false, None).unwrap();
        socket.send_to(b"payload", closed).unwrap();
        let mut quoted = [0; 16];
        let error = socket.queued_error(&mut quoted).expect("loopback reports within the send");
        assert_eq!(error.icmp, Some((3, 3)));
        assert_eq!(error.offender, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(error.destination, Some(closed));
        assert_eq!(error.fault, Fault::Refused);
        assert_eq!(&quoted[..error.quoted], b"payload");
        assert_eq!(socket.queued_error(&mut quoted), None);
    }

    #[test]
    fn the_error_queue_of_ipv6_is_read_alike() {
        // A machine without IPv6 has nothing to show here.
        let Ok(closed) = UdpSocket::bind("[::1]:0").and_then(|socket| socket.local_addr()) else { return };
        let socket = Datagram::outgoing(true, None).unwrap();
        socket.send_to(b"payload", closed).unwrap();
        let error = socket.queued_error(&mut [0; 16]).expect("loopback reports within the send");
        assert_eq!((error.icmp, error.destination), (Some((1, 4)), Some(closed)));
        assert_eq!(error.offender, Some(closed.ip()));
    }
}
