//! A connection of the guest with the virtual name server whose messages are looked at: it ends here, and what has to be asked goes over a
//! connection of its own to a server of the host (RFC 7766).
//!
//! What is known of both sides is here, and what a message means for them; how the guest's bytes come and go is the flow's business
//! (`flow/tcp/queries.rs`). Queries may follow each other without waiting, and so may answers. Little is held: one message of the guest, what the server
//! has not taken yet and what the guest has not; while there is more of either, nothing more is taken from whoever sends it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use simple_dns::RCODE;

use super::{Expected, Ruling};
use crate::flow::context::Context;
use crate::flow::effect::Leaving;
use crate::flow::key::{Endpoint, FlowKey};
use crate::host::handle::HostNamed;
use crate::host::poller::{News, Readiness};
use crate::host::socket::{Hops, Stream};
use crate::service::dns::message;
use crate::time::{Duration, Instant};

/// Queries that wait for an answer at one time.
const MOST_EXPECTED: usize = 64;
/// Bytes that wait for the server, or for the guest; one message more may.
const MOST_WAITING: usize = 64 * 1024;
/// How long a server may take to accept the connection, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// The length before each message (RFC 1035 section 4.2.2).
const LENGTH: usize = 2;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Dialogue {
    /// The beginning of the guest's next message.
    from_guest: Vec<u8>,
    /// What the guest is to have.
    to_guest: Vec<u8>,
    server: Option<Box<Server>>,
    /// The server's socket has news.
    news: bool,
}

#[derive(Debug)]
struct Server {
    stream: Stream,
    address: SocketAddr,
    /// Which servers may be asked in its place.
    group: usize,
    /// The connection is not accepted yet.
    connecting: bool,
    /// It is the second one that was tried.
    is_other: bool,
    readable: bool,
    writable: bool,
    ended: bool,
    to: Vec<u8>,
    from: Vec<u8>,
    expected: VecDeque<Expected>,
    /// Queries whose answers are passed on as they are.
    unlooked: usize,
    /// When it is given up, while something is waited for.
    deadline: Instant,
}

impl Server {
    fn is_waited_for(&self) -> bool {
        self.connecting || self.unlooked > 0 || !self.expected.is_empty()
    }

    fn is_full(&self) -> bool {
        self.expected.len() + self.unlooked >= MOST_EXPECTED || self.to.len() >= MOST_WAITING
    }
}

/// A message with its length before it.
fn push(bytes: &mut Vec<u8>, message: &[u8]) {
    // None is longer: it was made of one that had a length.
    if let Ok(length) = u16::try_from(message.len()) {
        bytes.extend(length.to_be_bytes());
        bytes.extend(message);
    }
}

/// How many bytes the first message has, with its length.
fn whole(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)))?;
    Some(LENGTH + length)
}

impl Dialogue {
    /// The socket to the server.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        self.server.as_ref().map(|server| &server.stream)
    }

    /// Parts with it.
    pub(crate) fn leave(&mut self) -> Option<Stream> {
        self.server.take().map(|server| server.stream)
    }

    pub(crate) fn on_ready(&mut self, ready: Readiness) {
        let Some(server) = &mut self.server else { return };
        server.readable |= ready.readable || ready.read_closed || ready.error;
        server.writable |= ready.writable || ready.error;
        server.ended |= ready.read_closed || ready.error;
        self.news = true;
    }

    /// Whether the server's socket has news that were not looked at.
    pub(crate) fn has_news(&self) -> bool {
        self.news
    }

    /// Whether the socket is to be watched for something to read, and for room to write.
    pub(crate) fn interest(&self) -> (bool, bool) {
        self.server.as_ref().map_or((false, false), |server| {
            (
                !server.readable && self.to_guest.is_empty(),
                !server.writable && (server.connecting || !server.to.is_empty()),
            )
        })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.server.as_ref().filter(|server| server.is_waited_for()).map(|server| server.deadline)
    }

    /// How many more bytes of the guest are taken now.
    pub(crate) fn room_for_guest(&self) -> usize {
        whole(&self.from_guest).unwrap_or(LENGTH).saturating_sub(self.from_guest.len())
    }

    /// Takes bytes of the guest, as many as there is room for at most.
    pub(crate) fn hear_guest(&mut self, bytes: &[u8]) {
        self.from_guest.extend(bytes);
    }

    /// What the guest is to have.
    pub(crate) fn for_guest(&self) -> &[u8] {
        &self.to_guest
    }

    /// The guest has got so many bytes of it.
    pub(crate) fn gave_guest(&mut self, count: usize) {
        self.to_guest.drain(..count.min(self.to_guest.len()));
    }

    /// Whether the guest has all answers to what it has asked.
    pub(crate) fn is_done(&self) -> bool {
        let waits = self.server.as_ref().is_some_and(|server| server.is_waited_for());
        let asks = whole(&self.from_guest).is_some_and(|whole| self.from_guest.len() >= whole);
        self.to_guest.is_empty() && !waits && !asks
    }

    /// Looks at what has come of both sides. Whether something was done, so that there may be more.
    ///
    /// # Errors
    /// An answer that was to be passed on as it is will not come: the guest is to see that by the end of its connection.
    pub(crate) fn go_on(&mut self, key: &FlowKey, token: u64, cx: &mut Context) -> Result<bool, Broken> {
        self.news = false;
        if self.deadline().is_some_and(|deadline| deadline <= cx.now) {
            self.lose_server(token, cx)?;
        }
        let heard = self.hear_server(key.guest, token, cx)?;
        let asked = self.ask(key, token, cx);
        self.tell_server(token, cx)?;
        Ok(heard || asked)
    }

    /// Judges the guest's message, if it is whole and there is room for what follows from it.
    fn ask(&mut self, key: &FlowKey, token: u64, cx: &mut Context) -> bool {
        let Some(whole) = whole(&self.from_guest).filter(|whole| self.from_guest.len() >= *whole) else { return false };
        if self.to_guest.len() >= MOST_WAITING || self.server.as_ref().is_some_and(|server| server.is_full()) {
            return false;
        }
        let query = self.from_guest.get(LENGTH..whole).unwrap_or_default().to_vec();
        match cx.judge_query(&query, key, false) {
            Ruling::AskOn(other, expected) => {
                let message = other.as_deref().unwrap_or(&query);
                let group = cx.name_servers.group_of(message);
                // One server is asked at a time.
                if self.server.as_ref().is_some_and(|server| server.group != group && server.is_waited_for()) {
                    return false;
                }
                match self.server_of(group, key.guest.ip.is_ipv6(), token, cx) {
                    Some(server) => {
                        push(&mut server.to, message);
                        if !server.connecting {
                            server.deadline = cx.now + ANSWER;
                        }
                        match expected {
                            Some(expected) => server.expected.push_back(expected),
                            None => server.unlooked += 1,
                        }
                    }
                    None => push(&mut self.to_guest, &message::reply(&query, RCODE::ServerFailure)),
                }
            }
            Ruling::Reply(reply) => push(&mut self.to_guest, &reply),
            Ruling::Silence => {}
        }
        self.from_guest.drain(..whole);
        true
    }

    /// The connection to a server of this group; a new one if need be.
    fn server_of(&mut self, group: usize, v6: bool, token: u64, cx: &mut Context) -> Option<&mut Server> {
        if self.server.as_ref().is_none_or(|server| server.group != group) {
            self.drop_server(cx);
            let first = cx.name_servers.for_stream_of(group, v6, cx.now)?;
            let (stream, address) = match connect(first, token, cx) {
                Ok(stream) => (stream, first),
                Err(_) => {
                    cx.name_servers.failed(first, cx.now);
                    let other = cx.name_servers.behind(first, cx.now)?;
                    (connect(other, token, cx).ok()?, other)
                }
            };
            let server = Server {
                stream,
                address,
                group,
                connecting: true,
                is_other: address != first,
                readable: false,
                writable: false,
                ended: false,
                to: Vec::new(),
                from: Vec::new(),
                expected: VecDeque::new(),
                unlooked: 0,
                deadline: cx.now + CONNECT,
            };
            self.server = Some(Box::new(server));
        }
        self.server.as_deref_mut()
    }

    /// Gives the server what it takes.
    fn tell_server(&mut self, token: u64, cx: &mut Context) -> Result<(), Broken> {
        let Some(server) = &mut self.server else { return Ok(()) };
        while server.writable && !server.connecting && !server.to.is_empty() {
            match server.stream.send(&server.to, &[]) {
                Ok(sent) => {
                    server.writable = sent == server.to.len();
                    server.to.drain(..sent.min(server.to.len()));
                    cx.pace.on_given();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => server.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose_server(token, cx),
            }
        }
        Ok(())
    }

    /// Takes what the server has sent, unless the guest has not taken what there is.
    fn hear_server(&mut self, client: Endpoint, token: u64, cx: &mut Context) -> Result<bool, Broken> {
        let Some(server) = &mut self.server else { return Ok(false) };
        if server.connecting && (server.writable || server.readable) {
            if server.stream.take_error().is_err() {
                return self.lose_server(token, cx).map(|()| true);
            }
            server.connecting = false;
            server.deadline = cx.now + ANSWER;
            cx.name_servers.connected(server.address);
        }
        if server.connecting || !server.readable || self.to_guest.len() >= MOST_WAITING {
            return Ok(false);
        }
        match server.stream.receive(&mut cx.scratch, &mut []) {
            Ok(0) => return self.lose_server(token, cx).map(|()| true),
            Ok(count) => {
                // The end is still to be read where the poller has told of it.
                server.readable = count == cx.scratch.len() || server.ended;
                server.from.extend(cx.scratch.get(..count).unwrap_or_default());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => server.readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return self.lose_server(token, cx).map(|()| true),
        }
        self.take_answers(client, cx);
        Ok(true)
    }

    /// Judges the answers that are whole. What was not asked for is dropped.
    fn take_answers(&mut self, client: Endpoint, cx: &mut Context) {
        let Some(server) = &mut self.server else { return };
        let mut done = 0;
        while let Some(rest) = server.from.get(done..)
            && let Some(whole) = whole(rest)
            && let Some(answer) = rest.get(LENGTH..whole)
        {
            done += whole;
            match server.expected.iter().position(|expected| message::answers(answer, &expected.asked)) {
                Some(index) => {
                    let expected = server.expected.remove(index);
                    let answer = expected.and_then(|expected| cx.judge_answer(answer, client, &expected));
                    answer.iter().for_each(|answer| push(&mut self.to_guest, answer));
                }
                None if server.unlooked > 0 => {
                    server.unlooked -= 1;
                    push(&mut self.to_guest, answer);
                }
                None => {}
            }
        }
        server.from.drain(..done);
    }

    /// The server does not answer any more. While it has been asked nothing yet, another one takes its place.
    fn lose_server(&mut self, token: u64, cx: &mut Context) -> Result<(), Broken> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        if server.connecting {
            cx.name_servers.failed(server.address, cx.now);
            let other = (!server.is_other).then(|| cx.name_servers.behind(server.address, cx.now)).flatten();
            if let Some(other) = other
                && let Ok(stream) = connect(other, token, cx)
            {
                let lost = std::mem::replace(&mut server.stream, stream);
                cx.unwatch(Leaving::Stream(lost));
                (server.address, server.is_other, server.deadline) = (other, true, cx.now + CONNECT);
                (server.readable, server.writable, server.ended) = (false, false, false);
                self.server = Some(server);
                return Ok(());
            }
        }
        for expected in &server.expected {
            message::failure(expected.by_guest()).iter().for_each(|reply| push(&mut self.to_guest, reply));
        }
        let unlooked = server.unlooked;
        cx.unwatch(Leaving::Stream(server.stream));
        if unlooked > 0 { Err(Broken) } else { Ok(()) }
    }

    fn drop_server(&mut self, cx: &mut Context) {
        if let Some(stream) = self.leave() {
            cx.unwatch(Leaving::Stream(stream));
        }
    }
}

/// The guest's connection cannot go on.
#[derive(Debug)]
pub(crate) struct Broken;

/// Begins a connection to a server.
fn connect(server: SocketAddr, token: u64, cx: &mut Context) -> io::Result<Stream> {
    let stream = cx.connect(server, Hops::Default)?;
    cx.watch(stream.raw_socket(), token, News::Stream)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_of_the_guest_is_taken_than_one_message() {
        let mut dialogue = Dialogue::default();
        assert_eq!(dialogue.room_for_guest(), 2);
        dialogue.hear_guest(&[1]);
        assert_eq!((dialogue.room_for_guest(), dialogue.is_done()), (1, true));
        dialogue.hear_guest(&[0]);
        assert_eq!(dialogue.room_for_guest(), 256);
        dialogue.hear_guest(&[0; 256]);
        assert_eq!((dialogue.room_for_guest(), dialogue.is_done()), (0, false));
        let mut bytes = Vec::new();
        push(&mut bytes, b"abc");
        push(&mut bytes, &vec![0; 65536]);
        assert_eq!((bytes.as_slice(), whole(&bytes)), (&b"\0\x03abc"[..], Some(5)));
    }
}
