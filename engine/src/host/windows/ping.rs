//! Echo requests: there are no ping sockets, but a call of the system that sends one and waits for its answer. It waits in a thread of
//! the process's own pool; the answer comes back as a datagram on a socket of ours, so that it is news to the application as that of
//! every other socket is.
//!
//! Source: icmpapi.h, ipexport.h.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::Socket;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    ICMP_ECHO_REPLY, ICMPV6_ECHO_REPLY_LH, IP_DEST_HOST_UNREACHABLE, IP_DEST_NET_UNREACHABLE, IP_DEST_PORT_UNREACHABLE,
    IP_DEST_PROT_UNREACHABLE, IP_FLAG_DF, IP_OPTION_INFORMATION, IP_SUCCESS, IP_TTL_EXPIRED_TRANSIT, Icmp6CreateFile,
    Icmp6SendEcho2, IcmpCloseHandle, IcmpCreateFile, IcmpSendEcho2Ex,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET6, SOCKADDR_IN6};
use windows_sys::Win32::System::Threading::{PTP_CALLBACK_INSTANCE, TrySubmitThreadpoolCallback};

use crate::host::error_queue::QueuedError;
use crate::host::fault::Fault;
use crate::host::path::ReceivedFrom;
use crate::host::socket::Datagram;
use crate::ip::{icmp, icmpv6};

/// How long the system waits for an answer, in milliseconds.
const TIMEOUT: u32 = 4000;
/// Requests of this process that may wait at one time, each in a thread. Those beyond are as if they were lost on the way.
const MOST: usize = 64;
/// The header of an echo request and of its reply.
const HEADER: usize = 8;
/// What stands before the message in a datagram to ourselves: what it is, type and code of an error, the time to live, and who answers.
const PREFIX: usize = 4 + 16;
const REPLY: u8 = 0;
const ERROR: u8 = 1;
/// Room for an answer beyond its data.
const ROOM: usize = 256;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// What makes a datagram socket one for echo requests; nothing for all others.
#[derive(Debug)]
pub(crate) struct Pings(Option<Box<Ping>>);

struct Ping {
    /// What the threads answer on.
    answers: Arc<UdpSocket>,
    source: Option<IpAddr>,
    ttl: Cell<u8>,
    whole: Cell<bool>,
    /// An error that was received, and what it is about.
    error: Cell<Option<(QueuedError, Vec<u8>)>>,
}

impl fmt::Debug for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ping").field("source", &self.source).finish_non_exhaustive()
    }
}

/// One request on its way.
struct Request {
    answers: Arc<UdpSocket>,
    source: Option<IpAddr>,
    destination: SocketAddr,
    message: Vec<u8>,
    ttl: u8,
    whole: bool,
}

impl Pings {
    /// For an ordinary socket.
    pub(crate) const NONE: Pings = Pings(None);

    /// A socket that hears the answers. The flag would say that it is a raw one.
    ///
    /// # Errors
    /// What the system says of a socket on the loopback.
    pub(crate) fn open(_v6: bool, source: Option<IpAddr>) -> io::Result<(Socket, Pings, bool)> {
        let (ours, answers) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        // Nobody else on this machine can answer.
        ours.connect(answers.local_addr()?)?;
        answers.connect(ours.local_addr()?)?;
        ours.set_nonblocking(true)?;
        let (ttl, whole, error) = (Cell::new(64), Cell::new(false), Cell::new(None));
        let ping = Ping { answers: Arc::new(answers), source, ttl, whole, error };
        Ok((ours.into(), Pings(Some(Box::new(ping))), false))
    }

    /// Sends an echo request; `None` where the socket is for something else.
    pub(crate) fn send(&self, message: &[u8], destination: SocketAddr) -> Option<io::Result<usize>> {
        let ping = self.0.as_ref()?;
        if message.len() < HEADER {
            return Some(Err(io::ErrorKind::InvalidInput.into()));
        }
        if WAITING.fetch_add(1, Ordering::Relaxed) >= MOST {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            return Some(Ok(message.len()));
        }
        let request = Box::new(Request {
            answers: ping.answers.clone(),
            source: ping.source,
            destination,
            message: message.to_vec(),
            ttl: ping.ttl.get(),
            whole: ping.whole.get(),
        });
        let context = Box::into_raw(request);
        // SAFETY: the function takes the request over, which the callback gives back its box.
        if unsafe { TrySubmitThreadpoolCallback(Some(ask), context.cast(), std::ptr::null()) } == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the callback will not come, so that the request is ours still.
            drop(unsafe { Box::from_raw(context) });
            WAITING.fetch_sub(1, Ordering::Relaxed);
            return Some(Err(error));
        }
        Some(Ok(message.len()))
    }

    /// The time to live of what is sent from now on; false where the socket is for something else.
    pub(crate) fn set_ttl(&self, ttl: u8) -> bool {
        self.0.as_ref().inspect(|ping| ping.ttl.set(ttl)).is_some()
    }
}

/// In a thread of the pool: asks, waits, and sends on what came of it.
unsafe extern "system" fn ask(_instance: PTP_CALLBACK_INSTANCE, context: *mut c_void) {
    // SAFETY: the context is a request that was given up to this function.
    let request = unsafe { Box::from_raw(context.cast::<Request>()) };
    let answer = if request.destination.is_ipv6() { request.ask6() } else { request.ask4() };
    WAITING.fetch_sub(1, Ordering::Relaxed);
    if let Some(answer) = answer {
        // Where the flow has ended meanwhile nobody hears of it.
        let _ = request.answers.send(&answer);
    }
}

/// A handle for echo requests, which is closed with it.
struct Handle(HANDLE);

impl Handle {
    fn new(handle: HANDLE) -> Option<Handle> {
        // What is no handle is never in one: dropped, it would be closed.
        if handle == INVALID_HANDLE_VALUE { None } else { Some(Handle(handle)) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody else has it.
        unsafe { IcmpCloseHandle(self.0) };
    }
}

impl Request {
    fn options(&self) -> IP_OPTION_INFORMATION {
        let flags = if self.whole { IP_FLAG_DF as u8 } else { 0 };
        IP_OPTION_INFORMATION { Ttl: self.ttl, Tos: 0, Flags: flags, OptionsSize: 0, OptionsData: std::ptr::null_mut() }
    }

    /// Its data, behind the header.
    fn data(&self) -> &[u8] {
        self.message.get(HEADER..).unwrap_or_default()
    }

    fn ask4(&self) -> Option<Vec<u8>> {
        // SAFETY: the function has no conditions.
        let handle = Handle::new(unsafe { IcmpCreateFile() })?;
        let IpAddr::V4(destination) = self.destination.ip() else { return None };
        let source = match self.source {
            Some(IpAddr::V4(source)) => u32::from_ne_bytes(source.octets()),
            _ => 0,
        };
        let mut room = vec![0_u64; (self.data().len() + size_of::<ICMP_ECHO_REPLY>() + ROOM) / 8];
        let options = self.options();
        // SAFETY: every pointer is to a live local, or to data of the stated length; without an event the call waits.
        let count = unsafe {
            IcmpSendEcho2Ex(
                handle.0,
                std::ptr::null_mut(),
                None,
                std::ptr::null(),
                source,
                u32::from_ne_bytes(destination.octets()),
                self.data().as_ptr().cast(),
                u16::try_from(self.data().len()).ok()?,
                &raw const options,
                room.as_mut_ptr().cast(),
                u32::try_from(room.len() * 8).ok()?,
                TIMEOUT,
            )
        };
        if count == 0 {
            return None;
        }
        // SAFETY: there is a reply at the beginning of the room, which is aligned for it.
        let reply = unsafe { &*room.as_ptr().cast::<ICMP_ECHO_REPLY>() };
        let who = IpAddr::V4(Ipv4Addr::from(reply.Address.to_ne_bytes()));
        if reply.Status == IP_SUCCESS && !reply.Data.is_null() {
            // SAFETY: the reply says where its data are in the room, and how long.
            let data = unsafe { std::slice::from_raw_parts(reply.Data.cast::<u8>(), reply.DataSize.into()) };
            return Some(self.reply(icmp::ECHO_REPLY, reply.Options.Ttl, who, data));
        }
        let error = match reply.Status {
            IP_TTL_EXPIRED_TRANSIT => (icmp::TIME_EXCEEDED, 0),
            IP_DEST_NET_UNREACHABLE => (icmp::DESTINATION_UNREACHABLE, icmp::NET_UNREACHABLE),
            IP_DEST_HOST_UNREACHABLE => (icmp::DESTINATION_UNREACHABLE, icmp::HOST_UNREACHABLE),
            IP_DEST_PROT_UNREACHABLE => (icmp::DESTINATION_UNREACHABLE, 2),
            IP_DEST_PORT_UNREACHABLE => (icmp::DESTINATION_UNREACHABLE, 3),
            _ => return None,
        };
        Some(self.error(error, who))
    }

    fn ask6(&self) -> Option<Vec<u8>> {
        // SAFETY: the function has no conditions.
        let handle = Handle::new(unsafe { Icmp6CreateFile() })?;
        let name = |ip: Ipv6Addr, scope: u32| {
            // SAFETY: all zero bytes are an address.
            let mut name: SOCKADDR_IN6 = unsafe { std::mem::zeroed() };
            name.sin6_family = AF_INET6;
            name.sin6_addr.u.Byte = ip.octets();
            name.Anonymous.sin6_scope_id = scope;
            name
        };
        let SocketAddr::V6(destination) = self.destination else { return None };
        let source = match self.source {
            Some(IpAddr::V6(source)) => name(source, 0),
            _ => name(Ipv6Addr::UNSPECIFIED, 0),
        };
        let to = name(*destination.ip(), destination.scope_id());
        let mut room = vec![0_u64; (self.data().len() + size_of::<ICMPV6_ECHO_REPLY_LH>() + ROOM) / 8];
        let options = self.options();
        // SAFETY: as for IPv4.
        let count = unsafe {
            Icmp6SendEcho2(
                handle.0,
                std::ptr::null_mut(),
                None,
                std::ptr::null(),
                &raw const source,
                &raw const to,
                self.data().as_ptr().cast(),
                u16::try_from(self.data().len()).ok()?,
                &raw const options,
                room.as_mut_ptr().cast(),
                u32::try_from(room.len() * 8).ok()?,
                TIMEOUT,
            )
        };
        if count == 0 {
            return None;
        }
        // SAFETY: there is a reply at the beginning of the room, which is aligned for it.
        let reply = unsafe { *room.as_ptr().cast::<ICMPV6_ECHO_REPLY_LH>() };
        let mut octets = [0; 16];
        let words = reply.Address.sin6_addr;
        for (place, word) in octets.chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let who = IpAddr::V6(Ipv6Addr::from(octets));
        match reply.Status {
            // The data follow the reply, and are what was sent.
            IP_SUCCESS => Some(self.reply(icmpv6::ECHO_REPLY, 0, who, self.data())),
            IP_TTL_EXPIRED_TRANSIT => Some(self.error((icmpv6::TIME_EXCEEDED, 0), who)),
            IP_DEST_NET_UNREACHABLE => Some(self.error((icmpv6::DESTINATION_UNREACHABLE, 0), who)),
            IP_DEST_HOST_UNREACHABLE => Some(self.error((icmpv6::DESTINATION_UNREACHABLE, 3), who)),
            _ => None,
        }
    }

    fn reply(&self, kind: u8, ttl: u8, who: IpAddr, data: &[u8]) -> Vec<u8> {
        let mut answer = prefix(REPLY, (0, 0), ttl, who);
        answer.extend([kind, 0, 0, 0]);
        answer.extend(self.message.get(4..HEADER).unwrap_or_default());
        answer.extend(data);
        answer
    }

    fn error(&self, error: (u8, u8), who: IpAddr) -> Vec<u8> {
        let mut answer = prefix(ERROR, error, 0, who);
        answer.extend(&self.message);
        answer
    }
}

fn prefix(what: u8, (kind, code): (u8, u8), ttl: u8, who: IpAddr) -> Vec<u8> {
    let octets = match who {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let mut answer = vec![what, kind, code, ttl];
    answer.extend(octets);
    answer
}

impl Datagram {
    /// Nothing is told of hops but with the answers to echo requests.
    pub(in crate::host) fn tell_hop_limits(&self, _v6: bool) {}

    /// Says whether echo requests that are sent from now on are to arrive whole; others are cut as the system likes.
    pub(crate) fn set_whole(&self, _v6: bool, whole: bool) {
        if let Some(ping) = &self.pings().0 {
            ping.whole.set(whole);
        }
    }

    /// Receives one datagram.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is waiting; otherwise the socket's error, or that there is one for [`Datagram::queued_error`].
    pub(crate) fn receive_with_hops(&self, buffer: &mut [u8]) -> io::Result<ReceivedFrom> {
        let (length, sender) = self.receive_from(buffer)?;
        let Some(ping) = &self.pings().0 else { return Ok((length, sender, None)) };
        let nothing = || io::Error::from(io::ErrorKind::InvalidData);
        let message = buffer.get_mut(..length).ok_or_else(nothing)?;
        let Some(&[what, kind, code, ttl]) = message.first_chunk::<4>() else { return Err(nothing()) };
        let octets: [u8; 16] = *message.get(4..).and_then(|rest| rest.first_chunk()).ok_or_else(nothing)?;
        let who = Ipv6Addr::from(octets).to_canonical();
        if what == ERROR {
            let quoted = message.get(PREFIX..).unwrap_or_default().to_vec();
            let error = QueuedError {
                icmp: Some((kind, code)),
                offender: Some(who),
                destination: None,
                fault: Fault::HostUnreachable,
                info: 0,
                quoted: quoted.len(),
            };
            ping.error.set(Some((error, quoted)));
            return Err(nothing());
        }
        message.copy_within(PREFIX.., 0);
        Ok((length - PREFIX, Some(SocketAddr::new(who, 0)), (ttl > 0).then_some(ttl)))
    }

    pub(in crate::host) fn keep_errors(&self, _v6: bool) {}

    /// The error that was received last, once.
    pub(crate) fn queued_error(&self, quoted: &mut [u8]) -> Option<QueuedError> {
        let (mut error, bytes) = self.pings().0.as_ref()?.error.take()?;
        error.quoted = bytes.len().min(quoted.len());
        if let (Some(place), Some(bytes)) = (quoted.get_mut(..error.quoted), bytes.get(..error.quoted)) {
            place.copy_from_slice(bytes);
        }
        Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::socket_calls::wait_for_tests;

    #[test]
    fn an_echo_request_to_the_loopback_is_answered() {
        let (socket, raw) = Datagram::ping(false, None).unwrap();
        assert!(!raw);
        socket.set_ttl(false, 7);
        let message = [&[8, 0, 0, 0, 0x12, 0x34, 0, 9][..], b"payload"].concat();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        assert_eq!(socket.send_to(&message, to).unwrap(), message.len());
        assert!(wait_for_tests(&socket, 10_000), "no answer");
        let mut buffer = [0; 128];
        let (length, sender, _) = socket.receive_with_hops(&mut buffer).unwrap();
        assert_eq!((length, sender), (message.len(), Some(to)));
        assert_eq!((buffer[0], &buffer[4..length]), (0, &message[4..]));
        assert_eq!(socket.receive_with_hops(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
