//! Small files of the kernel, whole: `/proc`, `/sys`, `/etc`.

use std::fs::File;
use std::io::{self, Read};

use crate::stdx::sort;

/// Most bytes taken from one file; `/proc/cpuinfo` of a machine with hundreds of processors is cut
/// there.
const BYTES_MAX: u64 = 1024 * 1024;

/// The file's bytes, at most 1 MiB.
///
/// # Errors
/// Those of open and read.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file's text without the space around it; empty when it cannot be read.
#[must_use]
pub fn text(path: &str) -> String {
    read(path).map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).trim().to_owned())
}

/// Names in a directory, sorted; empty when it cannot be read.
#[must_use]
pub fn names(path: &str) -> Vec<String> {
    let Ok(dir) = std::fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        dir.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    sort::by(&mut names, Ord::cmp);
    names
}
