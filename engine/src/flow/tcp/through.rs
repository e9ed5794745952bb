//! Connections through a proxy: what is said to it before the guest hears that it is connected. Until then the connection is one
//! that is being connected, for which nobody reads or writes anything else.

use super::{Connecting, TcpFlow};
use crate::flow::context::Context;
use crate::flow::converse::{Pause, converse};
use crate::flow::journal::End;

impl TcpFlow {
    /// The proxy is connected, or has read or said something.
    #[cold]
    pub(super) fn talk(&mut self, mut connecting: Box<Connecting>, cx: &mut Context) {
        let pause = match (&mut connecting.words, self.host.stream()) {
            (None, _) => Pause::Through,
            (Some(_), None) => Pause::Refused(End::NotConnected),
            (Some(words), Some(stream)) => converse(stream, words),
        };
        match pause {
            Pause::Writes => {
                self.host.waits_to_write();
                connecting.asks = true;
                self.host.connect_anew(connecting);
            }
            Pause::Reads => {
                self.host.waits_to_read();
                connecting.asks = false;
                self.host.connect_anew(connecting);
            }
            Pause::Through => self.conn.accept(cx.now),
            Pause::Refused(why) => {
                self.host.account.ends(why);
                self.host.reset_on_close();
                self.conn.abort(cx.now);
            }
        }
    }
}
