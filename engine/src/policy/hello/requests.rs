//! The requests of one connection of HTTP/1, one behind the other (RFC 9112): where each ends and the next one begins.

use super::Hello;
use super::http::{Body, Lines, Place, Request, is_begun};

/// The most digits of the length of a chunk.
const DIGITS: u8 = 15;
/// The beginning of the answer by which a server makes the connection one of another protocol (RFC 9110 section 15.2.2).
const SWITCHING: &[u8; 12] = b"HTTP/1.1 101";

/// What the guest says on a connection whose first request was allowed, so that another one on it does not go to another host.
///
/// It is asked about the bytes that wait for the server ([`Requests::look`]), of which it says how many may be given to it, or that
/// a request has begun, whose host is to be judged ([`Requests::go_on`]). It is told of each that was given
/// ([`Requests::passed`]), and of what the server answers where it waits for that. It keeps none of the bytes, so that it needs
/// as much memory for any request; and it is not lenient: what two readers could read differently is none.
#[derive(Debug, Default)]
pub struct Requests {
    state: State,
    /// So many of the bytes that wait may go.
    clear: usize,
    /// So many behind them were looked at: they are the beginning of a head.
    seen: usize,
    /// A request was allowed.
    has_begun: bool,
}

/// What the next byte is part of.
#[derive(Debug)]
enum State {
    Head(Lines),
    /// A head is whole, and is being judged.
    Asked(Body, bool),
    /// A body, which has so many bytes still.
    Body(u64),
    /// The length of a chunk, as far as it has come, and how many digits that are.
    Length(u64, u8),
    /// The end of the line with the length.
    LengthEnd(u64),
    /// A chunk, which has so many bytes still.
    Chunk(u64),
    /// What follows a chunk; of the last one, which is the end of all.
    ChunkEnd {
        has_return: bool,
        is_last: bool,
    },
    /// Nothing before the server's answer, of which so many bytes have come.
    Answer(usize),
    /// It is no HTTP any more.
    Open,
    /// Nothing can become of it.
    Over,
}

impl Default for State {
    fn default() -> State {
        State::Head(Lines::default())
    }
}

/// What there is to the bytes that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Look {
    /// So many of them, from the first one on, may be given to the server; with the others more have to come.
    Clear(usize),
    /// A request has begun that is for this host, if it says one. It may go on if that is allowed.
    Request(Option<Box<str>>),
    /// They are no request, or can be read in two ways.
    Unclear,
}

impl Requests {
    /// Looks at the bytes that wait, which are all that were there before and not [passed](Requests::passed), and those that have
    /// come since.
    pub fn look(&mut self, bytes: (&[u8], &[u8])) -> Look {
        let length = bytes.0.len() + bytes.1.len();
        loop {
            let at = self.clear + self.seen;
            // A body of no length ends without a byte.
            if matches!(self.state, State::Body(0)) {
                self.state = State::default();
            }
            let Some(byte) = byte_at(bytes, at) else { return Look::Clear(self.clear) };
            let rest = u64::try_from(length - at).unwrap_or(u64::MAX);
            match &mut self.state {
                State::Head(lines) => {
                    self.seen += 1;
                    match lines.hear(byte) {
                        Place::Nowhere => return self.over(),
                        _ if self.seen > Hello::LONGEST => return self.over(),
                        Place::FirstEnd if !is_begun(&part(bytes, self.clear, self.seen)) => return self.over(),
                        Place::Within | Place::FirstEnd => {}
                        Place::End => {
                            let Some(request) = Request::read(&part(bytes, self.clear, self.seen)) else {
                                return self.over();
                            };
                            self.state = State::Asked(request.body, request.is_websocket);
                            return Look::Request(request.host);
                        }
                    }
                    continue;
                }
                State::Body(left) | State::Chunk(left) => {
                    let now = rest.min(*left);
                    *left -= now;
                    self.clear += usize::try_from(now).unwrap_or(usize::MAX);
                    if let State::Chunk(0) = self.state {
                        self.state = State::ChunkEnd { has_return: false, is_last: false };
                    }
                    continue;
                }
                State::Length(size, digits) => match (char::from(byte).to_digit(16), byte) {
                    (Some(digit), _) if *digits < DIGITS => {
                        *size = *size << 4 | u64::from(digit);
                        *digits += 1;
                    }
                    // Extensions of a chunk are not read by everybody, and hardly written by anybody.
                    (None, b'\r') if *digits > 0 => self.state = State::LengthEnd(*size),
                    _ => return self.over(),
                },
                State::LengthEnd(size) => match (byte, *size) {
                    // Nor are fields behind the last one.
                    (b'\n', 0) => self.state = State::ChunkEnd { has_return: false, is_last: true },
                    (b'\n', size) => self.state = State::Chunk(size),
                    _ => return self.over(),
                },
                State::ChunkEnd { has_return, is_last } => match (byte, *has_return, *is_last) {
                    (b'\r', false, _) => *has_return = true,
                    (b'\n', true, false) => self.state = State::Length(0, 0),
                    (b'\n', true, true) => self.state = State::default(),
                    _ => return self.over(),
                },
                State::Answer(_) => return Look::Clear(self.clear),
                State::Open => {
                    self.clear = length;
                    return Look::Clear(length);
                }
                State::Asked(..) | State::Over => return self.over(),
            }
            self.clear += 1;
        }
    }

    /// The host of the request that has begun is allowed.
    pub fn go_on(&mut self) {
        let State::Asked(body, is_websocket) = self.state else { return };
        self.clear += std::mem::take(&mut self.seen);
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        self.state = match body {
            // Later ones would have the answers counted.
            Body::Length(_) if is_websocket && is_first => State::Answer(0),
            Body::Length(length) => State::Body(length),
            Body::Chunked => State::Length(0, 0),
        };
    }

    /// So many bytes were given to the server, no more than were clear.
    pub fn passed(&mut self, bytes: usize) {
        self.clear = self.clear.saturating_sub(bytes);
    }

    /// Whether so many bytes that wait are all held, and nothing is to be found out about them.
    #[must_use]
    pub fn holds(&self, bytes: usize) -> bool {
        self.clear == 0 && (self.seen >= bytes || matches!(self.state, State::Answer(_)))
    }

    /// The server has sent these bytes. Whether that is news, so that bytes that were held may go.
    pub fn answered(&mut self, bytes: &[u8]) -> bool {
        let State::Answer(heard) = &mut self.state else { return false };
        for &byte in bytes {
            let fits = SWITCHING.get(*heard).map_or(byte == b' ' || byte == b'\r', |expected| *expected == byte);
            if fits && *heard < SWITCHING.len() {
                *heard += 1;
                continue;
            }
            self.state = if fits { State::Open } else { State::default() };
            return true;
        }
        false
    }

    fn over(&mut self) -> Look {
        self.state = State::Over;
        Look::Unclear
    }
}

fn byte_at((first, second): (&[u8], &[u8]), at: usize) -> Option<u8> {
    first.get(at).or_else(|| second.get(at.checked_sub(first.len())?)).copied()
}

fn part((first, second): (&[u8], &[u8]), from: usize, length: usize) -> Vec<u8> {
    first.iter().chain(second).skip(from).take(length).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Hosts = Vec<Option<Box<str>>>;

    /// Has these bytes come in pieces, cut in two parts anywhere, and those that are clear go. The hosts, and what has gone; an error when they
    /// are no requests.
    fn run(text: &[u8], piece: usize, answer: &[u8]) -> Result<(Hosts, usize), usize> {
        let (mut requests, mut hosts, mut waits, mut gone) = (Requests::default(), Vec::new(), Vec::new(), 0);
        for bytes in text.chunks(piece) {
            waits.extend_from_slice(bytes);
            loop {
                let (first, second) = waits.split_at(waits.len() / 3);
                match requests.look((first, second)) {
                    Look::Clear(clear) => {
                        assert!(clear <= waits.len());
                        gone += clear;
                        waits.drain(..clear);
                        requests.passed(clear);
                        assert!(waits.is_empty() || requests.holds(waits.len()));
                        break;
                    }
                    Look::Request(host) => {
                        hosts.push(host);
                        requests.go_on();
                        for byte in answer {
                            requests.answered(&[*byte]);
                        }
                    }
                    Look::Unclear => return Err(gone),
                }
            }
        }
        Ok((hosts, gone))
    }

    fn names(hosts: &[&str]) -> Hosts {
        hosts.iter().map(|host| Some((*host).into())).collect()
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a.org\r\n\r\n";
    const OTHER: &str = "GET / HTTP/1.1\r\nHost: b.org\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 50\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n";
    const SOCKET: &str = "GET / HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn each_request_is_found_however_the_bytes_come() {
        let body = "GET / HTTP/1.1\r\nHost: c.org\r\n\r\n".repeat(2)[..50].to_owned();
        let chunks = "5\r\nhello\r\n1f\r\nGET / HTTP/1.1\r\nHost: c.org\r\n\r\n\r\n00\r\n\r\n";
        for (text, hosts) in [
            (format!("{GET}{OTHER}{GET}"), &["a.org", "b.org", "a.org"][..]),
            (format!("{POST}{body}{OTHER}"), &["a.org", "b.org"]),
            (format!("{CHUNKED}{chunks}{OTHER}"), &["a.org", "b.org"]),
            (format!("{CHUNKED}0\r\n\r\n{POST}{body}{CHUNKED}{chunks}"), &["a.org", "a.org", "a.org"]),
        ] {
            for piece in [1, 2, 7, 100, 10_000] {
                assert_eq!(run(text.as_bytes(), piece, b""), Ok((names(hosts), text.len())), "{text}");
            }
        }
    }

    #[test]
    fn the_beginning_of_a_head_is_held() {
        let whole = format!("{GET}{OTHER}");
        for cut in 1..OTHER.len() {
            let begun = &whole.as_bytes()[..GET.len() + cut];
            assert_eq!(run(begun, 9, b""), Ok((names(&["a.org"]), GET.len())), "{cut}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_request() {
        for rest in [
            "\r\nGET / HTTP/1.1\r\n",
            "\nGET / HTTP/1.1\r\n",
            "\0",
            "PRI * HTTP/2.0\r\n",
            "CONNECT b.org:80 HTTP/1.1\r\nHost: b.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.org\r\nHost: b.org\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: b.org\r\n a.org\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(run(format!("{GET}{rest}").as_bytes(), 1, b""), Err(GET.len()), "{rest:?}");
        }
        for rest in [
            "5;a=b\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5 \r\nhello\r\n",
            " 5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "\r\n",
            "0\r\nX: y\r\n\r\n",
            "0000000000000005\r\nhello\r\n",
            "fffffffffffffffff\r\n",
        ] {
            for piece in [1, 1000] {
                assert!(run(format!("{CHUNKED}{rest}{GET}").as_bytes(), piece, b"").is_err(), "{rest:?}");
            }
        }
        let long = format!("{GET}GET / HTTP/1.1\r\n{}", "X: 0123456789\r\n".repeat(2000));
        assert_eq!(run(long.as_bytes(), 100, b""), Err(GET.len()));
        // It stays so.
        let mut requests = Requests::default();
        assert_eq!(requests.look((b"?", b"")), Look::Unclear);
        assert_eq!(requests.look((GET.as_bytes(), b"")), Look::Unclear);
        assert_eq!(Requests::default().look((b"", b"")), Look::Clear(0));
    }

    #[test]
    fn a_web_socket_is_one_when_the_server_says_so() {
        let frames = [SOCKET.as_bytes(), b"\x81\x85\0\0\0\0hello"].concat();
        let opened = Ok((names(&["a.org"]), frames.len()));
        for piece in [1, 1000] {
            assert_eq!(run(&frames, piece, b"HTTP/1.1 101 Switching Protocols\r\n"), opened);
            assert_eq!(run(&frames, piece, b"HTTP/1.1 101\r\n"), opened);
            // Until then nothing of it goes.
            assert_eq!(run(&frames, piece, b"HTTP/1.1 10"), Ok((names(&["a.org"]), SOCKET.len())));
            for other in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 1010", "HTTP/1.0 101 x", "HTTP/1.1 100 Continue\r\n"] {
                assert!(run(&frames, piece, other.as_bytes()).is_err(), "{other}");
            }
            // It is HTTP where the server wants none of it, and where another request was before.
            let both = format!("{SOCKET}{OTHER}");
            let answer = b"HTTP/1.1 200 OK\r\n";
            assert_eq!(run(both.as_bytes(), piece, answer), Ok((names(&["a.org", "b.org"]), both.len())));
            let later = [GET.as_bytes(), &frames].concat();
            assert!(run(&later, piece, b"HTTP/1.1 101 x").is_err());
        }
    }
}
