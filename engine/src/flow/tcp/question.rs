//! A short segment that is all there is, as the question of an exchange: its bytes go to the host from where they came, without
//! a place in a buffer. What the host does not take, or what may wait for more, is buffered as ever.

use super::TcpFlow;
use super::host_half::Written;
use super::pump::MIN_BULK;
use crate::flow::context::Context;
use crate::pace;
use crate::tcp::Segment;

impl TcpFlow {
    /// Whether a segment is one for [`TcpFlow::on_question`].
    #[inline]
    pub(super) fn is_question(&self, segment: &Segment<'_>, cx: &Context) -> bool {
        segment.payload.len() < MIN_BULK && self.host.takes_directly() && self.conn.is_question(segment, cx.now)
    }

    /// [`TcpFlow::on_segment`] for one of these.
    pub(super) fn on_question(&mut self, segment: &Segment<'_>, cx: &mut Context) {
        let buffered = self.conn.send().len();
        self.conn.take_question(segment, cx.now, &mut cx.pool);
        self.proofs.arrived(self.conn.snd_una(), &mut cx.egress.handover);
        self.note_upload(segment.payload.len(), cx);
        self.pass_on_or_hold(segment.payload, cx);
        // The guest took bytes: there may be room for more from the host.
        let more = self.conn.send().len() < buffered && self.host.is_readable();
        let read = if more { self.pull(cx) } else { 0 };
        self.reset_when_delivered(cx);
        // Where the host's answer is to acknowledge the question, there is nothing to send.
        if self.conn.has_nothing_to_send() {
            self.unfinished = false;
        } else {
            self.answer(cx);
        }
        cx.budget.moved(read);
    }

    /// What [`TcpFlow::flush_or_hold`] does once the bytes are buffered.
    fn pass_on_or_hold(&mut self, bytes: &[u8], cx: &mut Context) {
        self.full_segment = self.full_segment.max(bytes.len() as u16);
        let kind = if cx.in_loop() { pace::Segment::Last } else { pace::Segment::Urgent };
        if !cx.pace.hands_over(&mut self.staging, kind, bytes.len()) {
            return self.conn.take_text_of_question(bytes, 0, &mut cx.pool);
        }
        self.staging.handed_over();
        let written = self.host.write((bytes, &[]), None, cx.now);
        let sent = if let Written::Bytes(sent) = written { sent } else { 0 };
        self.conn.take_text_of_question(bytes, sent, &mut cx.pool);
        match written {
            Written::Bytes(_) => {
                cx.pace.on_given();
                cx.budget.moved(sent);
                if sent == bytes.len() && self.conn.wants_wider_window() {
                    self.conn.widen_window(self.host.keeps_up(sent), &cx.pool);
                }
                self.conn.tell_of_window();
            }
            // A signal came in between.
            Written::Nothing => self.flush_to_host(cx),
            Written::Refused => self.conn.discard_received(&mut cx.pool),
            Written::Broken => self.reset_both(cx),
        }
        // All that came is one segment, and the host has it.
        let alone = kind == pace::Segment::Last && self.conn.recv().is_empty();
        if !alone {
            self.exchange.broken();
            self.conn.flush_ack();
        } else if !self.exchange.asked(cx.now) {
            self.conn.flush_ack();
        }
    }
}
