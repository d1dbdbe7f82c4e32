//! System calls for which the standard library has no face, each behind a safe function.
//! Everything unsafe of `os` is here and in [`super::task`].
#![expect(unsafe_code, reason = "raw system calls; each block states why it is sound")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::sysfs;

/// Turns the `-1` of a system call into the error it left in `errno`.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Reads a clock, in nanoseconds. Clocks that every supported kernel has cannot fail; a failure
/// reads as 0.
pub(super) fn clock_ns(id: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    let result = unsafe { libc::clock_gettime(id, &raw mut time) };
    if result < 0 {
        return 0;
    }
    #[expect(clippy::useless_conversion, reason = "the C types differ between machines")]
    let (seconds, rest) = (i64::from(time.tv_sec), i64::from(time.tv_nsec));
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Builds a signal set.
fn signal_set(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset writes the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set was initialised above; a bad number is refused with EINVAL.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: initialised by sigemptyset.
    unsafe { set.assume_init() }
}

/// Blocks these signals for this thread and gives a descriptor that becomes readable when one is
/// pending.
pub(super) fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let fd = check(unsafe {
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What is said when the kernel takes a mapped page away.
const BUS_TEXT: &[u8] =
    b"the store's file was cut short or its disk failed while it was read: the \
agent ends at once. Start it again, it looks at the file and says what to do\n";
const BUS_STATUS: i32 = 74;

/// Ends the process with a sentence where a page of a mapped file is not there any more (SIGBUS).
pub(super) fn end_on_bus() -> io::Result<()> {
    extern "C" fn ends(_: libc::c_int) {
        // SAFETY: safe in a handler of signals; the text lives for ever.
        unsafe { libc::write(2, BUS_TEXT.as_ptr().cast(), BUS_TEXT.len()) };
        // SAFETY: safe in a handler of signals.
        unsafe { libc::_exit(BUS_STATUS) };
    }
    let handler: extern "C" fn(libc::c_int) = ends;
    // SAFETY: plain numbers, for which zeros are values: no flags, nothing else blocked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: `action` is initialised; the old one is not asked for.
    check(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) })
        .map(drop)
}

/// Lets every signal through again.
pub(super) fn unblock_signals() -> io::Result<()> {
    let none = signal_set(&[]);
    // SAFETY: `none` is initialised; the old mask is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) })
        .map(drop)
}

/// Number of the next pending signal of a [`signal_fd`].
pub(super) fn next_signal(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer has room for `size` bytes.
    let got = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if got < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: plain numbers, zeroed before and filled by the kernel.
    let info = unsafe { info.assume_init() };
    Ok(i32::try_from(info.ssi_signo).ok())
}

/// Sends a signal to a process (`pid > 0`) or to a process group (`pid < -1`). Other targets are
/// refused: 0 and -1 would reach ourselves and everybody.
pub(super) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid == 0 || pid == -1 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: no memory is passed.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// A descriptor that stays with this process, whoever gets its number later.
pub(super) fn pin(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match RawFd::try_from(fd) {
        // SAFETY: a new descriptor that nobody else owns; the kernel made it close-on-exec.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal to a pinned process.
pub(super) fn signal_pinned(pinned: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no memory is passed.
    let done =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pinned.as_raw_fd(), signal, none, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its process id.
    pub pid: u32,
    /// Its exit status; 0 when a signal ended it.
    pub code: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
}

/// Collects one ended child without waiting. `Ok(None)`: none has ended; ECHILD: there are none.
pub(super) fn reap_one() -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    let pid = check(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?;
    if pid == 0 {
        return Ok(None);
    }
    let signal = if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 };
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 0 };
    Ok(Some(Reaped { pid: pid.cast_unsigned(), code, signal }))
}

/// What [`poll`] is to watch, and what it saw.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Ready(libc::pollfd);

impl Ready {
    /// Watches for bytes to read, and for room to write if `write` is set.
    #[must_use]
    pub fn new(fd: RawFd, write: bool) -> Self {
        let events = libc::POLLIN | if write { libc::POLLOUT } else { 0 };
        Self(libc::pollfd { fd, events, revents: 0 })
    }

    /// Bytes can be read, or the end.
    #[must_use]
    pub fn readable(self) -> bool {
        self.0.revents & !libc::POLLOUT != 0
    }

    /// There is room to write.
    #[must_use]
    pub fn writable(self) -> bool {
        self.0.revents & libc::POLLOUT != 0
    }

    /// Anything happened, also the end or an error.
    #[must_use]
    pub fn any(self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until one of `fds` is ready or `timeout_ms` have passed (-1: for ever). An interrupted
/// wait counts as passed.
///
/// # Errors
/// Those of poll(2), but for EINTR.
pub fn poll(fds: &mut [Ready], timeout_ms: i32) -> io::Result<()> {
    // SAFETY: `Ready` has the layout of pollfd; pointer and length are of the same slice.
    let result =
        unsafe { libc::poll(fds.as_mut_ptr().cast(), fds.len() as libc::nfds_t, timeout_ms) };
    match check(result) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

/// Makes this process independent of whoever started it: leader of its own session, parent of
/// orphaned grandchildren, with the usual file mode mask and no open file but the first three. To
/// be called first of all. Not being able to lead a session (it
/// does already) is no error.
pub fn run_as_service() {
    // SAFETY: no memory is passed; failure means that we lead a group already.
    unsafe { libc::setsid() };
    // SAFETY: no memory is passed; kernels since 3.4 know the option.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    // SAFETY: no memory is passed; umask cannot fail.
    unsafe { libc::umask(0o022) };
    // Whatever the agent had open (the store is) or was given itself is no business of ours, and
    // even less of a task's.
    for fd in sysfs::names("/proc/self/fd").iter().filter_map(|name| name.parse::<RawFd>().ok()) {
        if fd > libc::STDERR_FILENO {
            // SAFETY: nothing here has opened one yet; one that is closed already is refused.
            unsafe { libc::close(fd) };
        }
    }
}

/// Ends this process with its parent, and in any case after so many seconds.
pub fn end_with_parent(seconds: u32) {
    // SAFETY: no memory is passed; all kernels know the option.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: no memory is passed; alarm cannot fail.
    unsafe { libc::alarm(seconds) };
}

/// Takes over descriptor 0 when it is a socket. To be called once, before anything else uses
/// descriptor 0.
pub(super) fn take_stdin_socket() -> Option<OwnedFd> {
    let mut kind: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `kind` and `size` are valid and agree.
    let result = unsafe {
        libc::getsockopt(0, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size)
    };
    if result < 0 || kind != libc::SOCK_STREAM {
        return None;
    }
    // SAFETY: duplicates descriptor 0, which exists as getsockopt has just answered for it.
    let fd = check(unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) }).ok()?;
    // SAFETY: a new descriptor that nobody else owns.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    let null = File::options().read(true).write(true).open("/dev/null").ok()?;
    // SAFETY: replaces descriptor 0 by a copy of a valid one.
    check(unsafe { libc::dup2(null.as_raw_fd(), 0) }).ok()?;
    Some(owned)
}

/// Gives back what this process can do without while it sleeps: free pages of the allocator, and
/// the pages of programs and libraries, which come back from the file when they are needed. Worth
/// its tenth of a millisecond only before a long sleep.
pub fn give_memory_back() {
    let maps = sysfs::read("/proc/self/smaps").unwrap_or_default();
    for (start, length) in clean_mappings(&String::from_utf8_lossy(&maps)) {
        // SAFETY: a mapping of a file that cannot be written and holds no page that differs from
        // the file: what is dropped is read again at the next access.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
    drop(maps);
    #[cfg(target_env = "gnu")]
    // SAFETY: no memory is passed.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Start and length of the private mappings of files that are not writable and as in the file.
fn clean_mappings(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = first.split_once('-') {
            let rights = words.next().unwrap_or_default();
            let of_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
            let range =
                usize::from_str_radix(start, 16).ok().zip(usize::from_str_radix(end, 16).ok());
            candidate = range
                .filter(|(start, end)| start < end && of_file && matches!(rights, "r-xp" | "r--p"))
                .map(|(start, end)| (start, end - start));
        } else if first == "Anonymous:" && words.next() == Some("0") {
            found.extend(candidate.take());
        }
    }
    found
}

/// Makes reads and writes of a descriptor return instead of waiting.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// `struct open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens `path` below `dir`; nothing on the way, no `..` and no symbolic link, may lead out of it.
pub(super) fn open_beneath(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    let how = OpenHow {
        flags: u64::from((flags | libc::O_CLOEXEC).cast_unsigned()),
        mode: 0,
        resolve: libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS,
    };
    // A rename during a walk over `..` makes the kernel give up with EAGAIN; a few tries, then it
    // is the caller's.
    let mut tries = 0;
    loop {
        // SAFETY: path and `how` are valid, and the size is that of `how`.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        };
        if let Ok(fd) = RawFd::try_from(fd)
            && fd >= 0
        {
            // SAFETY: a new descriptor that nobody else owns.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        tries += 1;
        if error.kind() != io::ErrorKind::WouldBlock || tries > 16 {
            return Err(error);
        }
    }
}

/// openat(2).
pub(super) fn open_at(
    dir: BorrowedFd<'_>,
    name: &CStr,
    flags: i32,
    mode: u32,
) -> io::Result<OwnedFd> {
    // SAFETY: the name is valid for the call.
    let fd = check(unsafe {
        libc::openat(dir.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC, mode)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// unlinkat(2) of a file, or of an empty directory.
pub(super) fn unlink_at(dir: BorrowedFd<'_>, name: &CStr, is_dir: bool) -> io::Result<()> {
    let flags = if is_dir { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: the name is valid for the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }).map(drop)
}

/// renameat(2).
pub(super) fn rename_at(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    new: &CStr,
) -> io::Result<()> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: both names are valid for the call.
    check(unsafe { libc::renameat(from, name.as_ptr(), to, new.as_ptr()) }).map(drop)
}

/// Figures of the file system that holds `path`.
pub(super) fn statvfs(path: &CStr) -> io::Result<libc::statvfs> {
    let mut out = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: path and result place are valid.
    check(unsafe { libc::statvfs(path.as_ptr(), out.as_mut_ptr()) })?;
    // SAFETY: filled by the call, plain numbers.
    Ok(unsafe { out.assume_init() })
}

/// A mount name space of this process's own, that sees what the machine mounts and shows nothing
/// of what is mounted here.
pub(super) fn own_mounts() -> io::Result<()> {
    // SAFETY: no memory is passed; the process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(None, c"/", libc::MS_REC | libc::MS_SLAVE)
}

/// mount(2) without a type and data: binds, and changes of what is mounted.
pub(super) fn mount(source: Option<&CStr>, target: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let none = std::ptr::null();
    let source = source.map_or(none, CStr::as_ptr);
    // SAFETY: both names are valid for the call; binds read neither type nor data.
    let done = unsafe { libc::mount(source, target.as_ptr(), none, flags, std::ptr::null()) };
    check(done).map(drop)
}

/// Gives an open file `len` bytes of blocks from a place on.
pub(super) fn allocate(fd: RawFd, from: u64, len: u64) -> io::Result<()> {
    let from = libc::off_t::try_from(from).map_err(io::Error::other)?;
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: no memory is passed; a descriptor that is not open is an error.
    match unsafe { libc::posix_fallocate(fd, from, len) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Page size in bytes and clock ticks per second.
pub(super) fn page_and_ticks() -> (u64, u64) {
    // SAFETY: no memory is passed.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // SAFETY: no memory is passed.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    (u64::try_from(page).unwrap_or(4096), u64::try_from(ticks).unwrap_or(100))
}

/// Addresses of the machine as (interface, address, up and not loopback), in the kernel's order.
pub(super) fn interface_addresses() -> io::Result<Vec<(String, IpAddr, bool)>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the result.
    check(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: a non-null entry of the list that getifaddrs has built and that is freed below
        // only.
        let entry = unsafe { &*at };
        if let Some(address) = sockaddr_ip(entry.ifa_addr) {
            // SAFETY: the name is a C string that lives as long as the list.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            let up = entry.ifa_flags & libc::IFF_UP.cast_unsigned() != 0;
            let loopback = entry.ifa_flags & libc::IFF_LOOPBACK.cast_unsigned() != 0;
            found.push((name.to_string_lossy().into_owned(), address, up && !loopback));
        }
        at = entry.ifa_next;
    }
    // SAFETY: the list of the call above, freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// The address in a socket address of the kernel, if it is one of IP.
fn sockaddr_ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: non-null addresses of getifaddrs are valid and carry their family.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says that it is an IPv4 address.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::from(v4.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is an IPv6 address.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::from(v6.sin6_addr.s6_addr))
        }
        _ => None,
    }
}

/// A listening TCP socket: SO_REUSEADDR, close-on-exec, non-blocking.
pub(super) fn listen(address: std::net::SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    match address {
        std::net::SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            bind(fd, &raw)?;
        }
        std::net::SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            bind(fd, &raw)?;
        }
    }
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(fd, backlog) })?;
    Ok(socket)
}

/// A number as an option of a socket.
fn set_option(fd: RawFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and size are those of `value`.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) }).map(drop)
}

/// Asks after a silent peer: first after so many seconds, then in such steps, so often.
pub(super) fn keep_alive(fd: RawFd, first_s: i32, step_s: i32, times: i32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, first_s)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, step_s)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, times)
}

/// bind(2) to an address structure of the kernel.
fn bind<T>(fd: RawFd, address: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and size are those of `address`, which is a sockaddr of its family.
    check(unsafe { libc::bind(fd, std::ptr::from_ref(address).cast(), size) }).map(drop)
}

/// A path for the kernel; a NUL byte in it is an invalid argument, as the kernel would say.
pub(super) fn c_path(path: &[u8]) -> io::Result<CString> {
    CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_file_can_restore_is_dropped() {
        let smaps = "\
            5000-6000 r-xp 00000000 fe:00 7    /bin/a program\nRss: 4 kB\nAnonymous:   0 kB\n\
            6000-7000 r--p 00001000 fe:00 7    /bin/a\nAnonymous:   4 kB\n\
            7000-8000 rw-p 00002000 fe:00 7    /bin/a\nAnonymous:   0 kB\n\
            8000-9000 r--p 00000000 00:00 0    [vvar]\nAnonymous:   0 kB\n\
            9000-a000 r--s 00000000 fe:00 8    /data/shared\nAnonymous:   0 kB\n\
            a000-c000 r--p 00000000 00:00 0\nAnonymous:   0 kB\n\
            c000-f000 r--p 00000000 fe:00 9    /lib/c\nAnonymous:   0 kB\n";
        assert_eq!(clean_mappings(smaps), [(0x5000, 0x1000), (0xc000, 0x3000)]);
        // And this program runs on afterwards.
        give_memory_back();
        assert_eq!(clean_mappings(""), []);
    }
}
