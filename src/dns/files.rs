//! What the machine says about names: `/etc/resolv.conf` and `/etc/hosts` as texts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::message::Name;

const PORT: u16 = 53;
/// Most name servers, and most endings of names, that are taken (resolv.conf(5)).
const SERVERS_MAX: usize = 3;
const ENDINGS_MAX: usize = 6;
/// Most dots that a name can be asked to have.
const DOTS_MAX: usize = 15;

/// Whom to ask, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Not empty.
    pub servers: Vec<SocketAddr>,
    /// Endings of names that are not complete.
    pub endings: Vec<String>,
    /// A name with so many dots is taken for a complete one first.
    pub dots: usize,
}

/// The settings of a `resolv.conf`. Without a name server in it there is one on this machine, as
/// resolv.conf(5) has it. What is not understood is passed over.
pub fn settings(text: &[u8]) -> Settings {
    let mut out = Settings { servers: Vec::new(), endings: Vec::new(), dots: 1 };
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if out.servers.len() < SERVERS_MAX => {
                let ip = words.next().and_then(|w| w.parse::<IpAddr>().ok());
                out.servers.extend(ip.map(|ip| SocketAddr::new(ip, PORT)));
            }
            // The last of these lines counts.
            Some("search" | "domain") => {
                out.endings = words.take(ENDINGS_MAX).map(str::to_owned).collect();
            }
            Some("options") => {
                let dots = words.filter_map(|w| w.strip_prefix("ndots:")?.parse().ok()).next_back();
                out.dots = dots.map_or(out.dots, |n: usize| n.min(DOTS_MAX));
            }
            _ => {}
        }
    }
    if out.servers.is_empty() {
        out.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    out
}

impl Settings {
    /// The names to be asked for, in turn; the first one stands last.
    ///
    /// # Errors
    /// It is no name of a host.
    pub fn candidates(&self, host: &str) -> Result<Vec<Name>, &'static str> {
        let whole = Name::new(host)?;
        let mut out = Vec::new();
        if !host.ends_with('.') {
            let ended = |ending: &String| Name::new(&format!("{host}.{ending}")).ok();
            out.extend(self.endings.iter().rev().filter_map(ended));
        }
        let complete = host.bytes().filter(|b| *b == b'.').count() >= self.dots;
        out.insert(if complete { out.len() } else { 0 }, whole);
        Ok(out)
    }
}

/// The addresses of a name in a `hosts` file, those of version 4 first.
pub fn hosts(text: &[u8], name: &str) -> Vec<IpAddr> {
    let mut out: Vec<IpAddr> = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        let line = line.split(|b| *b == b'#').next().unwrap_or_default();
        let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let first = words.next();
        if words.any(|w| w.eq_ignore_ascii_case(name.as_bytes()))
            && let Some(ip) = first.and_then(|w| std::str::from_utf8(w).ok()?.parse().ok())
            && !out.contains(&ip)
        {
            out.push(ip);
        }
    }
    out.sort_by_key(IpAddr::is_ipv6);
    out
}
