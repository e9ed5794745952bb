//! Words with a proxy over a stream of the host's: as many as can be had now. Connections that lead through a proxy have them, and so do
//! flows of datagrams.

use std::io;

use super::journal::End;
use crate::host::fault::Fault;
use crate::host::socket::Stream;
use crate::proxy::{Dialogue, Step};

/// How much is read at once. No answer that is waited for by its length is longer.
const READ: usize = 512;

/// What stands in the way of more words.
pub(crate) enum Pause {
    /// The proxy has not read.
    Writes,
    /// It has not answered.
    Reads,
    /// All was said.
    Through,
    Refused(End),
}

/// Says and hears what can be said and heard.
pub(crate) fn converse(stream: &Stream, words: &mut Dialogue) -> Pause {
    let mut buffer = [0; READ];
    loop {
        if !words.to_send().is_empty() {
            match outcome(stream.send(words.to_send(), &[])) {
                Ok(Some(sent)) => words.sent(sent),
                Ok(None) => return Pause::Writes,
                Err(()) => return Pause::Refused(End::NotConnected),
            }
            continue;
        }
        let wanted = words.wanted().min(READ);
        let (place, _) = buffer.split_at_mut(wanted);
        match outcome(stream.receive(place, &mut [])) {
            Ok(Some(0)) | Err(()) => return Pause::Refused(End::ProxyRefused),
            Ok(Some(length)) => match words.hear(place.get(..length).unwrap_or(place)) {
                Step::More => {}
                Step::Through => return Pause::Through,
                Step::Refused => return Pause::Refused(End::ProxyRefused),
                Step::NotAdmitted => return Pause::Refused(End::ProxyCredentials),
            },
            Ok(None) => return Pause::Reads,
        }
    }
}

/// How many bytes; none when it has to wait.
fn outcome(result: io::Result<usize>) -> Result<Option<usize>, ()> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if Fault::of(&error) == Fault::WouldBlock => Ok(None),
        Err(_) => Err(()),
    }
}
