//! Two ends of a link inside one program.
//!
//! Frames are in memory. For each frame that is on its way a byte is in a pair of sockets, so that descriptors say what they have to
//! say of a link, and the sockets' limit is the link's.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::FrameLink;

type Queue = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// One end of a link inside one program; the guest, or a test, has the other one.
///
/// Either end sees the other one go: receiving then says [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) after the last frame, sending
/// says [`BrokenPipe`](io::ErrorKind::BrokenPipe).
///
/// ```
/// use oxislirp::drive::{FrameLink, MemoryLink};
///
/// let (mut ours, mut theirs) = MemoryLink::pair()?;
/// ours.send(b"a frame")?;
/// let mut buffer = [0; 1514];
/// assert_eq!(theirs.receive(&mut buffer)?, 7);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct MemoryLink {
    incoming: Queue,
    outgoing: Queue,
    /// A byte for each frame.
    count: UnixStream,
}

impl MemoryLink {
    /// A link's two ends.
    ///
    /// # Errors
    /// What the operating system says when it has no descriptors left.
    pub fn pair() -> io::Result<(MemoryLink, MemoryLink)> {
        let (one, other) = UnixStream::pair()?;
        one.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        let (there, back) = (Queue::default(), Queue::default());
        Ok((
            MemoryLink { incoming: Arc::clone(&back), outgoing: Arc::clone(&there), count: one },
            MemoryLink { incoming: there, outgoing: back, count: other },
        ))
    }
}

/// Nothing is ever left half done in a queue.
fn lock(queue: &Queue) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsFd for MemoryLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.count.as_fd()
    }
}

impl FrameLink for MemoryLink {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (&self.count).read(&mut [0]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // The other end went with frames of ours that it had not received.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            result => result?,
        };
        // It was put there before the byte.
        let frame = lock(&self.incoming).pop_front().unwrap_or_default();
        let length = frame.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..length), frame.get(..length)) else { return Ok(0) };
        to.copy_from_slice(from);
        Ok(length)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut queue = lock(&self.outgoing);
        queue.push_back(frame.to_vec());
        // The other end takes a frame only after its byte, and waits for the lock with it.
        let sent = (&self.count).write(&[0]);
        if sent.is_err() {
            queue.pop_back();
        }
        match sent {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(io::ErrorKind::BrokenPipe.into()),
            sent => sent.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_and_in_order_until_the_other_end_goes() {
        let (mut ours, mut theirs) = MemoryLink::pair().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(theirs.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        ours.send(&[1; 4]).unwrap();
        ours.send(&[2; 100]).unwrap();
        theirs.send(&[3; 1]).unwrap();
        drop(ours);
        assert_eq!((theirs.receive(&mut buffer).unwrap(), buffer), (4, [1, 1, 1, 1, 0, 0, 0, 0]));
        assert_eq!((theirs.receive(&mut buffer).unwrap(), buffer), (8, [2; 8]));
        for _ in 0..3 {
            assert_eq!(theirs.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(theirs.send(&[4]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_end_that_goes_with_frames_unread_is_gone_for_sending_first_as_well() {
        let (mut ours, mut theirs) = MemoryLink::pair().unwrap();
        theirs.send(&[1]).unwrap();
        drop(ours.receive(&mut [0; 8]));
        theirs.send(&[1]).unwrap();
        drop(ours);
        for _ in 0..3 {
            assert_eq!(theirs.send(&[2]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn a_full_link_says_so_and_loses_nothing_that_it_took() {
        let (mut ours, mut theirs) = MemoryLink::pair().unwrap();
        let taken = (0..100_000_u32).take_while(|number| ours.send(&number.to_be_bytes()).is_ok()).count();
        assert!((64..100_000).contains(&taken), "{taken}");
        assert_eq!(ours.send(&[0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut buffer = [0; 8];
        for number in 0..taken as u32 {
            assert_eq!(theirs.receive(&mut buffer).unwrap(), 4);
            assert_eq!(buffer[..4], number.to_be_bytes());
        }
        assert_eq!(theirs.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        ours.send(&[0]).unwrap();
    }
}
