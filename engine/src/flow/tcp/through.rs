//! Connections through a proxy: what is said to it before the guest hears that it is connected. Until then the connection is one
//! that is being connected, for which nobody reads or writes anything else.

use std::io;

use super::{Connecting, TcpFlow};
use crate::flow::context::Context;
use crate::flow::journal::End;
use crate::host::fault::Fault;
use crate::proxy::Step;

/// How much is read at once. No answer that is waited for by its length is longer.
const READ: usize = 512;

/// What stands in the way of more words.
enum Pause {
    /// The proxy, which has not read, or not answered.
    Waits,
    Through,
    Refused(End),
}

impl TcpFlow {
    /// The proxy is connected, or has read or said something.
    #[cold]
    pub(super) fn talk(&mut self, mut connecting: Box<Connecting>, cx: &mut Context) {
        match self.converse(&mut connecting) {
            Pause::Waits => self.host.connect_anew(connecting),
            Pause::Through => self.conn.accept(cx.now),
            Pause::Refused(why) => {
                self.host.account.ends(why);
                self.host.reset_on_close();
                self.conn.abort(cx.now);
            }
        }
    }

    fn converse(&mut self, connecting: &mut Connecting) -> Pause {
        let Some(words) = &mut connecting.words else { return Pause::Through };
        let mut buffer = [0; READ];
        loop {
            let Some(stream) = self.host.stream() else { return Pause::Refused(End::NotConnected) };
            if !words.to_send().is_empty() {
                match outcome(stream.send(words.to_send(), &[])) {
                    Ok(Some(sent)) => words.sent(sent),
                    Ok(None) => {
                        self.host.waits_to_write();
                        connecting.asks = true;
                        return Pause::Waits;
                    }
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
                Ok(None) => {
                    self.host.waits_to_read();
                    connecting.asks = false;
                    return Pause::Waits;
                }
            }
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
