//! What takes more than one round: each of them does a part, so that the guest's network goes on meanwhile.

use serde_json::json;

use super::answer::Answer;
use super::forwards::{Adding, Removing};
use super::server::Shared;
use crate::stack::Stack;
use crate::stack::attendant::More;
use crate::time::Duration;

/// How often it is looked whether the last flow has ended.
const LOOK: Duration = Duration::from_millis(100);

/// See the module.
pub(super) enum Job {
    /// Forwards are being added.
    Add(Adding),
    /// Forwards are being removed, and what is to be answered then.
    Remove(Removing, Answer),
    /// Every flow is asked about anew.
    Review,
    /// Until there is no flow.
    Drain,
}

/// How far it has come.
pub(super) enum Progress {
    Done(Answer),
    Later(Job, More),
}

impl Job {
    /// Does the next part.
    pub(super) fn go_on(self, stack: &mut Stack, shared: &mut Shared) -> Progress {
        match self {
            Job::Add(adding) => adding.go_on(stack, shared),
            Job::Remove(mut removing, answer) => match removing.go_on(stack) {
                true => Progress::Later(Job::Remove(removing, answer), More::AtOnce),
                false => Progress::Done(answer),
            },
            Job::Review => match shared.review_ended() {
                // The server goes on with it, whoever has asked.
                None => Progress::Later(Job::Review, More::AtOnce),
                Some(ended) => Progress::Done(Ok(json!({ "ended": ended }))),
            },
            Job::Drain => match stack.flow_count() {
                _ if !stack.is_draining() => Progress::Done(Ok(json!({ "flows": stack.flow_count() }))),
                0 => Progress::Done(Ok(json!({ "flows": 0 }))),
                _ => Progress::Later(Job::Drain, More::At(stack.time() + LOOK)),
            },
        }
    }

    /// Whoever has asked is gone.
    pub(super) fn abandon(self, shared: &mut Shared) {
        match self {
            Job::Add(adding) => shared.remove(adding.undo()),
            Job::Remove(removing, _) => shared.remove(removing),
            Job::Review | Job::Drain => {}
        }
    }
}
