//! Moving bytes between the two sides of one flow.
//!
//! Guest to host: in-order bytes are staged in the connection's receive buffer; a segment that ends a burst (PSH, FIN,
//! URG, or shorter than the guest's full ones) has them sent at once unless it follows another such one, a run of full
//! segments is sent as one batch, and so is a long burst with what follows it directly. One acknowledgment answers a batch. Host to guest: one read of what
//! window and buffer allow, cut into segments.

use super::TcpFlow;
use super::host_half::{MAX_READ, MIN_READ, Received, Side, Written};
use super::meter::first_of;
use crate::flow::context::Context;
use crate::flow::effect::{Effect, Leaving};
use crate::flow::egress::Unreachable;
use crate::flow::journal::End;
use crate::flow::meter::Way;
use crate::host::fault::Fault;
use crate::host::socket::Stream;
use crate::pace;
use crate::tcp::{Flags, Segment, SeqNumber, Transmit};

/// How much is read from the host beyond a guest's window that does not move: with the rest of a window that is too small
/// for a segment it fits into a buffer of 64 KiB.
const LEAST_AHEAD: usize = 60 * 1024;
/// Segments at least this long may be part of a run; what is shorter never waits.
pub(super) const MIN_BULK: usize = 536;
/// Segments at least this long may be part of an upload. A link with the least MTU has segments of 524 bytes and less.
const LEAST_UPLOAD: usize = 128;
/// Segments, and bytes in them, after which a flow's turn is over and others have theirs.
const QUANTUM: usize = 192;
const QUANTUM_BYTES: usize = 520 * 1024;
/// Segments of a turn behind which no other stream waits.
const QUANTUM_ALONE: usize = 360;
/// IP and TCP headers with options.
const HEADERS: usize = 100;
/// The buffer a guest forward's application fills; source: docs/contract/guestfwd-exec-unix.md section 3.
const CALLBACK_BUFFER: usize = 128 * 1024;

impl TcpFlow {
    /// Takes a segment from the guest.
    pub(super) fn on_segment(&mut self, segment: &Segment<'_>, cx: &mut Context) {
        if self.is_question(segment, cx) {
            return self.on_question(segment, cx);
        }
        let callback_was_full = self.is_callback() && self.callback_room() == 0;
        let buffered = self.conn.send().len();
        self.conn.on_segment(segment, cx.now, &mut cx.pool);
        if self.proofs.are_there() {
            self.proofs.arrived(self.furthest(segment), &mut cx.egress.handover);
        }

        let length = segment.payload.len();
        self.note_upload(length, cx);
        self.flush_or_hold(segment.flags, length, cx);
        // The guest took bytes: there may be room for more from the host.
        let read = if self.conn.send().len() < buffered { self.pull(cx) } else { 0 };
        // There was nothing to attach: who sends nevertheless is to know that nobody reads it.
        if length > 0 && !self.host.is_shut() && self.host.is_gone() {
            self.host.refuse();
        }
        self.reset_when_delivered(cx);
        self.answer(cx);
        cx.budget.moved(read);
        if callback_was_full && self.callback_room() > 0 {
            cx.effects.push(Effect::Notify);
        }
    }

    /// The number with which the furthest segment ends that the guest says it has, behind a hole as well (RFC 2018).
    fn furthest(&self, segment: &Segment<'_>) -> SeqNumber {
        let (una, max) = (self.conn.snd_una(), self.conn.snd_max());
        let blocks = segment.options.sack.iter().flatten();
        let told = blocks.filter(|(start, end)| start.ge(una) && start.lt(*end) && end.le(max));
        told.fold(una, |furthest, (_, end)| furthest.max(*end))
    }

    /// Takes a segment whose payload lies in its place; see [`TcpTable::place`](super::TcpTable::place). Nothing but bytes
    /// comes with it.
    pub(super) fn on_placed(&mut self, header: &Segment<'_>, length: usize, cx: &mut Context) {
        self.conn.take_placed(header, length, cx.now, &mut cx.pool);
        self.note_upload(length, cx);
        self.flush_or_hold(header.flags, length, cx);
        self.reset_when_delivered(cx);
        self.answer(cx);
    }

    /// A segment has brought so many bytes, which count where it may be part of a run.
    #[inline]
    pub(super) fn note_upload(&mut self, length: usize, cx: &mut Context) {
        if length < LEAST_UPLOAD {
            return;
        }
        cx.pace.sharing.on_up(&mut self.part, length);
    }

    /// Hands the host what a segment has brought, or holds it for more of a burst.
    fn flush_or_hold(&mut self, flags: Flags, length: usize, cx: &mut Context) {
        self.full_segment = self.full_segment.max(length.min(usize::from(u16::MAX)) as u16);
        let staged = self.conn.recv().len();
        let ends_burst = flags.intersects(Flags::PSH | Flags::FIN | Flags::URG | Flags::SYN)
            || length < usize::from(self.full_segment)
            || length < MIN_BULK
            || self.is_callback();
        let kind = if !ends_burst {
            pace::Segment::Inner
        } else if length > 0 && (flags & !Flags::PSH) == Flags::ACK && !self.is_program() && cx.in_loop() {
            pace::Segment::Last
        } else {
            pace::Segment::Urgent
        };
        if cx.pace.hands_over(&mut self.staging, kind, staged) && self.has_unflushed() {
            self.hand_to_host(cx);
            // All that came is one segment, and the host has it.
            let alone = kind == pace::Segment::Last && staged == length && self.conn.recv().is_empty();
            if !alone || self.host.stream().is_none() {
                self.exchange.broken();
                self.conn.flush_ack();
            } else if !self.exchange.asked(cx.now) {
                self.conn.flush_ack();
            }
        }
    }

    /// One turn after news from the host, or to go on where the last one ended; `alone`: no other stream waits behind it.
    pub(super) fn turn(&mut self, alone: bool, cx: &mut Context) {
        if self.host.has_connect_news() {
            self.on_connected(cx);
        }
        if self.host.may_have_refused() && self.host.asks_for_refusal() {
            // The host's program has closed, after which bytes of the guest came.
            self.conn.discard_received(&mut cx.pool);
        }
        if self.has_unflushed() && !self.staged {
            self.flush(cx);
        }
        let read = self.pull(cx);
        self.reset_when_delivered(cx);
        self.transmit_up_to(if alone { QUANTUM_ALONE } else { QUANTUM }, cx);
        cx.budget.moved(read);
    }

    /// Bytes, or an end, that the host has not been given yet, or an acknowledgment that waits for that.
    pub(super) fn has_unflushed(&self) -> bool {
        let bytes = self.conn.recv().len();
        (bytes > 0 && !self.host.holds(bytes))
            || self.has_batched_ack()
            || (self.conn.peer_finished() && !self.host.is_shut())
    }

    /// Whether an acknowledgment waits for the end of the batch, and not for an answer of the host.
    fn has_batched_ack(&self) -> bool {
        self.conn.has_batched_ack() && !self.exchange.is_waiting()
    }

    /// Whether there is something to flush at the end of the batch. What the host socket does not take now waits for
    /// the socket, not for the batch.
    pub(super) fn has_staged(&self) -> bool {
        if self.host.is_connecting() {
            return self.has_unheard();
        }
        self.conn.is_established() && (self.has_batched_ack() || (self.host.is_writable() && self.has_unflushed()))
    }

    /// The host side is connected, or failed to.
    fn on_connected(&mut self, cx: &mut Context) {
        let Some(mut connecting) = self.host.end_connect() else { return };
        if connecting.talks {
            return self.talk(connecting, cx);
        }
        let Some(stream) = self.host.stream() else { return };
        // A connect that failed is reported with an error and a hang-up. Applications that watch the socket themselves may
        // know no more than "writable".
        let asked = self.host.is_read_closed() || cx.poller.is_none();
        let outcome = connecting.outcome(|| if asked { stream.take_error() } else { Ok(()) });
        if let Some(server) = connecting.name_server {
            match outcome {
                Ok(()) => cx.name_servers.connected(server),
                Err(_) => cx.name_servers.failed(server, cx.now),
            }
        }
        match outcome {
            Ok(()) => {
                if connecting.few_hops {
                    stream.forget_errors(self.key.remote.ip.is_ipv6());
                }
                if connecting.words.is_some() {
                    connecting.talks = true;
                    return self.talk(connecting, cx);
                }
                self.conn.accept(cx.now);
                self.hold(connecting, cx.now);
            }
            Err(error) => {
                let reported = connecting.few_hops.then(|| self.report(stream, &connecting.packet, cx)).flatten();
                self.host.account.ends(End::NotConnected);
                match reported {
                    // The guest is told, and may try once more, with other hops; that the SYN was lost is all that happened.
                    Some(true) => return self.conn.release(&mut cx.pool),
                    Some(false) => return self.conn.abort(cx.now),
                    None => {}
                }
                match Fault::of(&error) {
                    Fault::HostUnreachable => cx.egress.unreachable(Unreachable::Host, &connecting.packet, cx.now),
                    Fault::NetworkUnreachable => {
                        cx.egress.unreachable(Unreachable::Network, &connecting.packet, cx.now)
                    }
                    _ => {}
                }
                self.conn.abort(cx.now);
            }
        }
    }

    /// Gives the host what is staged, acknowledges the batch, and passes the guest's end on.
    pub(super) fn flush(&mut self, cx: &mut Context) {
        self.hand_to_host(cx);
        self.exchange.broken();
        self.conn.flush_ack();
    }

    fn hand_to_host(&mut self, cx: &mut Context) {
        self.staging.handed_over();
        match self.host.side() {
            Side::Host(_) => self.flush_to_host(cx),
            Side::Callback => {
                let (first, second) = self.conn.recv().slices();
                let length = first.len() + second.len();
                if length > 0
                    && let Some(rule) = &self.forward
                {
                    let bytes = [first, second].concat();
                    self.host.account.gave_host(length);
                    cx.effects.push(Effect::GuestForward { forward: rule.handle(cx.identity()), bytes });
                    if self.conn.wants_wider_window() {
                        self.conn.widen_window(true, &cx.pool);
                    }
                    self.conn.consume_received(length, &mut cx.pool);
                }
                // A callback forward has no way to learn of the guest's end; nothing more is to be passed on.
                self.note_end();
            }
            // What the guest sends meanwhile stays in the buffer.
            Side::Waiting(_) | Side::Application(_) => {}
            #[cfg(feature = "policy")]
            Side::Queries(_) => {}
            Side::Gone => {
                // There was nothing to attach, see above.
                if !self.conn.recv().is_empty() {
                    self.host.refuse();
                    self.conn.discard_received(&mut cx.pool);
                }
                self.note_end();
            }
        }
    }

    /// A guest's end is to be passed on to nobody.
    fn note_end(&mut self) {
        if self.conn.peer_finished() {
            self.host.note_end();
        }
    }

    pub(super) fn flush_to_host(&mut self, cx: &mut Context) {
        if self.host.is_connecting() {
            return self.listen(cx);
        }
        if !self.conn.is_established() {
            return;
        }
        while self.host.is_writable() && !self.host.refuses() && !self.conn.recv().is_empty() {
            // The urgent byte is never more than is buffered.
            let most = self.may_give(cx);
            if most == 0 {
                break;
            }
            let slices = first_of(self.conn.recv().slices(), most);
            match self.host.write(slices, self.conn.recv().urgent(), cx.now) {
                Written::Bytes(sent) => {
                    self.carried(Way::Up, sent, cx);
                    cx.pace.on_given();
                    cx.budget.moved(sent);
                    if sent == self.conn.recv().len() && self.conn.wants_wider_window() {
                        self.conn.widen_window(self.host.keeps_up(sent), &cx.pool);
                    }
                    self.conn.consume_received(sent, &mut cx.pool);
                }
                Written::Nothing => {}
                Written::Refused => self.conn.discard_received(&mut cx.pool),
                Written::Broken => self.reset_both(cx),
            }
        }
        if self.conn.peer_finished()
            && self.conn.recv().is_empty()
            && !self.host.is_shut()
            && let Some(told) = self.host.pass_end_on()
        {
            cx.pace.on_given();
            if told.is_err() {
                self.reset_both(cx);
            }
        }
        self.part_with_host(cx);
    }

    /// Whether a read from the host is worth its system call.
    pub(super) fn can_pull(&self) -> bool {
        self.next_read().0 > 0
    }

    /// How much a read from the host may bring, and how much may be held for the guest then. Nothing where it is not worth its
    /// system call: with a guest that acknowledges two segments at a time, a full buffer would be filled up two segments at a
    /// time.
    #[inline]
    fn next_read(&self) -> (usize, usize) {
        if !self.host.is_readable() || !self.conn.is_established() {
            return (0, 0);
        }
        let (room, held) = (self.read_room(), self.conn.send().len());
        if room < held / 4 { (0, 0) } else { (room.min(self.read_ahead()), held + room) }
    }

    /// How many more bytes may be held for the guest: what its window takes, and beyond that twice what it has taken from one
    /// read to the next. A guest that does not read leaves no more than [`LEAST_AHEAD`] in memory.
    #[inline]
    fn read_room(&self) -> usize {
        let taken = self.conn.snd_edge().distance(self.read_edge) as usize;
        let ahead = taken.saturating_mul(2).clamp(LEAST_AHEAD, MAX_READ as usize);
        let wanted = ahead.saturating_add(self.conn.snd_wnd() as usize);
        self.conn.send_room().min(wanted.saturating_sub(self.conn.send().len()))
    }

    /// How much may be read now: so much that a long turn sends it, and two others do (with many streams half as much costs a
    /// tenth more: each read wakes the sender). What is read long before it is sent has left the
    /// processor's cache by then, and waits as well in the host's socket.
    fn read_ahead(&self) -> usize {
        let turn = self.conn.effective_mss().saturating_mul(QUANTUM_ALONE).clamp(MIN_READ as usize, MAX_READ as usize);
        let unsent = self.conn.unsent();
        if unsent > turn / 2 { 0 } else { turn - unsent }
    }

    /// Reads from the host what one turn may bring, and gives how much it was. That counts as moved once it was sent, so that
    /// what is read is sent while it is in the processor's cache; and nothing is read where nothing more may be sent.
    pub(super) fn pull(&mut self, cx: &mut Context) -> usize {
        if self.host.stream().is_none() {
            return 0;
        }
        self.conn.look_at_share(&cx.pool);
        // Without room the turn that is taken for what is to be sent reads on.
        if self.host.is_connecting() || cx.is_spent() {
            return 0;
        }
        let (most, limit) = self.next_read();
        if most == 0 {
            return 0;
        }
        let (asked, urgent) = self.host.next_read();
        let want = self.may_read(most.min(asked), cx);
        if want == 0 {
            return 0;
        }
        self.conn.on_more(cx.now);
        let (first, second) = self.conn.send_mut().spaces(want, limit, &mut cx.pool);
        let (first_length, second_length) = (first.len().min(want), second.len().min(want - first.len().min(want)));
        let received = match (first.get_mut(..first_length), second.get_mut(..second_length)) {
            (Some(first), Some(second)) => self.host.read(first, second, urgent, cx.now),
            _ => return 0,
        };
        let mut read = 0;
        match received {
            Received::Bytes(length) => {
                self.conn.send_mut().commit(length);
                self.carried(Way::Down, length, cx);
                self.read_edge = self.conn.snd_edge();
                cx.pace.on_bytes(length);
                read = length;
                if urgent {
                    self.conn.send_mut().mark_urgent();
                }
            }
            Received::End if !self.host.refuses() => self.conn.close_send(),
            Received::End | Received::Nothing => {}
            Received::Broken => self.reset_both(cx),
        }
        self.conn.send_mut().release_if_empty(&mut cx.pool);
        self.part_with_host(cx);
        read
    }

    /// Once both directions have ended, the host's descriptor is of no use: it goes before the guest's side has played
    /// out its last states.
    #[inline]
    fn part_with_host(&mut self, cx: &mut Context) {
        if let Some(stream) = self.host.leave_if_ended() {
            self.part_with(stream, cx);
        }
    }

    #[cold]
    fn part_with(&mut self, stream: Stream, cx: &mut Context) {
        cx.unwatch(Leaving::Stream(stream));
        let meter = self.host.take_meter();
        cx.ends(meter);
    }

    /// Sends the guest what the connection has for it, as far as one turn goes and there is room on the way; the rest waits for
    /// the next one, behind the other flows.
    pub(super) fn transmit(&mut self, cx: &mut Context) {
        self.transmit_up_to(QUANTUM, cx);
    }

    fn transmit_up_to(&mut self, segments: usize, cx: &mut Context) {
        let (sent, before) = (self.conn.snd_max(), cx.egress.position());
        self.unfinished = !self.transmit_some(segments, cx);
        if !self.unfinished && cx.egress.handover.is_trying() && self.conn.is_held_by_window() {
            cx.egress.handover.on_full_window();
        }
        cx.journal.resent += u64::from(self.conn.take_resent());
        if self.conn.snd_max() != sent {
            cx.pace.sharing.on_down(&mut self.part, self.conn.snd_max().distance(sent) as usize);
            self.proofs.sent(sent, before, self.conn.snd_max(), &mut cx.egress);
            self.exchange.answered(cx.now);
        }
    }

    /// The same before the turns of a round: while bytes for the guest wait, acknowledgments beyond their share of the room
    /// wait for the flow's turn, and answer more then.
    pub(super) fn answer(&mut self, cx: &mut Context) {
        if cx.egress.handover.is_short() && self.conn.next_length() == Some(0) && !cx.egress.fits_beside(HEADERS) {
            self.unfinished = true;
            return;
        }
        self.transmit(cx);
    }

    /// True when everything was sent.
    fn transmit_some(&mut self, segments: usize, cx: &mut Context) -> bool {
        if self.conn.has_nothing_to_send() {
            return true;
        }
        let longest = cx.egress.handover.longest();
        let packet = self.conn.longest_payload().min(usize::from(longest)) + HEADERS;
        self.conn.limit_segments(longest);
        let mut bytes = QUANTUM_BYTES;
        let mut left = cx.room().min(segments);
        while left > 0 {
            // Where another flow waits for room already, whoever is next has it in the next round.
            let others_wait = cx.egress.handover.is_refused();
            if (others_wait || !cx.egress.fits(packet))
                && let Some(length) = self.conn.next_length()
                && ((others_wait && length > 0) || !cx.egress.fits(length + HEADERS))
            {
                cx.egress.handover.refuse(length > 0);
                if length > 0 {
                    cx.pace.sharing.on_held(&mut self.part);
                }
                return false;
            }
            let Some(transmit) = self.conn.poll_transmit(cx.now) else { return true };
            self.emit(&transmit, cx);
            if self.conn.has_nothing_to_send() {
                return true;
            }
            bytes = bytes.saturating_sub(transmit.len);
            left -= 1;
            if bytes == 0 {
                break;
            }
            if transmit.len >= MIN_BULK && !others_wait {
                let more = self.transmit_alike(&transmit, left.min(bytes / transmit.len), cx);
                left -= more;
                bytes -= more * transmit.len;
            }
        }
        false
    }

    /// Sends segments like the one that was just sent, as far as there are any, there is room for them, and no more than `most`. How many
    /// that was.
    fn transmit_alike(&mut self, sent: &Transmit, most: usize, cx: &mut Context) -> usize {
        let most = most.min(self.conn.more_alike(sent));
        if most == 0 {
            return 0;
        }
        let Some(series) = cx.egress.series(sent.len, sent.seq) else { return 0 };
        let count = cx.egress.series_fits(&series, sent.len, most);
        let Ok(bytes) = u32::try_from(count * sent.len) else { return 0 };
        if count == 0 {
            return 0;
        }
        self.conn.send_alike(bytes, cx.now);
        let (mut seq, mut offset) = (sent.seq, sent.offset);
        for _ in 0..count {
            seq += sent.len as u32;
            offset += sent.len;
            let payload = self.conn.send().slices(offset, sent.len);
            cx.egress.segment_of(&series, seq, payload);
        }
        count
    }

    /// Ends the connection with a reset, which is sent whatever there is room for.
    pub(super) fn reset_now(&mut self, cx: &mut Context) {
        self.conn.abort(cx.now);
        if let Some(reset) = self.conn.poll_transmit(cx.now) {
            self.emit(&reset, cx);
        }
    }

    fn emit(&mut self, transmit: &Transmit, cx: &mut Context) {
        let payload = self.conn.send().slices(transmit.offset, transmit.len);
        cx.egress.segment(self.key.remote, self.key.guest, self.tos, transmit, payload, cx.now);
    }

    /// A deadline has come, of the connection or of the flow.
    pub(super) fn on_deadline(&mut self, cx: &mut Context) {
        if self.conn.deadline().is_some_and(|deadline| deadline <= cx.now) {
            self.conn.on_deadline(cx.now);
            if self.conn.timeouts() > 0 {
                // Nobody knows when the guest will take the rest.
                self.conn.send_mut().fit(&mut cx.pool);
            }
            if self.conn.is_asking() {
                self.look_after(cx);
            }
        }
        if self.host.is_connect_late(cx.now) {
            let held = self.host.end_connect().is_some_and(|connecting| connecting.is_held());
            self.host.account.ends(if held { End::Policy } else { End::NotConnected });
            self.host.reset_on_close();
            self.conn.abort(cx.now);
        }
        if self.host.asks_again(cx.now) {
            self.ask_again(cx);
        }
        if self.exchange.deadline().is_some_and(|deadline| deadline <= cx.now) {
            self.exchange.in_vain();
            self.conn.flush_ack();
        }
        self.transmit(cx);
    }

    /// Whether a program of this process is on the host's side.
    fn is_program(&self) -> bool {
        match self.host.side() {
            Side::Callback | Side::Application(_) => true,
            #[cfg(feature = "policy")]
            Side::Queries(_) => true,
            _ => false,
        }
    }

    fn is_callback(&self) -> bool {
        matches!(self.host.side(), Side::Callback)
    }

    fn callback_buffer(&self) -> usize {
        CALLBACK_BUFFER.next_multiple_of(self.conn.effective_mss().max(1))
    }

    /// How much a guest forward's application may give; source: docs/contract/guestfwd-exec-unix.md section 3.
    pub(super) fn callback_room(&self) -> usize {
        let buffer = self.callback_buffer();
        let used = self.conn.send().len();
        if !self.conn.is_established() || self.conn.send_room() == 0 || used >= buffer / 2 {
            return 0;
        }
        let free = buffer - used;
        let mss = self.conn.effective_mss().max(1);
        if free > mss { free - free % mss } else { free }
    }

    /// Takes bytes from a guest forward's application. False when they are more than there is room for: the connection
    /// ends then, as bytes must not be lost unnoticed.
    pub(super) fn push_from_callback(&mut self, data: &[u8], cx: &mut Context) -> bool {
        let buffer = self.callback_buffer();
        let room = buffer.saturating_sub(self.conn.send().len());
        let fits = data.len() <= room;
        if fits {
            self.conn.on_more(cx.now);
            self.conn.send_mut().push(data, buffer, &mut cx.pool);
            self.host.account.gave_guest(data.len());
        } else {
            self.conn.close_send();
        }
        fits
    }
}
