//! Sockets: listeners and the machine's own addresses.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use super::linux;
use crate::limits::DNS_FILE_BYTES_MAX;

/// Connections that may wait to be accepted; the kernel cuts it at `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// A listener: address reusable at once after a restart, non-blocking, closed on exec.
///
/// # Errors
/// The address is in use, not ours, or not allowed.
pub fn listen(address: SocketAddr) -> io::Result<mio::net::TcpListener> {
    let std: TcpListener = linux::listen(address, BACKLOG)?.into();
    Ok(mio::net::TcpListener::from_std(std))
}

/// Accepts one connection, set up for small answers (no Nagle delay); `None` when nobody waits. A
/// connection that ended before it was accepted is skipped.
///
/// # Errors
/// Out of descriptors or memory; the listener stays good.
pub fn accept(
    listener: &mio::net::TcpListener,
) -> io::Result<Option<(mio::net::TcpStream, SocketAddr)>> {
    loop {
        match listener.accept() {
            Ok((stream, from)) => {
                // A connection that its peer has already reset refuses the option and shows its
                // end at the first read.
                drop(stream.set_nodelay(true));
                return Ok(Some((stream, from)));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e)
                if e.kind() == io::ErrorKind::ConnectionAborted
                    || e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Has the system ask the other side of a silent connection now and then whether it is there: one
/// that is not is noticed after a minute.
///
/// # Errors
/// None in practice.
pub fn keep_alive(stream: &mio::net::TcpStream) -> io::Result<()> {
    linux::keep_alive(stream.as_raw_fd(), 30, 10, 3)
}

/// What the machine says about names: `/etc/hosts` and `/etc/resolv.conf`; empty where they are not
/// there.
pub fn name_files() -> (Vec<u8>, Vec<u8>) {
    let read = |path: &str| {
        let mut out = Vec::new();
        let file = std::fs::File::open(path).map(|f| f.take(DNS_FILE_BYTES_MAX));
        match file.and_then(|mut f| f.read_to_end(&mut out)) {
            Ok(_) => out,
            Err(e) => {
                log::debug!("{path}: {e}");
                Vec::new()
            }
        }
    };
    (read("/etc/hosts"), read("/etc/resolv.conf"))
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Interface name, such as `eth0`.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// The interface is up and is not the loopback.
    pub usable: bool,
}

/// All addresses of the machine, in the kernel's order.
///
/// # Errors
/// None in practice.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let all = linux::interface_addresses()?;
    Ok(all
        .into_iter()
        .map(|(interface, ip, usable)| InterfaceAddress { interface, ip, usable })
        .collect())
}

/// The address by which this machine reaches others, and its interface: the source address of the
/// default route, else the first usable one, else the loopback.
#[must_use]
pub fn primary() -> InterfaceAddress {
    let all = addresses().unwrap_or_default();
    let routed = source_address();
    let by_route = all.iter().find(|a| Some(a.ip) == routed && a.usable);
    let by_order = all.iter().find(|a| a.usable && a.ip.is_ipv4());
    by_route.or(by_order).cloned().unwrap_or_else(|| InterfaceAddress {
        interface: "lo".to_owned(),
        ip: IpAddr::from([127, 0, 0, 1]),
        usable: false,
    })
}

/// The address the kernel would send from. Connecting a datagram socket asks the routing table and
/// sends nothing.
fn source_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((IpAddr::from([0, 0, 0, 0]), 0)).ok()?;
    socket.connect((IpAddr::from([192, 0, 2, 1]), 9)).ok()?;
    socket.local_addr().ok().map(|a| a.ip())
}
