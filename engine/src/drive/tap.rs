//! A tap device as a link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use super::FrameLink;
use super::ending::receive;
use crate::host::fault::Fault;
use crate::host::tap::{Layer, open};
use crate::host::wait::never_block;

/// A link over a tap device, or any other descriptor of which each read takes one frame and each write gives one.
#[derive(Debug)]
pub struct TapLink {
    device: File,
    is_socket: bool,
}

impl TapLink {
    /// Makes a tap device in the network namespace of this thread, or attaches to the one of this name. It is gone when the last copy of
    /// the link's descriptor is closed, unless somebody made it persistent.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be a name, `PermissionDenied` without CAP_NET_ADMIN in the namespace, `Unsupported` where the system is
    /// not Linux, and what else `open` and `ioctl` say.
    pub fn open(name: &str) -> io::Result<TapLink> {
        TapLink::new(open(name, Layer::Ethernet)?.into())
    }

    /// A link over a tap device that somebody else has opened, with the flag `IFF_NO_PI`. It is made non-blocking.
    ///
    /// # Errors
    /// What the operating system says when it cannot be made non-blocking.
    pub fn new(device: OwnedFd) -> io::Result<TapLink> {
        never_block(device.as_raw_fd())?;
        let device = File::from(device);
        Ok(TapLink { is_socket: device.metadata()?.file_type().is_socket(), device })
    }
}

impl AsFd for TapLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl From<TapLink> for OwnedFd {
    fn from(link: TapLink) -> OwnedFd {
        link.device.into()
    }
}

impl FrameLink for TapLink {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        receive(&self.device, self.is_socket, || (&self.device).read(buffer))
    }

    /// The device has a queue of its own, which drops what does not fit. An interface that is down is an unplugged cable: what is sent
    /// is lost without an error.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self.device.write(frame) {
            Ok(_) => Ok(()),
            Err(error) if Fault::of(&error) == Fault::Device => Ok(()),
            Err(error) => Err(error),
        }
    }
}
