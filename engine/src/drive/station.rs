//! What is between two sleeps: frames in, a round, frames out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::link::LONGEST_FRAME;
use super::{DriveError, FrameLink, NotDriven, StackHandle};
use crate::flow::identity::Identity;
use crate::flow::{Caller, Effect};
use crate::pace::Glance;
use crate::stack::{Output, Stack};

/// How many frames are read at most before the stack's answers are taken out.
const FRAMES_PER_ROUND: usize = 64;
/// How long a full link is waited for before its frames are dropped. The stack does nothing meanwhile that makes frames. It is what
/// a reader that is not stuck needs to have its turn on a busy machine.
const PATIENCE: Duration = Duration::from_millis(10);

/// What a driver has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Frames that came from the guest.
    pub received: u64,
    /// Frames that the link took for the guest.
    pub sent: u64,
    /// Frames for the guest that were lost because the link was full for too long or failed.
    pub dropped: u64,
    /// Frames of the guest, from wherever they came, that the stack did not take because too much waited for the guest: see
    /// [`Stack::refused_frames`].
    pub refused: u64,
    /// Rounds.
    pub rounds: u64,
}

/// A stack with a link.
#[derive(Debug)]
pub(super) struct Station<L> {
    pub stack: StackHandle,
    /// A copy of the stack's descriptor, which can be watched while the stack is with others.
    pub news: OwnedFd,
    /// Whose descriptor it is.
    identity: Identity,
    pub link: L,
    pub counts: Counts,
    buffer: Box<[u8]>,
    /// The frame that a full link did not take, and since when it waits.
    held: Option<Instant>,
    held_frame: Vec<u8>,
    /// The link was full for so long that frames are dropped, until it takes one.
    stuck: bool,
    /// The stack wants a round at this time, or as soon as the link has taken the frame that waits.
    due: Instant,
    /// They are the application's when nobody has the stack.
    effects: Vec<Effect>,
}

impl<L: FrameLink> Station<L> {
    pub(super) fn new(stack: Stack, link: L) -> Result<Station<L>, NotDriven<L>> {
        let news = match descriptor_of(&stack) {
            Ok(news) => news,
            Err(error) => return Err(NotDriven::new(error, stack, link)),
        };
        Ok(Station {
            identity: stack.identity(),
            stack: StackHandle::new(stack),
            news,
            link,
            counts: Counts::default(),
            buffer: vec![0; LONGEST_FRAME].into_boxed_slice(),
            held: None,
            held_frame: Vec::new(),
            stuck: false,
            due: Instant::now(),
            effects: Vec::new(),
        })
    }

    /// Which stack [`Station::news`] is of.
    #[cfg(feature = "tokio")]
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// How long there is nothing to do without news.
    pub(super) fn sleep(&self) -> Duration {
        let due = match self.held {
            _ if self.link.has_own_frame() => return Duration::ZERO,
            Some(since) => since + PATIENCE,
            None => self.due,
        };
        due.saturating_duration_since(Instant::now())
    }

    /// Whether room on the link is waited for. News of the stack is then none: it is not asked for more.
    pub(super) fn waits_for_room(&self) -> bool {
        self.held.is_some()
    }

    /// One round, and what it makes: frames to the link, and effects to `effect` afterwards. `ended` tells whether the link's
    /// descriptor says that nothing more will come once it has been read to its end.
    pub(super) fn round(
        &mut self,
        seen: Glance,
        ended: bool,
        mut effect: impl FnMut(Effect),
    ) -> Result<(), DriveError> {
        self.counts.rounds += 1;
        let received = self.receive(ended);
        let result = received.and(self.send_held()).and_then(|()| self.take_turns(seen));
        // Whatever went wrong, the application has to hear of these.
        self.effects.drain(..).for_each(&mut effect);
        result
    }

    /// Hands in the frames that are there, up to a bound.
    fn receive(&mut self, ended: bool) -> Result<(), DriveError> {
        let mut stack = self.stack.take()?;
        let now = self.stack.clock().now();
        for turn in 0..FRAMES_PER_ROUND {
            match self.link.receive(&mut self.buffer) {
                Ok(length) => {
                    self.counts.received += 1;
                    stack.input(self.buffer.get(..length).unwrap_or_default(), Caller::Loop, now);
                }
                // A datagram socket that was shut down says no more than that there is nothing, for ever.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && ended && turn == 0 => {
                    return Err(DriveError::GuestGone(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DriveError::receiving(error)),
            }
        }
        Ok(())
    }

    /// Tries the frame that waits once more, or gives it up.
    fn send_held(&mut self) -> Result<(), DriveError> {
        let Some(since) = self.held.take() else { return Ok(()) };
        let frame = std::mem::take(&mut self.held_frame);
        let result = match send(&mut self.link, &frame) {
            Ok(true) => {
                self.counts.sent += 1;
                Ok(())
            }
            Ok(false) if since.elapsed() < PATIENCE => {
                self.held = Some(since);
                Ok(())
            }
            Ok(false) => {
                self.stuck = true;
                self.counts.dropped += 1;
                Ok(())
            }
            Err(error) => {
                self.counts.dropped += 1;
                Err(DriveError::sending(error))
            }
        };
        self.held_frame = frame;
        result
    }

    /// The stack's round, up to its sleep or to a frame that has to wait for room.
    fn take_turns(&mut self, seen: Glance) -> Result<(), DriveError> {
        if self.waits_for_room() {
            return Ok(());
        }
        let (mut stack, clock) = (self.stack.take()?, self.stack.clock());
        self.counts.refused = stack.refused_frames();
        let mut seen = seen;
        if stack.identity() != self.identity {
            // Somebody has put another stack in the place of the one whose descriptor is watched.
            self.news = descriptor_of(&stack)?;
            self.identity = stack.identity();
            seen = Glance::Unknown;
        }
        stack.handle_events(seen, clock.now());
        loop {
            match stack.poll_output(clock.now()) {
                Output::Frame(frame) => match send(&mut self.link, frame) {
                    Ok(true) => {
                        self.stuck = false;
                        self.counts.sent += 1;
                    }
                    Ok(false) if self.stuck => self.counts.dropped += 1,
                    Ok(false) => {
                        self.held = Some(Instant::now());
                        self.held_frame.clear();
                        self.held_frame.extend_from_slice(frame);
                        self.due = Instant::now();
                        return Ok(());
                    }
                    Err(error) => {
                        self.counts.dropped += 1;
                        self.due = Instant::now();
                        return Err(DriveError::sending(error));
                    }
                },
                Output::Effect(effect) => self.effects.push(effect),
                Output::Timeout(sleep) => {
                    self.due = Instant::now() + sleep;
                    return Ok(());
                }
            }
        }
    }
}

/// A copy of the descriptor that is watched for news of the stack.
pub(super) fn descriptor_of(stack: &Stack) -> Result<OwnedFd, DriveError> {
    if stack.descriptor().is_none() {
        return Err(DriveError::Direct);
    }
    stack.as_fd().try_clone_to_owned().map_err(DriveError::Wait)
}

/// Whether there was room for the frame.
fn send(link: &mut impl FrameLink, frame: &[u8]) -> io::Result<bool> {
    loop {
        match link.send(frame) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
