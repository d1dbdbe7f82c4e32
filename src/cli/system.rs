//! What commands ask of the system.

use std::fs::File;
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

/// Whether more than ASCII may be written: the locale says so, or nothing.
pub(super) fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(env);
    locale.is_none_or(|l| {
        let l = l.to_ascii_lowercase();
        l.contains("utf-8") || l.contains("utf8")
    })
}

/// A file that must not be there yet.
pub(super) fn create_file(path: &str, mode: u32) -> Result<File, String> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(mode).open(path);
    file.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => format!("File {path:?} already exists"),
        _ => format!("{path}: {e}"),
    })
}

/// Writes a file that must not be there yet, with the usual mode.
pub(super) fn create(path: &str, bytes: &[u8]) -> Result<(), String> {
    use std::io::Write;
    create_file(path, 0o666)?.write_all(bytes).map_err(|e| format!("{path}: {e}"))
}

/// The content of a file, or of standard input for `-`.
pub(super) fn read(path: &str) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    match path {
        "-" => std::io::stdin().read_to_end(&mut bytes).map(drop),
        _ => std::fs::read(path).map(|all| bytes = all),
    }
    .map_err(|e| format!("{path}: {e}"))?;
    Ok(bytes)
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "a command has nothing else to do meanwhile")]
pub(super) fn pause(ns: u64) {
    std::thread::sleep(std::time::Duration::from_nanos(ns));
}
