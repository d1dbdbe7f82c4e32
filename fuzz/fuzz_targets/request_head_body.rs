//! Any bytes, in any pieces, amount to the same requests, and never to a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::http::Conn;

fn events(parts: &[&[u8]]) -> Vec<String> {
    let mut conn = Conn::new();
    let mut out = Vec::new();
    for part in parts {
        conn.feed(1, part);
        out.extend(std::iter::from_fn(|| conn.next(1)).map(|event| format!("{event:?}")));
    }
    // Whether a client is told to go on depends on how much it has sent.
    out.retain(|event| event != "Continue");
    out
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let (a, b) = bytes.split_at(usize::from(cut) % (bytes.len() + 1));
    assert_eq!(events(&[bytes]), events(&[a, b]));
});
