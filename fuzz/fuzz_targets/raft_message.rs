//! Any bytes are a message of consensus that reads back as itself, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::raft::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::decode(bytes) else { return };
    assert_eq!(Message::decode(&message.encode()), Ok(message));
});
