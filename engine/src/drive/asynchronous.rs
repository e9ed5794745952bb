//! A loop that sleeps as a task of tokio.
//!
//! What tokio says of a descriptor is only what it last heard, so that `poll(2)` is asked, without sleeping, whether it still is so.
//! That costs a system call a round, which a sleep in `poll(2)` would cost as well.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::station::{Station, descriptor_of};
use super::{Counts, DriveError, FrameLink, NotDriven, StackHandle};
use crate::flow::Effect;
use crate::flow::identity::Identity;
use crate::host::task_watch::watch;
use crate::host::wait::{Watch, wait};
use crate::pace::Glance;
use crate::stack::Stack;

/// Runs a stack on a link as a task of tokio. As [`Driver`](super::Driver), but for the sleep.
///
/// ```
/// use oxislirp::drive::{AsyncDriver, MemoryLink};
/// use oxislirp::{Config, Stack};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let (link, guest) = MemoryLink::pair()?;
/// let mut driver = AsyncDriver::new(Stack::new(Config::default())?, link)?;
/// let handle = driver.handle();
/// // Until it is aborted, or the guest goes.
/// let looping = tokio::spawn(async move { driver.run(|effect| println!("{effect:?}")).await });
/// let forwards = handle.with(|stack, _| stack.host_forwards().count())?;
/// assert_eq!(forwards, 0);
/// drop(guest);
/// assert!(looping.await?.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All that it does between two sleeps it does at once, without an `await`: a future that is dropped, as by `select!`, loses nothing, and the next
/// one goes on from there.
#[derive(Debug)]
pub struct AsyncDriver<L> {
    station: Station<L>,
    link: AsyncFd<OwnedFd>,
    news: AsyncFd<OwnedFd>,
    /// Of which stack the news is.
    identity: Identity,
    /// The runtime whose timers and descriptors are used, whichever one polls the futures.
    runtime: Handle,
}

/// What a look at the descriptors has shown.
struct Seen {
    link: bool,
    news: bool,
    ended: bool,
}

impl<L: FrameLink> AsyncDriver<L> {
    /// A driver of the stack, for tasks of the runtime in which this is called. Nothing is done yet.
    ///
    /// # Errors
    /// [`DriveError::Direct`]; [`DriveError::Wait`] when this is not called in a runtime, when that was made without input and output or
    /// without timers (whose lack tokio also tells the process's panic hook), when there is no descriptor left, or the link's is of a kind
    /// that cannot be watched. The stack and the link come back with it.
    pub fn new(stack: Stack, link: L) -> Result<AsyncDriver<L>, NotDriven<L>> {
        let (runtime, watched_link, news) = match watches_of(&stack, &link) {
            Ok(watches) => watches,
            Err(error) => return Err(NotDriven::new(error, stack, link)),
        };
        let station = Station::new(stack, link)?;
        Ok(AsyncDriver { identity: station.identity(), station, link: watched_link, news, runtime })
    }

    /// The stack, for whoever else has something to do with it.
    pub fn handle(&self) -> StackHandle {
        self.station.stack.clone()
    }

    /// The link.
    pub fn link(&self) -> &L {
        &self.station.link
    }

    /// The link, to be changed. Whatever is done to it, its descriptor has to stay the same one.
    pub fn link_mut(&mut self) -> &mut L {
        &mut self.station.link
    }

    /// The stack and the link, without the driver. A frame that waited for room on the link is lost. The stack itself is to be had by
    /// [`StackHandle::into_stack`].
    pub fn into_parts(self) -> (StackHandle, L) {
        (self.station.stack, self.station.link)
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
        let result = self.station.round(if room { Glance::Unknown } else { glance }, seen.ended, effect);
        if self.station.identity() != self.identity {
            let _runtime = self.runtime.enter();
            self.news = watch_news(&self.station.news).map_err(DriveError::Wait)?;
            self.identity = self.station.identity();
        }
        result
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
        let until = {
            let _runtime = self.runtime.enter();
            tokio::time::sleep(sleep)
        };
        tokio::pin!(until);
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
                // The descriptors tell of a runtime that has gone, where a timer would panic.
                biased;
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
                () = &mut until => return self.look(),
            }
        }
    }

    fn look(&self) -> io::Result<Seen> {
        let room = self.station.waits_for_room();
        let news = (!room).then_some(&self.station.news);
        let mut watches =
            [Watch::link(&self.station.link, room && self.station.link.room_is_writable()), Watch::perhaps(news)];
        wait(&mut watches, Duration::ZERO)?;
        let ended = watches[0].has_ended();
        let [link, news] = watches.map(|watch| watch.has_news());
        Ok(Seen { link, news, ended })
    }
}

type Watched = AsyncFd<OwnedFd>;

/// What is watched by the runtime of this thread, and that runtime.
fn watches_of(stack: &Stack, link: &impl FrameLink) -> Result<(Handle, Watched, Watched), DriveError> {
    let runtime = Handle::try_current().map_err(|error| DriveError::Wait(io::Error::other(error)))?;
    let link = link.as_fd().try_clone_to_owned().map_err(DriveError::Wait)?;
    let link = attempt("input and output", || watch(link, Interest::READABLE | Interest::WRITABLE))?;
    let news = watch_news(&descriptor_of(stack)?).map_err(DriveError::Wait)?;
    attempt("timers", || {
        drop(tokio::time::sleep(Duration::ZERO));
        Ok(())
    })?;
    Ok((runtime, link, news))
}

fn watch_news(news: &OwnedFd) -> io::Result<Watched> {
    watch(news.try_clone()?, Interest::READABLE)
}

/// Asks the runtime for something that it may have been made without, which it answers with a panic and nothing else.
fn attempt<T>(what: &str, ask: impl FnOnce() -> io::Result<T>) -> Result<T, DriveError> {
    catch_unwind(AssertUnwindSafe(ask))
        .unwrap_or_else(|_| Err(io::Error::other(format!("tokio's runtime was made without {what}"))))
        .map_err(DriveError::Wait)
}
