//! The crate `netstack-smoltcp`, as its README and its example `forward` use it.

use std::future::poll_fn;

use futures::{SinkExt, StreamExt};
use netstack_smoltcp::StackBuilder;

use super::asynchronous::{Asynchronous, forward};
use crate::guest::Shape;

/// Octets of each of a connection's two windows. Its own default is 320 KiB. `PEERS_WINDOW` tries another one.
const WINDOW: u32 = 1 << 20;
/// Packets that its queues hold; `PEERS_QUEUE` tries another number.
const QUEUE: usize = 4096;

pub fn start(multi: bool, shape: Shape, capacity: usize) -> std::io::Result<Asynchronous> {
    Asynchronous::new(multi, shape, capacity, |device| {
        let window = option("PEERS_WINDOW", WINDOW as usize) as u32;
        let queue = option("PEERS_QUEUE", QUEUE);
        let (stack, runner, _, listener) = StackBuilder::default()
            .stack_buffer_size(queue)
            .tcp_buffer_size(queue)
            .tcp_recv_buffer_size(window)
            .tcp_send_buffer_size(window)
            .enable_tcp(true)
            .mtu(shape.mtu)
            .build()?;
        let mut listener = listener.ok_or_else(|| std::io::Error::other("no listener"))?;
        if let Some(runner) = runner {
            tokio::spawn(runner);
        }
        let (mut sink, mut stream) = stack.split();
        let guest = device.clone();
        tokio::spawn(async move {
            while let Some(packet) = stream.next().await {
                if let Ok(packet) = packet {
                    guest.arrive(&packet);
                }
            }
        });
        tokio::spawn(async move {
            loop {
                let packet = poll_fn(|cx| device.poll_packet(cx, <[u8]>::to_vec)).await;
                if sink.send(packet).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((stream, _, destination)) = listener.next().await {
                tokio::spawn(forward(stream, destination));
            }
        });
        Ok(())
    })
}

/// A number of the environment, for trying others.
fn option(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
