//! An answer of another server in any pieces: what the client gets does not depend on how it was
//! cut, and is no more than a frame around what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::http::passage::{Passage, Wishes};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (bits, size, bytes) = input;
    let wishes = Wishes {
        head_only: bits & 1 != 0,
        http10: bits & 2 != 0,
        keep_alive: bits & 4 != 0,
        session: bits & 8 != 0,
    };
    let run = |size: usize| {
        let (mut passage, mut out) = (Passage::new(wishes), Vec::new());
        for piece in bytes.chunks(size) {
            if passage.feed(piece, &mut out).is_err() {
                return None;
            }
        }
        let fine = passage.end(&mut out).is_ok();
        Some((fine, passage.status(), passage.closes(), out))
    };
    let (whole, pieces) = (run(bytes.len().max(1)), run(usize::from(size).max(1)));
    match (whole, pieces) {
        (None, None) => {}
        (Some(one), Some(two)) => {
            assert_eq!((one.0, one.1, one.2), (two.0, two.1, two.2));
            // Chunks are cut as they came.
            assert!(one.3.len() <= bytes.len() * 7 + 64);
        }
        (one, two) => panic!("{one:?} {two:?}"),
    }
});
