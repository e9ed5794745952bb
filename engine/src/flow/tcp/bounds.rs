//! Bounds of flows that are on their way in or out: those whose handshake is not complete, those of which only the guest's
//! side is left, and those in TIME_WAIT. Each kind is a queue in the order in which flows joined it; above its bound the
//! oldest goes.

use std::collections::VecDeque;

use super::TcpFlow;
use super::table::{TcpId, TcpTable};
use crate::flow::context::Context;
use crate::flow::journal::End;
use crate::tcp::State;

/// Flows at one time. When they are all taken one makes room: the oldest in TIME_WAIT, else the oldest of which only the
/// guest's side is left, else the oldest whose handshake is not complete. Without any of them the new flow is refused.
const MAX_FLOWS: usize = 65536;

/// What part of its life a flow is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Stage {
    /// No bound of its own: as long as both sides are there a flow stays, however long it is idle.
    #[default]
    Open,
    HalfOpen,
    /// The host's side is gone; the guest has not acknowledged or sent the last of it.
    Ending,
    TimeWait,
}

/// The stages that are bounded, in the order in which they make room, and how many flows may be in each.
const BOUNDED: [(Stage, usize); 3] = [(Stage::TimeWait, 4096), (Stage::Ending, 8192), (Stage::HalfOpen, 4096)];

/// The flows of one stage, oldest first. Flows that have left it, or are gone, stay in the queue until it is tidied.
#[derive(Debug, Default)]
struct Queue {
    ids: VecDeque<TcpId>,
    count: usize,
}

/// The queues, in the order of [`BOUNDED`].
#[derive(Debug, Default)]
pub(super) struct Bounds([Queue; BOUNDED.len()]);

impl Bounds {
    fn of(&mut self, stage: Stage) -> Option<&mut Queue> {
        BOUNDED.iter().position(|(bounded, _)| *bounded == stage).and_then(|at| self.0.get_mut(at))
    }
}

impl TcpFlow {
    pub(super) fn stage_now(&self) -> Stage {
        if !self.conn.is_established() {
            Stage::HalfOpen
        } else if self.conn.state() == State::TimeWait {
            Stage::TimeWait
        } else if self.host.is_gone() {
            Stage::Ending
        } else {
            Stage::Open
        }
    }
}

impl TcpTable {
    /// The flow has moved to another stage.
    #[cold]
    pub(super) fn change_stage(&mut self, id: TcpId, from: Stage, to: Stage, cx: &mut Context) {
        self.leave_stage(from);
        if from == Stage::HalfOpen
            && let Some(flow) = self.flows.get(id)
        {
            cx.egress.neighbors.heard(flow.key.guest.ip, cx.now);
        }
        if let Some(queue) = self.bounds.of(to) {
            queue.ids.push_back(id);
            queue.count += 1;
        }
        for (stage, most) in BOUNDED {
            if stage == to && self.bounds.of(stage).is_some_and(|queue| queue.count > most) {
                self.drop_oldest(stage, cx);
            }
        }
    }

    /// A flow has left the stage, or is gone.
    pub(super) fn leave_stage(&mut self, stage: Stage) {
        let flows = &self.flows;
        if let Some(queue) = self.bounds.of(stage) {
            queue.count = queue.count.saturating_sub(1);
            if queue.ids.len() > 2 * queue.count + 64 {
                queue.ids.retain(|&id| flows.get(id).is_some_and(|flow| flow.stage == stage));
            }
        }
    }

    /// Ends the flow that has been longest in this stage. Both of its sides are told, but in TIME_WAIT, where nobody waits.
    fn drop_oldest(&mut self, stage: Stage, cx: &mut Context) -> bool {
        while let Some(id) = self.bounds.of(stage).and_then(|queue| queue.ids.pop_front()) {
            let Some(flow) = self.flows.get_mut(id).filter(|flow| flow.stage == stage) else { continue };
            if stage != Stage::TimeWait {
                flow.reset_now(cx);
                flow.host.reset_on_close();
            }
            self.end(id, End::MadeRoom, cx);
            return true;
        }
        false
    }

    /// Whether there is room for one more flow; makes some where the rule of the table allows it.
    pub(super) fn has_room(&mut self, cx: &mut Context) -> bool {
        self.flows.len() < MAX_FLOWS || BOUNDED.into_iter().any(|(stage, _)| self.drop_oldest(stage, cx))
    }
}
