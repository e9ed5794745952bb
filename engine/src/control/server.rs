//! The socket and its clients.

use std::io;

use super::forwards::{Listing, Removing};
use super::session::Session;
use super::turns::{Turn, Turns};
use super::waiting::Waiting;
use super::{ControlOptions, PolicyReader};
use crate::capture::unopened::Unopened;
use crate::flow::effect::Leaving;
use crate::flow::token;
use crate::host::handle::{HostNamed, RawSocket};
use crate::host::poller::News;
use crate::host::socket::{Listener, Stream};
use crate::host::stopwatch::Stopwatch;
use crate::host::unix::UnixAddress;
use crate::stack::Stack;
use crate::stack::attendant::{Attendant, More};
use crate::stack::review::Review;
use crate::time::{Duration, Instant};

/// Clients at one time. One more is turned away, unless one of them takes no answers: that one goes.
const MOST: usize = 8;
/// The number of the listener's token.
const LISTENER: u8 = MOST as u8;
/// Bytes of one read, and how many reads of one client a round has.
const READ: usize = 16 * 1024;
const READS: usize = 4;
/// How long clients are served in one round, one of them at least: the network's frames wait meanwhile.
const ENOUGH: Duration = Duration::from_micros(200);
/// Flows that a round asks the policy about.
const REVIEWED: usize = 32;
/// Bytes of a policy up to which reading it is nothing that a guest would notice.
const LONG_TEXT: usize = 64 * 1024;
/// How long to wait with the next client when the host had no descriptor for it.
const RETRY: Duration = Duration::from_millis(250);

/// What all clients share.
pub(super) struct Shared {
    reader: Option<PolicyReader>,
    waiting: Waiting,
    turns: Turns,
    /// When a policy may be read again.
    next_reading: Option<Instant>,
    review: Option<Review>,
    /// What the last review has ended.
    ended: u64,
    /// Forwards of clients that have gone before they had them all.
    removing: Removing,
    /// Some of these were removed in this round, and are not closed yet.
    removed: bool,
    /// The forwards in their order, while somebody asks for one page of them after the other.
    listing: Option<Listing>,
}

impl Shared {
    pub(super) fn new(reader: Option<PolicyReader>) -> Shared {
        let removing = Removing::default();
        Shared {
            reader,
            waiting: Waiting::default(),
            turns: Turns::default(),
            next_reading: None,
            review: None,
            ended: 0,
            removing,
            removed: false,
            listing: None,
        }
    }

    pub(super) fn reader(&self) -> Option<&PolicyReader> {
        self.reader.as_ref()
    }

    pub(super) fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    pub(super) fn turns(&mut self) -> &mut Turns {
        &mut self.turns
    }

    /// When a policy may be read, where that is not at once.
    pub(super) fn next_reading(&self) -> Option<Instant> {
        self.next_reading
    }

    /// The text of a policy is read now, in one piece. After a long one nobody reads another for four microseconds for each of its bytes,
    /// which is 40 to 80 times as long as it takes: what a guest's connections lose by such a wait they need a while to make good.
    pub(super) fn has_read(&mut self, bytes: usize, now: Instant) {
        self.next_reading = (bytes > LONG_TEXT).then(|| now + Duration::from_micros(4 * bytes as u64));
    }

    /// Whether forwards may be changed by whoever has this turn: nobody else does, and nothing is left to be undone of those before.
    pub(super) fn may_change(&self, turn: &Turn) -> bool {
        let undone = self.removing.is_done() && !self.removed;
        self.turns.has_come(turn) && undone && !self.waiting.is_unsettled()
    }

    pub(super) fn listing(&mut self) -> &mut Option<Listing> {
        &mut self.listing
    }

    /// Has every flow be asked about. One that is going on is forgotten: this one is about all flows as well.
    pub(super) fn begin_review(&mut self, review: Review) {
        self.review = Some(review);
    }

    /// How many flows the last review has ended, once it is over.
    pub(super) fn review_ended(&self) -> Option<u64> {
        self.review.is_none().then_some(self.ended)
    }

    pub(super) fn remove(&mut self, removing: Removing) {
        self.removing.append(removing);
    }

    /// Does what nobody waits for, or several.
    pub(super) fn work(&mut self, stack: &mut Stack) -> More {
        // What is being tried comes to its end, but nothing else is begun while somebody changes forwards.
        let mut more = self.waiting.work(stack, self.turns.is_over());
        if let Some(review) = &mut self.review {
            if stack.review(review, REVIEWED) {
                more = More::AtOnce;
            } else {
                self.ended = review.ended;
                self.review = None;
            }
        }
        self.removed = self.removing.go_on(stack);
        if self.removed {
            more = More::AtOnce;
        }
        more
    }
}

struct Client {
    stream: Stream,
    session: Session,
    /// There is nobody any more.
    gone: bool,
}

struct Server {
    listener: Listener,
    clients: [Option<Client>; MOST],
    /// Whose turn is first in the next round.
    first: usize,
    shared: Shared,
}

pub(super) fn start(stack: &mut Stack, options: &ControlOptions) -> io::Result<()> {
    let named = |error: io::Error| Unopened::error(options.path.clone(), error);
    let address = UnixAddress::from_path(&options.path).map_err(named)?;
    let listener = Listener::bind_private_unix(&address).map_err(named)?;
    stack.watch_for_attendant(listener.raw_socket(), LISTENER, News::Incoming)?;
    stack.keep_roll();
    let (clients, shared) = (Default::default(), Shared::new(options.reader.clone()));
    stack.be_attended(Box::new(Server { listener, clients, first: 0, shared }));
    Ok(())
}

/// The sooner of two.
fn sooner(one: More, other: More) -> More {
    match (one, other) {
        (More::AtOnce, _) | (_, More::AtOnce) => More::AtOnce,
        (More::At(one), More::At(other)) => More::At(one.min(other)),
        (More::Nothing, other) => other,
        (one, More::Nothing) => one,
    }
}

impl Attendant for Server {
    fn attend(&mut self, stack: &mut Stack) -> More {
        let watch = Stopwatch::start();
        let mut more = sooner(self.shared.work(stack), self.accept(stack));
        let first = std::mem::take(&mut self.first);
        for turn in 0..MOST {
            let number = (first + turn) % MOST;
            let Some(place @ Some(_)) = self.clients.get_mut(number) else { continue };
            if turn > 0 && watch.elapsed() > ENOUGH {
                self.first = number;
                return More::AtOnce;
            }
            let Some(client) = place else { continue };
            more = sooner(more, client.work(stack, &mut self.shared));
            if client.gone
                && let Some(Client { stream, session, .. }) = place.take()
            {
                session.abandon(&mut self.shared);
                stack.unwatch_for_attendant(Leaving::Stream(stream));
                more = More::AtOnce;
            }
        }
        more
    }

    fn interests(&self, watch: &mut dyn FnMut(u64, RawSocket, bool, bool)) {
        watch(token::of_attendant(LISTENER), self.listener.raw_socket(), true, false);
        for (number, client) in (0..).zip(&self.clients) {
            let Some(Client { stream, session, .. }) = client else { continue };
            watch(token::of_attendant(number), stream.raw_socket(), session.takes_input(), session.has_answers());
        }
    }

    fn dismiss(&mut self, stack: &mut Stack) {
        for client in self.clients.iter_mut().filter_map(Option::take) {
            stack.unwatch_for_attendant(Leaving::Stream(client.stream));
        }
    }
}

impl Server {
    /// Lets clients in that wait.
    fn accept(&mut self, stack: &mut Stack) -> More {
        for _ in 0..MOST {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return More::Nothing,
                // Out of descriptors or memory, most likely: the client waits in the kernel.
                Err(_) => return More::At(stack.time() + RETRY),
            };
            let Some((number, place)) = self.place(stack) else {
                turn_away(stream);
                continue;
            };
            if stack.watch_for_attendant(stream.raw_socket(), number, News::Stream).is_ok() {
                *place = Some(Client { stream, session: Session::new(), gone: false });
            }
        }
        More::AtOnce
    }

    /// A place for one more client.
    fn place(&mut self, stack: &mut Stack) -> Option<(u8, &mut Option<Client>)> {
        if self.clients.iter().all(Option::is_some) {
            let idle = |client: &&mut Option<Client>| {
                client.as_ref().is_some_and(|client| client.session.has_answers() && !client.session.is_busy())
            };
            let Client { stream, .. } = self.clients.iter_mut().find(idle)?.take()?;
            stack.unwatch_for_attendant(Leaving::Stream(stream));
        }
        (0..).zip(&mut self.clients).find(|(_, client)| client.is_none())
    }
}

/// Tells a client that there is no place. What its socket does not take at once is lost.
fn turn_away(stream: Stream) {
    let mut session = Session::turned_away();
    let _ = stream.send(session.answers().waiting(), &[]);
}

impl Client {
    fn work(&mut self, stack: &mut Stack, shared: &mut Shared) -> More {
        let mut more = More::Nothing;
        for _ in 0..READS {
            self.send();
            more = self.session.work(stack, shared);
            self.send();
            if more != More::Nothing || !self.session.takes_input() {
                break;
            }
            if !self.receive() {
                more = self.session.work(stack, shared);
                self.send();
                break;
            }
            more = More::AtOnce;
        }
        self.gone |= self.session.is_over() || (self.session.is_busy() && self.stream.is_broken());
        more
    }

    /// Gives the client its answers, as far as it takes them.
    fn send(&mut self) {
        while self.session.has_answers() && !self.gone {
            let answers = self.session.answers();
            match self.stream.send(answers.waiting(), &[]) {
                Ok(count) => answers.took(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
    }

    /// Takes what the client has sent; false when that is nothing.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; READ];
        match self.stream.receive(&mut buffer, &mut []) {
            Ok(0) => {
                self.session.end();
                false
            }
            Ok(count) => {
                self.session.put(buffer.get(..count).unwrap_or_default());
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(_) => {
                self.gone = true;
                false
            }
        }
    }
}
