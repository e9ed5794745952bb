//! One instance of the library with the callbacks, the clock and the log that a test sees.

use super::ffi::*;
use super::frame::*;
use super::library::library;
use super::system::{self, Socket, errno, monotonic_ns, set_errno};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// What the library told the application, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Frame(usize),
    GuestError(String),
    /// With the argument to give to the timer's function.
    TimerNew(usize),
    TimerNewOpaque(c_int, usize),
    TimerFree(usize),
    TimerMod(usize, i64),
    Register(c_int),
    Unregister(c_int),
    RegisterSocket(Socket),
    UnregisterSocket(Socket),
    Notify,
    InitCompleted,
}

/// The handle that the timer callbacks return.
pub const TIMER: usize = 0x7157;
/// Where a virtual clock starts, in nanoseconds.
pub const CLOCK_START: i64 = 1_000_000_000_000;

type FrameHook = Box<dyn FnMut(&Instance, &[u8])>;
type NotifyHook = Box<dyn FnMut(&Instance)>;
/// What a callback guest forward does with the guest's bytes; the result is write_cb's.
pub type WriteHook = Box<dyn FnMut(&Instance, &[u8]) -> isize>;

struct Forward {
    instance: *const Instance,
    write: RefCell<WriteHook>,
}

/// How [`super::poll`] runs the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoopStyle {
    /// QEMU: frames go in at once, select_error only after a failing poll.
    Plain,
    /// slirp4netns and libvdeslirp: one frame per round, select_error = 1 in that round and after a poll timeout.
    OneFrameSelectError,
    /// reSLIRP: pollfds_poll is skipped when poll timed out.
    SkipPollOnTimeout,
}

/// A configuration to start an instance with. The default is QEMU's network with IPv6 off and a virtual clock.
pub struct Setup {
    pub config: SlirpConfig,
    pub callbacks: SlirpCb,
    pub vhostname: Option<String>,
    pub tftp_server_name: Option<String>,
    pub tftp_path: Option<String>,
    pub bootfile: Option<String>,
    pub vdomainname: Option<String>,
    pub search: Option<Vec<String>>,
    pub outbound: Option<Box<system::sockaddr_in>>,
    /// Use CLOCK_MONOTONIC instead of a clock that only the test moves.
    pub real_clock: bool,
    /// Announce the guest by gratuitous ARP.
    pub greet: bool,
    /// Run one turn at once, so that the library has seen the clock.
    pub warm: bool,
    pub style: LoopStyle,
}

impl Default for Setup {
    fn default() -> Setup {
        // SAFETY: all-zero is a valid SlirpConfig: null pointers, false and zero addresses.
        let zero: SlirpConfig = unsafe { std::mem::zeroed() };
        let config = SlirpConfig {
            version: if library().at_least(8) { 6 } else { 4 },
            in_enabled: true,
            vnetwork: in_addr(Ipv4Addr::new(10, 0, 2, 0)),
            vnetmask: in_addr(Ipv4Addr::new(255, 255, 255, 0)),
            vhost: in_addr(VHOST),
            vdhcp_start: in_addr(GUEST),
            vnameserver: in_addr(VDNS),
            vprefix_addr6: in6_addr("fec0::"),
            vprefix_len: 64,
            vhost6: in6_addr("fec0::2"),
            vnameserver6: in6_addr("fec0::3"),
            ..zero
        };
        Setup {
            config,
            callbacks: all_callbacks(),
            vhostname: None,
            tftp_server_name: None,
            tftp_path: None,
            bootfile: None,
            vdomainname: None,
            search: None,
            outbound: None,
            real_clock: false,
            greet: true,
            warm: true,
            style: LoopStyle::Plain,
        }
    }
}

/// Every callback, as a program of 4.7 or newer sets them.
pub fn all_callbacks() -> SlirpCb {
    SlirpCb {
        send_packet: Some(send_packet),
        guest_error: Some(guest_error),
        clock_get_ns: Some(clock_get_ns),
        timer_new: Some(timer_new),
        timer_free: Some(timer_free),
        timer_mod: Some(timer_mod),
        register_poll_fd: Some(register_poll_fd),
        unregister_poll_fd: Some(unregister_poll_fd),
        notify: Some(notify),
        init_completed: Some(init_completed),
        timer_new_opaque: Some(timer_new_opaque),
        register_poll_socket: Some(register_poll_socket),
        unregister_poll_socket: Some(unregister_poll_socket),
    }
}

impl Setup {
    /// The default with changes to the C struct.
    pub fn with(change: impl FnOnce(&mut SlirpConfig)) -> Setup {
        let mut setup = Setup::default();
        change(&mut setup.config);
        setup
    }

    pub fn real_clock(mut self) -> Setup {
        self.real_clock = true;
        self
    }

    pub fn style(mut self, style: LoopStyle) -> Setup {
        self.style = style;
        self
    }

    /// Without announcing the guest.
    pub fn silent(mut self) -> Setup {
        self.greet = false;
        self
    }

    pub fn mtu(mut self, mtu: usize, mru: usize) -> Setup {
        (self.config.if_mtu, self.config.if_mru) = (mtu, mru);
        self
    }

    pub fn start(self) -> Box<Instance> {
        self.try_start().expect("slirp_new must succeed")
    }

    /// Calls slirp_new; None when it refused.
    pub fn try_start(self) -> Option<Box<Instance>> {
        let guard = serialize_upstream();
        let mut config = self.config;
        let texts: Vec<CString> =
            [&self.vhostname, &self.tftp_server_name, &self.bootfile, &self.vdomainname, &self.tftp_path]
                .into_iter()
                .map(|t| CString::new(t.clone().unwrap_or_default()).expect("no NUL"))
                .collect();
        let pointer = |i: usize, set: bool| if set { texts[i].as_ptr() } else { std::ptr::null() };
        config.vhostname = pointer(0, self.vhostname.is_some());
        config.tftp_server_name = pointer(1, self.tftp_server_name.is_some());
        config.bootfile = pointer(2, self.bootfile.is_some());
        config.vdomainname = pointer(3, self.vdomainname.is_some());
        config.tftp_path = pointer(4, self.tftp_path.is_some());
        let names: Vec<CString> =
            self.search.iter().flatten().map(|s| CString::new(s.as_str()).expect("no NUL")).collect();
        let mut list: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
        list.push(std::ptr::null());
        if self.search.is_some() {
            config.vdnssearch = list.as_ptr();
        }
        if let Some(address) = &self.outbound {
            config.outbound_addr = &raw const **address;
        }
        let instance = Box::new(Instance {
            slirp: Cell::new(std::ptr::null_mut()),
            callbacks: Box::new(self.callbacks),
            outbound: self.outbound,
            frames: RefCell::default(),
            log: RefCell::default(),
            clock: Cell::new(if self.real_clock { None } else { Some(CLOCK_START) }),
            on_frame: RefCell::default(),
            on_notify: RefCell::default(),
            forwards: RefCell::default(),
            style: Cell::new(self.style),
            to_input: RefCell::default(),
            next_port: Cell::new(40_000),
            keep_frames: Cell::new(true),
            frame_count: Cell::new(0),
            answers_markers: Cell::new(true),
            mtu: if config.if_mtu == 0 { 1500 } else { config.if_mtu },
            _guard: guard,
        });
        // SAFETY: config, its strings and the callback table are valid; the table and the opaque pointer live in the
        // box until after slirp_cleanup.
        let slirp =
            unsafe { (library().slirp_new)(&config, &*instance.callbacks, (&raw const *instance).cast_mut().cast()) };
        if slirp.is_null() {
            return None;
        }
        instance.slirp.set(slirp);
        if self.greet {
            instance.input(&arp(1, GUEST_MAC, GUEST, [0; 6], GUEST));
        }
        if self.warm {
            instance.turn(Duration::ZERO);
        }
        Some(instance)
    }
}

/// Upstream keeps one clock for the whole process, so that two instances must not run at the same time.
fn serialize_upstream() -> Option<Alone> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !library().upstream {
        return None;
    }
    DEPTH.with_borrow_mut(|(depth, guard)| {
        if *depth == 0 {
            *guard = Some(ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner()));
        }
        *depth += 1;
    });
    Some(Alone)
}

thread_local!(static DEPTH: RefCell<(usize, Option<MutexGuard<'static, ()>>)> = const { RefCell::new((0, None)) });

/// The right of this thread to run instances of upstream's library; it ends with the thread's last instance.
struct Alone;

impl Drop for Alone {
    fn drop(&mut self) {
        DEPTH.with_borrow_mut(|(depth, guard)| {
            *depth -= 1;
            if *depth == 0 {
                *guard = None;
            }
        });
    }
}

pub struct Instance {
    pub slirp: Cell<*mut Slirp>,
    callbacks: Box<SlirpCb>,
    pub outbound: Option<Box<system::sockaddr_in>>,
    frames: RefCell<VecDeque<Vec<u8>>>,
    log: RefCell<Vec<Event>>,
    clock: Cell<Option<i64>>,
    on_frame: RefCell<Option<FrameHook>>,
    on_notify: RefCell<Option<NotifyHook>>,
    /// Boxed, because the library keeps their addresses.
    #[expect(clippy::vec_box)]
    forwards: RefCell<Vec<Box<Forward>>>,
    pub style: Cell<LoopStyle>,
    /// Frames that a loop style hands over one by one.
    pub to_input: RefCell<VecDeque<Vec<u8>>>,
    next_port: Cell<u16>,
    /// False: frames are counted but not kept.
    pub keep_frames: Cell<bool>,
    pub frame_count: Cell<usize>,
    /// True: the library's markers are answered, and not shown to the test.
    pub answers_markers: Cell<bool>,
    mtu: usize,
    _guard: Option<Alone>,
}

impl Instance {
    /// slirp_input.
    pub fn input(&self, frame: &[u8]) {
        // SAFETY: the pointer and length are those of a live slice.
        unsafe { (library().slirp_input)(self.slirp.get(), frame.as_ptr(), frame.len() as c_int) }
    }

    /// slirp_input, and the frames that came out during the call.
    pub fn answer(&self, frame: &[u8]) -> Vec<Frame> {
        self.input(frame);
        self.drain()
    }

    /// The frames sent since the last look, parsed and checked.
    pub fn drain(&self) -> Vec<Frame> {
        self.drain_raw().iter().map(|f| Frame::parse(f)).collect()
    }

    /// The frames sent since the last look, as bytes. Their lengths are checked: many programs drop or even refuse
    /// frames above the MTU.
    pub fn drain_raw(&self) -> VecDeque<Vec<u8>> {
        let frames = self.frames.take();
        frames.iter().for_each(|f| self.check_length(f));
        frames
    }

    /// The oldest frame, as bytes.
    pub fn pop_raw(&self) -> Option<Vec<u8>> {
        let frame = self.frames.borrow_mut().pop_front();
        frame.inspect(|f| self.check_length(f))
    }

    fn check_length(&self, frame: &[u8]) {
        // Short frames are padded, and upstream's discovery exceeds the smallest MTUs.
        let most = (self.mtu + 14).max(if library().upstream { 86 } else { 60 });
        assert!(frame.len() <= most, "a frame of {} bytes on a link with an MTU of {}", frame.len(), self.mtu);
    }

    /// Puts parsed-and-unwanted frames back in front.
    pub fn put_back(&self, frames: VecDeque<Vec<u8>>) {
        let newer = self.frames.take();
        let mut queue = frames;
        queue.extend(newer);
        *self.frames.borrow_mut() = queue;
    }

    /// The log since the last look, without the `Frame` entries.
    pub fn events(&self) -> Vec<Event> {
        self.log.take().into_iter().filter(|e| !matches!(e, Event::Frame(_))).collect()
    }

    /// The log since the last look.
    pub fn all_events(&self) -> Vec<Event> {
        self.log.take()
    }

    /// The descriptors registered and unregistered since the last look, by whichever callback.
    pub fn registrations(&self) -> (Vec<Socket>, Vec<Socket>) {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for event in self.log.take() {
            match event {
                Event::Register(fd) => added.push(fd as Socket),
                Event::RegisterSocket(fd) => added.push(fd),
                Event::Unregister(fd) => removed.push(fd as Socket),
                Event::UnregisterSocket(fd) => removed.push(fd),
                _ => {}
            }
        }
        (added, removed)
    }

    /// The clock the library sees, in nanoseconds.
    pub fn now(&self) -> i64 {
        self.clock.get().unwrap_or_else(monotonic_ns)
    }

    /// Moves the virtual clock without running the loop.
    pub fn move_clock(&self, by: Duration) {
        let now = self.clock.get().expect("the clock is virtual");
        self.clock.set(Some(now + by.as_nanos() as i64));
    }

    /// Sets the virtual clock, in nanoseconds, wherever it was.
    pub fn set_clock(&self, to: i64) {
        self.clock.set(Some(to));
    }

    /// Calls `hook` inside send_packet, with each frame.
    pub fn on_frame(&self, hook: impl FnMut(&Instance, &[u8]) + 'static) {
        *self.on_frame.borrow_mut() = Some(Box::new(hook));
    }

    pub fn on_notify(&self, hook: impl FnMut(&Instance) + 'static) {
        *self.on_notify.borrow_mut() = Some(Box::new(hook));
    }

    /// A guest port that no other connection of this instance uses.
    pub fn fresh_port(&self) -> u16 {
        self.next_port.replace(self.next_port.get() + 1)
    }

    pub fn add_hostfwd(&self, udp: bool, host: SocketAddrV4, guest: SocketAddrV4) -> Result<(), i32> {
        let (h, g) = (in_addr(*host.ip()), in_addr(*guest.ip()));
        set_errno(0);
        // SAFETY: plain values; errno is read at once.
        let r = unsafe {
            let add = library().slirp_add_hostfwd;
            add(self.slirp.get(), udp.into(), h, host.port().into(), g, guest.port().into())
        };
        if r == 0 { Ok(()) } else { Err(errno()) }
    }

    pub fn remove_hostfwd(&self, udp: bool, host: SocketAddrV4) -> c_int {
        // SAFETY: plain values.
        unsafe {
            (library().slirp_remove_hostfwd)(self.slirp.get(), udp.into(), in_addr(*host.ip()), host.port().into())
        }
    }

    /// Adds a forward on a free port of 127.0.0.1 and returns that port, as the info text shows it.
    pub fn forward(&self, udp: bool, guest: SocketAddrV4) -> u16 {
        let before = self.host_forward_ports(udp);
        self.add_hostfwd(udp, SocketAddrV4::new(LOCALHOST, 0), guest).expect("a free port can be forwarded");
        let after = self.host_forward_ports(udp);
        *after.iter().find(|p| !before.contains(p)).expect("the new forward is listed")
    }

    fn host_forward_ports(&self, udp: bool) -> Vec<u16> {
        let tag = if udp { "UDP[HOST_FORWARD]" } else { "TCP[HOST_FORWARD]" };
        let info = self.connection_info();
        let lines = info.lines().filter(|l| l.trim_start().starts_with(tag));
        lines.map(|l| l.split_whitespace().nth(3).expect("a port column").parse().expect("a port")).collect()
    }

    /// slirp_add_guestfwd; `address` is in/out.
    pub fn add_guestfwd(&self, address: &mut Ipv4Addr, port: u16, write: WriteHook) -> c_int {
        let forward = Box::new(Forward { instance: self, write: RefCell::new(write) });
        let mut a = in_addr(*address);
        // SAFETY: the opaque pointer is to a box that lives as long as the instance.
        let r = unsafe {
            let opaque = (&raw const *forward).cast_mut().cast();
            (library().slirp_add_guestfwd)(self.slirp.get(), guest_write, opaque, &mut a, port.into())
        };
        *address = from_in_addr(a);
        self.forwards.borrow_mut().push(forward);
        r
    }

    /// slirp_state_save: its result and the stream.
    pub fn save_state(&self) -> (c_int, Vec<u8>) {
        let mut stream = Vec::new();
        let result = self.save_state_with(|piece| {
            stream.extend_from_slice(piece);
            piece.len() as isize
        });
        (result, stream)
    }

    /// slirp_state_save to a callback of the test: its result.
    pub fn save_state_with(&self, mut write: impl FnMut(&[u8]) -> isize) -> c_int {
        let mut write: &mut dyn FnMut(&[u8]) -> isize = &mut write;
        // SAFETY: the opaque pointer is to a closure that outlives the call.
        unsafe { (library().slirp_state_save)(self.slirp.get(), state_write, (&raw mut write).cast()) }
    }

    /// slirp_state_load: its result and how many bytes it left unread.
    pub fn load_state(&self, version: c_int, stream: &[u8]) -> (c_int, usize) {
        let mut rest = stream;
        let result = self.load_state_with(version, |piece| {
            let length = piece.len().min(rest.len());
            let (head, tail) = rest.split_at(length);
            piece[..length].copy_from_slice(head);
            rest = tail;
            length as isize
        });
        (result, rest.len())
    }

    /// slirp_state_load from a callback of the test: its result.
    pub fn load_state_with(&self, version: c_int, mut read: impl FnMut(&mut [u8]) -> isize) -> c_int {
        let mut read: &mut dyn FnMut(&mut [u8]) -> isize = &mut read;
        // SAFETY: the opaque pointer is to a closure that outlives the call.
        unsafe { (library().slirp_state_load)(self.slirp.get(), version, state_read, (&raw mut read).cast()) }
    }

    pub fn remove_guestfwd(&self, address: Ipv4Addr, port: u16) -> c_int {
        // SAFETY: plain values.
        unsafe { (library().slirp_remove_guestfwd)(self.slirp.get(), in_addr(address), port.into()) }
    }

    pub fn can_recv(&self, address: Ipv4Addr, port: u16) -> usize {
        // SAFETY: plain values.
        unsafe { (library().slirp_socket_can_recv)(self.slirp.get(), in_addr(address), port.into()) }
    }

    pub fn socket_recv(&self, address: Ipv4Addr, port: u16, data: &[u8]) {
        // SAFETY: the pointer and length are those of a live slice.
        unsafe {
            let recv = library().slirp_socket_recv;
            recv(self.slirp.get(), in_addr(address), port.into(), data.as_ptr(), data.len() as c_int);
        }
    }

    pub fn connection_info(&self) -> String {
        // SAFETY: the function takes a valid handle.
        take_text(unsafe { (library().slirp_connection_info)(self.slirp.get()) })
    }

    pub fn neighbor_info(&self) -> String {
        // SAFETY: the function takes a valid handle.
        take_text(unsafe { (library().slirp_neighbor_info)(self.slirp.get()) })
    }

    /// The lines of the connection list whose tag starts with `tag`, such as `UDP[`.
    pub fn flows(&self, tag: &str) -> Vec<String> {
        let info = self.connection_info();
        info.lines().skip(1).map(str::trim).filter(|l| l.starts_with(tag)).map(str::to_owned).collect()
    }

    /// slirp_cleanup now; the log stays readable.
    pub fn cleanup(&self) {
        let slirp = self.slirp.replace(std::ptr::null_mut());
        if !slirp.is_null() {
            // SAFETY: the handle came from slirp_new and is used for the last time.
            unsafe { (library().slirp_cleanup)(slirp) }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.cleanup();
    }
}

fn take_text(text: *mut c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: the library returns NUL-terminated memory of the C library's malloc, freed here once.
    unsafe {
        let owned = CStr::from_ptr(text).to_str().expect("the info text is ASCII").to_owned();
        libc::free(text.cast());
        owned
    }
}

/// # Safety
/// `opaque` must be the instance that slirp_new was given.
unsafe fn instance<'a>(opaque: *mut c_void) -> &'a Instance {
    // SAFETY: by contract of the function; the instance is only ever used through shared references.
    unsafe { &*opaque.cast::<Instance>() }
}

fn push(opaque: *mut c_void, event: Event) {
    // SAFETY: called only from callbacks, which get the instance.
    unsafe { instance(opaque) }.log.borrow_mut().push(event);
}

pub unsafe extern "C" fn send_packet(buf: *const c_void, len: usize, opaque: *mut c_void) -> isize {
    // SAFETY: the library passes a frame of `len` bytes and the instance.
    let (me, frame) = unsafe { (instance(opaque), std::slice::from_raw_parts(buf.cast::<u8>(), len)) };
    if me.answers_markers.get()
        && let Some(answer) = super::marker::answer(frame)
    {
        me.input(&answer);
        return len as isize;
    }
    me.frame_count.set(me.frame_count.get() + 1);
    if me.keep_frames.get() {
        me.frames.borrow_mut().push_back(frame.to_vec());
        me.log.borrow_mut().push(Event::Frame(len));
    }
    // The hook is taken out while it runs, because it may enter the library and come back here.
    let hook = me.on_frame.take();
    if let Some(mut hook) = hook {
        hook(me, frame);
        me.on_frame.borrow_mut().get_or_insert(hook);
    }
    len as isize
}
pub unsafe extern "C" fn guest_error(text: *const c_char, opaque: *mut c_void) {
    // SAFETY: the library passes a NUL-terminated string.
    push(opaque, Event::GuestError(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()));
}
pub unsafe extern "C" fn clock_get_ns(opaque: *mut c_void) -> i64 {
    // SAFETY: the library passes the instance.
    unsafe { instance(opaque) }.now()
}
pub unsafe extern "C" fn timer_new(_: Option<TimerCb>, arg: *mut c_void, opaque: *mut c_void) -> *mut c_void {
    push(opaque, Event::TimerNew(arg as usize));
    TIMER as *mut c_void
}
pub unsafe extern "C" fn timer_new_opaque(id: c_int, arg: *mut c_void, opaque: *mut c_void) -> *mut c_void {
    push(opaque, Event::TimerNewOpaque(id, arg as usize));
    TIMER as *mut c_void
}
pub unsafe extern "C" fn timer_free(timer: *mut c_void, opaque: *mut c_void) {
    push(opaque, Event::TimerFree(timer as usize));
}
pub unsafe extern "C" fn timer_mod(timer: *mut c_void, expire: i64, opaque: *mut c_void) {
    push(opaque, Event::TimerMod(timer as usize, expire));
}
pub unsafe extern "C" fn register_poll_fd(fd: c_int, opaque: *mut c_void) {
    push(opaque, Event::Register(fd));
}
pub unsafe extern "C" fn unregister_poll_fd(fd: c_int, opaque: *mut c_void) {
    push(opaque, Event::Unregister(fd));
}
pub unsafe extern "C" fn register_poll_socket(fd: Socket, opaque: *mut c_void) {
    push(opaque, Event::RegisterSocket(fd));
}
pub unsafe extern "C" fn unregister_poll_socket(fd: Socket, opaque: *mut c_void) {
    push(opaque, Event::UnregisterSocket(fd));
}
pub unsafe extern "C" fn init_completed(_: *mut Slirp, opaque: *mut c_void) {
    push(opaque, Event::InitCompleted);
}
pub unsafe extern "C" fn notify(opaque: *mut c_void) {
    push(opaque, Event::Notify);
    // SAFETY: the library passes the instance.
    let me = unsafe { instance(opaque) };
    let hook = me.on_notify.take();
    if let Some(mut hook) = hook {
        hook(me);
        me.on_notify.borrow_mut().get_or_insert(hook);
    }
}
unsafe extern "C" fn guest_write(buf: *const c_void, len: usize, opaque: *mut c_void) -> isize {
    // SAFETY: the library passes `len` bytes and the forward that add_guestfwd was given; it lives in the instance.
    let (forward, data) = unsafe { (&*opaque.cast::<Forward>(), std::slice::from_raw_parts(buf.cast::<u8>(), len)) };
    // SAFETY: the forward is owned by the instance.
    let me = unsafe { &*forward.instance };
    (forward.write.borrow_mut())(me, data)
}

unsafe extern "C" fn state_write(bytes: *const c_void, len: usize, opaque: *mut c_void) -> isize {
    // SAFETY: the library hands over `len` bytes, and the opaque pointer is the one of `save_state_with`.
    unsafe { (*opaque.cast::<&mut dyn FnMut(&[u8]) -> isize>())(std::slice::from_raw_parts(bytes.cast(), len)) }
}

unsafe extern "C" fn state_read(bytes: *mut c_void, len: usize, opaque: *mut c_void) -> isize {
    // SAFETY: the library hands over room for `len` bytes, and the opaque pointer is the one of `load_state_with`. Upstream's
    // room was not written to before; bytes of any value are bytes.
    unsafe { (*opaque.cast::<&mut dyn FnMut(&mut [u8]) -> isize>())(std::slice::from_raw_parts_mut(bytes.cast(), len)) }
}
