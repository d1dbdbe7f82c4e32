//! Datagrams of a stranger as answers to a question, and files about names: no more than a few
//! addresses come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::dns::{Kind, Name, Said, answer, hosts, query, settings};

fuzz_target!(|input: (bool, bool, &[u8])| {
    let (six, fits, bytes) = input;
    let kind = if six { Kind::V6 } else { Kind::V4 };
    let name = Name::new("a.example.com").expect("a name");
    // With the question before it, records are reached at once.
    let mut reply = if fits { query(7, &name, kind) } else { Vec::new() };
    if let [records, rest @ ..] = bytes
        && fits
    {
        (reply[2], reply[7]) = (0x81, *records);
        reply.extend(rest);
    } else {
        reply.extend(bytes);
    }
    if let Some(Said::Addresses(ips, ttl_s)) = answer(&reply, 7, &name, kind) {
        assert!((1..=16).contains(&ips.len()) && ttl_s <= i32::MAX as u32);
        assert!(ips.iter().all(|ip| ip.is_ipv6() == six));
    }
    let settings = settings(bytes);
    assert!((1..=3).contains(&settings.servers.len()));
    assert!(settings.candidates("a.b").is_ok_and(|c| (1..=7).contains(&c.len())));
    hosts(bytes, "a");
});
