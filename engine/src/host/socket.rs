//! Host sockets: streams, listeners and datagram sockets, each non-blocking and close-on-exec.
//!
//! The types say what the engine may do with a socket and hide the flags that keep it safe (`MSG_NOSIGNAL`,
//! `SOCK_CLOEXEC`). Errors are the operating system's own, with its number in `raw_os_error()`.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut, Read};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::handle::{HostNamed, named_by};
use super::owned::Owned;
pub(super) use super::socket_calls::new_socket;
use super::socket_calls::{self, DELAYS_LATE, INHERITS, NO_SIGNAL, OUT_OF_BAND, Pings, in_progress};
use super::unix::{UnixAddress, UnixName};

/// Waiting connections the kernel keeps for a forward, or as many as its own limit (`net.core.somaxconn`) permits;
/// upstream's 1 refuses bursts.
const BACKLOG: i32 = 4096;

/// A stream to a host peer.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Owned<Socket>,
    delay: Cell<Delay>,
}

/// Where a TCP stream stands with Nagle's delay, which is to be off: the guest's own TCP decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Delay {
    /// Switched off, or unknown to this kind of socket.
    Off,
    /// Not switched off, which does not matter to the first send: Linux delays only behind an earlier small segment
    /// (Minshall's rule). Many a connection sends only once.
    Unsent,
    /// Something was sent.
    Sent,
}

/// What time to live (IPv6: hop limit) a stream begins with, and whether what routers say of that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hops {
    /// The host's own.
    Default,
    Enough(u8),
    /// So few that the connect may end on the way: [`Stream::queued_error`] tells then who said so.
    Few(u8),
}

impl Stream {
    /// Starts connecting to `destination`, from `source` when one is given. Returns the stream while the connect is
    /// still under way; its end is reported as "writable", and [`Stream::take_error`] says how it went.
    ///
    /// # Errors
    /// What `socket`, `bind` or `connect` said at once.
    pub(crate) fn connect(destination: SocketAddr, source: Option<SocketAddr>, hops: Hops) -> io::Result<Stream> {
        let socket = new_socket(Domain::for_address(destination), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(source) = source {
            socket.bind(&source.into())?;
        }
        // It cannot fail on a TCP socket.
        let _ = socket.set_out_of_band_inline(true);
        let delay = if DELAYS_LATE {
            Delay::Unsent
        } else {
            let _ = socket.set_tcp_nodelay(true);
            Delay::Off
        };
        let stream = Stream { socket: Owned::new(socket), delay: Cell::new(delay) };
        if let Hops::Enough(hops) | Hops::Few(hops) = hops {
            stream.set_hops(destination.is_ipv6(), hops);
        }
        if let Hops::Few(_) = hops {
            stream.keep_errors(destination.is_ipv6());
        }
        match stream.socket.connect(&destination.into()) {
            Ok(()) => {}
            Err(error) if in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(stream)
    }

    /// Sets the time to live (IPv6: hop limit) of what is sent from now on.
    pub(crate) fn set_hops(&self, v6: bool, hops: u8) {
        // Where the host does not let us, its own is used.
        let _ = if v6 { self.socket.set_unicast_hops_v6(hops.into()) } else { self.socket.set_ttl_v4(hops.into()) };
    }

    /// A connected stream that needs no option more.
    pub(super) fn connected(socket: Socket) -> Stream {
        Stream { socket: Owned::new(socket), delay: Cell::new(Delay::Off) }
    }

    /// Something is about to be sent.
    fn hurry(&self) {
        match self.delay.get() {
            Delay::Off => {}
            Delay::Unsent => self.delay.set(Delay::Sent),
            Delay::Sent => {
                let _ = self.socket.set_tcp_nodelay(true);
                self.delay.set(Delay::Off);
            }
        }
    }

    /// How the connect ended: `Ok(())` when it succeeded.
    ///
    /// # Errors
    /// The connect's error.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Reads into two buffers, one after the other. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is waiting; otherwise the stream's error.
    pub(crate) fn receive(&self, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
        if second.is_empty() {
            return (&*self.socket).read(first);
        }
        (&*self.socket).read_vectored(&mut [IoSliceMut::new(first), IoSliceMut::new(second)])
    }

    /// Whether the next byte to read is the urgent one. A read never goes beyond the byte before it.
    pub(crate) fn at_urgent_mark(&self) -> bool {
        socket_calls::is_at_mark(&self.socket)
    }

    /// Writes from two buffers, one after the other, and says how many bytes the kernel took.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel's buffer is full; otherwise the stream's error.
    pub(crate) fn send(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.hurry();
        if second.is_empty() {
            return self.socket.send_with_flags(first, NO_SIGNAL);
        }
        self.socket.send_vectored_with_flags(&[IoSlice::new(first), IoSlice::new(second)], NO_SIGNAL)
    }

    /// Writes `data` so that its last byte is the urgent one; on a Unix socket it is a byte like any other, as the peer
    /// would not find it in the stream.
    ///
    /// # Errors
    /// As for [`Stream::send`].
    pub(crate) fn send_urgent(&self, data: &[u8]) -> io::Result<usize> {
        if self.socket.local_addr().is_ok_and(|address| address.is_unix()) {
            return self.send(data, &[]);
        }
        self.hurry();
        self.socket.send_with_flags(data, NO_SIGNAL | OUT_OF_BAND)
    }

    /// Tells the peer that no more bytes will come. A peer that is gone already is none to tell; reading reports it.
    ///
    /// # Errors
    /// What `shutdown` said: the peer will not learn of the end.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the coming close a reset, so that the peer learns that the guest did not end in order.
    pub(crate) fn reset_on_close(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// Has the kernel ask a silent peer whether it is still there. A peer that is not breaks the stream.
    pub(crate) fn ask_peer(&self) {
        const INTERVAL: Duration = Duration::from_secs(75);
        let parameters = TcpKeepalive::new().with_time(INTERVAL);
        // These have one interval for all sockets.
        #[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
        let parameters = parameters.with_interval(INTERVAL);
        // Fails on a Unix socket, whose peer cannot vanish.
        let _ = self.socket.set_tcp_keepalive(&parameters);
    }

    /// Whether the stream has an error, or nothing moves on it any more in either direction.
    pub(crate) fn is_broken(&self) -> bool {
        socket_calls::is_broken(&self.socket)
    }

    /// The address of the other end; `None` for a Unix socket, and when that end has gone.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()?.as_socket()
    }

    /// This end's address; `None` for a Unix socket or a broken one.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// Somebody else has closed it: its number may soon be another one's, which is not to be closed with it.
    pub(crate) fn lose(&mut self) {
        self.socket.lose();
    }

    /// Whether that was noticed.
    pub(crate) fn is_lost(&self) -> bool {
        self.socket.is_lost()
    }
}

named_by!(Stream, |stream| stream.socket.raw_socket());

/// A listening stream socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Owned<Socket>,
    unix: Option<UnixName>,
}

impl Listener {
    /// Listens on `address`.
    ///
    /// # Errors
    /// What `socket`, `bind` or `listen` said, `EADDRINUSE` for instance.
    pub(crate) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Listener> {
        let socket = new_socket(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket_calls::take_over_idle_port(&socket)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        // What is accepted inherits the options of the listener there, which saves two system calls per connection.
        if INHERITS {
            prepare(&socket);
        }
        Listener::listening(socket, None)
    }

    /// Has a bound socket listen.
    pub(super) fn listening(socket: Socket, unix: Option<UnixName>) -> io::Result<Listener> {
        socket.listen(BACKLOG)?;
        Ok(Listener { socket: Owned::new(socket), unix })
    }

    /// Takes one waiting connection and its peer's address (`None` for a peer without an IP address).
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise what `accept` said.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (socket, peer) = socket_calls::accept(&self.socket)?;
        if !INHERITS {
            prepare(&socket);
        }
        Ok((Stream::connected(socket), peer.as_socket()))
    }

    /// The address listened on, with the port the kernel chose; `None` for a Unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// Whether IPv4 is kept from it, where it listens at all addresses of IPv6; false where it does not.
    pub(crate) fn is_only_v6(&self, listen: SocketAddr) -> bool {
        is_only_v6(&self.socket, listen)
    }

    /// The address listened on, for a Unix socket.
    pub(crate) fn unix_address(&self) -> Option<&UnixAddress> {
        self.unix.as_ref().map(|name| &name.address)
    }

    /// Somebody else has closed it: its number may soon be another one's, which is not to be closed with it.
    pub(crate) fn lose(&mut self) {
        self.socket.lose();
    }

    /// Whether that was noticed.
    pub(crate) fn is_lost(&self) -> bool {
        self.socket.is_lost()
    }
}

named_by!(Listener, |listener| listener.socket.raw_socket());

/// The kernel is asked only where it makes a difference.
fn is_only_v6(socket: &Socket, listen: SocketAddr) -> bool {
    listen.ip() == Ipv6Addr::UNSPECIFIED && socket.only_v6().unwrap_or(false)
}

/// A datagram socket (UDP), or a ping socket (ICMP).
#[derive(Debug)]
pub(crate) struct Datagram(Owned<Socket>, Pings);

impl Datagram {
    /// A socket for the guest's datagrams of one family, bound to `source` when one is given; the kernel chooses the
    /// port with the first send.
    ///
    /// # Errors
    /// What `socket` or `bind` said.
    pub(crate) fn outgoing(v6: bool, source: Option<SocketAddr>) -> io::Result<Datagram> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = new_socket(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if v6 {
            // Peers over IPv4 have nothing to say there.
            socket.set_only_v6(true)?;
        }
        if let Some(source) = source {
            socket.bind(&source.into())?;
        }
        let datagram = Datagram(Owned::new(socket), Pings::NONE);
        datagram.keep_errors(v6);
        Ok(datagram)
    }

    /// A socket that receives what host peers send to `address`; when that is all of the host's addresses,
    /// what is received tells which.
    ///
    /// # Errors
    /// What `socket` or `bind` said.
    pub(crate) fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Datagram> {
        let socket = new_socket(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        socket.bind(&address.into())?;
        let datagram = Datagram(Owned::new(socket), Pings::NONE);
        if address.ip().is_unspecified() {
            datagram.tell_local_addresses(address.is_ipv6())?;
        }
        Ok(datagram)
    }

    /// As [`Listener::is_only_v6`].
    pub(crate) fn is_only_v6(&self, bound: SocketAddr) -> bool {
        is_only_v6(&self.0, bound)
    }

    /// A socket for echo requests: an unprivileged ping socket, else a raw one. The flag says that it is raw, so that it
    /// sees every ICMP message of the host and what it receives starts with the IP header.
    ///
    /// # Errors
    /// What the second try said: without ping permission and without privilege, `EPERM` or `EACCES`.
    pub(crate) fn ping(v6: bool, source: Option<IpAddr>) -> io::Result<(Datagram, bool)> {
        let (socket, pings, raw) = Pings::open(v6, source)?;
        let datagram = Datagram(Owned::new(socket), pings);
        datagram.keep_errors(v6);
        datagram.tell_hop_limits(v6);
        Ok((datagram, raw))
    }

    /// What makes it a socket for echo requests.
    #[cfg(windows)]
    pub(super) fn pings(&self) -> &Pings {
        &self.1
    }

    /// How much the kernel keeps while nobody reads, in bytes; it grants what its own limit permits.
    pub(super) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        self.0.set_recv_buffer_size(bytes)
    }

    /// Sets an option whose value is an `int`. Those that are asked for are Linux' own.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn set_option(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        set_option(self, level, option, value)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// What `sendto` said; a pending ICMP error of an earlier datagram may be reported here as well.
    pub(crate) fn send_to(&self, data: &[u8], destination: SocketAddr) -> io::Result<usize> {
        if let Some(sent) = self.1.send(data, destination) {
            return sent;
        }
        self.0.send_to_with_flags(data, &destination.into(), NO_SIGNAL)
    }

    /// Receives one datagram: its length and its sender. Linux has ways that tell more.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise the socket's pending error.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn receive_from(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
        // SAFETY: u8 and MaybeUninit<u8> have one layout, and recvfrom only ever writes initialised bytes into it.
        let buffer = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
        let (length, sender) = self.0.recv_from(buffer)?;
        Ok((length, sender.as_socket()))
    }

    /// Sets the time to live (IPv6: hop limit) of what is sent from now on.
    pub(crate) fn set_ttl(&self, v6: bool, ttl: u8) {
        if self.1.set_ttl(ttl) {
            return;
        }
        // Fails only for values outside 1..=255, of which the caller lets through none but 0.
        let _ = if v6 { self.0.set_unicast_hops_v6(ttl.into()) } else { self.0.set_ttl_v4(ttl.into()) };
    }

    /// What is sent to a group from now on goes to the others on the link, and not to its members on this host.
    pub(crate) fn leave_this_host_out(&self, v6: bool) {
        // It cannot fail on a datagram socket of that family.
        let _ = if v6 { self.0.set_multicast_loop_v6(false) } else { self.0.set_multicast_loop_v4(false) };
    }

    /// The socket's own address, with the port the kernel chose.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()?.as_socket()
    }

    /// Somebody else has closed it: its number may soon be another one's, which is not to be closed with it.
    pub(crate) fn lose(&mut self) {
        self.0.lose();
    }

    /// Whether that was noticed.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.is_lost()
    }
}

named_by!(Datagram, |datagram| datagram.0.raw_socket());

/// Sets an option of a socket whose value is an `int`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn set_option(
    socket: &impl HostNamed,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the length of the call and the value is an int of the stated size.
    let result = unsafe { libc::setsockopt(socket.raw_socket(), level, option, (&raw const value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The options of an accepted stream: no Nagle delay, urgent bytes kept in line.
fn prepare(socket: &Socket) {
    // Neither can fail on a TCP socket; on a Unix stream they do, and mean nothing there.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_out_of_band_inline(true);
}

/// The address in a name, which may be of either family: the kernel says which.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn ip_address(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match i32::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_in is smaller than a sockaddr_in6 and aligned alike; the family says it is one.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::new(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            let ip = std::net::Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(std::net::SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fault::Fault;
    use std::net::{Ipv4Addr, TcpListener};
    #[cfg(unix)]
    use std::os::fd::AsRawFd;

    #[test]
    fn a_stream_to_a_closed_port_reports_the_refusal() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let outcome =
            Stream::connect((Ipv4Addr::LOCALHOST, port).into(), None, Hops::Default).and_then(|s| s.take_error());
        assert_eq!(Fault::of(&outcome.unwrap_err()), Fault::Refused);
    }

    #[cfg(unix)]
    #[test]
    fn an_accepted_stream_is_as_every_socket_here() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let peer = std::net::TcpStream::connect(listener.local_address().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        assert_eq!(address, Some(peer.local_addr().unwrap()));
        // SAFETY: F_GETFD only reads the flags of a descriptor that is open.
        let flags = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_GETFD) };
        assert!(stream.socket.nonblocking().unwrap() && flags & libc::FD_CLOEXEC != 0);
        assert!(stream.socket.tcp_nodelay().unwrap() && stream.socket.out_of_band_inline().unwrap());
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn only_the_first_send_leaves_nagles_delay_as_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = Stream::connect(listener.local_addr().unwrap(), None, Hops::Default).unwrap();
        assert!(stream.socket.out_of_band_inline().unwrap());
        let _peer = listener.accept().unwrap();
        for send in 0..3 {
            assert_eq!(stream.send(b"x", &[]).unwrap(), 1);
            assert_eq!(stream.socket.tcp_nodelay().unwrap(), send > 0 || !DELAYS_LATE);
        }
    }

    #[test]
    fn a_taken_port_is_refused_with_its_errno() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let again = Listener::bind(first.local_address().unwrap(), false);
        assert_eq!(Fault::of(&again.unwrap_err()), Fault::AddressInUse);
    }
}
