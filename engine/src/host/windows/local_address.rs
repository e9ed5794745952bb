//! Which of the host's own addresses a datagram was sent to, and sending the answer from it. Source: Microsoft's pages on `IP_PKTINFO`,
//! `LPFN_WSARECVMSG`, `WSASendMsg` and `WSACMSGHDR`.

use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::windows::io::AsRawSocket;
use std::sync::OnceLock;

use socket2::SockAddr;
use windows_sys::Win32::Networking::WinSock::{
    CMSGHDR, IP_PKTINFO, IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO, LPFN_WSARECVMSG, SIO_GET_EXTENSION_FUNCTION_POINTER,
    SOCKET, WSABUF, WSAID_WSARECVMSG, WSAIoctl, WSAMSG, WSASendMsg, setsockopt,
};

use crate::host::fault::Fault;
use crate::host::local_address::LocalAddress;
use crate::host::socket::Datagram;

const HEADER: usize = size_of::<CMSGHDR>();

/// Room for the messages of both families, aligned as their headers are.
#[repr(align(8))]
struct Control([u8; 128]);

impl Control {
    const EMPTY: Control = Control([0; 128]);

    /// The one message that has a datagram leave from this address: how long it is. Its last field is the interface.
    fn put(&mut self, source: LocalAddress) -> usize {
        let (level, kind, address) = match source.ip {
            IpAddr::V4(ip) => (IPPROTO_IP, IP_PKTINFO, &ip.octets()[..]),
            IpAddr::V6(ip) => (IPPROTO_IPV6, IPV6_PKTINFO, &ip.octets()[..]),
        };
        let length = HEADER + address.len() + size_of::<u32>();
        let fields: [(usize, &[u8]); 5] = [
            (offset_of!(CMSGHDR, cmsg_len), &length.to_ne_bytes()),
            (offset_of!(CMSGHDR, cmsg_level), &level.to_ne_bytes()),
            (offset_of!(CMSGHDR, cmsg_type), &kind.to_ne_bytes()),
            (HEADER, address),
            (HEADER + address.len(), &source.interface.to_ne_bytes()),
        ];
        for (place, field) in fields {
            if let Some(place) = self.0.get_mut(place..place + field.len()) {
                place.copy_from_slice(field);
            }
        }
        length.next_multiple_of(align_of::<CMSGHDR>())
    }

    /// The first so many bytes of it, for a call.
    fn part(&mut self, length: usize) -> WSABUF {
        WSABUF { len: length.min(self.0.len()) as u32, buf: self.0.as_mut_ptr() }
    }
}

/// The address that one of these control messages tells.
fn told(mut rest: &[u8]) -> Option<LocalAddress> {
    loop {
        let length = usize::from_ne_bytes(*rest.get(offset_of!(CMSGHDR, cmsg_len)..)?.first_chunk()?);
        let level = i32::from_ne_bytes(*rest.get(offset_of!(CMSGHDR, cmsg_level)..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*rest.get(offset_of!(CMSGHDR, cmsg_type)..)?.first_chunk()?);
        let data = rest.get(HEADER..length)?;
        match (level, kind) {
            (IPPROTO_IP, IP_PKTINFO) => {
                let octets: [u8; 4] = *data.first_chunk()?;
                return Some(LocalAddress::v4(octets.into()));
            }
            (IPPROTO_IPV6, IPV6_PKTINFO) => {
                let octets: [u8; 16] = *data.first_chunk()?;
                let interface = u32::from_ne_bytes(*data.get(octets.len()..)?.first_chunk()?);
                let ip = Ipv6Addr::from(octets);
                // A datagram to a group is answered from wherever the system sees fit.
                return (!ip.is_multicast()).then(|| LocalAddress::v6(ip, interface));
            }
            _ => rest = rest.get(length.checked_next_multiple_of(align_of::<CMSGHDR>())?..)?,
        }
    }
}

impl Datagram {
    fn winsock(&self) -> SOCKET {
        self.as_raw_socket() as SOCKET
    }

    /// Has what is received tell which of the host's addresses it was sent to. Of a socket for both families IPv4 is asked for by its own
    /// name.
    pub(in crate::host) fn tell_local_addresses(&self, v6: bool) -> io::Result<()> {
        let v4 = self.tell(IPPROTO_IP, IP_PKTINFO);
        if v6 { self.tell(IPPROTO_IPV6, IPV6_PKTINFO) } else { v4 }
    }

    fn tell(&self, level: i32, option: i32) -> io::Result<()> {
        let yes = 1_u32.to_ne_bytes();
        // SAFETY: the socket is open, and the value is as long as is said.
        let set = unsafe { setsockopt(self.winsock(), level, option, yes.as_ptr(), yes.len() as i32) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Receives one datagram: its length, its sender, and which of the host's addresses it was sent to, where that is told.
    ///
    /// # Errors
    /// As for [`Datagram::receive_from`].
    pub(in crate::host) fn receive_told(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Option<SocketAddr>, Option<LocalAddress>)> {
        let Some(receive) = receiver(self) else {
            return self.receive_from(buffer).map(|(length, sender)| (length, sender, None));
        };
        let (mut control, mut length) = (Control::EMPTY, 0);
        let mut part = WSABUF { len: u32::try_from(buffer.len()).unwrap_or(u32::MAX), buf: buffer.as_mut_ptr() };
        // SAFETY: every pointer is to a live local, to the name's storage or to the buffer, of the stated length; the call writes to
        // these, and has ended when it returns, as it was given no event. The name is as long as the call says.
        let (used, sender) = unsafe {
            SockAddr::try_init(|name, name_length| {
                let mut message = WSAMSG {
                    name: name.cast(),
                    namelen: *name_length,
                    lpBuffers: &raw mut part,
                    dwBufferCount: 1,
                    Control: control.part(usize::MAX),
                    dwFlags: 0,
                };
                let nobody = std::ptr::null_mut();
                if receive(self.winsock(), &raw mut message, &raw mut length, nobody, None) != 0 {
                    return Err(io::Error::last_os_error());
                }
                *name_length = message.namelen;
                Ok(message.Control.len)
            })?
        };
        Ok((length as usize, sender.as_socket(), control.0.get(..used as usize).and_then(told)))
    }

    /// Sends one datagram from one of the host's addresses, or from any; also where it cannot leave from that one, as from one of a
    /// broadcast.
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
        let (mut control, mut sent) = (Control::EMPTY, 0);
        let used = control.put(source);
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut part = WSABUF { len: length, buf: data.as_ptr().cast_mut() };
        let message = WSAMSG {
            name: name.as_ptr().cast_mut().cast(),
            namelen: name.len(),
            lpBuffers: &raw mut part,
            dwBufferCount: 1,
            Control: control.part(used),
            dwFlags: 0,
        };
        let nobody = std::ptr::null_mut();
        // SAFETY: every pointer is to a live local, or to the data, of the stated length, and what they lead to is read only; the call
        // has ended when it returns, as it was given no event.
        if unsafe { WSASendMsg(self.winsock(), &raw const message, 0, &raw mut sent, nobody, None) } == 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        match Fault::of(&error) {
            Fault::NoAddress | Fault::NoFamily | Fault::Invalid => self.send_to(data, destination),
            _ => Err(error),
        }
    }
}

/// `WSARecvMsg`, which the system names by a socket only. None where it has none.
fn receiver(socket: &Datagram) -> LPFN_WSARECVMSG {
    static FOUND: OnceLock<LPFN_WSARECVMSG> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let (mut function, mut length): (LPFN_WSARECVMSG, u32) = (None, 0);
        let name = WSAID_WSARECVMSG;
        // SAFETY: the name and the place for the function are live locals of the stated sizes. Where the call fails nothing is written.
        unsafe {
            WSAIoctl(
                socket.winsock(),
                SIO_GET_EXTENSION_FUNCTION_POINTER,
                (&raw const name).cast(),
                size_of_val(&name) as u32,
                (&raw mut function).cast(),
                size_of::<LPFN_WSARECVMSG>() as u32,
                &raw mut length,
                std::ptr::null_mut(),
                None,
            );
        }
        function
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::socket_calls::wait_for_tests;
    use std::net::UdpSocket;

    #[test]
    fn what_is_told_is_what_was_put() {
        for (ip, interface) in [("127.0.0.7", 0), ("2001:db8::1", 0), ("fe80::1", 3)] {
            let source = LocalAddress { ip: ip.parse().unwrap(), interface };
            let mut control = Control::EMPTY;
            let used = control.put(source);
            assert_eq!(told(&control.0[..used]), Some(source), "{ip}");
            for length in 0..HEADER + 4 {
                assert_eq!(told(&control.0[..length]), None, "{ip}, {length} bytes of it");
            }
        }
    }

    #[test]
    fn the_address_that_was_asked_is_told() {
        let server = Datagram::bind("0.0.0.0:0".parse().unwrap(), false).unwrap();
        let port = server.local_address().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"ask", ("127.0.0.7", port)).unwrap();
        assert!(wait_for_tests(&server, 10_000));
        let mut buffer = [0; 16];
        let (length, sender, local) = server.receive_told(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], sender), (&b"ask"[..], client.local_addr().ok()));
        assert_eq!(local, Some(LocalAddress::v4([127, 0, 0, 7].into())));
        // From where it leaves cannot be shown under wine 8, which leaves out what WSASendMsg is told of that.
        assert_eq!(server.send_from(b"tell", sender.unwrap(), local).unwrap(), 4);
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.port()), (&b"tell"[..], port));
        // One that this machine has not: the answer comes all the same.
        let foreign = LocalAddress::v4([192, 0, 2, 1].into());
        server.send_from(b"tell", sender.unwrap(), Some(foreign)).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap().0, 4);
    }
}
