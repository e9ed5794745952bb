//! Payloads and the FIN: in order into the buffer, early ones behind it until they are.

use super::Receiver;
use crate::tcp::pool::Pool;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::seq::SeqNumber;

/// What of a segment lies in or beyond the window: its bytes and its FIN.
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) struct Text<'a> {
    start: SeqNumber,
    data: &'a [u8],
    fin: bool,
}

impl Receiver {
    /// Cuts off what came before. `None` when that is all.
    pub(crate) fn beyond_known<'a>(&mut self, segment: &Segment<'a>) -> Option<Text<'a>> {
        let mut text = Text { start: segment.seq, data: segment.payload, fin: segment.flags.contains(Flags::FIN) };
        if text.start.lt(self.nxt) {
            let cut = self.nxt.distance(text.start) as usize;
            text.fin &= cut <= text.data.len();
            text.data = text.data.get(cut..).unwrap_or_default();
            self.twice = Some((text.start, (text.start + segment.payload.len() as u32).min(self.nxt)));
            text.start = self.nxt;
            self.owe();
            if text.data.is_empty() && !text.fin {
                return None;
            }
        }
        Some(text)
    }

    /// Takes the text of `segment`. Whether the peer's FIN has become the next in order with it.
    pub(crate) fn take_text(&mut self, text: Text<'_>, segment: &Segment<'_>, pool: &mut Pool) -> bool {
        let Text { start, mut data, mut fin } = text;
        // Nothing comes after a FIN.
        let mut room = (self.nxt + self.window()).distance(start);
        if let Some(end) = self.assembler.as_ref().and_then(|assembler| assembler.fin()) {
            room = room.min(end.distance(start));
        }
        if let Some(inside) = data.get(..room as usize)
            && inside.len() < data.len()
        {
            data = inside;
            fin = false;
            self.owe();
        }
        self.take_urgent(segment);
        let fin = fin.then(|| start + data.len() as u32);
        let ends = if start == self.nxt && self.assembler.is_none() {
            self.take_in_order(data, fin, pool)
        } else {
            self.owe();
            self.take_early(start, data, fin, pool);
            self.take_assembled(pool)
        };
        if segment.flags.contains(Flags::URG) {
            self.owe();
        }
        ends
    }

    fn take_in_order(&mut self, data: &[u8], fin: Option<SeqNumber>, pool: &mut Pool) -> bool {
        if self.discard {
            self.count_in_order(data.len(), data.len());
        } else {
            self.push_in_order(data, pool);
        }
        fin == Some(self.nxt) && self.take_fin()
    }

    /// Puts bytes where they belong behind those in order.
    fn take_early(&mut self, start: SeqNumber, data: &[u8], fin: Option<SeqNumber>, pool: &mut Pool) {
        if self.discard {
            // Nobody waits for them, so that they are not worth memory; the peer sends them again.
            return;
        }
        let offset = start.distance(self.nxt) as usize;
        let total = self.buffer.len().saturating_add(offset).saturating_add(data.len());
        let missing = total.saturating_sub(self.buffer.reserve(total, pool));
        let end = start + data.len().saturating_sub(missing) as u32;
        let next = self.nxt;
        let buffer = &mut self.buffer;
        let assembler = self.assembler.get_or_insert_default();
        let mut fresh = false;
        let write = |from: SeqNumber, to: SeqNumber| {
            fresh = true;
            let part = data.get(from.distance(start) as usize..to.distance(start) as usize);
            if let Some(part) = part {
                buffer.write_ahead(from.distance(next) as usize, part);
            }
        };
        let taken = assembler.insert(next, start, end, write);
        if taken && !fresh && start.lt(end) {
            self.twice = Some((start, end));
        }
        // A FIN before bytes that came already is not believed.
        if let Some(fin) = fin
            && taken
            && missing == 0
            && assembler.end().is_none_or(|end| end.le(fin))
        {
            assembler.set_fin(fin);
        }
    }

    /// Takes what has become in order out of the assembler. Whether the FIN has.
    fn take_assembled(&mut self, pool: &mut Pool) -> bool {
        let Some(assembler) = &mut self.assembler else { return false };
        let run = assembler.take_in_order(self.nxt);
        let fin = assembler.fin();
        if assembler.is_empty() {
            self.assembler = None;
        }
        self.buffer.commit(run as usize);
        self.nxt += run;
        let ends = fin == Some(self.nxt);
        if ends {
            self.forget_early(pool);
            self.take_fin();
        }
        if self.assembler.is_none() {
            self.buffer.forget_ahead(pool);
        }
        ends
    }

    pub(crate) fn take_urgent(&mut self, segment: &Segment<'_>) {
        if !segment.flags.contains(Flags::URG) || self.discard || segment.urgent == 0 || self.finished {
            return;
        }
        // The pointer names the byte after the last urgent one, as all systems have it and RFC 6093 section 3.1 tells. It
        // is kept as a place in the receive buffer; one before its front was taken already.
        let front = self.nxt - self.buffer.len() as u32;
        self.buffer.set_urgent((segment.seq + u32::from(segment.urgent)).distance(front) as usize);
        self.owe();
    }

    /// The peer's FIN is the next in order.
    fn take_fin(&mut self) -> bool {
        self.nxt += 1;
        self.finished = true;
        self.owe();
        true
    }
}
