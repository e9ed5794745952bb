//! The way to a control socket and back.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Failure;

/// The version of the protocol that is spoken here.
const PROTOCOL: u64 = 1;
/// The longest request, in bytes: a library takes no longer line.
const LONGEST: usize = 1024 * 1024;
/// So long a library may take for its first line. One that takes longer is in a program that stands still.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where sockets are looked for: beneath $XDG_RUNTIME_DIR, and beneath /run.
const FOLDER: &str = "oxislirp";

/// A connection to a control socket.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    answer: Value,
}

/// Whether a network answers at this socket.
pub(crate) fn is_network(socket: &Path) -> bool {
    Client::connect(Some(socket)).is_ok()
}

impl Client {
    /// Connects to a socket, or to the only one that there is in the default places.
    ///
    /// # Errors
    /// Nobody answers there, or there are none or several.
    pub(crate) fn connect(socket: Option<&Path>) -> Result<Client, Failure> {
        if let Some(path) = socket {
            let failed = |error| Failure::new(format!("{}: {error}", path.display()));
            return Client::greeted(UnixStream::connect(path).map_err(failed)?, Instant::now() + PATIENCE);
        }
        let connected: Vec<(PathBuf, UnixStream)> = sockets()
            .into_iter()
            .filter_map(|path| UnixStream::connect(&path).ok().map(|stream| (path, stream)))
            .collect();
        // All of them together have so long.
        let until = Instant::now() + PATIENCE;
        let greeted = connected.into_iter().map(|(path, stream)| (path, Client::greeted(stream, until)));
        let mut found: Vec<(PathBuf, Client)> =
            greeted.filter_map(|(path, client)| client.ok().map(|client| (path, client))).collect();
        match (found.pop(), found.is_empty()) {
            (Some((_, client)), true) => Ok(client),
            (Some((path, _)), false) => {
                let mut all: Vec<String> = found.iter().map(|(path, _)| path.display().to_string()).collect();
                all.push(path.display().to_string());
                Err(Failure::new(format!("several sockets answer, --socket says which: {}", all.join(", "))))
            }
            (None, _) => {
                let places: Vec<String> = places().iter().map(|place| place.display().to_string()).collect();
                Err(Failure::new(format!("no socket answers in {}; --socket says where one is", places.join(" or "))))
            }
        }
    }

    fn greeted(stream: UnixStream, until: Instant) -> Result<Client, Failure> {
        // A timeout of zero would be none; what is there is read within a millisecond as well.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        let mut client = Client { stream: BufReader::new(stream), answer: Value::Null };
        let greeting = client.read()?;
        // Requests may take their time: `drain --wait` as long as there are flows.
        client.stream.get_ref().set_read_timeout(None)?;
        match greeting["oxislirp"].as_u64() {
            Some(PROTOCOL) => Ok(client),
            Some(other) => Err(Failure::new(format!("it speaks version {other} of the protocol, not {PROTOCOL}"))),
            None => Err(Failure::new("who answers is no control socket")),
        }
    }

    fn read(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return Err(Failure::new("the connection has ended")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let seconds = PATIENCE.as_secs();
                return Err(Failure::new(format!(
                    "nobody answers within {seconds} seconds; the program may stand still"
                )));
            }
            result => result?,
        };
        serde_json::from_str(&line).map_err(|error| Failure::new(format!("an answer that is no JSON: {error}")))
    }

    /// Asks for something; the answer is there then.
    ///
    /// # Errors
    /// What the library says is wrong, or the connection has ended.
    pub(crate) fn ask(&mut self, word: &str, mut members: Value) -> Result<(), Failure> {
        members["id"] = 1.into();
        members["do"] = word.into();
        let line = members.to_string();
        if line.len() > LONGEST {
            let bytes = line.len();
            return Err(Failure::new(format!("the request has {bytes} bytes, and a control socket takes {LONGEST}")));
        }
        let mut answer = match self.stream.get_mut().write_all(format!("{line}\n").as_bytes()) {
            // A library that takes no more has said why before: that there are too many clients already, say. Where it has not, what the system
            // says of the writing is the reason.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                self.read().map_err(|_| Failure::from(error))?
            }
            written => {
                written?;
                self.read()?
            }
        };
        if let Some(text) = answer["error"]["message"].as_str() {
            return Err(Failure::new(text));
        }
        self.answer = answer["ok"].take();
        Ok(())
    }

    /// What was answered.
    pub(crate) fn take_answer(&mut self) -> Value {
        self.answer.take()
    }

    /// Asks for something of which there may be several pages: the entries of `list` in all of them, and the last answer.
    ///
    /// # Errors
    /// As for [`Client::ask`].
    pub(crate) fn ask_all(&mut self, word: &str, list: &str) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut after = json!(0);
        loop {
            self.ask(word, json!({ "after": after }))?;
            let mut page = self.take_answer();
            if let Value::Array(entries) = page[list].take() {
                all.extend(entries);
            }
            if page["next"].is_null() {
                return Ok(all);
            }
            after = page["next"].take();
        }
    }
}

/// Writes values to standard output as the library has said them, a line for each.
///
/// # Errors
/// What the system says.
pub(crate) fn say_each<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<(), Failure> {
    say(&values.into_iter().map(|value| format!("{value}\n")).collect::<String>())
}

fn places() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime.into_iter().chain([PathBuf::from("/run")]).map(|place| place.join(FOLDER)).collect()
}

fn sockets() -> Vec<PathBuf> {
    let entries = places().into_iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten();
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
    paths.sort();
    paths
}

/// A path as another process finds it.
///
/// # Errors
/// It cannot be said in JSON, or there is no current folder.
pub(crate) fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path)?;
    path.into_os_string().into_string().map_err(|_| Failure::new("the path is no text"))
}

/// Writes to standard output. Who reads no more, as `head`, ends the command without a word.
///
/// # Errors
/// What the system says.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}
