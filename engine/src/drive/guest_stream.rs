//! Connections of guests to this program as streams that are read from and written to, as those of a `TcpListener` are.
//!
//! `line` is one connection: what was told of it, and who waits for that. `asynchronous` has the same streams wait as tasks. What a
//! connection can do is the stack's own ([`Stack::guest_receive`](crate::Stack::guest_receive) and its siblings); here is only the
//! waiting.

#[cfg(feature = "tokio")]
mod asynchronous;
mod line;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::StackHandle;
use crate::flow::tcp::guest::{GuestConnection, GuestConnectionError, GuestEvent, GuestForward, GuestForwardHandle};
use crate::forward::error::ForwardError;
use crate::stack::Stack;
use crate::time::Instant;
use line::{End, Line};

/// Connections that wait to be accepted; a further one is reset.
const BACKLOG: usize = 128;

/// Accepts the connections of guests to a forward that this program answers, as a `TcpListener` does those of the host.
///
/// The stack is run by a driver, whose effects have to be passed on: to the [`GuestCalls`] that come with the listener. Whoever reads,
/// writes or accepts waits for the driver, and so must not do that in the driver's own thread. All of this is about the stack that the
/// handle has now: one that is put in its place later has no such forward.
///
/// ```
/// use oxislirp::drive::{Driver, GuestListener, MemoryLink, Stop};
/// use oxislirp::{Config, Effect, GuestForward, Stack};
/// use std::io::{Read, Write};
/// use std::thread;
///
/// let (link, guest) = MemoryLink::pair()?;
/// let mut driver = Driver::new(Stack::new(Config::default())?, link)?;
/// // Guests find it at 10.0.2.4, port 7.
/// let (listener, calls) = GuestListener::new(driver.handle(), GuestForward::application(7))?;
/// thread::spawn(move || -> std::io::Result<()> {
///     loop {
///         let mut stream = listener.accept()?;
///         let mut question = String::new();
///         stream.read_to_string(&mut question)?;
///         stream.write_all(question.to_uppercase().as_bytes())?;
///     }
/// });
/// let stop = Stop::new()?;
/// # stop.stop();
/// driver.run(&stop, |effect| match effect {
///     Effect::Guest(event) => _ = calls.tell(event),
///     other => println!("{other:?}"),
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A listener that is dropped lets nobody in any more: connections that wait are reset, and the forward goes with the last stream.
pub struct GuestListener {
    service: Arc<Service>,
}

/// Where a driver's [`GuestEvent`]s go for a [`GuestListener`] and its streams to hear of them. When it is dropped, as with the closure that
/// it was moved into, nobody waits any more: all that would have to is an error.
pub struct GuestCalls {
    service: Arc<Service>,
}

/// A connection of a guest, as a `TcpStream` is one of the host's.
///
/// Both directions can be used at once, from two threads: `&GuestStream` reads and writes too. With the feature `tokio` it is also
/// an `AsyncRead` and `AsyncWrite`.
///
/// One that is dropped ends its own direction in order; the guest is reset when bytes of it were not read, or more come. Inside
/// [`StackHandle::with`] nothing can be done with it: there the stack's own methods are at hand.
pub struct GuestStream {
    service: Arc<Service>,
    line: Arc<Line>,
    connection: GuestConnection,
    peer: SocketAddr,
}

/// What a listener, its streams and its calls share.
struct Service {
    handle: StackHandle,
    forward: GuestForwardHandle,
    desk: Mutex<Desk>,
    changed: Condvar,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<(GuestConnection, SocketAddr)>,
    lines: HashMap<GuestConnection, Arc<Line>>,
    /// Nobody accepts any more.
    closed: bool,
    /// Nobody is told anything any more.
    ended: bool,
    #[cfg(feature = "tokio")]
    wakers: Vec<std::task::Waker>,
}

impl GuestListener {
    /// Adds a forward, made by [`GuestForward::application`], and listens there.
    ///
    /// # Errors
    /// The source is the [`ForwardError`] with which the stack refuses the forward. A forward to something else than this program is
    /// `InvalidInput`.
    pub fn new(handle: StackHandle, forward: GuestForward) -> io::Result<(GuestListener, GuestCalls)> {
        if !forward.is_application() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "the forward leads to something else than this program",
            ));
        }
        let added = handle.with(|stack, _| stack.add_guest_forward(forward)).map_err(io::Error::other)?;
        let forward = added.map_err(|error| {
            let kind = match error {
                ForwardError::Taken(_) | ForwardError::Leased(_) => ErrorKind::AddrInUse,
                _ => ErrorKind::AddrNotAvailable,
            };
            io::Error::new(kind, error)
        })?;
        let service = Arc::new(Service { handle, forward, desk: Mutex::default(), changed: Condvar::new() });
        Ok((GuestListener { service: Arc::clone(&service) }, GuestCalls { service }))
    }

    /// The forward.
    pub fn forward(&self) -> GuestForwardHandle {
        self.service.forward
    }

    /// Waits for a guest.
    ///
    /// # Errors
    /// `NotConnected` when the [`GuestCalls`] are gone.
    pub fn accept(&self) -> io::Result<GuestStream> {
        let mut desk = self.service.desk();
        loop {
            if let Some(stream) = self.service.next(&mut desk) {
                return stream;
            }
            desk = self.service.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
impl GuestListener {
    /// Whether it knows of no connection any more.
    pub(super) fn service_is_idle(&self) -> bool {
        self.service.desk().lines.is_empty()
    }
}

impl GuestCalls {
    /// Passes an event on to whom it concerns, and gives back one that is of another listener's connections, or of none.
    pub fn tell(&self, event: GuestEvent) -> Option<GuestEvent> {
        self.service.tell(event)
    }
}

impl Service {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing in it is ever left half done.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the stack. Never while `desk` or a line is locked: the driver may have the stack, and want these.
    fn with<T>(&self, work: impl FnOnce(&mut Stack, Instant) -> T) -> io::Result<T> {
        self.handle.with(work).map_err(io::Error::other)
    }

    fn reset(&self, connection: GuestConnection) {
        // It may have ended by itself.
        let _ = self.with(|stack, now| stack.guest_reset(connection, now));
    }

    /// The next connection, or why there will be none.
    fn next(self: &Arc<Service>, desk: &mut Desk) -> Option<io::Result<GuestStream>> {
        while let Some((connection, peer)) = desk.waiting.pop_front() {
            if let Some(line) = desk.lines.get(&connection) {
                let (service, line) = (Arc::clone(self), Arc::clone(line));
                return Some(Ok(GuestStream { service, line, connection, peer }));
            }
        }
        desk.ended.then(|| Err(io::Error::new(ErrorKind::NotConnected, "nobody tells of guests any more")))
    }

    fn tell(&self, event: GuestEvent) -> Option<GuestEvent> {
        let connection = event.connection();
        let mut desk = self.desk();
        if let GuestEvent::Connected { forward, peer, .. } = event {
            if forward != self.forward {
                return Some(event);
            }
            if desk.closed || desk.waiting.len() >= BACKLOG {
                drop(desk);
                self.reset(connection);
                return None;
            }
            desk.lines.insert(connection, Arc::default());
            desk.waiting.push_back((connection, peer));
            self.announce(desk);
            return None;
        }
        let Some(line) = desk.lines.get(&connection).map(Arc::clone) else { return Some(event) };
        let end = match event {
            GuestEvent::Closed { .. } => Some(End::Closed),
            GuestEvent::Reset { .. } => Some(End::Reset),
            _ => None,
        };
        let is_left = line.news(end);
        let was_waiting = end == Some(End::Reset) && {
            let before = desk.waiting.len();
            desk.waiting.retain(|(waiting, _)| *waiting != connection);
            desk.waiting.len() < before
        };
        if end.is_some() && (is_left || was_waiting) {
            desk.lines.remove(&connection);
        }
        drop(desk);
        match event {
            // Whoever has left does not read what comes now.
            GuestEvent::Readable { .. } if is_left => self.abandon(connection),
            // This is all that it waited for.
            GuestEvent::Finished { .. } if is_left => {
                let _ = self.with(|stack, now| stack.guest_receive(connection, &mut [0], now));
            }
            _ => self.end_forward(),
        }
        None
    }

    /// Resets a connection that nobody has any more; no event tells of that.
    fn abandon(&self, connection: GuestConnection) {
        self.reset(connection);
        self.desk().lines.remove(&connection);
        self.end_forward();
    }

    /// Removes the forward when nobody accepts and the last stream has gone.
    fn end_forward(&self) {
        let over = {
            let desk = self.desk();
            desk.closed && desk.lines.is_empty()
        };
        if over {
            let _ = self.with(|stack, _| stack.remove_guest_forward(self.forward));
        }
    }

    /// Whoever waits to accept looks again.
    fn announce(&self, desk: MutexGuard<'_, Desk>) {
        #[cfg(feature = "tokio")]
        let wakers = {
            let mut desk = desk;
            std::mem::take(&mut desk.wakers)
        };
        #[cfg(not(feature = "tokio"))]
        drop(desk);
        self.changed.notify_all();
        // Not while the desk is locked, which they may want.
        #[cfg(feature = "tokio")]
        wakers.into_iter().for_each(std::task::Waker::wake);
    }
}

impl GuestStream {
    /// The name of the connection, for the stack's own methods.
    pub fn connection(&self) -> GuestConnection {
        self.connection
    }

    /// The guest's address and port.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// How long reading and writing wait at most; then they are `TimedOut`. Without a limit by default. Tasks have no limit.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        self.line.set_timeout(timeout);
    }

    /// Ends the own direction: the guest sees the end of the stream behind what was written, and may go on sending.
    ///
    /// # Errors
    /// `NotConnected` when the connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        let finished = self.service.with(|stack, now| stack.guest_finish(self.connection, now))?;
        finished.map_err(io::Error::from)
    }

    /// Breaks the connection off, with all that waits in it.
    pub fn reset(&self) {
        self.service.reset(self.connection);
        self.line.news(Some(End::Reset));
    }

    /// Tries to read. `None` when that has to wait.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let received = self.service.with(|stack, now| stack.guest_receive(self.connection, buffer, now))?;
        match received {
            Ok(count) => {
                if count == 0 && !buffer.is_empty() {
                    self.line.end_read();
                }
                Ok(Some(count))
            }
            Err(GuestConnectionError::Gone) => self.line.end_of_reading().map(Some),
            Err(_) => self.line.waits().map(|()| None),
        }
    }

    /// Tries to write. `None` when that has to wait.
    fn send(&self, data: &[u8]) -> io::Result<Option<usize>> {
        match self.service.with(|stack, now| stack.guest_send(self.connection, data, now))? {
            Ok(count) => Ok(Some(count)),
            Err(GuestConnectionError::WouldBlock) => self.line.waits().map(|()| None),
            Err(GuestConnectionError::Gone) => Err(io::Error::new(ErrorKind::BrokenPipe, GuestConnectionError::Gone)),
            Err(error) => Err(error.into()),
        }
    }

    /// Tries until it need not wait.
    fn wait<T>(&self, mut attempt: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
        loop {
            // News that comes between the attempt and the wait ends the wait.
            let seen = self.line.seen();
            if let Some(done) = attempt()? {
                return Ok(done);
            }
            self.line.wait(seen)?;
        }
    }
}

impl Read for &GuestStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(|| self.receive(buffer))
    }
}

impl Write for &GuestStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.wait(|| self.send(data))
    }

    /// Nothing is kept back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for GuestStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for GuestStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        let ended = self.line.leave();
        if ended {
            self.service.desk().lines.remove(&self.connection);
            return self.service.end_forward();
        }
        let connection = self.connection;
        let unread = self.service.with(|stack, now| {
            // With the end of the stream, should that be what comes next, the stack need not wait for it to be fetched.
            let unread = matches!(stack.guest_receive(connection, &mut [0], now), Ok(1..));
            if !unread {
                // It may be over meanwhile.
                let _ = stack.guest_finish(connection, now);
            }
            unread
        });
        if unread.is_ok_and(|unread| unread) {
            self.service.abandon(connection);
        }
    }
}

impl Drop for GuestListener {
    fn drop(&mut self) {
        let waiting = {
            let mut desk = self.service.desk();
            desk.closed = true;
            std::mem::take(&mut desk.waiting)
        };
        for (connection, _) in waiting {
            self.service.abandon(connection);
        }
        self.service.end_forward();
    }
}

impl Drop for GuestCalls {
    fn drop(&mut self) {
        let mut desk = self.service.desk();
        desk.ended = true;
        let lines: Vec<_> = desk.lines.values().map(Arc::clone).collect();
        self.service.announce(desk);
        lines.iter().for_each(|line| line.abandon());
    }
}

impl fmt::Debug for GuestListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestListener").field("forward", &self.service.forward).finish_non_exhaustive()
    }
}

impl fmt::Debug for GuestCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestCalls").field("forward", &self.service.forward).finish_non_exhaustive()
    }
}

impl fmt::Debug for GuestStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connection, peer) = (&self.connection, &self.peer);
        f.debug_struct("GuestStream").field("connection", connection).field("peer", peer).finish_non_exhaustive()
    }
}
