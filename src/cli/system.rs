//! What commands ask of the system.

use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

/// A variable of the environment that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the environment of a command, read at its start")]
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The variables of the environment whose names begin so, without that beginning.
pub(super) fn variables(prefix: &str) -> Vec<(String, String)> {
    let all =
        std::env::vars_os().filter_map(|(k, v)| k.into_string().ok().zip(v.into_string().ok()));
    all.filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_owned(), v))).collect()
}

/// Nanoseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "a command shows times; nothing depends on them")]
pub(super) fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
