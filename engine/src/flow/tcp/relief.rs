//! What becomes of the memory of connections that stand still when others get none.
//!
//! The pool of the buffers has a bound, and a connection on which nobody reads keeps what it holds for as long as it stays. So when
//! memory was asked for in vain, all connections are looked at once a second, some in each round: those that have not moved since
//! give back what they hold no bytes in. Where not even the smallest buffer was to be had, and for half a minute, those that have
//! stood still for that long and hold most end with a reset, a few at a time: the others need not wait for ever for somebody who
//! does not read. Nothing of this happens while there is memory.

use super::TcpFlow;
use super::table::{TcpId, TcpTable};
use crate::flow::context::Context;
use crate::flow::journal::End;
use crate::flow::warnings::Subject;
use crate::tcp::{Lack, Pool, SeqNumber};
use crate::time::{Duration, Instant};

/// From the beginning of one look at all connections to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections that one round looks at.
const STEP: usize = 1024;
/// Looks through which a connection has stood still before it may end, and how long others have had no memory by then.
const STILL: u8 = 30;
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that end after one look.
const AT_ONCE: usize = 64;
/// A look ends no more once this part of all memory has come back.
const ENOUGH: usize = 64;

/// How far the look at all connections is.
#[derive(Debug, Default)]
pub(super) struct Relief {
    begun: Option<Instant>,
    /// Those still to be looked at.
    left: Vec<TcpId>,
    /// Since when there has been no memory at all for who asks for it.
    starving: Option<Instant>,
    /// Those that hold most of those that may end, with how much that is. The one that holds least is the first.
    largest: Vec<(usize, TcpId)>,
}

/// How long a flow has stood still, as far as anybody has looked.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    progress: [SeqNumber; 2],
    looks: u8,
}

impl TcpFlow {
    /// Has it give back what it does not need if it has stood still since the last look. How much it still holds, if it may end.
    fn give_back(&mut self, cx: &mut Context) -> Option<usize> {
        let progress = self.conn.progress();
        if progress != self.still.progress {
            self.still = Stillness { progress, looks: 0 };
            return None;
        }
        self.still.looks = self.still.looks.saturating_add(1);
        let held = self.conn.fit(&mut cx.pool);
        (self.still.looks >= STILL && held > 0).then_some(held)
    }
}

impl Relief {
    /// One that may end.
    fn suspect(&mut self, held: usize, id: TcpId) {
        if self.largest.len() >= AT_ONCE {
            match self.largest.first_mut() {
                Some(least) if least.0 < held => *least = (held, id),
                _ => return,
            }
        } else {
            self.largest.push((held, id));
        }
        self.largest.sort_unstable_by_key(|(held, _)| *held);
    }
}

impl TcpTable {
    /// Whether memory lacks.
    #[inline]
    pub(crate) fn needs_relief(&self, pool: &Pool) -> bool {
        pool.lack() != Lack::Nothing || self.relief.begun.is_some()
    }

    /// Before the application's sleep, where memory lacks: has connections give some back. How long it may sleep at most then.
    #[cold]
    pub(crate) fn relieve(&mut self, cx: &mut Context) -> Option<Duration> {
        if self.relief.left.is_empty() {
            if self.relief.begun.is_some_and(|begun| begun <= cx.now && cx.now - begun < PAUSE) {
                return Some(PAUSE);
            }
            let lack = cx.pool.take_lack();
            let starves = cx.pool.is_used_up() && (lack == Lack::Memory || self.relief.starving.is_some());
            if lack == Lack::Nothing && !starves {
                self.relief = Relief::default();
                return None;
            }
            let starving = starves.then(|| self.relief.starving.unwrap_or(cx.now));
            let left = self.flows.iter().map(|(id, _)| id).collect();
            self.relief = Relief { begun: Some(cx.now), left, starving, largest: Vec::new() };
        }
        for _ in 0..STEP {
            let Some(id) = self.relief.left.pop() else { break };
            if let Some(held) = self.flows.get_mut(id).and_then(|flow| flow.give_back(cx)) {
                self.relief.suspect(held, id);
            }
        }
        if !self.relief.left.is_empty() {
            return Some(Duration::ZERO);
        }
        self.relief.left = Vec::new();
        self.end_largest(cx);
        Some(PAUSE)
    }

    /// Ends those that hold most of those that stand still, if others have starved long enough.
    fn end_largest(&mut self, cx: &mut Context) {
        let mut largest = std::mem::take(&mut self.relief.largest);
        let starved = self.relief.starving.is_some_and(|since| cx.now - since >= PATIENCE);
        if !starved || !cx.pool.is_used_up() {
            return;
        }
        let (lent, enough) = (cx.pool.lent(), cx.pool.budget() / ENOUGH);
        while let Some((_, id)) = largest.pop()
            && lent.saturating_sub(cx.pool.lent()) < enough
        {
            if let Some(flow) = self.flows.get_mut(id) {
                flow.reset_now(cx);
                flow.host.reset_on_close();
                self.end(id, End::MadeRoom, cx);
            }
        }
        if cx.pool.lent() < lent {
            cx.warnings.tell(Subject::Memory, cx.now, &mut cx.effects, || {
                "the memory of TCP connections is used up: those end that hold most and have not moved for half a minute"
                    .to_owned()
            });
        }
    }
}
