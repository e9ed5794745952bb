//! The TFTP server between the guest's datagrams and the host's directory.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::Stack;
use crate::flow::key::Endpoint;
use crate::flow::policy::Policy;
use crate::host::tftp_files::{Directory, ServedFile};
use crate::service::tftp::{Contents, Files};

pub(super) const PORT_TFTP: u16 = 69;
/// The type of service of TFTP packets, "low delay"; source: contract/tftp.md.
const TOS_TFTP: u8 = 0x10;

impl Stack {
    pub(super) fn input_tftp(&mut self, client: Endpoint, payload: &[u8]) {
        let (now, egress, policy) = (self.cx.now, &mut self.cx.egress, &self.cx.policy);
        self.tftp.on_datagram(client.socket_address(), payload, now, |client, packet| {
            egress.udp(server_for(client, policy), client.into(), packet, TOS_TFTP, now);
        });
    }

    pub(super) fn tftp_deadline(&mut self) {
        let (now, egress, policy) = (self.cx.now, &mut self.cx.egress, &self.cx.policy);
        self.tftp.on_deadline(now, |client, packet| {
            egress.udp(server_for(client, policy), client.into(), packet, TOS_TFTP, now);
        });
    }
}

/// The server's address in the client's family.
fn server_for(client: SocketAddr, policy: &Policy) -> Endpoint {
    let host: IpAddr = if client.is_ipv6() { policy.vhost6.into() } else { policy.vhost.into() };
    Endpoint::new(host, PORT_TFTP)
}

impl Files for Directory {
    type File = ServedFile;

    fn open(&self, name: &[u8]) -> io::Result<ServedFile> {
        Directory::open(self, name)
    }
}

impl Contents for ServedFile {
    fn size(&self) -> u64 {
        ServedFile::size(self)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        ServedFile::read_at(self, buffer, offset)
    }
}
