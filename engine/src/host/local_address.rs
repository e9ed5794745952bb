//! Which of the host's own addresses a datagram was sent to, and sending the answer from that one: a socket that is bound
//! to all addresses would answer from whichever the routing table likes, and its peer would not know the answer.
//! Source: ip(7) `IP_PKTINFO`, RFC 3542 section 6.

use std::net::IpAddr;
#[cfg(any(target_os = "linux", target_os = "android", windows))]
use std::net::{Ipv4Addr, Ipv6Addr};

/// One of the host's addresses, with its interface where the address alone does not say (link-local ones), else 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalAddress {
    pub ip: IpAddr,
    pub interface: u32,
}

#[cfg(any(target_os = "linux", target_os = "android", windows))]
impl LocalAddress {
    pub(super) fn v4(ip: Ipv4Addr) -> LocalAddress {
        LocalAddress { ip: ip.into(), interface: 0 }
    }

    pub(super) fn v6(ip: Ipv6Addr, interface: u32) -> LocalAddress {
        LocalAddress { ip: ip.into(), interface: if ip.is_unicast_link_local() { interface } else { 0 } }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod messages {
    use std::io;
    use std::mem::offset_of;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::os::fd::AsRawFd;

    use socket2::SockAddr;

    use super::LocalAddress;
    use crate::host::control::{Control, int};
    use crate::host::socket::Datagram;

    impl Datagram {
        /// Has what is received tell which of the host's addresses it was sent to.
        pub(in crate::host) fn tell_local_addresses(&self, v6: bool) -> io::Result<()> {
            let (level, option) =
                if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
            self.set_option(level, option, 1)
        }

        /// Sends one datagram from one of the host's addresses, or from any.
        ///
        /// # Errors
        /// As for [`Datagram::send_to`].
        pub(crate) fn send_from(
            &self,
            data: &[u8],
            destination: SocketAddr,
            source: Option<LocalAddress>,
        ) -> io::Result<usize> {
            let Some(source) = source else { return self.send_to(data, destination) };
            let name = SockAddr::from(destination);
            let mut vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
            let mut control = Control::EMPTY;
            source.push_to(&mut control);
            // SAFETY: msghdr is plain data for which all zero bytes are a valid value.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = name.as_ptr().cast_mut().cast();
            message.msg_namelen = name.len();
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            control.send_with(&mut message);
            // SAFETY: every pointer in `message` is to a live local, or to the data, of the stated length; the kernel
            // only reads them.
            let sent = unsafe { libc::sendmsg(self.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
            usize::try_from(sent).map_err(|_| io::Error::last_os_error())
        }
    }

    impl LocalAddress {
        /// The control message that has a datagram leave from this address: an `in_pktinfo` or an `in6_pktinfo`.
        pub(in crate::host) fn push_to(self, control: &mut Control) {
            match self.ip {
                IpAddr::V4(ip) => {
                    let mut information = [0; size_of::<libc::in_pktinfo>()];
                    put(&mut information, offset_of!(libc::in_pktinfo, ipi_ifindex), &self.interface.to_ne_bytes());
                    put(&mut information, offset_of!(libc::in_pktinfo, ipi_spec_dst), &ip.octets());
                    control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &information);
                }
                IpAddr::V6(ip) => {
                    let mut information = [0; size_of::<libc::in6_pktinfo>()];
                    put(&mut information, offset_of!(libc::in6_pktinfo, ipi6_addr), &ip.octets());
                    put(&mut information, offset_of!(libc::in6_pktinfo, ipi6_ifindex), &self.interface.to_ne_bytes());
                    control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &information);
                }
            }
        }

        /// The address that a received control message tells, if it is one of those.
        pub(in crate::host) fn told(level: libc::c_int, kind: libc::c_int, data: &[u8]) -> Option<LocalAddress> {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let octets: [u8; 4] = *data.get(offset_of!(libc::in_pktinfo, ipi_spec_dst)..)?.first_chunk()?;
                    Some(LocalAddress::v4(Ipv4Addr::from(octets)))
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let octets: [u8; 16] = *data.get(offset_of!(libc::in6_pktinfo, ipi6_addr)..)?.first_chunk()?;
                    let ip = Ipv6Addr::from(octets);
                    let interface = int(data, offset_of!(libc::in6_pktinfo, ipi6_ifindex))?;
                    // A datagram to a group is answered from wherever the kernel sees fit.
                    (!ip.is_multicast()).then(|| LocalAddress::v6(ip, interface as u32))
                }
                _ => None,
            }
        }
    }

    fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
        if let Some(place) = bytes.get_mut(offset..offset + field.len()) {
            place.copy_from_slice(field);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
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

        /// As [`Datagram::send_to`].
        ///
        /// # Errors
        /// As for [`Datagram::send_to`].
        pub(crate) fn send_from(
            &self,
            data: &[u8],
            destination: SocketAddr,
            _source: Option<LocalAddress>,
        ) -> io::Result<usize> {
            self.send_to(data, destination)
        }

        /// As [`Datagram::receive_from`]; nothing is told.
        ///
        /// # Errors
        /// As for [`Datagram::receive_from`].
        pub(in crate::host) fn receive_told(
            &self,
            buffer: &mut [u8],
        ) -> io::Result<(usize, Option<SocketAddr>, Option<LocalAddress>)> {
            self.receive_from(buffer).map(|(length, sender)| (length, sender, None))
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::host::mmsg::ReceiveBuffer;
    use crate::host::socket::Datagram;
    use std::net::{SocketAddr, UdpSocket};

    /// Receives what is there already: loopback delivers within the send.
    fn receive(socket: &Datagram) -> (Vec<u8>, SocketAddr, Option<LocalAddress>) {
        let mut buffer = ReceiveBuffer::default();
        assert_eq!(buffer.receive(socket, 2).expect("a datagram waits"), 1);
        let received = buffer.get(0).unwrap();
        (received.datagrams().collect::<Vec<_>>().concat(), received.sender.expect("it has a sender"), received.local)
    }

    #[test]
    fn the_answer_leaves_from_the_address_that_was_asked() {
        let server = Datagram::bind("0.0.0.0:0".parse().unwrap(), false).unwrap();
        let port = server.local_address().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"ask", ("127.0.0.7", port)).unwrap();
        let mut buffer = [0; 16];
        let (asked, sender, local) = receive(&server);
        assert_eq!((&asked[..], sender), (&b"ask"[..], client.local_addr().unwrap()));
        assert_eq!(local, Some(LocalAddress::v4([127, 0, 0, 7].into())));
        server.send_from(b"tell", sender, local).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"tell"[..], SocketAddr::from(([127, 0, 0, 7], port))));
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
            let (_, sender, local) = receive(&server);
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
        assert_eq!(receive(&server).2, None);
    }
}
