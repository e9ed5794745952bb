//! The crate `ipstack`, as its README and its example `tun` use it.

use ipstack::{IpStack, IpStackConfig, IpStackStream, TcpConfig, TcpOptions};

use super::asynchronous::{Asynchronous, forward};
use crate::guest::Shape;

/// Octets that may be unacknowledged towards the guest. It does not scale windows, so that 64 KiB is what can be used; its
/// example has 256 KiB.
const UNACKNOWLEDGED: u32 = 256 * 1024;
/// Octets of the read buffer, which is the window that it offers: the most that can be said without scaling. Its own default
/// is 16 KiB.
const READ: usize = 65_535;

pub fn start(multi: bool, shape: Shape, capacity: usize) -> std::io::Result<Asynchronous> {
    Asynchronous::new(multi, shape, capacity, |device| {
        let mtu = u16::try_from(shape.mtu).map_err(std::io::Error::other)?;
        let mut tcp = TcpConfig::default();
        tcp.options = Some(vec![TcpOptions::MaximumSegmentSize(mtu - 40)]);
        tcp.max_unacked_bytes = UNACKNOWLEDGED;
        tcp.read_buffer_size = READ;
        let mut config = IpStackConfig::default();
        config.mtu(mtu).map_err(std::io::Error::other)?;
        config.with_tcp_config(tcp);
        let mut stack = IpStack::new(config, device);
        tokio::spawn(async move {
            while let Ok(stream) = stack.accept().await {
                if let IpStackStream::Tcp(stream) = stream {
                    let destination = stream.peer_addr();
                    tokio::spawn(forward(stream, destination));
                }
            }
        });
        Ok(())
    })
}
