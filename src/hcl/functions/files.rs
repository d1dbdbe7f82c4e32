//! Functions that look at files: only where the text is the user's own, never on a server.

use serde_json::Value;

use super::{Result, text};
use crate::hcl::eval::Files;

pub(super) const NAMES: [&str; 5] = ["basename", "dirname", "file", "filebase64", "fileexists"];

pub(super) fn call(name: &str, args: &[Value], files: Files<'_>) -> Result {
    let read = files.ok_or("filesystem function disabled")?;
    let path = text(args, 0)?;
    let (folder, last) = path.rsplit_once('/').unwrap_or((".", &path));
    Ok(match name {
        "basename" => last.into(),
        "dirname" => (if folder.is_empty() { "/" } else { folder }).into(),
        "fileexists" => read(&path).is_ok().into(),
        "file" => String::from_utf8(read(&path)?).map_err(|_| "it is not text")?.into(),
        _ => super::digest::encode64(&read(&path)?).into(),
    })
}
