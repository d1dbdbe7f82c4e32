//! Files of an allocation as the API shows them: which paths may be named, and how a file is
//! described. Pure; reading itself is done by the agent below the allocation's directory.

use serde::{Serialize, Serializer};

use crate::stdx::time::Rfc3339;

/// First bytes of a file that its content type is told from.
pub const SNIFF_BYTES: usize = 512;

/// One file or directory, as `ls` and `stat` print it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileInfo {
    /// Only `stat` tells it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub content_type: &'static str,
    /// As Go prints it: `-rw-r--r--`, `drwxr-xr-x`, `dtrwxrwxrwx`.
    pub file_mode: String,
    pub is_dir: bool,
    /// Nanoseconds since the epoch; printed as RFC 3339.
    #[serde(serialize_with = "as_time")]
    pub mod_time: i64,
    /// The last part of its path.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

fn as_time<S: Serializer>(ns: &i64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Rfc3339(*ns))
}

/// The path relative to the allocation's directory, without `.`, `..` and doubled slashes; the
/// directory itself is empty. `None`: it leaves the directory, whether it comes back or not.
#[must_use]
pub fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Does this clean path lie in a directory whose content the API never tells: `secrets` and
/// `private` of a task? Case does not count, for file systems on which it does not.
#[must_use]
pub fn is_secret(path: &str) -> bool {
    let mut parts = path.split('/');
    let (task, dir) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    !task.eq_ignore_ascii_case("alloc")
        && ["secrets", "private"].iter().any(|secret| dir.eq_ignore_ascii_case(secret))
}

/// A file mode of the system as Go's text.
#[must_use]
pub fn mode_text(mode: u32) -> String {
    let mut text = String::with_capacity(12);
    match mode & 0o170_000 {
        0o040_000 => text.push('d'),
        0o120_000 => text.push('L'),
        0o060_000 => text.push('D'),
        0o010_000 => text.push('p'),
        0o140_000 => text.push('S'),
        0o020_000 => text.push('D'),
        _ => {}
    }
    for (bit, letter) in [(0o4000, 'u'), (0o2000, 'g')] {
        if mode & bit != 0 {
            text.push(letter);
        }
    }
    if mode & 0o170_000 == 0o020_000 {
        text.push('c');
    }
    if mode & 0o1000 != 0 {
        text.push('t');
    }
    if text.is_empty() {
        text.push('-');
    }
    for (at, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & (0o400 >> at) != 0 { letter } else { '-' });
    }
    text
}

/// Content types that a browser would run or draw; they are told as plain text.
const PLAIN: &str = "text/plain; charset=utf-8";
/// What has no better name.
pub const BINARY: &str = "application/octet-stream";

/// Beginnings of files that tell their type.
const MAGIC: [(&[u8], &str); 17] = [
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain; charset=utf-16be"),
    (b"\xff\xfe", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", PLAIN),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
];

/// The content type that a file's first [`SNIFF_BYTES`] suggest, by the rules of the WHATWG's
/// sniffing standard, in which text is what has no binary control bytes. Markup that a browser
/// would run is plain text here.
#[must_use]
pub fn sniff(head: &[u8]) -> &'static str {
    let head = head.get(..SNIFF_BYTES).unwrap_or(head);
    if let Some((_, found)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return found;
    }
    let binary = |b: &u8| matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if head.iter().any(binary) { BINARY } else { PLAIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        let cases = [
            ("", Some("")),
            ("/", Some("")),
            ("/alloc//logs/./", Some("alloc/logs")),
            ("alloc/../web/secrets/a", Some("web/secrets/a")),
            ("..", None),
            ("/..", None),
            ("alloc/../../x", None),
            ("../../../../../../etc/passwd", None),
            ("./..//", None),
            ("..\\..\\x", Some("..\\..\\x")),
        ];
        for (path, want) in cases {
            assert_eq!(clean(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn secrets_are_told_by_their_place() {
        for path in ["web/secrets/key", "web/secrets", "web/private/a/b", "web/SECRETS/key"] {
            assert!(is_secret(path), "{path}");
        }
        for path in ["", "web", "web/local/secrets", "alloc/secrets/a", "alloc/logs/secrets"] {
            assert!(!is_secret(path), "{path}");
        }
    }

    #[test]
    fn modes_print_as_in_go() {
        let cases = [
            (0o100_644, "-rw-r--r--"),
            (0o040_777, "drwxrwxrwx"),
            (0o041_777, "dtrwxrwxrwx"),
            (0o120_777, "Lrwxrwxrwx"),
            (0o020_600, "Dcrw-------"),
            (0o060_600, "Drw-------"),
            (0o010_600, "prw-------"),
            (0o140_755, "Srwxr-xr-x"),
            (0o104_755, "urwxr-xr-x"),
        ];
        for (mode, want) in cases {
            assert_eq!(mode_text(mode), want);
        }
    }

    #[test]
    fn types_are_told_from_the_first_bytes() {
        for (head, want) in [
            (&b"hello\n"[..], PLAIN),
            (b"", PLAIN),
            (b"<html><script>", PLAIN),
            (b"\x7fELF\x02\x01", BINARY),
            (b"\x89PNG\r\n\x1a\n....", "image/png"),
            (b"\x1b[31mred", PLAIN),
        ] {
            assert_eq!(sniff(head), want);
        }
    }

    #[test]
    fn a_file_prints_as_recorded() {
        let info = FileInfo {
            content_type: "",
            file_mode: mode_text(0o100_644),
            is_dir: false,
            mod_time: 1_795_426_609_295_910_909,
            name: "executor.out".to_owned(),
            size: 279,
        };
        let want = concat!(
            r#"{"FileMode":"-rw-r--r--","IsDir":false,"#,
            r#""ModTime":"2026-11-23T09:36:49.295910909Z","Name":"executor.out","Size":279}"#
        );
        assert_eq!(serde_json::to_string(&info).unwrap(), want);
    }
}
