//! What a driver asks of a link.

use std::io;
use std::os::fd::AsFd;

/// The longest frame that a driver reads: an IP packet of 65,535 bytes behind an Ethernet header with one tag (IEEE 802.1Q).
pub(super) const LONGEST_FRAME: usize = 65_535 + 18;

/// A link with the guest at its other end, which carries whole Ethernet frames, without frame check sequence.
///
/// Its descriptor is readable while there is a frame to receive, or the link has ended, and writable while there is room for
/// one more (but see [`FrameLink::room_is_writable`]). Neither method ever waits.
pub trait FrameLink: AsFd {
    /// Receives one frame into `buffer` and gives its length. One that is longer than the buffer is cut, and of no use.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is none now. Everything else ends the driver's round, see
    /// [`DriveError::Receive`](super::DriveError::Receive); a link that has ended says
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if it can tell, which is
    /// [`DriveError::GuestGone`](super::DriveError::GuestGone). A link that cannot tell has ended where its descriptor says so
    /// (`POLLHUP`, `POLLRDHUP`) and nothing is there to be received.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends one frame.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is no room for it now: the driver keeps it for a moment. With
    /// everything else the frame is lost, and the driver's round ends with [`DriveError::Send`](super::DriveError::Send).
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Whether the descriptor becomes writable when there is room again. A link that says no, as an eventfd is always writable, has it
    /// become readable then, although there may be no frame.
    fn room_is_writable(&self) -> bool {
        true
    }

    /// Whether there is a frame to receive although the descriptor may not say so: one that the link has made itself.
    fn has_own_frame(&self) -> bool {
        false
    }
}

/// Whatever it is a link to.
impl<L: FrameLink + ?Sized> FrameLink for Box<L> {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).receive(buffer)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        (**self).send(frame)
    }

    fn room_is_writable(&self) -> bool {
        (**self).room_is_writable()
    }

    fn has_own_frame(&self) -> bool {
        (**self).has_own_frame()
    }
}

/// A link that is lent.
impl<L: FrameLink + ?Sized> FrameLink for &mut L {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).receive(buffer)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        (**self).send(frame)
    }

    fn room_is_writable(&self) -> bool {
        (**self).room_is_writable()
    }

    fn has_own_frame(&self) -> bool {
        (**self).has_own_frame()
    }
}
