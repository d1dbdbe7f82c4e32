//! Sockets: listeners and the machine's own addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use super::linux;

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

/// The addresses of `host`, `host:port`, `ip` or `ip:port`. May wait for a name server.
///
/// # Errors
/// There is no such name, or nobody could be asked.
pub fn lookup(text: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = text.trim_matches(['[', ']']);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let named = text.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
    let found = if named { text.to_socket_addrs() } else { (text, port).to_socket_addrs() };
    Ok(found?.collect())
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
