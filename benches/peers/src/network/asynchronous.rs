//! The guest as a device of tokio's, and what an application writes around either of the two crates: connect to the host,
//! copy both ways.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::coop;

use super::Network;
use crate::cable::{Cable, Hook, Medium, until};
use crate::guest::Shape;

/// Octets of each of the two buffers of a copied connection.
const COPY: usize = 64 * 1024;

struct Inner {
    cable: Cable,
    /// Whoever waits for a packet of the guest.
    reader: Option<Waker>,
    /// When the clock of the link looks next.
    looks_at: i64,
}

/// The device that both crates read from and write to.
#[derive(Clone)]
pub struct Device(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    done: Notify,
    /// The link has something sooner than its clock looks.
    sooner: Notify,
}

impl Device {
    fn new(shape: Shape, capacity: usize) -> Device {
        let cable = Cable::new(shape, capacity, Medium::Ip);
        let inner = Mutex::new(Inner { cable, reader: None, looks_at: 0 });
        Device(Arc::new(Shared { inner, done: Notify::new(), sooner: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest's next packet, as `take` makes it.
    pub fn poll_packet<R>(&self, cx: &mut Context<'_>, take: impl FnOnce(&[u8]) -> R) -> Poll<R> {
        // As tokio's own devices do, so that one task does not keep the others from their turn.
        let step = ready!(coop::poll_proceed(cx));
        let mut inner = self.lock();
        if let Some(packet) = inner.cable.next() {
            step.made_progress();
            let taken = take(packet);
            return Poll::Ready(taken);
        }
        inner.reader = Some(cx.waker().clone());
        self.settle(inner);
        Poll::Pending
    }

    /// A packet for the guest.
    pub fn arrive(&self, packet: &[u8]) {
        let mut inner = self.lock();
        inner.cable.arrive(packet);
        self.settle(inner);
    }

    /// After whatever was done to the cable: tell whom it concerns.
    fn settle(&self, mut inner: MutexGuard<'_, Inner>) {
        let done = inner.cable.is_done();
        let reader = if inner.cable.has_next() { inner.reader.take() } else { None };
        let sooner = inner.cable.next_due().is_some_and(|due| due < inner.looks_at);
        drop(inner);
        if done {
            self.0.done.notify_one();
        }
        if let Some(reader) = reader {
            reader.wake();
        }
        if sooner {
            self.0.sooner.notify_one();
        }
    }

    /// The clock of the link and of the guest's patience.
    async fn clock(self) {
        loop {
            let due = {
                let mut inner = self.lock();
                inner.looks_at = inner.cable.tick();
                let due = inner.looks_at;
                self.settle(inner);
                due
            };
            tokio::select! {
                () = tokio::time::sleep(until(due)) => {}
                () = self.0.sooner.notified() => {}
            }
        }
    }
}

impl AsyncRead for Device {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.poll_packet(cx, |packet| buffer.put_slice(packet)).map(Ok)
    }
}

impl AsyncWrite for Device {
    fn poll_write(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>, packet: &[u8]) -> Poll<std::io::Result<usize>> {
        self.arrive(packet);
        Poll::Ready(Ok(packet.len()))
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Connect to the host in the name of a guest's connection to `destination` and carry bytes both ways until both have ended.
pub async fn forward<S: AsyncRead + AsyncWrite + Unpin>(mut guest: S, destination: SocketAddr) -> std::io::Result<()> {
    // The virtual network's address of the host means its loopback, as it does for this project's stack.
    let mut host = TcpStream::connect((Ipv4Addr::LOCALHOST, destination.port())).await?;
    host.set_nodelay(true)?;
    tokio::io::copy_bidirectional_with_sizes(&mut guest, &mut host, COPY, COPY).await?;
    Ok(())
}

/// A runtime, the device, and the guest behind it.
pub struct Asynchronous {
    runtime: Runtime,
    device: Device,
}

impl Asynchronous {
    /// `start` is called inside the runtime.
    pub fn new(
        multi: bool,
        shape: Shape,
        capacity: usize,
        start: impl FnOnce(Device) -> std::io::Result<()>,
    ) -> std::io::Result<Asynchronous> {
        let mut builder = if multi { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        if multi {
            builder.worker_threads(2);
        }
        let runtime = builder.enable_all().build()?;
        let device = Device::new(shape, capacity);
        let guard = runtime.enter();
        start(device.clone())?;
        runtime.spawn(device.clone().clock());
        drop(guard);
        Ok(Asynchronous { runtime, device })
    }
}

impl Network for Asynchronous {
    fn run(&mut self, limit: Duration, hook: Hook) -> bool {
        self.with(&mut {
            let mut hook = Some(hook);
            move |cable: &mut Cable| {
                if let Some(hook) = hook.take() {
                    cable.watch(hook);
                }
            }
        });
        // More than one may have told that the hook is content, and one of them of the last run's.
        let done = async {
            while !self.device.lock().cable.is_done() {
                self.device.0.done.notified().await;
            }
        };
        self.runtime.block_on(async {
            let _ = tokio::time::timeout(limit, done).await;
        });
        self.device.lock().cable.unwatch()
    }

    fn with(&mut self, action: &mut dyn FnMut(&mut Cable)) {
        let mut inner = self.device.lock();
        action(&mut inner.cable);
        self.device.settle(inner);
    }
}
