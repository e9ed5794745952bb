//! How often the calling thread has left its processor.

use crate::link::handover::trust::Switches;

/// What the system has counted for the calling thread: a system call that waits is a voluntary switch. `None` where the
/// system does not count that for threads.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub fn switches_of_this_thread() -> Option<Switches> {
    // Of getrusage(2); not every declaration of the C library has it.
    const RUSAGE_THREAD: libc::c_int = 1;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the structure is large enough, and all of its fields may be zero.
    let usage = unsafe { (libc::getrusage(RUSAGE_THREAD as _, usage.as_mut_ptr()) == 0).then(|| usage.assume_init()) }?;
    Some(Switches { slept: usage.ru_nvcsw as u64, preempted: usage.ru_nivcsw as u64 })
}

/// This system does not count it: `None`.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub fn switches_of_this_thread() -> Option<Switches> {
    None
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_wait_is_a_sleep() {
        let before = super::switches_of_this_thread().unwrap();
        let (mut waits, writes) = std::os::unix::net::UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            std::io::Write::write_all(&mut &writes, b"x").unwrap();
        });
        std::io::Read::read_exact(&mut waits, &mut [0]).unwrap();
        assert!(super::switches_of_this_thread().unwrap().since(before).slept > 0);
        writer.join().unwrap();
    }
}
