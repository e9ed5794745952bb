//! One client without its socket: its lines are read, done one after the other, and answered in this order.

use serde_json::{Value, json};

use super::answer::{self, Answer, Kind, Trouble};
use super::forwards::Asked;
use super::job::{Job, Progress};
use super::lines::{Answers, LONGEST, Lines};
use super::request::{self, Request};
use super::server::Shared;
use super::{counters, flows, forwards, records, rules};
use crate::stack::Stack;
use crate::stack::attendant::More;

/// Requests of one client that are done in one round.
const BUDGET: usize = 4;

/// What a request comes to at first.
pub(super) enum Step {
    Done(Answer),
    /// It takes more than one round.
    Begun(Job),
}

/// See the module.
pub(super) struct Session {
    lines: Lines,
    answers: Answers,
    /// The request that is being done, and the id to answer it with.
    job: Option<(Value, Job)>,
    /// No more bytes come.
    closed: bool,
    /// Every line that has come was taken up.
    idle: bool,
}

impl Session {
    pub(super) fn new() -> Session {
        let mut answers = Answers::default();
        answers.push(&answer::greeting());
        Session { lines: Lines::default(), answers, job: None, closed: false, idle: true }
    }

    /// One for somebody who is only told that there is no place for him.
    pub(super) fn turned_away() -> Session {
        let mut session = Session::new();
        let trouble = Trouble::new(Kind::Limit, "there are as many clients as there may be");
        session.answers.push(&answer::line(&Value::Null, Err(trouble)));
        session.closed = true;
        session
    }

    /// Whether bytes are taken now: not while enough of them wait, or enough answers do.
    pub(super) fn takes_input(&self) -> bool {
        !self.closed && self.lines.has_room() && !self.answers.is_full()
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.idle = false;
        self.lines.put(bytes);
    }

    /// There will be no more bytes.
    pub(super) fn end(&mut self) {
        self.closed = true;
    }

    pub(super) fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }

    pub(super) fn has_answers(&self) -> bool {
        !self.answers.waiting().is_empty()
    }

    /// Whether a request is being done that takes its time.
    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// Whether everything that can come of it has.
    pub(super) fn is_over(&self) -> bool {
        self.closed && self.idle && self.job.is_none() && !self.has_answers()
    }

    /// Goes on with what was asked for, and says when there is more to do.
    pub(super) fn work(&mut self, stack: &mut Stack, shared: &mut Shared) -> More {
        for _ in 0..BUDGET {
            if self.answers.is_full() {
                return More::Nothing;
            }
            if let Some((id, job)) = self.job.take() {
                match job.go_on(stack, shared) {
                    Progress::Done(answer) => self.answers.push(&answer::line(&id, answer)),
                    Progress::Later(job, more) => {
                        self.job = Some((id, job));
                        return more;
                    }
                }
                continue;
            }
            let (id, request) = match self.lines.next() {
                Ok(None) => {
                    self.idle = true;
                    return More::Nothing;
                }
                Ok(Some([])) => continue,
                Ok(Some(line)) => request::read(line),
                Err(_) => {
                    let trouble = Trouble::new(Kind::Syntax, format!("the line is longer than {LONGEST} bytes"));
                    self.answers.push(&answer::line(&Value::Null, Err(trouble)));
                    (self.closed, self.idle) = (true, true);
                    self.lines = Lines::default();
                    return More::Nothing;
                }
            };
            let step = request.map_or_else(|trouble| Step::Done(Err(trouble)), |request| begin(request, stack, shared));
            match step {
                Step::Done(answer) => self.answers.push(&answer::line(&id, answer)),
                Step::Begun(job) => self.job = Some((id, job)),
            }
        }
        More::AtOnce
    }

    /// The client is gone: what it asked for and is not done yet is undone, some of it at once and the rest in `shared`.
    pub(super) fn abandon(self, shared: &mut Shared) {
        if let Some((_, job)) = self.job {
            job.abandon(shared);
        }
    }
}

fn begin(request: Request, stack: &mut Stack, shared: &mut Shared) -> Step {
    Step::Done(match request {
        Request::Version => Ok(json!({
            "protocol": answer::PROTOCOL,
            "version": env!("CARGO_PKG_VERSION"),
            "process": std::process::id(),
            "draining": stack.is_draining(),
        })),
        Request::ForwardList { after, most } => forwards::list(stack, shared, after, most),
        Request::ForwardAdd(written) => return Step::Begun(Job::change(Asked::Add(written), shared)),
        Request::ForwardRemove(written) => return Step::Begun(Job::change(Asked::Remove(written), shared)),
        Request::ForwardReplace(written) => return Step::Begun(Job::change(Asked::Replace(written), shared)),
        Request::Flows { after, most } => flows::page(stack, after, most),
        Request::Counters => counters::all(stack),
        Request::CaptureStart(written) => records::start_capture(stack, &written),
        Request::CaptureStop => records::stop_capture(stack),
        Request::LogStart(written) => records::start_log(stack, &written),
        Request::LogStop => records::stop_log(stack),
        Request::PolicyTest(written) => rules::test(stack, &written),
        Request::PolicyShow { after, most } => Ok(rules::show(stack, after, most)),
        Request::PolicyReplace { text } => return Step::Begun(Job::Policy(text)),
        Request::Drain { wait } => {
            stack.drain(true);
            if wait {
                return Step::Begun(Job::Drain);
            }
            Ok(json!({ "flows": stack.flow_count() }))
        }
        Request::Resume => {
            stack.drain(false);
            Ok(json!({}))
        }
    })
}
