//! Which of the host's own addresses a datagram was sent to, and sending the answer from that one: a socket that is bound
//! to all addresses would answer from whichever the routing table likes, and its peer would not know the answer.
//! Source: ip(7) `IP_PKTINFO`, RFC 3542 section 6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One of the host's addresses, with its interface where the address alone does not say (link-local ones), else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    pub ip: IpAddr,
    pub interface: u32,
}

impl LocalAddress {
    fn v4(ip: Ipv4Addr) -> LocalAddress {
        LocalAddress { ip: ip.into(), interface: 0 }
    }

    fn v6(ip: Ipv6Addr, interface: u32) -> LocalAddress {
        LocalAddress { ip: ip.into(), interface: if ip.is_unicast_link_local() { interface } else { 0 } }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod messages {
    use std::io;
    use std::mem::MaybeUninit;
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::AsRawFd;
    use std::ptr;

    use socket2::{SockAddr, SockAddrStorage};

    use super::LocalAddress;
    use crate::host::socket::Datagram;

    /// Room for one control message with an `in_pktinfo` or an `in6_pktinfo`, and for one the kernel may add.
    #[repr(C, align(8))]
    struct Control([u8; 128]);

    impl Datagram {
        /// Has [`Datagram::receive_at`] tell addresses.
        pub(in crate::host) fn tell_local_addresses(&self, v6: bool) -> io::Result<()> {
            let (level, option) =
                if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
            let on: libc::c_int = 1;
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the descriptor is open for the length of the call and the value is an int of the stated size.
            let result = unsafe { libc::setsockopt(self.as_raw_fd(), level, option, (&raw const on).cast(), size) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }

        /// Receives one datagram: its length, its sender, and, on a socket bound to all addresses, which one it was sent
        /// to.
        ///
        /// # Errors
        /// As for [`Datagram::receive_from`].
        pub fn receive_at(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>, Option<LocalAddress>)> {
            let mut control = Control([0; 128]);
            let mut name = SockAddrStorage::zeroed();
            let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            // SAFETY: msghdr is plain data for which all zero bytes are a valid value.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = (&raw mut name).cast();
            message.msg_namelen = name.size_of();
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = size_of::<Control>() as _;
            // SAFETY: every pointer in `message` is to a live local, or to the buffer, of the stated length.
            let length = unsafe { libc::recvmsg(self.as_raw_fd(), &raw mut message, 0) };
            let Ok(length) = usize::try_from(length) else { return Err(io::Error::last_os_error()) };
            // SAFETY: the kernel wrote an address of this length into the storage, which was zeroed before.
            let sender = unsafe { SockAddr::new(name, message.msg_namelen.min(SockAddrStorage::zeroed().size_of())) };
            Ok((length, sender.as_socket(), local_address(&message)))
        }

        /// Sends one datagram from one of the host's addresses, or from any.
        ///
        /// # Errors
        /// As for [`Datagram::send_to`].
        pub fn send_from(
            &self,
            data: &[u8],
            destination: SocketAddr,
            source: Option<LocalAddress>,
        ) -> io::Result<usize> {
            let Some(source) = source else { return self.send_to(data, destination) };
            let name = SockAddr::from(destination);
            let mut vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
            let mut control = Control([0; 128]);
            // SAFETY: msghdr is plain data for which all zero bytes are a valid value.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = name.as_ptr().cast_mut().cast();
            message.msg_namelen = name.len();
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = size_of::<Control>() as _;
            // SAFETY: the control buffer is aligned for a header and larger than header and information of either kind,
            // so that there is a first header and the data behind it lies in the buffer; all of it is initialised.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                let (level, kind, size) = match source.ip {
                    IpAddr::V4(ip) => {
                        let information = libc::in_pktinfo {
                            ipi_ifindex: source.interface as libc::c_int,
                            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                            ipi_addr: libc::in_addr { s_addr: 0 },
                        };
                        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), information);
                        (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>())
                    }
                    IpAddr::V6(ip) => {
                        let information = libc::in6_pktinfo {
                            ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                            ipi6_ifindex: source.interface as _,
                        };
                        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), information);
                        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>())
                    }
                };
                (*header).cmsg_level = level;
                (*header).cmsg_type = kind;
                (*header).cmsg_len = libc::CMSG_LEN(size as libc::c_uint) as _;
                message.msg_controllen = libc::CMSG_SPACE(size as libc::c_uint) as _;
            }
            // SAFETY: every pointer in `message` is to a live local, or to the data, of the stated length; the kernel
            // only reads them.
            let sent = unsafe { libc::sendmsg(self.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
            usize::try_from(sent).map_err(|_| io::Error::last_os_error())
        }
    }

    /// What the control messages of a received datagram say.
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between C libraries")]
    fn local_address(message: &libc::msghdr) -> Option<LocalAddress> {
        // SAFETY: the kernel filled the control buffer and set its length; the macros stay within it, and what they point
        // to is read as plain data of the type that goes with level and type, after its length was checked.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(message);
            while let Some(found) = header.as_ref() {
                let holds = |size: usize| found.cmsg_len as usize >= libc::CMSG_LEN(size as libc::c_uint) as usize;
                match (found.cmsg_level, found.cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) if holds(size_of::<libc::in_pktinfo>()) => {
                        let mut information = MaybeUninit::<libc::in_pktinfo>::uninit();
                        ptr::copy_nonoverlapping(
                            libc::CMSG_DATA(header),
                            information.as_mut_ptr().cast(),
                            size_of::<libc::in_pktinfo>(),
                        );
                        let ip = information.assume_init().ipi_spec_dst.s_addr.to_ne_bytes();
                        return Some(LocalAddress::v4(ip.into()));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if holds(size_of::<libc::in6_pktinfo>()) => {
                        let mut information = MaybeUninit::<libc::in6_pktinfo>::uninit();
                        ptr::copy_nonoverlapping(
                            libc::CMSG_DATA(header),
                            information.as_mut_ptr().cast(),
                            size_of::<libc::in6_pktinfo>(),
                        );
                        let information = information.assume_init();
                        let ip = std::net::Ipv6Addr::from(information.ipi6_addr.s6_addr);
                        // A datagram to a group is answered from wherever the kernel sees fit.
                        return (!ip.is_multicast()).then(|| LocalAddress::v6(ip, information.ipi6_ifindex as u32));
                    }
                    _ => header = libc::CMSG_NXTHDR(message, header),
                }
            }
            None
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod messages {
    use std::io;
    use std::net::SocketAddr;

    use super::LocalAddress;
    use crate::host::socket::Datagram;

    impl Datagram {
        /// Other systems' ways are not used: the kernel chooses the address of an answer.
        pub(in crate::host) fn tell_local_addresses(&self, _v6: bool) -> io::Result<()> {
            Ok(())
        }

        /// As [`Datagram::receive_from`]; there is never a local address.
        ///
        /// # Errors
        /// As for [`Datagram::receive_from`].
        pub fn receive_at(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>, Option<LocalAddress>)> {
            self.receive_from(buffer).map(|(length, sender)| (length, sender, None))
        }

        /// As [`Datagram::send_to`].
        ///
        /// # Errors
        /// As for [`Datagram::send_to`].
        pub fn send_from(
            &self,
            data: &[u8],
            destination: SocketAddr,
            _source: Option<LocalAddress>,
        ) -> io::Result<usize> {
            self.send_to(data, destination)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::host::socket::Datagram;
    use std::net::{SocketAddr, UdpSocket};

    /// Receives what is there already: loopback delivers within the send.
    fn receive(socket: &Datagram, buffer: &mut [u8]) -> (usize, SocketAddr, Option<LocalAddress>) {
        let (length, sender, local) = socket.receive_at(buffer).expect("a datagram waits");
        (length, sender.expect("it has a sender"), local)
    }

    #[test]
    fn the_answer_leaves_from_the_address_that_was_asked() {
        let server = Datagram::bind("0.0.0.0:0".parse().unwrap(), false).unwrap();
        let port = server.local_address().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"ask", ("127.0.0.7", port)).unwrap();
        let mut buffer = [0; 16];
        let (length, sender, local) = receive(&server, &mut buffer);
        assert_eq!((&buffer[..length], sender), (&b"ask"[..], client.local_addr().unwrap()));
        assert_eq!(local, Some(LocalAddress::v4([127, 0, 0, 7].into())));
        server.send_from(b"tell", sender, local).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"tell"[..], SocketAddr::from(([127, 0, 0, 7], port))));
        assert_eq!(server.receive_at(&mut buffer).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_dual_stack_socket_answers_both_families() {
        // A machine without IPv6 has nothing to show here.
        let Ok(server) = Datagram::bind("[::]:0".parse().unwrap(), false) else { return };
        let port = server.local_address().unwrap().port();
        for (client, asked) in [("127.0.0.1:0", "127.0.0.9"), ("[::1]:0", "::1")] {
            let Ok(client) = UdpSocket::bind(client) else { continue };
            client.send_to(b"ask", (asked, port)).unwrap();
            let mut buffer = [0; 16];
            let (_, sender, local) = receive(&server, &mut buffer);
            server.send_from(b"tell", sender, local).unwrap();
            let (_, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(from, SocketAddr::new(asked.parse().unwrap(), port));
        }
    }

    #[test]
    fn a_socket_with_one_address_need_not_be_told() {
        let server = Datagram::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"ask", server.local_address().unwrap()).unwrap();
        assert_eq!(receive(&server, &mut [0; 16]).2, None);
    }
}
