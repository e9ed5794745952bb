//! Tests that need a machine of their own: the test executable starts itself again, for one test, in new namespaces.

use std::process::{Command, Stdio};

/// What the child process gets for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A process: its own descriptor table and its own death.
    Process,
    /// A process in a network namespace in which only the loopback interface is up: there is no route anywhere else.
    Network,
    /// The same, and a mount namespace in which `/etc/resolv.conf` is the file that [`resolv_conf_path`] names.
    Resolver,
}

const CHILD: &str = "SLIRP_TEST_CHILD";
const RESOLV: &str = "SLIRP_TEST_RESOLV";

/// Runs the test `name` (the name of the calling test function) again in a child with `isolation`, and returns false
/// in the parent after the child passed. In the child it returns true: go on with the test.
///
/// Panics when the child fails, with its output. Where the machine forbids new namespaces the test is skipped and the
/// reason printed, unless `SLIRP_TEST_REQUIRE_NAMESPACES` is set.
pub fn isolated(name: &str, isolation: Isolation) -> bool {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        if isolation != Isolation::Process {
            loopback_up();
        }
        return true;
    }
    let exe = std::env::current_exe().expect("the test executable has a path");
    let resolv = std::env::temp_dir().join(format!("slirp-resolv-{}-{name}", std::process::id()));
    let mut command = match isolation {
        Isolation::Process => Command::new(&exe),
        Isolation::Network => {
            let mut c = Command::new("unshare");
            c.arg("-Urn").arg(&exe);
            c
        }
        Isolation::Resolver => {
            std::fs::write(&resolv, "").expect("a temporary file can be written");
            let mut c = Command::new("unshare");
            c.args(["-Urmn", "sh", "-ec", "mount --bind \"$SLIRP_TEST_RESOLV\" /etc/resolv.conf; exec \"$0\" \"$@\""]);
            c.arg(&exe).env(RESOLV, &resolv);
            c
        }
    };
    if isolation != Isolation::Process && !namespaces_work() {
        assert!(std::env::var_os("SLIRP_TEST_REQUIRE_NAMESPACES").is_none(), "namespaces are required but forbidden");
        eprintln!("SKIPPED {name}: this machine does not let the test make namespaces");
        return false;
    }
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(CHILD, name).stdin(Stdio::null());
    let output = command.output().expect("the test executable can be started again");
    let _ = std::fs::remove_file(&resolv);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed in its child process ({}):\n{text}", output.status);
    assert!(text.contains("1 passed"), "{name} did not run in its child process:\n{text}");
    false
}

/// The file that is mounted over `/etc/resolv.conf` in a child with [`Isolation::Resolver`]. Write it in place.
pub fn resolv_conf_path() -> std::path::PathBuf {
    std::env::var_os(RESOLV).expect("only in a child with a resolver file").into()
}

fn namespaces_work() -> bool {
    Command::new("unshare").args(["-Urmn", "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Sets the loopback interface of the new network namespace up.
#[cfg(unix)]
fn loopback_up() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // SAFETY: an all-zero ifreq is valid; the ioctls read and write only it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as _;
        request.ifr_name[1] = b'o' as _;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        assert_eq!(libc::ioctl(fd, libc::SIOCGIFFLAGS as _, &mut request), 0);
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        assert_eq!(libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &request), 0, "the loopback interface can be set up");
    }
}

/// There are no namespaces there.
#[cfg(windows)]
fn loopback_up() {
    unreachable!("a child in a namespace")
}

/// The descriptors that are open in this process.
pub fn open_descriptors() -> usize {
    // The directory being listed is a descriptor itself, so the number is one too high each time.
    std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
}
