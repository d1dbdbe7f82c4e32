//! Frames of either side, cut anywhere: messages or an end, and no more is held than one message
//! and what was fed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::http::websocket::{Decoder, Kind, read_close, write};
use vardo::limits::WEBSOCKET_MESSAGE_BYTES_MAX;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (masked, size, bytes) = input;
    let mut decoder = Decoder::new(masked);
    for piece in bytes.chunks(usize::from(size).max(1)) {
        decoder.feed(piece);
        loop {
            match decoder.message() {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some((kind, message))) => {
                    assert!(message.len() <= WEBSOCKET_MESSAGE_BYTES_MAX);
                    if kind == Kind::Close {
                        let _ = read_close(&message);
                    }
                    let mask = masked.then_some([size, 1, 2, 3]);
                    let mut again = Vec::new();
                    write(kind, &message, mask, &mut again);
                    let mut other = Decoder::new(masked);
                    other.feed(&again);
                    assert_eq!(other.message(), Ok(Some((kind, message))));
                }
            }
        }
    }
});
