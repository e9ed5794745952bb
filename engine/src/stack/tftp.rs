//! The TFTP server between the guest's datagrams and the host's directory.

use std::io;

use super::Stack;
use crate::flow::FlowKey;
use crate::flow::gate::Service;
use crate::flow::key::Endpoint;
use crate::flow::timers::Own;
use crate::host::fault::is_lack;
use crate::host::tftp_files::{Directory, ServedFile};
use crate::service::tftp::{TOS, TftpFile, TftpOpenError, TftpSource, try_later};

impl Stack {
    /// A datagram of `client` to port 69 of `server`, one of the virtual host's addresses, in this packet.
    pub(super) fn input_tftp(&mut self, client: Endpoint, server: Endpoint, payload: &[u8], packet: &[u8]) {
        if self.cx.keeps_from(Service::Tftp, client, server, Some(packet)) {
            return;
        }
        let now = self.cx.now;
        let ends = FlowKey { guest: client, remote: server };
        let may_spend = self.cx.datagrams_give_way();
        let (reserve, egress, tftp) = (&mut self.cx.reserve, &mut self.cx.egress, &mut self.tftp);
        let mut send = |ends: FlowKey, packet: &[u8]| egress.udp(ends.remote, ends.guest, packet, TOS, now);
        let mut take = || tftp.on_datagram(ends, payload, now, &mut send);
        let taken = if may_spend { reserve.spend(take) } else { take() };
        if taken.is_err() {
            send(ends, &try_later());
        }
        // The client hears of it in any case.
        let _ = self.cx.tell_of_lack(taken);
        self.await_clients();
    }

    pub(super) fn tftp_deadline(&mut self) {
        let (now, egress) = (self.cx.now, &mut self.cx.egress);
        self.tftp.on_deadline(now, |ends, packet| egress.udp(ends.remote, ends.guest, packet, TOS, now));
        self.await_clients();
    }

    fn await_clients(&mut self) {
        self.cx.timers.set(Own::Tftp, self.tftp.deadline());
    }
}

impl TftpSource for Directory {
    fn open(&self, name: &[u8]) -> Result<Box<dyn TftpFile>, TftpOpenError> {
        match Directory::open(self, name) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if is_lack(&error) => Err(TftpOpenError::Lack(error)),
            Err(_) => Err(TftpOpenError::Missing),
        }
    }
}

impl TftpFile for ServedFile {
    fn size(&self) -> u64 {
        ServedFile::size(self)
    }

    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        ServedFile::read_at(self, buffer, offset)
    }
}
