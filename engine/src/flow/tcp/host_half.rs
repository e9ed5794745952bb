//! The host's half of a TCP flow: what the flow is joined to on that side, and what is known of it.
//!
//! It reads and writes, and knows what an error means for its side. It knows nothing of the connection with the guest: what
//! follows for that is the flow's business (`pump`, `trouble`), which has both halves.

use std::io;
use std::net::SocketAddr;

use super::again::Again;
use super::guest::{Attaching, Program};
use crate::flow::journal::Account;
use crate::flow::meter::Meter;
#[cfg(feature = "policy")]
use crate::flow::name_server::Dialogue;
use crate::flow::via::Words;
use crate::host::fault::Fault;
use crate::host::poller::Readiness;
use crate::host::socket::Stream;
use crate::time::{Instant, earliest};

/// The most one read from the host brings.
pub(super) const MAX_READ: u32 = 512 * 1024;
/// The least one read asks for, and what the first one does.
pub(super) const MIN_READ: u32 = 16 * 1024;

/// What a flow is joined to on the host's side.
#[derive(Debug)]
pub(crate) enum Side {
    /// A host peer.
    Host(Stream),
    /// A guest forward's callback.
    Callback,
    /// This program, which hears of what comes and takes it when it likes.
    Application(Program),
    /// What is behind a guest forward, to be attached when the guest has completed its handshake.
    Waiting(Attaching),
    /// The virtual name server, where queries are looked at.
    #[cfg(feature = "policy")]
    Queries(Box<Dialogue>),
    /// Nothing any more: both directions ended in order, or the peer is gone.
    Gone,
}

/// What only a flow that is being connected needs.
pub(super) struct Connecting {
    /// The guest's SYN as it came, to be quoted in an ICMP error. Empty when it was too large to be kept.
    pub packet: Vec<u8>,
    /// The SYN may be lost on the way by its time to live, of which the host is to tell.
    pub few_hops: bool,
    /// The host's name server, when this is a query to it.
    pub name_server: Option<SocketAddr>,
    /// Where else the host's service may be.
    pub other: Option<SocketAddr>,
    /// How the connect ended, if it failed and that is known already.
    pub failed: Option<io::Error>,
    pub deadline: Instant,
    /// What is to be said to a proxy, when it is connected.
    pub words: Words,
    /// It is connected.
    pub talks: bool,
    /// There is more to be said to it than it has taken.
    pub asks: bool,
    /// The guest's first bytes decide whether the flow goes on.
    #[cfg(feature = "policy")]
    pub hold: Option<Box<super::hello::Hold>>,
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Written {
    /// So many bytes were taken.
    Bytes(usize),
    /// None now; [`HostHalf::is_writable`] says whether to try once more at once.
    Nothing,
    /// The peer has closed, or is gone, and takes no more. What it has sent may still be read; its end then ends the flow.
    Refused,
    /// The host's side is gone.
    Broken,
}

/// What became of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    Bytes(usize),
    /// The peer has ended its direction.
    End,
    /// Nothing now.
    Nothing,
    /// Reset, timed out or unreachable: whatever it is, the host's side is gone.
    Broken,
}

/// See the module.
pub(super) struct HostHalf {
    side: Side,
    /// Reading will not block, as far as we know.
    readable: bool,
    /// Writing will not block, as far as we know.
    writable: bool,
    /// The peer has closed its direction; what is left to read ends with an end of stream or an error.
    read_closed: bool,
    /// Urgent data waits here.
    urgent: bool,
    /// Everything from the peer was read, up to its end.
    finished: bool,
    /// The guest's end was passed on.
    shut: bool,
    /// A write failed, or what was written was refused: it takes no more.
    refuses: bool,
    /// The poller has told of an error.
    failed: bool,
    /// The host lacked memory, and is asked again.
    again: Again,
    /// How much the next read asks for; grows with use.
    read_size: u32,
    /// It is asked of each byte whether it may pass: there may be a meter, or requests are looked at.
    watched: bool,
    /// Set while it is being connected.
    connecting: Option<Box<Connecting>>,
    /// What it is counted by, where there are limits.
    meter: Meter,
    /// What is known of its requests, where these are looked at.
    #[cfg(feature = "policy")]
    watch: Option<Box<super::requests::Watch>>,
    /// What went through it, and why it ends.
    pub(super) account: Account,
}

impl HostHalf {
    pub(super) fn new(side: Side) -> HostHalf {
        HostHalf {
            side,
            readable: false,
            writable: false,
            read_closed: false,
            urgent: false,
            finished: false,
            shut: false,
            refuses: false,
            failed: false,
            again: Again::default(),
            read_size: MIN_READ,
            watched: false,
            connecting: None,
            meter: None,
            #[cfg(feature = "policy")]
            watch: None,
            account: Account::default(),
        }
    }

    pub(super) fn side(&self) -> &Side {
        &self.side
    }

    /// The host peer's socket.
    pub(super) fn stream(&self) -> Option<&Stream> {
        if let Side::Host(stream) = &self.side { Some(stream) } else { None }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.side, Side::Gone)
    }

    /// The program of this process that answers the guest.
    pub(super) fn program(&mut self) -> Option<&mut Program> {
        if let Side::Application(program) = &mut self.side { Some(program) } else { None }
    }

    /// What the guest says to the virtual name server, where that is looked at. To be put back.
    #[cfg(feature = "policy")]
    pub(super) fn take_dialogue(&mut self) -> Option<Box<Dialogue>> {
        match std::mem::replace(&mut self.side, Side::Gone) {
            Side::Queries(dialogue) => Some(dialogue),
            other => {
                self.side = other;
                None
            }
        }
    }

    #[cfg(feature = "policy")]
    pub(super) fn put_dialogue(&mut self, dialogue: Box<Dialogue>) {
        self.side = Side::Queries(dialogue);
    }

    /// What is still to be attached.
    pub(super) fn attaching(&mut self) -> Option<&mut Attaching> {
        if let Side::Waiting(attaching) = &mut self.side { Some(attaching) } else { None }
    }

    /// What was to be attached is there.
    pub(super) fn attach(&mut self, stream: Stream) {
        self.side = Side::Host(stream);
        self.writable = true;
    }

    /// What was to be attached was not, and is tried again.
    pub(super) fn wait_on(&mut self, attaching: Attaching) {
        self.side = Side::Waiting(attaching);
    }

    /// Parts with what is there; its socket, if that is one.
    #[inline]
    pub(super) fn leave(&mut self) -> Option<Stream> {
        match std::mem::replace(&mut self.side, Side::Gone) {
            Side::Host(stream) => Some(stream),
            #[cfg(feature = "policy")]
            Side::Queries(mut dialogue) => dialogue.leave(),
            _ => None,
        }
    }

    /// The same where both directions have ended.
    pub(super) fn leave_if_ended(&mut self) -> Option<Stream> {
        if self.finished && self.shut && self.stream().is_some() { self.leave() } else { None }
    }

    /// The socket will be reset, not closed in order.
    pub(super) fn reset_on_close(&self) {
        if let Some(stream) = self.stream() {
            stream.reset_on_close();
        }
    }
}

/// Connecting.
impl HostHalf {
    /// The socket is being connected.
    #[inline]
    pub(super) fn connect(&mut self, connecting: Connecting) {
        self.connecting = Some(Box::new(connecting));
    }

    /// Whether it is connected to a proxy whose answer is waited for.
    pub(super) fn is_talking(&self) -> bool {
        self.connecting.as_ref().is_some_and(|connecting| connecting.talks)
    }

    /// The proxy takes nothing more for now.
    #[cfg(feature = "policy")]
    pub(super) fn waits_to_write(&mut self) {
        self.writable = false;
        self.readable = false;
    }

    /// The proxy has said nothing more for now, and there is nothing that it could be told.
    #[cfg(feature = "policy")]
    pub(super) fn waits_to_read(&mut self) {
        self.readable = false;
    }

    /// It is connected, and waits for something else before it is used.
    #[cfg(feature = "policy")]
    pub(super) fn connect_anew(&mut self, connecting: Box<Connecting>) {
        self.connecting = Some(connecting);
    }

    /// Whether the guest's first bytes decide, now or when the socket is connected.
    #[cfg(feature = "policy")]
    pub(super) fn is_listening(&self) -> bool {
        self.connecting.as_ref().is_some_and(|connecting| connecting.hold.is_some())
    }

    /// What is known of the guest's first bytes, while it is connected and these decide.
    #[cfg(feature = "policy")]
    pub(super) fn held(&self) -> Option<&super::hello::Hold> {
        self.connecting.as_ref().filter(|connecting| connecting.is_held())?.hold.as_deref()
    }

    #[cfg(feature = "policy")]
    pub(super) fn held_mut(&mut self) -> Option<&mut super::hello::Hold> {
        self.connecting.as_mut().filter(|connecting| connecting.is_held())?.hold.as_deref_mut()
    }

    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    /// There is news of the connect.
    pub(super) fn has_connect_news(&self) -> bool {
        match &self.connecting {
            None => false,
            Some(connecting) if connecting.talks => {
                self.readable || self.read_closed || (self.writable && connecting.asks)
            }
            Some(connecting) => self.writable && !connecting.is_held(),
        }
    }

    pub(super) fn connecting(&mut self) -> Option<(&mut Connecting, &Stream)> {
        match (&mut self.connecting, &self.side) {
            (Some(connecting), Side::Host(stream)) => Some((connecting, stream)),
            _ => None,
        }
    }

    /// The connect has ended, or is given up.
    pub(super) fn end_connect(&mut self) -> Option<Box<Connecting>> {
        self.connecting.take()
    }

    /// Whether the poller has told that the peer has closed its direction, as it does of a connect that failed.
    pub(super) fn is_read_closed(&self) -> bool {
        self.read_closed
    }

    /// Another socket takes the place of one that was refused, which is given back.
    pub(super) fn begin_anew(&mut self, stream: Stream) -> Option<Stream> {
        (self.readable, self.writable, self.read_closed) = (false, false, false);
        (self.failed, self.urgent) = (false, false);
        match std::mem::replace(&mut self.side, Side::Host(stream)) {
            Side::Host(refused) => Some(refused),
            _ => None,
        }
    }
}

/// What is known, and what is waited for.
impl HostHalf {
    /// What the poller, or the application, says of the socket.
    pub(super) fn on_ready(&mut self, ready: Readiness) {
        self.readable |= ready.readable && !self.again.holds_reads();
        self.writable |= ready.writable && !self.again.holds_writes();
        self.read_closed |= ready.read_closed || ready.error;
        self.failed |= ready.error;
        self.urgent |= ready.priority;
        #[cfg(feature = "policy")]
        if matches!(self.side, Side::Queries(_)) {
            self.tell_dialogue();
        }
    }

    /// What was told of the socket is the dialogue's business.
    #[cfg(feature = "policy")]
    #[cold]
    fn tell_dialogue(&mut self) {
        use std::mem::take;

        let ready = Readiness {
            readable: take(&mut self.readable),
            writable: take(&mut self.writable),
            read_closed: take(&mut self.read_closed),
            priority: take(&mut self.urgent),
            error: take(&mut self.failed),
        };
        if let Side::Queries(dialogue) = &mut self.side {
            dialogue.on_ready(ready);
        }
    }

    /// Writing will not block, as far as is known.
    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether a host peer takes bytes now, as far as is known, and the guest may still send some.
    #[inline]
    pub(super) fn takes_directly(&self) -> bool {
        let open = self.writable && !self.refuses && !self.shut;
        open && matches!(self.side, Side::Host(_)) && self.connecting.is_none() && !self.is_watched()
    }

    /// Whether it is asked of each byte whether it may pass now.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        cfg!(feature = "policy") && self.watched
    }

    /// What it is counted by from now on, where it is.
    #[inline]
    pub(super) fn count_by(&mut self, meter: Meter) {
        if meter.is_some() {
            self.watched = true;
            self.meter = meter;
        }
    }

    /// What it is counted by, to be counted by more.
    #[cfg(feature = "policy")]
    pub(super) fn meter_mut(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// It is counted no longer.
    #[inline]
    pub(super) fn take_meter(&mut self) -> Meter {
        self.meter.take()
    }

    /// Looks at its requests from now on.
    #[cfg(feature = "policy")]
    pub(super) fn look_at_requests(&mut self, watch: Box<super::requests::Watch>) {
        self.watched = true;
        self.watch = Some(watch);
    }

    /// What is known of its requests, where these are looked at.
    #[cfg(feature = "policy")]
    pub(super) fn watch_mut(&mut self) -> Option<&mut super::requests::Watch> {
        self.watch.as_deref_mut()
    }

    /// The same, to be put back by [`HostHalf::look_at_requests`].
    #[cfg(feature = "policy")]
    pub(super) fn take_watch(&mut self) -> Option<Box<super::requests::Watch>> {
        self.watch.take()
    }

    /// Whether so many bytes of the guest all wait for more of them, or for the peer's word.
    #[inline]
    pub(super) fn holds(&self, bytes: usize) -> bool {
        #[cfg(feature = "policy")]
        return self.watched && self.watch.as_ref().is_some_and(|watch| watch.holds(bytes));
        #[cfg(not(feature = "policy"))]
        return bytes == 0;
    }

    pub(super) fn set_writable(&mut self) {
        self.writable = true;
    }

    /// There may be something to read.
    pub(super) fn is_readable(&self) -> bool {
        self.readable && !self.finished
    }

    /// The peer is to be heard out: it is broken, and the read will say how.
    pub(super) fn hear_out(&mut self) {
        self.readable = true;
        self.read_closed = true;
    }

    /// Whether the socket is to be watched for something to read, if there is room for it.
    pub(super) fn wants_read(&self) -> bool {
        !self.readable && !self.finished && !self.again.holds_reads()
    }

    /// Whether it is to be watched for room to write, if there is something to write or a connect to wait for.
    pub(super) fn wants_write(&self) -> bool {
        !self.writable && !self.again.holds_writes()
    }

    /// The peer has ended its direction, and all was read.
    pub(super) fn has_finished(&self) -> bool {
        self.finished
    }

    /// It has ended by the word of a program of this process.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// The guest's end was passed on.
    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    /// It takes no more bytes of the guest.
    pub(super) fn refuses(&self) -> bool {
        self.refuses
    }

    /// Nobody reads what the guest sends.
    pub(super) fn refuse(&mut self) {
        self.refuses = true;
    }

    /// There is an error to be asked for although the peer has ended: it may refuse what the guest sends now.
    pub(super) fn may_have_refused(&self) -> bool {
        self.failed && self.finished
    }

    /// Asks for that error. Whether the peer refuses.
    pub(super) fn asks_for_refusal(&mut self) -> bool {
        self.failed = false;
        let Some(stream) = self.stream() else { return false };
        if stream.take_error().is_ok() {
            return false;
        }
        stream.reset_on_close();
        self.refuses = true;
        true
    }

    /// The next time at which something is to be done here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let of_side = match &self.side {
            Side::Waiting(attaching) => attaching.deadline(),
            Side::Application(program) => program.deadline(),
            #[cfg(feature = "policy")]
            Side::Queries(dialogue) => dialogue.deadline(),
            _ if self.connecting.is_none() => return self.again.at(),
            _ => None,
        };
        let connecting = self.connecting.as_ref().map(|connecting| connecting.deadline);
        earliest(earliest(connecting, of_side), self.again.at())
    }

    /// Whether the connect has taken too long.
    pub(super) fn is_connect_late(&self, now: Instant) -> bool {
        self.connecting.as_ref().is_some_and(|connecting| connecting.deadline <= now)
    }

    /// The host is given nothing before then.
    #[cfg(feature = "policy")]
    pub(super) fn pause_writes(&mut self, until: Instant) {
        self.writable = false;
        self.again.pause_writes(until);
    }

    /// Nothing is read from it before then.
    #[cfg(feature = "policy")]
    pub(super) fn pause_reads(&mut self, until: Instant) {
        self.readable = false;
        self.again.pause_reads(until);
    }

    /// Whether the time has come to ask a host again that lacked memory; it is then taken for one that has some.
    pub(super) fn asks_again(&mut self, now: Instant) -> bool {
        let is_due = self.again.is_due(now);
        if is_due {
            self.again.asked();
            self.readable = true;
            self.writable = true;
        }
        is_due
    }
}

/// Bytes.
impl HostHalf {
    /// Writes; `urgent` is where urgent data ends in the bytes. The byte before that becomes the host's out-of-band byte.
    pub(super) fn write(&mut self, (first, second): (&[u8], &[u8]), urgent: Option<usize>, now: Instant) -> Written {
        let Side::Host(stream) = &self.side else {
            self.writable = false;
            return Written::Nothing;
        };
        let sent = match urgent {
            Some(end) if end > 0 && end <= first.len() => stream.send_urgent(first.get(..end).unwrap_or(first)),
            Some(end) if end > first.len() => stream.send(first, &[]),
            _ => stream.send(first, second),
        };
        match sent {
            Ok(sent) => {
                self.again.done();
                self.account.gave_host(sent);
                // A short write means that the kernel's buffer is full; the poller tells when it is not.
                self.writable = sent == first.len() + second.len() || (urgent.is_some() && sent > 0);
                Written::Bytes(sent)
            }
            Err(error) => self.on_write_error(&error, now),
        }
    }

    /// Whether the peer keeps up with what it is given: the kernel has sent it all but half of the last `sent` bytes. Where a limit says how
    /// fast it is given anything, a longer queue before that would only wait longer.
    #[cold]
    pub(super) fn keeps_up(&self, sent: usize) -> bool {
        self.meter.is_none() && self.stream().is_none_or(|stream| stream.backlog() <= sent / 2)
    }

    fn on_write_error(&mut self, error: &io::Error, now: Instant) -> Written {
        match Fault::of(error) {
            Fault::WouldBlock => self.writable = false,
            Fault::Interrupted => {}
            Fault::Descriptors | Fault::Memory => {
                self.writable = false;
                self.again.wait_to_write(now);
            }
            Fault::Broken => {
                self.refuses = true;
                self.hear_out();
                self.reset_on_close();
                return Written::Refused;
            }
            fault => {
                self.note_loss(fault);
                return Written::Broken;
            }
        }
        Written::Nothing
    }

    /// How much the next read is to ask for: one byte where that is the urgent one, so that the mark for the guest is where the
    /// host has put it.
    pub(super) fn next_read(&self) -> (usize, bool) {
        let urgent = self.urgent && self.stream().is_some_and(Stream::at_urgent_mark);
        (if urgent { 1 } else { self.read_size as usize }, urgent)
    }

    /// Reads; `urgent` is what [`HostHalf::next_read`] said.
    #[inline(always)]
    pub(super) fn read(&mut self, first: &mut [u8], second: &mut [u8], urgent: bool, now: Instant) -> Received {
        let offered = first.len() + second.len();
        let Some(stream) = self.stream().filter(|_| offered > 0) else { return Received::Nothing };
        match stream.receive(first, second) {
            Ok(0) => {
                self.readable = false;
                self.finished = true;
                Received::End
            }
            Ok(length) => {
                self.again.done();
                self.account.gave_guest(length);
                if urgent {
                    self.urgent = false;
                } else if self.urgent {
                    // A read ends before the urgent byte, which the next one brings.
                } else if length == offered {
                    self.read_size = self.read_size.saturating_mul(4).min(MAX_READ);
                } else {
                    // The kernel has no more, and the poller tells when it has; but an end that it told of already is
                    // still to be read.
                    self.readable = self.read_closed;
                    if length < offered / 8 {
                        self.read_size = (self.read_size / 2).max(MIN_READ);
                    }
                }
                Received::Bytes(length)
            }
            Err(error) => self.on_read_error(&error, now),
        }
    }

    fn on_read_error(&mut self, error: &io::Error, now: Instant) -> Received {
        match Fault::of(error) {
            Fault::Interrupted => {}
            Fault::WouldBlock => {
                self.readable = false;
                self.urgent = false;
            }
            Fault::Descriptors | Fault::Memory => {
                self.readable = false;
                self.again.wait_to_read(now);
            }
            fault => {
                self.note_loss(fault);
                return Received::Broken;
            }
        }
        Received::Nothing
    }

    /// Where the program has closed the socket, its number may soon be another one's.
    #[cold]
    fn note_loss(&mut self, fault: Fault) {
        if let (Fault::Gone, Side::Host(stream)) = (fault, &mut self.side) {
            stream.lose();
        }
    }

    /// The guest's end has nothing to be passed on to, or need not be.
    pub(super) fn note_end(&mut self) {
        self.shut = true;
    }

    /// Passes the guest's end on. `None` where nothing is to be said: where the host has ended as well, the close that follows
    /// says the same; and bytes that it did not take are not followed by an orderly end.
    pub(super) fn pass_end_on(&mut self) -> Option<io::Result<()>> {
        self.shut = true;
        if self.finished || self.refuses {
            return None;
        }
        self.stream().map(Stream::shutdown_write)
    }

    /// Nothing is read or written any more, and the peer will see a reset.
    pub(super) fn break_off(&mut self) {
        self.readable = false;
        self.writable = false;
        self.refuses = true;
        self.finished = true;
        self.reset_on_close();
    }
}
