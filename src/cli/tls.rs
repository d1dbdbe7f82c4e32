//! `tls`: a CA for a cluster, and certificates for its agents and for people.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::args::Args;
use super::format::{pairs, time};
use super::{Session, Stop, system};
use crate::tls::issue::{Issued, Issuer, Order, issue};
use crate::tls::{describe, write_new};

/// Attributes of a subject: flag, and last number of its id below 2.5.4.
const SUBJECT: [(&str, u8); 7] = [
    ("country", 6),
    ("postal-code", 17),
    ("province", 8),
    ("locality", 7),
    ("street-address", 9),
    ("organization", 10),
    ("organizational-unit", 11),
];
/// The number of the common name.
const COMMON_NAME: u8 = 3;

const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;
/// How far clocks may differ between the machine that makes a certificate and one that reads it.
const CLOCKS_NS: i64 = 3600 * 1_000_000_000;

/// `tls ca create`.
pub(super) fn ca_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let domain = domain(args)?;
    let mut order = order(args, 1825)?;
    let flag = |name: &str| args.value(name).unwrap_or_default().to_owned();
    order.subject = SUBJECT.iter().map(|(name, id)| (*id, flag(name))).collect();
    let common = args.value("common-name").unwrap_or("Vardo Agent CA");
    order.subject.push((COMMON_NAME, common.to_owned()));
    order.ca = true;
    if args.on("name-constraint") {
        order.domains = vec![domain.clone(), "localhost".to_owned()];
        if domain != "nomad" {
            // The names of roles.
            order.domains.push("nomad".to_owned());
        }
        order.domains.extend(args.all("additional-domain").map(str::to_owned));
    } else if args.value("additional-domain").is_some() {
        return Err(Stop::Usage("-additional-domain needs -name-constraint".to_owned()));
    }
    let issued = issue(&order, None)?;
    let (cert, key) = (format!("{domain}-agent-ca.pem"), format!("{domain}-agent-ca-key.pem"));
    write(&issued, &cert, &key)?;
    session.say(&format!("==> CA certificate saved to: {cert}"));
    session.say(&format!("==> CA certificate key saved to: {key}"));
    Ok(0)
}

/// `tls cert create`.
pub(super) fn cert_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let asked: Vec<_> = ROLES.into_iter().filter(|role| args.on(role)).collect();
    let [role] = asked[..] else {
        return Err(Stop::Usage("Please provide one of -server, -client or -cli".to_owned()));
    };
    let domain = domain(args)?;
    let region = args.value("region").or_else(|| args.value("cluster-region"));
    let region = file_word("region", region.unwrap_or("global"))?;
    let mut order = order(args, 365)?;
    let name = format!("{role}.{region}.{domain}");
    order.subject = vec![(COMMON_NAME, name.clone())];
    order.dns = vec![name];
    let by_role = format!("{role}.{region}.nomad");
    if !order.dns.contains(&by_role) {
        // What agents look for, whatever the domain.
        order.dns.push(by_role);
    }
    order.dns.push("localhost".to_owned());
    order.dns.extend(args.all("additional-dnsname").map(str::to_owned));
    if let Some(bad) = order.dns.iter().find(|n| !is_host(n)) {
        return Err(Stop::Usage(format!("{bad:?} is no name of a host")));
    }
    order.ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    for text in args.all("additional-ipaddress") {
        let ip = text.parse().map_err(|_| Stop::Usage(format!("{text:?} is no IP address")))?;
        order.ips.push(ip);
    }
    (order.answers, order.calls) = (role != "cli", true);
    let path = |flag: &str, usual: &str| match args.value(flag) {
        Some(path) => path.to_owned(),
        None => format!("{domain}-{usual}.pem"),
    };
    let (ca, ca_key) = (path("ca", "agent-ca"), path("key", "agent-ca-key"));
    let issuer = Issuer::read(Path::new(&ca), Path::new(&ca_key))?;
    let issued = issue(&order, Some(&issuer))?;
    let base = format!("{region}-{role}-{domain}");
    let (cert, key) = (format!("{base}.pem"), format!("{base}-key.pem"));
    write(&issued, &cert, &key)?;
    if role == "server" {
        session.warn(SERVER_WARNING);
    }
    let shown = match role {
        "server" => "Server",
        "client" => "Client",
        _ => "CLI",
    };
    session.say(&format!("==> Using CA file {ca} and CA key {ca_key}"));
    session.say(&format!("==> {shown} certificate saved to: {cert}"));
    session.say(&format!("==> {shown} certificate key saved to: {key}"));
    Ok(0)
}

const ROLES: [&str; 3] = ["server", "client", "cli"];

const SERVER_WARNING: &str = "==> WARNING: whoever has this certificate and its key can become a \
server and read everything that the cluster keeps. Do not give it to machines that are none.";

fn order(args: &Args, days: i64) -> Result<Order, Stop> {
    let days = match args.value("days") {
        None => days,
        Some(text) => text
            .parse()
            .ok()
            .filter(|days| (1..=36_500).contains(days))
            .ok_or_else(|| Stop::Usage("-days must be between 1 and 36500".to_owned()))?,
    };
    let now = system::wall_ns();
    Ok(Order {
        from_ns: now.saturating_sub(CLOCKS_NS),
        until_ns: now.saturating_add(days.saturating_mul(DAY_NS)),
        ..Order::default()
    })
}

fn domain(args: &Args) -> Result<String, Stop> {
    file_word("domain", args.value("domain").unwrap_or("nomad"))
}

/// A word that becomes a part of a file's name and of a host's.
fn file_word(what: &str, text: &str) -> Result<String, Stop> {
    if !is_host(text) {
        return Err(Stop::Usage(format!("-{what} {text:?} is no name")));
    }
    Ok(text.to_owned())
}

fn is_host(text: &str) -> bool {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !rest.is_empty() && rest.len() < 254 && !rest.starts_with(['.', '-']) && rest.chars().all(fits)
}

/// `tls ca info` and `tls cert info`.
fn info(session: &mut Session<'_>, args: &Args, ca: bool) -> Result<i32, Stop> {
    let file = match args.at(0) {
        "" if ca => format!("{}-agent-ca.pem", domain(args)?),
        path => path.to_owned(),
    };
    let found = describe(Path::new(&file))?;
    if found.ca != ca {
        let what =
            if ca { "no CA; see 'vardo tls cert info'" } else { "a CA; see 'vardo tls ca info'" };
        return Err(Stop::Error(format!("{file}: the certificate is that of {what}")));
    }
    let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
    let uses: Vec<&str> = [(found.answers, "answers calls"), (found.calls, "makes calls")]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
        .collect();
    let lines = [
        ("Serial Number", found.serial),
        ("Subject", found.subject),
        ("Issuer", found.issuer),
        ("Valid From", time(found.from_ns)),
        ("Expiry Date", time(found.until_ns)),
        ("DNS Names", found.names.join(", ")),
        ("IP Addresses", addresses.join(", ")),
        ("Use", if ca { "signs certificates".to_owned() } else { uses.join(", ") }),
    ];
    session.say(&pairs(&lines));
    let now = session.look.now;
    if now >= found.until_ns {
        let again = if ca { "vardo tls ca create" } else { "vardo tls cert create" };
        session.warn(&format!("==> WARNING: it has expired, make another by '{again}'"));
    } else if now < found.from_ns {
        session.warn("==> WARNING: it is not valid yet, or the clock of this machine is wrong");
    }
    Ok(0)
}

/// `tls ca info`.
pub(super) fn ca_info(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    info(session, args, true)
}

/// `tls cert info`.
pub(super) fn cert_info(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    info(session, args, false)
}

/// Writes both files, or none.
fn write(issued: &Issued, cert: &str, key: &str) -> Result<(), Stop> {
    if let Some(there) = [cert, key].into_iter().find(|p| Path::new(p).exists()) {
        return Err(Stop::Error(format!("{there} already exists")));
    }
    write_new(Path::new(key), &issued.key, 0o600)?;
    write_new(Path::new(cert), &issued.cert, 0o644)?;
    Ok(())
}
