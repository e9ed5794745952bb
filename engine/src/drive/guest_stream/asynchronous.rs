//! Streams and listeners that wait as tasks. Nothing here needs a runtime: whoever tells of news wakes the task.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::line::Direction;
use super::{GuestListener, GuestStream};

impl GuestListener {
    /// Waits for a guest, as a task. A future that is dropped loses nothing.
    ///
    /// # Errors
    /// See [`GuestListener::accept`].
    pub async fn accept_async(&self) -> io::Result<GuestStream> {
        poll_fn(|context| {
            let mut desk = self.service.desk();
            if let Some(stream) = self.service.next(&mut desk) {
                return Poll::Ready(stream);
            }
            if desk.wakers.iter().all(|waker| !waker.will_wake(context.waker())) {
                desk.wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl GuestStream {
    fn poll<T>(
        &self,
        direction: Direction,
        context: &Context<'_>,
        attempt: impl FnOnce() -> io::Result<Option<T>>,
    ) -> Poll<io::Result<T>> {
        // News that comes after the attempt wakes the task; so does what comes before it, for nothing.
        self.line.wake_later(direction, context.waker());
        match attempt() {
            Ok(Some(done)) => Poll::Ready(Ok(done)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncRead for GuestStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.poll(Direction::Read, context, || self.receive(buffer.initialize_unfilled()));
        read.map_ok(|count| buffer.advance(count))
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(Direction::Write, context, || self.send(data))
    }

    /// Nothing is kept back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// See [`GuestStream::finish`].
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}
