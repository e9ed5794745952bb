//! Descriptors given from one process to another over a Unix socket (SCM_RIGHTS, unix(7)).

use std::error::Error;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

pub(crate) fn give(to: impl AsFd, descriptor: impl AsFd) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let descriptors = [descriptor.as_fd()];
    let mut message = SendAncillaryBuffer::new(&mut room);
    message.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(to, &[IoSlice::new(b"!")], &mut message, SendFlags::empty())?;
    Ok(())
}

pub(crate) fn take(from: impl AsFd) -> Result<OwnedFd, Box<dyn Error>> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut room);
    recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut message, RecvFlags::CMSG_CLOEXEC)?;
    match message.drain().next() {
        Some(RecvAncillaryMessage::ScmRights(mut descriptors)) => descriptors.next().ok_or("nothing was given".into()),
        _ => Err("the other process gave nothing".into()),
    }
}
