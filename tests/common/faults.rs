//! Faults of the host: system calls of the library under test that fail for as long as a test wants.
//!
//! The library calls the C library through a table of addresses that the dynamic linker has filled in; this puts functions
//! of its own there. So the library is tested as it is shipped, whichever it is, and only its own calls fail: those of the
//! test's sockets do not. A fault belongs to the thread that made it.

use super::library::library;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::rc::Rc;
use std::sync::Once;

/// What fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Socket,
    Accept,
    Connect,
    /// Every way to send.
    Send,
    /// Every way to receive from a socket.
    Receive,
    Shutdown,
    /// Adding to a poller.
    Watch,
    Pipe,
    Fork,
    /// Opening a file.
    Open,
    /// Asking a socket for its own address. Never made to fail, only counted.
    SocketName,
}

struct Active {
    call: Call,
    errno: c_int,
    hits: Cell<usize>,
}

thread_local!(static ACTIVE: RefCell<Vec<Rc<Active>>> = const { RefCell::new(Vec::new()) });

/// A fault that lasts until this is dropped.
pub struct Fault(Rc<Active>);

impl Fault {
    /// From now on `call` fails with `errno`.
    pub fn on(call: Call, errno: c_int) -> Fault {
        install();
        let active = Rc::new(Active { call, errno, hits: Cell::new(0) });
        ACTIVE.with_borrow_mut(|all| all.push(Rc::clone(&active)));
        Fault(active)
    }

    /// `call` is counted and otherwise left alone.
    pub fn count(call: Call) -> Fault {
        Fault::on(call, 0)
    }

    /// How many calls were made.
    pub fn hits(&self) -> usize {
        self.0.hits.get()
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        ACTIVE.with_borrow_mut(|all| all.retain(|one| !Rc::ptr_eq(one, &self.0)));
    }
}

/// Whether this call fails; errno is set then.
fn fails(call: Call) -> bool {
    let errno = ACTIVE.with_borrow(|all| {
        let mine = all.iter().filter(|one| one.call == call);
        mine.inspect(|one| one.hits.set(one.hits.get() + 1)).fold(0, |found, one| found.max(one.errno))
    });
    if errno != 0 {
        // SAFETY: the pointer is to this thread's errno.
        unsafe { *libc::__errno_location() = errno };
    }
    errno != 0
}

/// The flags of calls for many datagrams.
#[cfg(target_env = "musl")]
type ManyFlags = c_uint;
#[cfg(not(target_env = "musl"))]
type ManyFlags = c_int;

macro_rules! hooks {
    ($($name:ident: $call:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        mod hook {
            use super::*;
            $(pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                if fails(Call::$call) {
                    return -1;
                }
                // SAFETY: the arguments are those of the library's own call.
                unsafe { libc::$name($($arg),*) }
            })*
        }
        const HOOKS: &[(&str, *const c_void)] = &[$((stringify!($name), hook::$name as *const c_void)),*];
    };
}

hooks! {
    socket: Socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    accept: Accept(fd: c_int, name: *mut libc::sockaddr, len: *mut libc::socklen_t) -> c_int;
    accept4: Accept(fd: c_int, name: *mut libc::sockaddr, len: *mut libc::socklen_t, flags: c_int) -> c_int;
    connect: Connect(fd: c_int, name: *const libc::sockaddr, len: libc::socklen_t) -> c_int;
    send: Send(fd: c_int, data: *const c_void, len: usize, flags: c_int) -> isize;
    sendto: Send(fd: c_int, data: *const c_void, len: usize, flags: c_int, name: *const libc::sockaddr, name_len: libc::socklen_t) -> isize;
    sendmsg: Send(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize;
    sendmmsg: Send(fd: c_int, messages: *mut libc::mmsghdr, count: c_uint, flags: ManyFlags) -> c_int;
    recv: Receive(fd: c_int, data: *mut c_void, len: usize, flags: c_int) -> isize;
    recvfrom: Receive(fd: c_int, data: *mut c_void, len: usize, flags: c_int, name: *mut libc::sockaddr, name_len: *mut libc::socklen_t) -> isize;
    recvmsg: Receive(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> isize;
    recvmmsg: Receive(fd: c_int, messages: *mut libc::mmsghdr, count: c_uint, flags: ManyFlags, timeout: *mut libc::timespec) -> c_int;
    shutdown: Shutdown(fd: c_int, how: c_int) -> c_int;
    pipe2: Pipe(ends: *mut c_int, flags: c_int) -> c_int;
    fork: Fork() -> libc::pid_t;
    getsockname: SocketName(fd: c_int, name: *mut libc::sockaddr, len: *mut libc::socklen_t) -> c_int;
    openat: Open(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    open64: Open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
}

unsafe extern "C" fn epoll_ctl(poller: c_int, operation: c_int, fd: c_int, event: *mut libc::epoll_event) -> c_int {
    if operation == libc::EPOLL_CTL_ADD && fails(Call::Watch) {
        return -1;
    }
    // SAFETY: the arguments are those of the library's own call.
    unsafe { libc::epoll_ctl(poller, operation, fd, event) }
}

/// `syscall` is variadic; arguments that were not given are whatever the registers hold, and the kernel does not look at
/// them.
unsafe extern "C" fn syscall(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    if n == libc::SYS_openat2 && fails(Call::Open) {
        return -1;
    }
    // SAFETY: the arguments are those of the library's own call.
    unsafe { libc::syscall(n, a, b, c, d, e, f) }
}

/// Puts the functions in their places, once.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut search = Search { replaced: 0 };
        // SAFETY: the callback is called with the objects that are loaded, and with this structure.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
        assert!(search.replaced > 10, "the library's table of addresses was not found");
    });
}

struct Search {
    replaced: usize,
}

unsafe extern "C" fn visit(object: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: the linker hands over a valid description, and the structure is the one of `install`.
    unsafe {
        let (object, search) = (&*object, &mut *search.cast::<Search>());
        let name = CStr::from_ptr(object.dlpi_name).to_string_lossy().into_owned();
        if std::fs::canonicalize(name).ok() != std::fs::canonicalize(&library().path).ok() {
            return 0;
        }
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into());
        if let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) {
            search.replaced += replace(object.dlpi_addr as usize, dynamic.p_vaddr as usize);
        }
        1
    }
}

/// Goes through the relocations that name a symbol (elf(5)), in an object loaded at `base`.
///
/// # Safety
/// `base` and `dynamic` are those of a loaded object.
unsafe fn replace(base: usize, dynamic: usize) -> usize {
    const DT_PLTRELSZ: u64 = 2;
    const DT_STRTAB: u64 = 5;
    const DT_SYMTAB: u64 = 6;
    const DT_RELA: u64 = 7;
    const DT_RELASZ: u64 = 8;
    const DT_JMPREL: u64 = 23;
    #[repr(C)]
    struct Entry {
        tag: u64,
        value: u64,
    }
    let (mut symbols, mut strings, mut tables, mut sizes) = (0, 0, [0; 2], [0; 2]);
    // SAFETY: the dynamic section ends with a zero tag; the linker has checked what it points to.
    unsafe {
        let mut entry = (base + dynamic) as *const Entry;
        while (*entry).tag != 0 {
            let value = (*entry).value as usize;
            let address = if value < base { base + value } else { value };
            match (*entry).tag {
                DT_STRTAB => strings = address,
                DT_SYMTAB => symbols = address,
                DT_RELA => tables[0] = address,
                DT_JMPREL => tables[1] = address,
                DT_RELASZ => sizes[0] = value,
                DT_PLTRELSZ => sizes[1] = value,
                _ => {}
            }
            entry = entry.add(1);
        }
        let more = [("epoll_ctl", epoll_ctl as *const c_void), ("syscall", syscall as *const c_void)];
        let mut count = 0;
        for (table, size) in tables.into_iter().zip(sizes) {
            let relocations = table as *const [u64; 3];
            for relocation in (0..size / 24).map(|index| *relocations.add(index)) {
                let symbol = (relocation[1] >> 32) as usize;
                let name = strings + *((symbols + symbol * 24) as *const u32) as usize;
                let name = CStr::from_ptr(name as *const c_char).to_bytes();
                let hook = HOOKS.iter().chain(&more).find(|(of, _)| of.as_bytes() == name);
                let Some((_, hook)) = hook.filter(|_| symbol != 0) else { continue };
                let place = (base + relocation[0] as usize) as *mut *const c_void;
                let page = place as usize & !4095;
                assert_eq!(libc::mprotect(page as *mut c_void, 8192, libc::PROT_READ | libc::PROT_WRITE), 0);
                place.write(*hook);
                count += 1;
            }
        }
        count
    }
}
