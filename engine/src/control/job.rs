//! What takes more than one round: each of them does a part, so that the guest's network goes on meanwhile.

use serde_json::json;

use super::answer::Answer;
use super::forwards::{self, Adding, Asked, Removing};
use super::rules;
use super::server::Shared;
use super::turns::Turn;
use crate::stack::Stack;
use crate::stack::attendant::More;
use crate::time::Duration;

/// How often it is looked whether the last flow has ended.
const LOOK: Duration = Duration::from_millis(100);

/// See the module.
pub(super) enum Job {
    /// Forwards are being changed, when it is the client's turn for that.
    Change(Turn, Change),
    /// Another policy, of this text, is to judge.
    Policy(String),
    /// Every flow is asked about anew.
    Review,
    /// Until there is no flow.
    Drain,
}

/// How far a change of the forwards has come.
pub(super) enum Change {
    /// Nothing was looked at yet.
    Asked(Asked),
    Adding(Box<Adding>),
    /// Forwards are being removed, and what is to be answered then.
    Removing(Removing, Answer),
}

/// How far a job has come.
pub(super) enum Progress {
    Done(Answer),
    Later(Job, More),
}

/// The same of a change.
pub(super) enum Changed {
    Done(Answer),
    Later(Change),
}

impl Job {
    /// A change of the forwards is wanted.
    pub(super) fn change(asked: Asked, shared: &mut Shared) -> Job {
        Job::Change(shared.turns().ask(), Change::Asked(asked))
    }

    /// Does the next part.
    pub(super) fn go_on(self, stack: &mut Stack, shared: &mut Shared) -> Progress {
        match self {
            Job::Change(turn, change) if !shared.may_change(&turn) => {
                // Whoever has the turn does a part in each round as well.
                Progress::Later(Job::Change(turn, change), More::AtOnce)
            }
            Job::Change(turn, change) => match change.go_on(stack, shared) {
                Changed::Later(change) => Progress::Later(Job::Change(turn, change), More::AtOnce),
                Changed::Done(answer) => {
                    shared.turns().give_back(&turn);
                    Progress::Done(answer)
                }
            },
            Job::Policy(text) => match shared.next_reading() {
                Some(next) if next > stack.time() => Progress::Later(Job::Policy(text), More::At(next)),
                _ => {
                    shared.has_read(text.len(), stack.time());
                    match rules::replace(stack, shared, &text) {
                        Ok(()) => Progress::Later(Job::Review, More::AtOnce),
                        Err(trouble) => Progress::Done(Err(trouble)),
                    }
                }
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
        let Job::Change(turn, change) = self else { return };
        match change {
            Change::Asked(_) => {}
            Change::Adding(adding) => shared.remove(adding.undo()),
            Change::Removing(removing, _) => shared.remove(removing),
        }
        shared.turns().give_back(&turn);
    }
}

impl Change {
    fn go_on(self, stack: &mut Stack, shared: &mut Shared) -> Changed {
        match self {
            Change::Asked(asked) => match forwards::begin(stack, shared, &asked) {
                Ok(change) => change.go_on(stack, shared),
                Err(trouble) => Changed::Done(Err(trouble)),
            },
            Change::Adding(adding) => adding.go_on(stack, shared),
            Change::Removing(mut removing, answer) => match removing.go_on(stack) {
                true => Changed::Later(Change::Removing(removing, answer)),
                false => Changed::Done(answer),
            },
        }
    }
}
