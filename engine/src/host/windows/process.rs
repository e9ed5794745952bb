//! Commands behind guest forwards: started on one end of a connection, and left alone. Source:
//! docs/contract/guestfwd-exec-unix.md section 4.

use std::io::{self, ErrorKind};
use std::os::windows::io::{FromRawHandle, FromRawSocket, IntoRawSocket, OwnedHandle};
use std::process::{Command, Stdio};

use socket2::Socket;
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, INVALID_SOCKET, IPPROTO_TCP, SOCK_STREAM, WSA_FLAG_NO_HANDLE_INHERIT, WSASocketW,
};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

use super::running::Process;
use crate::host::pair::{Incomplete, Pair};
use crate::host::socket::Stream;

/// Which thread of the process it is.
pub type ThreadNumber = u64;

/// The calling thread. Numbers of threads that have ended may be used again.
pub fn current_thread() -> ThreadNumber {
    // SAFETY: the function has no conditions.
    unsafe { GetCurrentThreadId() }.into()
}

/// Starts a command line, split as a shell does with quotes and backslashes but without any expansion, on one end of a
/// connection, and gives the other end. The program gets the connection as its standard input, output and error, and the environment
/// and directory of this process. What there is of the connection while the system has not completed it is kept in `pair`, for the
/// next try.
///
/// # Errors
/// `WouldBlock` when the connection is not complete yet; `InvalidInput` when the command line is empty or its quotes do not
/// match; what the system said when the connection could not be made, or the program not be started.
pub(crate) fn start(command_line: &[u8], pair: &mut Option<Box<Pair>>) -> io::Result<(Stream, Option<Process>)> {
    let mut words = words(command_line)?.into_iter();
    let (ours, theirs) = match Pair::ends(pair.take()) {
        Ok(both) => both,
        Err(Incomplete::Later(later)) => {
            *pair = Some(later);
            return Err(ErrorKind::WouldBlock.into());
        }
        Err(Incomplete::Never(error)) => return Err(error),
    };
    let end = || -> io::Result<Stdio> {
        let socket = theirs.try_clone()?.into_raw_socket();
        // SAFETY: a socket that was made without the flag for overlapped calls is a handle for files as well, and this one is ours.
        Ok(unsafe { OwnedHandle::from_raw_handle(socket as *mut _) }.into())
    };
    let (input, output, errors) = (end()?, end()?, end()?);
    let mut command = Command::new(words.next().unwrap_or_default());
    let child = command.args(words).stdin(input).stdout(output).stderr(errors).spawn()?;
    Ok((ours, Some(Process(child))))
}

/// Whether a line could be started, as far as that shows without a look at what programs there are.
///
/// # Errors
/// `InvalidInput`: it is empty, its quotes do not match, or it has a zero byte.
pub(crate) fn check(command_line: &[u8]) -> io::Result<()> {
    words(command_line).map(drop)
}

/// A socket whose connections [`Pair`] gives to programs. What is accepted is as its listener is: no socket for overlapped calls,
/// so that programs can take it for a file.
pub(in crate::host) fn listener() -> io::Result<Socket> {
    // SAFETY: the function takes numbers and no protocol's description.
    let socket = unsafe {
        WSASocketW(AF_INET.into(), SOCK_STREAM, IPPROTO_TCP, std::ptr::null(), 0, WSA_FLAG_NO_HANDLE_INHERIT)
    };
    if socket == INVALID_SOCKET {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made this socket for us.
    let listener = unsafe { Socket::from_raw_socket(socket as _) };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn words(command_line: &[u8]) -> io::Result<Vec<String>> {
    let line = std::str::from_utf8(command_line).ok().filter(|line| !line.contains('\0'));
    let words = line.and_then(shlex::split).unwrap_or_default();
    if words.first().is_none_or(String::is_empty) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is empty or its quotes do not match"));
    }
    Ok(words)
}
