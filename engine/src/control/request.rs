//! What a line asks for.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::answer::{Kind, Trouble};
use super::unique::Unique;

/// A request as it is written.
#[derive(Debug)]
pub(super) enum Request {
    Version,
    ForwardList { after: usize, most: usize },
    ForwardAdd(Vec<WrittenForward>),
    ForwardRemove(Vec<WrittenPlace>),
    ForwardReplace(Vec<WrittenForward>),
    Flows { after: u64, most: usize },
    Counters,
    CaptureStart(WrittenCapture),
    CaptureStop,
    LogStart(WrittenLog),
    LogStop,
    PolicyTest(WrittenQuestion),
    PolicyShow { after: usize, most: usize },
    PolicyReplace { text: String },
    Drain { wait: bool },
    Resume,
}

/// A host forward, or a range of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenForward {
    pub(super) protocol: String,
    pub(super) listen: String,
    pub(super) guest: Option<String>,
    #[serde(default)]
    pub(super) only_v6: bool,
    #[serde(default)]
    pub(super) wait: bool,
}

/// Where host forwards listen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenPlace {
    pub(super) protocol: String,
    pub(super) listen: String,
}

/// Where frames are captured to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenCapture {
    pub(super) file: String,
    pub(super) snap_length: Option<usize>,
    pub(super) max_bytes: Option<u64>,
    pub(super) files: Option<u32>,
    // Which frames: those to which all of this applies.
    #[serde(default)]
    pub(super) protocol: Vec<String>,
    #[serde(default)]
    pub(super) guest: Vec<String>,
    #[serde(default)]
    pub(super) remote: Vec<String>,
    #[serde(default)]
    pub(super) guest_port: Vec<String>,
    #[serde(default)]
    pub(super) remote_port: Vec<String>,
    #[serde(default)]
    pub(super) rule: Vec<std::num::NonZeroU32>,
}

/// Where the log goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenLog {
    pub(super) file: String,
    pub(super) max_bytes: Option<u64>,
    pub(super) files: Option<u32>,
}

/// A flow that might begin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenQuestion {
    pub(super) protocol: Option<String>,
    pub(super) guest: Option<String>,
    /// Where the guest goes to.
    pub(super) to: Option<String>,
    /// Who comes to the guest.
    pub(super) from: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forwards<T> {
    forwards: Vec<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<u64>,
    most: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    wait: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The most entries of one page of an answer, and how many there are when nobody says.
const PAGE: usize = 256;

/// Reads a line: the id to answer with, and the request. The id is null where none can be read.
pub(super) fn read(line: &[u8]) -> (Value, Result<Request, Trouble>) {
    let syntax = |message: String| (Value::Null, Err(Trouble::new(Kind::Syntax, message)));
    let (mut members, twice) = match serde_json::from_slice(line) {
        Ok(Unique { value: Value::Object(members), twice }) => (members, twice),
        Ok(_) => return syntax("the line is no object of JSON".into()),
        Err(error) => return syntax(format!("the line is no object of JSON: {error}")),
    };
    let id = members.remove("id").unwrap_or_default();
    if id.is_object() || id.is_array() {
        return syntax("the id is neither a number nor a text".into());
    }
    if let Some(name) = twice {
        return (id, Err(Trouble::invalid(format!("`{name}` is there twice"))));
    }
    let request = match members.remove("do") {
        Some(Value::String(word)) => request(&word, members),
        Some(_) => Err(Trouble::invalid("`do` is no text")),
        None => Err(Trouble::invalid("there is no `do`, which says what to do")),
    };
    (id, request)
}

fn request(word: &str, members: Map<String, Value>) -> Result<Request, Trouble> {
    let nothing = |members| fields::<Nothing>(members);
    Ok(match word {
        "version" => nothing(members).map(|_| Request::Version)?,
        "forward.list" => {
            let (after, most) = place(members)?;
            Request::ForwardList { after, most }
        }
        "forward.add" => Request::ForwardAdd(fields::<Forwards<_>>(members)?.forwards),
        "forward.remove" => Request::ForwardRemove(fields::<Forwards<_>>(members)?.forwards),
        "forward.replace" => Request::ForwardReplace(fields::<Forwards<_>>(members)?.forwards),
        "flows" => {
            let (after, most) = page(members)?;
            Request::Flows { after, most }
        }
        "counters" => nothing(members).map(|_| Request::Counters)?,
        "capture.start" => Request::CaptureStart(fields(members)?),
        "capture.stop" => nothing(members).map(|_| Request::CaptureStop)?,
        "log.start" => Request::LogStart(fields(members)?),
        "log.stop" => nothing(members).map(|_| Request::LogStop)?,
        "policy.test" => Request::PolicyTest(fields(members)?),
        "policy.show" => {
            let (after, most) = place(members)?;
            Request::PolicyShow { after, most }
        }
        "policy.replace" => Request::PolicyReplace { text: fields::<Text>(members)?.text },
        "drain" => Request::Drain { wait: fields::<Wait>(members)?.wait },
        "resume" => nothing(members).map(|_| Request::Resume)?,
        _ => return Err(Trouble::new(Kind::Unknown, format!("there is no request `{word}`"))),
    })
}

fn fields<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Trouble> {
    T::deserialize(Value::Object(members)).map_err(|error| Trouble::invalid(error.to_string()))
}

/// The same in a list whose entries have no numbers.
fn place(members: Map<String, Value>) -> Result<(usize, usize), Trouble> {
    page(members).map(|(after, most)| (usize::try_from(after).unwrap_or(usize::MAX), most))
}

fn page(members: Map<String, Value>) -> Result<(u64, usize), Trouble> {
    let Page { after, most } = fields(members)?;
    let most = most.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&most) {
        return Err(Trouble::invalid(format!("`most` is {most}, and not 1 to {PAGE}")));
    }
    Ok((after.unwrap_or(0), most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        format!("{:?}", read(line.as_bytes()).1.unwrap_err())
    }

    #[test]
    fn a_request_is_read_whole_or_not_at_all() {
        let (id, request) = read(br#"{"id":7,"do":"flows","after":3}"#);
        assert!(matches!(request, Ok(Request::Flows { after: 3, most: PAGE })) && id == 7);
        for (line, what) in [
            ("", "Syntax"),
            ("[]", "Syntax"),
            ("{\"id\":[]}", "Syntax"),
            ("{}", "there is no `do`"),
            ("{\"do\":1}", "`do` is no text"),
            ("{\"do\":\"version\",\"do\":\"drain\"}", "Invalid, message: \"`do` is there twice"),
            ("{\"do\":\"policy.test\",\"to\":\"192.0.2.1:1\",\"to\":\"192.0.2.2:1\"}", "`to` is there twice"),
            ("{\"do\":\"flies\"}", "there is no request `flies`"),
            ("{\"do\":\"version\",\"x\":1}", "unknown field `x`"),
            ("{\"do\":\"flows\",\"most\":257}", "not 1 to 256"),
            ("{\"do\":\"flows\",\"after\":-1}", "expected u64"),
            ("{\"do\":\"forward.add\"}", "missing field `forwards`"),
            ("{\"do\":\"forward.add\",\"forwards\":[{\"protocol\":\"tcp\"}]}", "missing field `listen`"),
        ] {
            assert!(wrong(line).contains(what), "{line}: {}", wrong(line));
        }
        // Deeper than anybody writes.
        assert!(wrong(&format!("{{\"id\":{}", "[".repeat(10_000))).contains("recursion limit"));
    }
}
