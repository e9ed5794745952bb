//! A loop that sleeps as a task of tokio.
//!
//! What tokio says of a descriptor is only what it last heard, so that `poll(2)` is asked, without sleeping, whether it still is so.
//! That costs a system call a round, which a sleep in `poll(2)` would cost as well.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::station::Station;
use super::{Counts, DriveError, FrameLink, StackHandle};
use crate::flow::Effect;
use crate::host::task_watch::watch;
use crate::host::wait::{Watch, wait};
use crate::pace::Glance;
use crate::stack::Stack;

/// Runs a stack on a link as a task of tokio. As [`Driver`](super::Driver), but for the sleep.
///
/// All that it does between two sleeps it does at once, without an `await`: a future that is dropped, as by `select!`, loses nothing, and the next
/// one goes on from there.
#[derive(Debug)]
pub struct AsyncDriver<L> {
    station: Station<L>,
    link: AsyncFd<OwnedFd>,
    news: AsyncFd<OwnedFd>,
}

/// What a look at the descriptors has shown.
struct Seen {
    link: bool,
    news: bool,
}

impl<L: FrameLink> AsyncDriver<L> {
    /// A driver of the stack, for tasks of the runtime in which this is called. Nothing is done yet.
    ///
    /// # Errors
    /// [`DriveError::Direct`]; [`DriveError::Wait`] when this is not called in a runtime, when there is no descriptor left, or
    /// the link's is of a kind that cannot be watched.
    ///
    /// # Panics
    /// Where the runtime was made without input and output ([`AsyncFd`]).
    pub fn new(stack: Stack, link: L) -> Result<AsyncDriver<L>, DriveError> {
        tokio::runtime::Handle::try_current().map_err(|error| DriveError::Wait(io::Error::other(error)))?;
        let station = Station::new(stack, link)?;
        let link = station.link.as_fd().try_clone_to_owned().map_err(DriveError::Wait)?;
        let news = station.news.try_clone().map_err(DriveError::Wait)?;
        Ok(AsyncDriver {
            link: watch(link, Interest::READABLE | Interest::WRITABLE).map_err(DriveError::Wait)?,
            news: watch(news, Interest::READABLE).map_err(DriveError::Wait)?,
            station,
        })
    }

    /// The stack, for whoever else has something to do with it.
    pub fn handle(&self) -> StackHandle {
        self.station.stack.clone()
    }

    /// The link.
    pub fn link(&self) -> &L {
        &self.station.link
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.station.counts
    }

    /// Sleeps until there is something to do, but no longer than `longest`, and does it. See
    /// [`Driver::run_once`](super::Driver::run_once).
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn run_once(&mut self, longest: Duration, effect: impl FnMut(Effect)) -> Result<(), DriveError> {
        let room = self.station.waits_for_room();
        let seen = self.sleep(longest).await.map_err(DriveError::Wait)?;
        let glance = if seen.news { Glance::News } else { Glance::Quiet };
        self.station.round(if room { Glance::Unknown } else { glance }, effect)
    }

    /// Goes on until something goes wrong, or the future is dropped.
    ///
    /// # Errors
    /// See [`DriveError`]; it can be called again.
    pub async fn run(&mut self, mut effect: impl FnMut(Effect)) -> Result<std::convert::Infallible, DriveError> {
        loop {
            self.run_once(Duration::MAX, &mut effect).await?;
        }
    }

    async fn sleep(&mut self, longest: Duration) -> io::Result<Seen> {
        // A link that always has something to say leaves other tasks their turn.
        tokio::task::coop::consume_budget().await;
        let sleep = self.station.sleep().min(longest);
        let until = Instant::now() + sleep;
        let room = self.station.waits_for_room();
        let by_writing = room && self.station.link.room_is_writable();
        let link_interest = if by_writing { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        loop {
            let seen = self.look()?;
            if seen.link || seen.news || sleep.is_zero() {
                return Ok(seen);
            }
            // Of what has happened since it was known that there is news, forgetting that forgets nothing.
            tokio::select! {
                known = self.link.ready(link_interest) => {
                    let mut known = known?;
                    let seen = self.look()?;
                    if seen.link {
                        return Ok(seen);
                    }
                    known.clear_ready();
                }
                known = self.news.readable(), if !room => {
                    let mut known = known?;
                    let seen = self.look()?;
                    if seen.news {
                        return Ok(seen);
                    }
                    known.clear_ready();
                }
                () = tokio::time::sleep_until(until) => return self.look(),
            }
        }
    }

    fn look(&self) -> io::Result<Seen> {
        let room = self.station.waits_for_room();
        let news = (!room).then_some(&self.station.news);
        let mut watches =
            [Watch::new(&self.station.link, room && self.station.link.room_is_writable()), Watch::perhaps(news)];
        wait(&mut watches, Duration::ZERO)?;
        let [link, news] = watches.map(|watch| watch.has_news());
        Ok(Seen { link, news })
    }
}
