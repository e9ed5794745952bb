//! Guest forwards that a program of this process answers: what it is told of each connection, and what it does with it.
//!
//! Bytes of the guest stay in the connection's receive buffer until the program takes them, so TCP's window is what holds the
//! guest back; bytes for the guest go into the send buffer as far as there is room. The pool bounds both, as for all flows.

use super::{GuestConnection, GuestConnectionError, GuestEvent};
use crate::flow::context::Context;
use crate::flow::effect::Effect;
use crate::flow::tcp::table::{TcpId, TcpTable};
use crate::flow::tcp::{Side, TcpFlow};
use crate::tcp::Closed;
use crate::time::{Duration, Instant};

/// When a send that found no memory may be tried again.
const MEMORY_RETRY: Duration = Duration::from_millis(20);
/// How long a connection that has ended is kept for a program that has not received the end of the stream.
const LINGER: Duration = Duration::from_secs(5);

/// What the program knows of its connection, and has done with it.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// It was told of the connection.
    connected: bool,
    /// It was told of bytes, and has not come for them since.
    readable: bool,
    /// It was told of the guest's end.
    ended: bool,
    /// It wanted to send more than there was room for.
    wants_room: bool,
    /// It has ended its own direction.
    finished: bool,
    /// It has received the end of the stream.
    end_taken: bool,
    wait: Wait,
}

/// What is waited for without any event.
#[derive(Clone, Copy, Debug, Default)]
enum Wait {
    #[default]
    Nothing,
    /// The pool had no memory for bytes to send.
    Memory(Instant),
    /// Everything has ended, and the program may come for the end of the stream until then.
    End(Instant),
}

impl Program {
    pub(in crate::flow::tcp) fn deadline(&self) -> Option<Instant> {
        match self.wait {
            Wait::Nothing => None,
            Wait::Memory(at) | Wait::End(at) => Some(at),
        }
    }

    fn lingers(&self) -> bool {
        matches!(self.wait, Wait::End(_))
    }
}

impl TcpTable {
    /// The flow of a connection that the program knows.
    fn of_program(&mut self, connection: GuestConnection, cx: &Context) -> Result<&mut TcpFlow, GuestConnectionError> {
        let own = connection.stack == cx.identity();
        let flow = self.flows.get_mut(connection.id).filter(|flow| own && flow.is_known_to_program());
        flow.ok_or(GuestConnectionError::Gone)
    }

    /// See [`crate::Stack::guest_receive`].
    pub(crate) fn guest_receive(
        &mut self,
        connection: GuestConnection,
        buffer: &mut [u8],
        cx: &mut Context,
    ) -> Result<usize, GuestConnectionError> {
        let flow = self.of_program(connection, cx)?;
        if buffer.is_empty() {
            return Ok(0);
        }
        let received = flow.program_receives(buffer, cx)?;
        flow.transmit(cx);
        flow.end_with_program(connection, cx);
        self.settle(connection.id, cx);
        Ok(received)
    }

    /// See [`crate::Stack::guest_send`].
    pub(crate) fn guest_send(
        &mut self,
        connection: GuestConnection,
        data: &[u8],
        cx: &mut Context,
    ) -> Result<usize, GuestConnectionError> {
        let flow = self.of_program(connection, cx)?;
        let taken = flow.program_sends(data, cx);
        if let Ok(1..) = taken {
            flow.transmit(cx);
        }
        self.settle(connection.id, cx);
        taken
    }

    /// See [`crate::Stack::guest_finish`].
    pub(crate) fn guest_finish(
        &mut self,
        connection: GuestConnection,
        cx: &mut Context,
    ) -> Result<(), GuestConnectionError> {
        let flow = self.of_program(connection, cx)?;
        if let Some(program) = flow.host.program() {
            program.finished = true;
            program.wants_room = false;
        }
        flow.host.finish();
        flow.conn.close_send();
        flow.transmit(cx);
        flow.end_with_program(connection, cx);
        self.settle(connection.id, cx);
        Ok(())
    }

    /// See [`crate::Stack::guest_reset`].
    pub(crate) fn guest_reset(
        &mut self,
        connection: GuestConnection,
        cx: &mut Context,
    ) -> Result<(), GuestConnectionError> {
        let flow = self.of_program(connection, cx)?;
        flow.host.leave();
        flow.conn.discard_received(&mut cx.pool);
        flow.reset_now(cx);
        self.settle(connection.id, cx);
        Ok(())
    }

    /// A segment of the guest has come, or a deadline: the program is told what is new.
    pub(in crate::flow::tcp) fn tell_program(&mut self, id: TcpId, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let connection = GuestConnection { stack: cx.identity(), id };
        flow.tell_program(connection, cx);
        flow.end_with_program(connection, cx);
    }

    /// A deadline of the flow has come, which may be one of the program.
    pub(in crate::flow::tcp) fn on_program_deadline(&mut self, id: TcpId, cx: &mut Context) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Some(program) = flow.host.program() else { return };
        match program.wait {
            // It is told in any case; should there be no memory still, it hears so again.
            Wait::Memory(at) if at <= cx.now => program.wait = Wait::Nothing,
            Wait::End(at) if at <= cx.now => program.end_taken = true,
            _ => {}
        }
        self.tell_program(id, cx);
    }
}

impl TcpFlow {
    /// Whether the flow stays although its connection has ended: its program may come for the end of the stream.
    pub(in crate::flow::tcp) fn lingers(&self) -> bool {
        matches!(self.host.side(), Side::Application(program) if program.lingers())
    }

    fn is_known_to_program(&self) -> bool {
        matches!(self.host.side(), Side::Application(program) if program.connected)
    }

    /// Copies out what waits, as far as `buffer` goes; nothing at the end of the stream.
    fn program_receives(&mut self, buffer: &mut [u8], cx: &mut Context) -> Result<usize, GuestConnectionError> {
        let Some(program) = self.host.program() else { return Err(GuestConnectionError::Gone) };
        program.readable = false;
        let (first, second) = self.conn.recv().slices();
        let mut received = 0;
        for part in [first, second] {
            let length = part.len().min(buffer.len() - received);
            if let (Some(to), Some(from)) = (buffer.get_mut(received..received + length), part.get(..length)) {
                to.copy_from_slice(from);
                received += length;
            }
        }
        if received > 0 {
            cx.budget.moved(received);
            if received == self.conn.recv().len() && self.conn.wants_wider_window() {
                self.conn.widen_window(true, &cx.pool);
            }
            self.conn.consume_received(received, &mut cx.pool);
            self.host.account.gave_host(received);
        } else if self.conn.peer_finished() {
            program.end_taken = true;
        } else {
            return Err(GuestConnectionError::WouldBlock);
        }
        Ok(received)
    }

    /// Takes as many bytes for the guest as there is room for.
    fn program_sends(&mut self, data: &[u8], cx: &mut Context) -> Result<usize, GuestConnectionError> {
        let Some(program) = self.host.program() else { return Err(GuestConnectionError::Gone) };
        if program.finished {
            return Err(GuestConnectionError::Finished);
        }
        if data.is_empty() {
            return Ok(0);
        }
        self.conn.look_at_share(&cx.pool);
        let (room, limit) = (self.conn.send_room(), self.conn.send_limit());
        self.conn.on_more(cx.now);
        let taken = if room > 0 { self.conn.send_mut().push(data, limit, &mut cx.pool) } else { 0 };
        cx.budget.moved(taken);
        program.wants_room = taken < data.len();
        if taken < data.len().min(room) {
            program.wait = Wait::Memory(cx.now + MEMORY_RETRY);
        }
        self.host.account.gave_guest(taken);
        if taken > 0 { Ok(taken) } else { Err(GuestConnectionError::WouldBlock) }
    }

    /// Tells the program what it has not been told yet.
    fn tell_program(&mut self, connection: GuestConnection, cx: &mut Context) {
        let (Some(program), Some(rule)) = (self.host.program(), &self.forward) else { return };
        let broken = self.conn.closed().is_some_and(|reason| reason != Closed::Finished);
        if broken || !self.conn.is_established() {
            return;
        }
        let mut tell = |event| cx.effects.push(Effect::Guest(event));
        if !std::mem::replace(&mut program.connected, true) {
            let (forward, peer) = (rule.handle(connection.stack), self.key.guest.socket_address());
            tell(GuestEvent::Connected { connection, forward, peer });
        }
        if !self.conn.recv().is_empty() && !std::mem::replace(&mut program.readable, true) {
            tell(GuestEvent::Readable { connection });
        }
        if self.conn.peer_finished() && !std::mem::replace(&mut program.ended, true) {
            tell(GuestEvent::Finished { connection });
        }
        // A buffer that is filled up a segment at a time would cost an event for each.
        let (room, held) = (self.conn.send_room(), self.conn.send().len());
        let has_memory = !matches!(program.wait, Wait::Memory(_));
        if program.wants_room && has_memory && room > 0 && room >= held / 4 {
            program.wants_room = false;
            tell(GuestEvent::Writable { connection });
        }
    }

    /// Parts with the program when both directions have ended; but if it has not received the end of the stream, it may come
    /// for that for a while.
    fn end_with_program(&mut self, connection: GuestConnection, cx: &mut Context) {
        let ended = self.has_ended_in_order();
        let Some(program) = self.host.program() else { return };
        if !ended {
            return;
        }
        if program.end_taken {
            self.host.leave();
            cx.effects.push(Effect::Guest(GuestEvent::Closed { connection }));
        } else if !program.lingers() {
            program.wait = Wait::End(cx.now + LINGER);
        }
    }

    /// Whether each side has ended and has all that the other one sent.
    fn has_ended_in_order(&self) -> bool {
        let finished = matches!(self.host.side(), Side::Application(program) if program.finished);
        finished && self.conn.peer_finished() && self.conn.recv().is_empty() && self.conn.send_idle()
    }

    /// The flow goes, or its forward: the program is told, if it knows the connection and does not know this.
    pub(in crate::flow::tcp) fn break_with_program(&mut self, id: TcpId, cx: &mut Context) {
        if self.is_known_to_program() {
            let connection = GuestConnection { stack: cx.identity(), id };
            let event = match self.has_ended_in_order() {
                true => GuestEvent::Closed { connection },
                false => GuestEvent::Reset { connection },
            };
            cx.effects.push(Effect::Guest(event));
        }
        if self.host.program().is_some() {
            self.host.leave();
        }
    }
}
