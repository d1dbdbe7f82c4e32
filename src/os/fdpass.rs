//! Descriptors that go from one process to another over a unix socket (SCM_RIGHTS).
#![expect(unsafe_code, reason = "ancillary data has no safe face")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Most descriptors that go with one message.
pub const FDS_MAX: usize = 3;
/// Room for them and the head before them, in words that are aligned as the kernel wants them.
type Room = [u64; 8];
const ROOM_BYTES: u32 = 64;

/// Sends bytes with descriptors, at most [`FDS_MAX`]; how many bytes were taken.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let fds: Vec<RawFd> = fds.iter().take(FDS_MAX).map(|fd| fd.as_raw_fd()).collect();
    let size = u32::try_from(size_of_val(fds.as_slice())).unwrap_or(0);
    let mut room: Room = [0; 8];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a message without parts, names or ancillary data is all zeroes.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut room).cast();
    // SAFETY: computes a number.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
    // SAFETY: the message has room for one head.
    let head = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if head.is_null() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `head` points into `room`, which is aligned for it.
    let head = unsafe { &mut *head };
    head.cmsg_level = libc::SOL_SOCKET;
    head.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: computes a number.
    head.cmsg_len = unsafe { libc::CMSG_LEN(size) } as _;
    // SAFETY: the data of the head, behind it in `room`.
    let data = unsafe { libc::CMSG_DATA(head) };
    // SAFETY: `room` holds FDS_MAX descriptors behind a head.
    unsafe { std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), data, size as usize) };
    // SAFETY: all that the message points to lives on.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives bytes, and appends the descriptors that came with them; 0 bytes: the end.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut room: Room = [0; 8];
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: as in `send`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut room).cast();
    message.msg_controllen = ROOM_BYTES as _;
    // SAFETY: all that the message points to lives on and may be written.
    let got =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the message in.
    let mut head = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !head.is_null() {
        // SAFETY: points into `room`.
        let found = unsafe { &*head };
        if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: computes a number.
            let empty = unsafe { libc::CMSG_LEN(0) } as usize;
            #[expect(clippy::useless_conversion, reason = "the C types differ between systems")]
            let length = usize::try_from(found.cmsg_len).unwrap_or(0).saturating_sub(empty);
            // SAFETY: the data of the head, behind it in `room`.
            let data = unsafe { libc::CMSG_DATA(head) }.cast::<RawFd>();
            for at in 0..length / size_of::<RawFd>() {
                // SAFETY: within the data that the kernel has written.
                let place = unsafe { data.add(at) };
                // SAFETY: as above; the place need not be aligned.
                let fd = unsafe { place.read_unaligned() };
                // SAFETY: a new descriptor that nobody else owns.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        // SAFETY: both point into the same message.
        head = unsafe { libc::CMSG_NXTHDR(&raw const message, head) };
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_pipe_goes_through_a_socket() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        assert_eq!(send(here.as_fd(), b"word", &[write.as_fd(), read.as_fd()]).unwrap(), 4);
        drop(write);
        let (mut got, mut fds) = ([0; 16], Vec::new());
        assert_eq!(receive(there.as_fd(), &mut got, &mut fds).unwrap(), 4);
        assert_eq!((&got[..4], fds.len()), (&b"word"[..], 2));
        File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        here.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(receive(there.as_fd(), &mut got, &mut fds).unwrap(), 0);
    }
}
