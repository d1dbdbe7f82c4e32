//! Functions that look at files, or at chance, or take long: only where the text is the user's own,
//! never on a server.

use serde_json::Value;

use super::digest::decode64;
use super::{Result, bcrypt, int, rsa, text};
use crate::hcl::disk::{Disk, Files};
use crate::stdx::{sort, uuid};

/// The names, each with the least and the greatest number of arguments.
pub(super) const TABLE: [(&str, usize, usize); 11] = [
    ("abspath", 1, 1),
    ("basename", 1, 1),
    ("bcrypt", 1, 2),
    ("dirname", 1, 1),
    ("file", 1, 1),
    ("filebase64", 1, 1),
    ("fileexists", 1, 1),
    ("fileset", 2, 2),
    ("pathexpand", 1, 1),
    ("rsadecrypt", 2, 2),
    ("uuidv4", 0, 0),
];

/// Most files that a pattern is held against.
const FILES_MAX: usize = 10_000;
/// Folders within each other that are looked into.
const DEPTH_MAX: usize = 16;

pub(super) fn call(name: &str, args: &[Value], files: Files<'_>) -> Result {
    let Some(disk) = files else {
        return Err(match name {
            "uuidv4" => "servers do not draw chance: parse the file by the command line".to_owned(),
            "bcrypt" | "rsadecrypt" => {
                "it takes too long for a server: parse the file by the command line".to_owned()
            }
            _ => "filesystem function disabled".to_owned(),
        });
    };
    match name {
        "uuidv4" => {
            let mut bytes = disk.chance();
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            return Ok(uuid::from_bytes(&bytes).into());
        }
        "bcrypt" => {
            let cost = if args.len() > 1 { int(args, 1)? } else { 10 };
            let cost = u32::try_from(cost).unwrap_or_default();
            return bcrypt::hash(&text(args, 0)?, cost, &disk.chance()).map(Value::from);
        }
        "rsadecrypt" => {
            let secret = decode64(text(args, 0)?.trim()).ok_or("the secret is not base64")?;
            let plain = rsa::decrypt(&secret, &text(args, 1)?)?;
            return String::from_utf8(plain).map(Value::from).map_err(|_| "it is not text".into());
        }
        _ => {}
    }
    let path = text(args, 0)?;
    let (folder, last) = path.rsplit_once('/').unwrap_or((".", &path));
    Ok(match name {
        "abspath" => disk.absolute(&path).into(),
        "pathexpand" => match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                format!("{}{rest}", disk.home()).into()
            }
            _ => path.into(),
        },
        "basename" => last.into(),
        "dirname" => (if folder.is_empty() { "/" } else { folder }).into(),
        "fileexists" => disk.read(&path).is_ok().into(),
        "file" => String::from_utf8(disk.read(&path)?).map_err(|_| "it is not text")?.into(),
        "fileset" => {
            let pattern = text(args, 1)?;
            let mut found = Vec::new();
            gather(disk, &path, "", 0, &mut found)?;
            found.retain(|name| fits(pattern.as_bytes(), name.as_bytes()));
            sort::by_key(&mut found, Clone::clone);
            found.into()
        }
        _ => super::digest::encode64(&disk.read(&path)?).into(),
    })
}

/// Files below a folder, named from there.
fn gather(
    disk: &dyn Disk,
    root: &str,
    below: &str,
    depth: usize,
    out: &mut Vec<String>,
) -> std::result::Result<(), String> {
    for (name, is_folder) in disk.list(&format!("{root}/{below}"))? {
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if is_folder && depth < DEPTH_MAX {
            gather(disk, root, &path, depth + 1, out)?;
        } else if !is_folder {
            out.push(path);
        }
        if out.len() > FILES_MAX {
            return Err(format!("there are more than {FILES_MAX} files below {root}"));
        }
    }
    Ok(())
}

/// Whether a path fits a pattern: `?` is one character, `*` any but `/`, `**` any at all.
fn fits(pattern: &[u8], path: &[u8]) -> bool {
    // Where to go on from the last star of either kind: after it, and so much of the path in it.
    let (mut at, mut from) = (0, 0);
    let mut stars: [Option<(usize, usize)>; 2] = [None, None];
    loop {
        let byte = path.get(from);
        match pattern.get(at) {
            Some(b'*') => {
                let wide = pattern.get(at + 1) == Some(&b'*');
                at += if wide { 2 } else { 1 };
                // Folders that are none have no slash either.
                at += usize::from(wide && pattern.get(at) == Some(&b'/') && at == 2);
                stars[usize::from(wide)] = Some((at, from));
                if wide {
                    stars[0] = None;
                }
                continue;
            }
            Some(b'?') if byte.is_some_and(|b| *b != b'/') => {
                (at, from) = (at + 1, from + 1);
                continue;
            }
            Some(sign) if byte == Some(sign) => {
                (at, from) = (at + 1, from + 1);
                continue;
            }
            None if byte.is_none() => return true,
            _ => {}
        }
        let [narrow, wide] = &mut stars;
        match (narrow, wide) {
            (Some((after, taken)), _) if path.get(*taken).is_some_and(|b| *b != b'/') => {
                *taken += 1;
                (at, from) = (*after, *taken);
            }
            (narrow, Some((after, taken))) if *taken < path.len() => {
                *taken += 1;
                (at, from) = (*after, *taken);
                *narrow = None;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_those_of_shells() {
        for (pattern, path, expected) in [
            ("*.hcl", "a.hcl", true),
            ("*.hcl", "b/a.hcl", false),
            ("**/*.hcl", "b/c/a.hcl", true),
            ("**/*.hcl", "a.hcl", true),
            ("b/*", "b/a", true),
            ("b/*", "b/a/c", false),
            ("b/**", "b/a/c", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a", "ab", false),
            ("*a*b*c", "xaybzc", true),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
    }
}
