//! Commands behind guest forwards: started on one end of a connection, and left alone. Source:
//! docs/contract/guestfwd-exec-unix.md section 4.
//!
//! A command is not the application's child: a process in between starts it and ends at once, so that the application
//! neither gets a zombie nor has to wait for a process that it knows nothing of.

use std::ffi::{CString, OsStr, OsString, c_char, c_int};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use socket2::{Domain, Protocol, Socket, Type};

use super::pair::{Incomplete, Pair};
use super::running::Process;
use super::socket::{Stream, new_socket};

/// Where programs are looked for when there is no PATH, as the C library's `execvp` does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// The first descriptor that a command does not get: 0, 1 and 2 are its connection, 3 is where a failure is reported,
/// and closes when the program starts.
const FIRST_CLOSED: c_int = 4;
const REPORT: c_int = 3;
/// The most descriptors that are closed one by one, where there is no call that closes them all.
const MOST_CLOSED: libc::c_long = 1 << 20;

/// Which thread of the process it is.
pub type ThreadNumber = u64;

/// The calling thread. Numbers of threads that have ended may be used again.
pub fn current_thread() -> ThreadNumber {
    // Not of this width everywhere.
    #[allow(clippy::unnecessary_cast)]
    // SAFETY: pthread_self has no conditions.
    unsafe {
        libc::pthread_self() as ThreadNumber
    }
}

/// Starts a command line, split as a shell does with quotes and backslashes but without any expansion, on one end of a
/// connection, and gives the other end. The program gets the connection as its descriptors 0, 1 and 2 and no other one,
/// a session of its own, no blocked signals, and the environment and directory of this process. What there is of the
/// connection while the kernel has not completed it is kept in `pair`, for the next try.
///
/// # Errors
/// `WouldBlock` when the connection is not complete yet; `InvalidInput` when the command line is empty or its quotes do not
/// match; what the system said when the connection or the process could not be made, or the program not be started
/// (`ENOENT`, `EACCES`).
pub(crate) fn start(command_line: &[u8], pair: &mut Option<Box<Pair>>) -> io::Result<(Stream, Option<Process>)> {
    // What cannot be started needs no connection. It is not looked at again with every try.
    let program = if pair.is_none() { Some(Program::parse(command_line)?) } else { None };
    let (ours, theirs) = connection(pair)?;
    let mut program = program.map_or_else(|| Program::parse(command_line), Ok)?;
    let process = program.spawn(theirs.as_raw_fd())?;
    Ok((ours, process))
}

/// Whether a line could be started, as far as that shows without a look at what programs there are.
///
/// # Errors
/// `InvalidInput`: it is empty, its quotes do not match, or it has a zero byte.
pub(crate) fn check(command_line: &[u8]) -> io::Result<()> {
    Program::words(command_line).map(drop)
}

/// A connection of this process with itself: our end, and the end for a command. It is a TCP connection, as some servers
/// started this way ask for their peer's address or read urgent data; where there is no loopback network it is a pair of
/// Unix sockets.
fn connection(pair: &mut Option<Box<Pair>>) -> io::Result<(Stream, OwnedFd)> {
    let error = match Pair::ends(pair.take()) {
        Ok((ours, theirs)) => return Ok((ours, theirs.into())),
        Err(Incomplete::Later(later)) => {
            *pair = Some(later);
            return Err(ErrorKind::WouldBlock.into());
        }
        Err(Incomplete::Never(error)) => error,
    };
    if !matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENETUNREACH)) {
        return Err(error);
    }
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
    ours.set_nonblocking(true)?;
    Ok((Stream::connected(ours), theirs.into()))
}

/// A socket whose connections [`Pair`] gives to programs.
pub(super) fn listener() -> io::Result<Socket> {
    new_socket(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
}

/// Everything a new process needs, made before it exists: between `fork` and `exec` of a program with threads nothing
/// may be allocated and no lock be taken.
struct Program {
    /// The files that the program can be, in the order in which they are tried.
    files: Vec<CString>,
    /// `argv`, ended by a null pointer.
    arguments: Vec<*const c_char>,
    /// The `argv` of a shell for a script without an interpreter line: its second word is the script's path.
    shell: Vec<*const c_char>,
    /// `envp`, ended by a null pointer.
    environment: Vec<*const c_char>,
    /// Every descriptor is below this one, as far as they are to be closed one by one.
    descriptors: c_int,
    /// What the pointers above point to.
    _texts: Vec<CString>,
}

const SHELL: &std::ffi::CStr = c"/bin/sh";

impl Program {
    /// The words of a command line, the first of which is a program's name.
    fn words(command_line: &[u8]) -> io::Result<Vec<CString>> {
        let words = shlex::bytes::split(command_line).unwrap_or_default();
        if words.first().is_none_or(Vec::is_empty) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is empty or its quotes do not match"));
        }
        words.into_iter().map(text).collect()
    }

    fn parse(command_line: &[u8]) -> io::Result<Program> {
        let words = Program::words(command_line)?;
        let name = words.first().map(|name| name.to_bytes()).unwrap_or_default();
        let files = candidates(name, std::env::var_os("PATH"))?;
        let variables = std::env::vars_os().map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            text(variable.into_vec())
        });
        let variables: Vec<CString> = variables.collect::<io::Result<_>>()?;

        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let mut arguments = pointers(&words);
        arguments.push(ptr::null());
        let mut shell = vec![SHELL.as_ptr(), ptr::null()];
        shell.extend(arguments.iter().skip(1));
        let mut environment = pointers(&variables);
        environment.push(ptr::null());
        // SAFETY: sysconf takes no pointers.
        let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
        let descriptors = c_int::try_from(limit.clamp(256, MOST_CLOSED)).unwrap_or(256);
        let texts = words.into_iter().chain(variables).collect();
        Ok(Program { files, arguments, shell, environment, descriptors, _texts: texts })
    }

    /// Starts the program with `socket` as its descriptors 0, 1 and 2. Tells which process it is, where the one in between could
    /// say so.
    fn spawn(&mut self, socket: RawFd) -> io::Result<Option<Process>> {
        let (mut failure, report) = io::pipe()?;
        // A handler of the application must not run in a process that shares nothing with it but its memory's contents.
        // SAFETY: both sets are live locals; all zero bytes are a valid set.
        let (before, child) = unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            (before, libc::fork())
        };
        if child == 0 {
            // SAFETY: this is the new process, and everything the function is given was made before.
            unsafe { self.in_between(socket, report.as_raw_fd()) }
        }
        let error = io::Error::last_os_error();
        // SAFETY: the set is the one that was read above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
        drop(report);
        if child < 0 {
            return Err(error);
        }
        // The application may ignore SIGCHLD, or have waited for every child there is: then there is nobody to wait for.
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(child, ptr::null_mut(), 0) } < 0
            && io::Error::last_os_error().kind() == ErrorKind::Interrupted
        {}
        // Ends when the program has started, which closes the other end, or with an error number. The process in between gives
        // the number of the program's, below zero to tell it from one.
        let mut numbers = Vec::new();
        failure.read_to_end(&mut numbers)?;
        let (numbers, _) = numbers.as_chunks();
        let numbers = numbers.iter().map(|bytes| c_int::from_ne_bytes(*bytes));
        let mut process = None;
        for number in numbers {
            if number >= 0 {
                return Err(io::Error::from_raw_os_error(number));
            }
            process = number.checked_neg().map(Process);
        }
        Ok(process)
    }

    /// The process in between: starts another one and ends.
    ///
    /// # Safety
    /// To be called in a process that `fork` has just made. Only functions that signal-safety(7) allows are called.
    unsafe fn in_between(&mut self, socket: RawFd, report: RawFd) -> ! {
        // SAFETY: see signal-safety(7) for all of these; the process ends here.
        unsafe {
            match libc::fork() {
                0 => {
                    self.become_program(socket, report);
                }
                -1 => tell(report, last_errno()),
                program => tell(report, program.wrapping_neg()),
            }
            libc::_exit(0)
        }
    }

    /// The new process: becomes the program, or reports why not and ends.
    ///
    /// # Safety
    /// As for [`Program::in_between`].
    unsafe fn become_program(&mut self, socket: RawFd, report: RawFd) -> ! {
        // SAFETY: system calls on descriptors and signals of this process, with pointers to live locals or to what
        // `self` owns; nothing is allocated.
        unsafe {
            libc::setsid();
            default_signals();
            // One of them may be a standard descriptor, if those were closed: it is moved out of the way first.
            let socket = out_of_the_way(socket);
            let report = if socket < 0 { report } else { out_of_the_way(report) };
            let moved = report >= FIRST_CLOSED
                && (0..REPORT).all(|standard| libc::dup2(socket, standard) == standard)
                && libc::dup2(report, REPORT) == REPORT
                && libc::fcntl(REPORT, libc::F_SETFD, libc::FD_CLOEXEC) == 0;
            if moved {
                self.close_others();
                tell(REPORT, self.execute());
            } else {
                tell(report, last_errno());
            }
            libc::_exit(127)
        }
    }

    /// Closes every descriptor from [`FIRST_CLOSED`] on.
    ///
    /// # Safety
    /// As for [`Program::in_between`].
    unsafe fn close_others(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // SAFETY: the call takes no pointers. It is made by number as older C libraries do not know it.
        if unsafe { libc::syscall(libc::SYS_close_range, FIRST_CLOSED as libc::c_uint, libc::c_uint::MAX, 0) } == 0 {
            return;
        }
        for descriptor in FIRST_CLOSED..self.descriptors {
            // SAFETY: nothing in this process uses the descriptor any more.
            unsafe { libc::close(descriptor) };
        }
    }

    /// Replaces this process with the program, or gives the error number. As `execvp` does, but for memory.
    ///
    /// # Safety
    /// As for [`Program::in_between`].
    unsafe fn execute(&mut self) -> c_int {
        let mut outcome = libc::ENOENT;
        for file in &self.files {
            // SAFETY: the file is a C string, the lists are ended by null pointers and point to C strings of `self`.
            unsafe { libc::execve(file.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
            match last_errno() {
                libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG => {}
                libc::EACCES => outcome = libc::EACCES,
                libc::ENOEXEC => {
                    if let Some(script) = self.shell.get_mut(1) {
                        *script = file.as_ptr();
                    }
                    // SAFETY: as above.
                    unsafe { libc::execve(SHELL.as_ptr(), self.shell.as_ptr(), self.environment.as_ptr()) };
                    return last_errno();
                }
                errno => return errno,
            }
        }
        outcome
    }
}

/// The files a program's name can stand for: itself when it has a slash, else one in each directory of `path`.
fn candidates(name: &[u8], path: Option<OsString>) -> io::Result<Vec<CString>> {
    if name.contains(&b'/') {
        return Ok(vec![text(name.to_vec())?]);
    }
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let file_in =
        |directory: std::path::PathBuf| text(directory.join(OsStr::from_bytes(name)).into_os_string().into_vec());
    std::env::split_paths(&path).map(file_in).collect()
}

fn text(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidInput, "a zero byte cannot be part of it"))
}

/// A copy of the descriptor that is none of those a command gets, if it is one of them. Negative when there is none left.
///
/// # Safety
/// As for [`Program::in_between`].
unsafe fn out_of_the_way(descriptor: RawFd) -> RawFd {
    if descriptor >= FIRST_CLOSED {
        return descriptor;
    }
    // SAFETY: the call takes no pointers.
    unsafe { libc::fcntl(descriptor, libc::F_DUPFD, FIRST_CLOSED) }
}

fn last_errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Signals as a program expects them: none blocked, none handled. Those that the application ignores stay ignored, but
/// for the two that a program counts on.
///
/// # Safety
/// As for [`Program::in_between`].
unsafe fn default_signals() {
    // SAFETY: all zero bytes are a valid action (the default one) and a valid, empty, set; the pointers are to locals.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            let mut now: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(signal, ptr::null(), &raw mut now) == 0;
            let counted_on = matches!(signal, libc::SIGCHLD | libc::SIGPIPE);
            if known && (counted_on || now.sa_sigaction != libc::SIG_IGN) {
                libc::sigaction(signal, &raw const default, ptr::null_mut());
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Reports a number to the process that waits for it, in one piece.
///
/// # Safety
/// As for [`Program::in_between`].
unsafe fn tell(report: RawFd, number: c_int) {
    let bytes = number.to_ne_bytes();
    // SAFETY: the pointer and length are those of a live array. A report that cannot be made has nobody to hear of it.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a command wrote until its end.
    fn output(command_line: &str) -> String {
        let (stream, _) = start(command_line.as_bytes(), &mut None).expect("the command starts");
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match stream.receive(&mut buffer, &mut []) {
                Ok(0) => return String::from_utf8(text).expect("the test's commands write text"),
                Ok(length) => text.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut wanted = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    // SAFETY: the pointer is to one live pollfd.
                    assert_eq!(unsafe { libc::poll(&raw mut wanted, 1, 15_000) }, 1, "the command says nothing");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn words_are_those_of_a_shell_without_its_expansions() {
        assert_eq!(output(r#"printf '%s|' a "b c" d\ e '$HOME' "*" # the rest"#), "a|b c|d e|$HOME|*|");
    }

    #[test]
    fn an_unusable_command_line_is_told_from_a_missing_program() {
        for unusable in ["", "  ", "# only this", "cat 'open", "''"] {
            assert_eq!(
                start(unusable.as_bytes(), &mut None).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{unusable:?}"
            );
        }
        for missing in ["no-such-program-anywhere", "/no/such/program x"] {
            assert_eq!(
                start(missing.as_bytes(), &mut None).unwrap_err().raw_os_error(),
                Some(libc::ENOENT),
                "{missing:?}"
            );
        }
        assert_eq!(start(b"/dev/null", &mut None).unwrap_err().raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn a_program_is_searched_in_every_directory_of_the_path() {
        let files = candidates(b"x", Some("/a:/b/c".into())).unwrap();
        assert_eq!(files, [c"/a/x".into(), CString::from(c"/b/c/x")]);
        assert_eq!(candidates(b"./x", Some("/a".into())).unwrap(), [CString::from(c"./x")]);
        assert_eq!(candidates(b"x", None).unwrap(), [c"/bin/x".into(), CString::from(c"/usr/bin/x")]);
    }

    #[test]
    fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("slirp-script-{}", std::process::id()));
        std::fs::write(&path, "echo \"$1 of $#\"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(output(&format!("{} one two", path.display())), "one of 2\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_command_has_its_connection_and_nothing_else() {
        let other = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: a plain call; the copy has no close-on-exec flag, as with a careless application's descriptors.
        let leaky = unsafe { libc::fcntl(other.as_raw_fd(), libc::F_DUPFD, 10) };
        let listed = output("sh -c 'ls /proc/$$/fd; exec grep -E \"Sig(Blk|Ign)\" /proc/self/status'");
        // SAFETY: the descriptor was made above and is closed once.
        unsafe { libc::close(leaky) };
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.get(..3), Some(&["0", "1", "2"][..]), "{listed}");
        let mask = |line: usize| u64::from_str_radix(lines[line].split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask(3), 0, "{listed}");
        // Rust programs ignore SIGPIPE; the command does not.
        assert_eq!(mask(4) & (1 << (libc::SIGPIPE - 1) | 1 << (libc::SIGCHLD - 1)), 0, "{listed}");
    }

    #[test]
    fn the_two_ends_are_connected_over_loopback() {
        let mut pair = None;
        let (ours, theirs) = std::iter::repeat_with(|| connection(&mut pair)).find_map(Result::ok).unwrap();
        let theirs = Socket::from(theirs);
        let here = ours.local_address().unwrap();
        assert!(here.ip().is_loopback());
        assert_eq!(theirs.peer_addr().unwrap().as_socket(), Some(here));
        assert!(!theirs.nonblocking().unwrap(), "a program expects its standard input to wait");
    }
}
