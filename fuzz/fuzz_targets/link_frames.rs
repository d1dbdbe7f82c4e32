//! Bytes of a stranger, and of a peer that was greeted, cut anywhere: events or an end, no more
//! than the limits allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::link::{Event, Hello, Link};

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (greeted, size, bytes) = input;
    let one = Hello { boot: [1; 16], challenge: [1; 32], ..Hello::default() };
    let two = Hello { boot: [2; 16], challenge: [2; 32], ..Hello::default() };
    let mut link = Link::new(&one, None, false);
    if greeted {
        let mut greeting = Vec::new();
        Link::new(&two, None, true).fill(&mut greeting, usize::MAX);
        link.feed(&greeting);
    }
    for piece in bytes.chunks(usize::from(size).max(1)) {
        link.feed(piece);
        loop {
            match link.poll() {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(Event::Data(stream, data))) => link.grant(stream, data.len()),
                Ok(Some(_)) => {}
            }
        }
        let mut out = Vec::new();
        link.fill(&mut out, 1 << 16);
    }
});
