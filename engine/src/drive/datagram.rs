//! A Unix datagram socket as a link, one frame a datagram: what QEMU's `-netdev dgram` speaks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use super::FrameLink;
use super::ending::receive;
use crate::host::fault::Fault;

/// A link over a Unix datagram socket, one frame a datagram, or over one of packets in sequence (`SOCK_SEQPACKET`).
///
/// Nothing tells a datagram socket that the other one was closed, until it sends a frame.
#[derive(Debug)]
pub struct DatagramLink {
    socket: UnixDatagram,
}

impl DatagramLink {
    /// A link over a socket that is connected to the guest's. It is made non-blocking.
    ///
    /// # Errors
    /// What the operating system says when it cannot be made non-blocking.
    pub fn new(socket: UnixDatagram) -> io::Result<DatagramLink> {
        socket.set_nonblocking(true)?;
        Ok(DatagramLink { socket })
    }
}

impl AsFd for DatagramLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<DatagramLink> for OwnedFd {
    fn from(link: DatagramLink) -> OwnedFd {
        link.socket.into()
    }
}

impl FrameLink for DatagramLink {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        receive(&self.socket, true, || self.socket.recv(buffer))
    }

    /// A full queue, which on Linux holds ten datagrams unless the machine is configured otherwise, is `WouldBlock`.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self.socket.send(frame) {
            Ok(_) => Ok(()),
            Err(error) if Fault::of(&error) == Fault::Memory => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }
}
