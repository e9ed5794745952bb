//! Connections of guests to forwards that this program answers: its side of them.

use super::Stack;
use crate::flow::Caller;
use crate::flow::tcp::guest::{GuestConnection, GuestConnectionError};
use crate::time::Instant;

/// # Connections of guests that this program answers
///
/// They come through forwards that were made with [`GuestForward::application`](crate::GuestForward::application), and are told
/// of by [`GuestEvent`](crate::GuestEvent)s among the effects. What the guest sends waits in the connection until it is
/// received; TCP's window closes meanwhile, so that a program that takes its time holds the guest back and costs no more memory
/// than any other connection.
///
/// Each of these calls may make frames and effects, so that the output is to be polled after it; a program that calls from
/// another thread than that of its loop has to wake the loop for that.
///
/// ```
/// use oxislirp::{Config, Effect, GuestConnectionError, GuestEvent, GuestForward, Instant, Output, Stack};
///
/// /// Greets who comes, and counts what they have to say.
/// fn serve(stack: &mut Stack, event: GuestEvent, heard: &mut usize, now: Instant) -> Result<(), GuestConnectionError> {
///     let connection = event.connection();
///     match event {
///         GuestEvent::Connected { .. } => {
///             // A new connection has room for so little.
///             stack.guest_send(connection, b"Hello.\n", now)?;
///             stack.guest_finish(connection, now)
///         }
///         GuestEvent::Readable { .. } | GuestEvent::Finished { .. } => loop {
///             match stack.guest_receive(connection, &mut [0; 4096], now) {
///                 Ok(0) | Err(GuestConnectionError::WouldBlock) => return Ok(()),
///                 Ok(count) => *heard += count,
///                 Err(error) => return Err(error),
///             }
///         },
///         _ => Ok(()),
///     }
/// }
///
/// let mut stack = Stack::new(Config::default())?;
/// let service = stack.add_guest_forward(GuestForward::application(7))?;
/// assert_eq!(service.address(), "10.0.2.4:7".parse()?);
/// let (mut heard, now) = (0, Instant::ZERO);
/// loop {
///     match stack.poll_output(now) {
///         Output::Effect(Effect::Guest(event)) => serve(&mut stack, event, &mut heard, now)?,
///         Output::Timeout(_) => break,
///         _ => {} // Frames for the guest, and what else there may be.
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Stack {
    /// Takes bytes that the guest has sent, as many as have come and the buffer holds, and tells how many. 0 is the end of the
    /// stream, unless the buffer is empty. The guest may send as many more.
    ///
    /// # Errors
    /// [`GuestConnectionError::WouldBlock`] when no bytes wait and more may come, and [`GuestConnectionError::Gone`].
    pub fn guest_receive(
        &mut self,
        connection: GuestConnection,
        buffer: &mut [u8],
        now: Instant,
    ) -> Result<usize, GuestConnectionError> {
        self.of_program(now, |stack| stack.tcp.guest_receive(connection, buffer, &mut stack.cx))
    }

    /// Sends the guest bytes, as many as there is room for, and tells how many; [`GuestEvent::Writable`] tells when there is
    /// room again after that were not all. How much waits for the guest at most depends on its window and its round trip, and on
    /// how many connections there are.
    ///
    /// [`GuestEvent::Writable`]: crate::GuestEvent::Writable
    ///
    /// # Errors
    /// [`GuestConnectionError::WouldBlock`] when there is no room at all, [`GuestConnectionError::Finished`] after
    /// [`Stack::guest_finish`], and [`GuestConnectionError::Gone`].
    pub fn guest_send(
        &mut self,
        connection: GuestConnection,
        data: &[u8],
        now: Instant,
    ) -> Result<usize, GuestConnectionError> {
        self.of_program(now, |stack| stack.tcp.guest_send(connection, data, &mut stack.cx))
    }

    /// Ends the program's direction: the guest sees the end of the stream behind what was sent. The guest may go on sending. A
    /// second call changes nothing.
    ///
    /// # Errors
    /// [`GuestConnectionError::Gone`].
    pub fn guest_finish(&mut self, connection: GuestConnection, now: Instant) -> Result<(), GuestConnectionError> {
        self.of_program(now, |stack| stack.tcp.guest_finish(connection, &mut stack.cx))
    }

    /// Breaks a connection off: the guest sees a reset, and what waits in either direction is lost. The connection is gone, and
    /// no event tells of that.
    ///
    /// # Errors
    /// [`GuestConnectionError::Gone`].
    pub fn guest_reset(&mut self, connection: GuestConnection, now: Instant) -> Result<(), GuestConnectionError> {
        self.of_program(now, |stack| stack.tcp.guest_reset(connection, &mut stack.cx))
    }

    fn of_program<T>(&mut self, now: Instant, work: impl FnOnce(&mut Stack) -> T) -> T {
        self.set_now(now);
        self.cx.caller = Caller::Loop;
        self.begin_call();
        let result = work(self);
        self.forget_sleep();
        result
    }
}
