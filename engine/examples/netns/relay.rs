//! Connections of the namespace that are led to a TCP server out here: this program answers them, as streams, and copies.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use oxislirp::drive::{GuestListener, GuestStream};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Leads whoever comes to `server`, until the driver ends.
pub(crate) fn relay(listener: GuestListener, server: SocketAddr) {
    thread::spawn(move || {
        while let Ok(guest) = listener.accept() {
            thread::spawn(move || {
                if let Err(error) = carry(&guest, server) {
                    eprintln!("{} to {server}: {error}", guest.peer());
                    guest.reset();
                }
            });
        }
    });
}

/// Copies both ways, each until its own end.
fn carry(guest: &GuestStream, server: SocketAddr) -> io::Result<()> {
    let server = &TcpStream::connect_timeout(&server, PATIENCE)?;
    thread::scope(|scope| {
        let upload = scope.spawn(|| {
            let copied = io::copy(&mut &*guest, &mut &*server);
            server.shutdown(Shutdown::Write).and(copied)
        });
        let end = |upload: thread::ScopedJoinHandle<'_, io::Result<u64>>| {
            upload.join().unwrap_or_else(|_| Err(io::Error::other("the upload has failed")))
        };
        let download = io::copy(&mut &*server, &mut &*guest);
        if download.is_ok() && server.peer_addr().is_ok() {
            // The server has ended its direction, and the guest may go on.
            guest.finish()?;
            return end(upload).map(drop);
        }
        if download.is_err() {
            // The other copy has nobody to copy from.
            guest.reset();
        }
        // The system tells of a connection that has broken off only once, and that may have been to the other copy.
        end(upload).and(download)?;
        guest.finish()
    })
}
