//! Job files as people write them: HCL or JSON, from a path or standard input.

use std::io::Read;

use super::args::Args;
use crate::hcl::Source;
use crate::hcl::disk::Disk;
use crate::jobspec::hcl::{self, Inputs};
use crate::os::entropy;
use crate::stdx::Entropy;
use crate::stdx::json::{self, Raw};
use crate::stdx::{BTreeMap, sort};

/// A job as it was written, and what a command needs to know of it.
#[derive(Debug, PartialEq)]
pub(super) struct JobFile {
    /// The job alone, in the API's form.
    pub(super) json: String,
    pub(super) id: String,
    pub(super) namespace: String,
    /// The text, its format and its variables, for the page of the job.
    pub(super) submission: String,
}

/// What job files may look at.
struct Machine;

impl Disk for Machine {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|e| format!("{path}: {e}"))
    }

    fn list(&self, path: &str) -> Result<Vec<(String, bool)>, String> {
        let entries = std::fs::read_dir(path).map_err(|e| format!("{path}: {e}"))?;
        let named = |e: std::fs::DirEntry| {
            Some((e.file_name().into_string().ok()?, e.file_type().ok()?.is_dir()))
        };
        Ok(entries.flatten().filter_map(named).collect())
    }

    fn absolute(&self, path: &str) -> String {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        path.to_string_lossy().into_owned()
    }

    fn home(&self) -> String {
        super::system::env("HOME").unwrap_or_else(|| "~".to_owned())
    }

    fn chance(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        entropy::System::new().fill(&mut bytes);
        bytes
    }
}

/// Whether JSON is a job as the API has it, and not a job file in the JSON form of HCL, whose
/// reader also says where JSON is broken.
fn is_api_form(text: &str) -> bool {
    let members = serde_json::from_str::<serde_json::Value>(text);
    members.is_ok_and(|m| m.get("job").is_none())
}

impl JobFile {
    /// Reads a file by the flags of a command. Errors have the place of each mistake.
    pub(super) fn read(path: &str, args: &Args) -> Result<Self, String> {
        Self::read_as(path, args, args.on("json"))
    }

    /// The same, where `json` says whether the file is JSON whatever it looks like.
    pub(super) fn read_as(path: &str, args: &Args, json: bool) -> Result<Self, String> {
        let text = read_source(path)?;
        if json || (hcl::is_json(&text) && is_api_form(&text)) {
            return Self::from_json(&text);
        }
        let pair = |v: &str| -> Result<(String, String), String> {
            let (name, value) = v
                .split_once('=')
                .ok_or_else(|| format!("the value of -var must be name=value, not {v:?}"))?;
            Ok((name.trim().to_owned(), value.to_owned()))
        };
        let flags = args.all("var").map(pair).collect::<Result<Vec<_>, _>>()?;
        let read = |p: &str| Ok((p.to_owned(), read_source(p)?));
        let files = args.all("var-file").map(read).collect::<Result<Vec<_>, String>>()?;
        let environment = super::system::variables("NOMAD_VAR_");
        let strict = args.value("hcl2-strict").is_none() || args.on("hcl2-strict");
        let inputs = Inputs { environment: &environment, files: &files, flags: &flags, strict };
        let name = if path == "-" { "<stdin>" } else { path };
        let job = hcl::job(&text, &inputs, Some(&Machine)).map_err(|wrong| {
            let source = Source { name, text: &text };
            let shown: Vec<String> = wrong.iter().map(|d| source.picture(d)).collect();
            format!("Error parsing job file from {name}:\n{}", shown.join("\n\n"))
        })?;
        let of = |f: &str| job.get(f).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let variables: String = files.iter().map(|(_, text)| format!("{text}\n")).collect();
        let variable_flags: BTreeMap<&String, &String> =
            sort::gather(environment.iter().chain(&flags).map(|(k, v)| (k, v)));
        let submission = serde_json::json!({
            "Format": "hcl2", "Source": text, "Variables": variables,
            "VariableFlags": variable_flags,
        });
        Ok(Self {
            json: job.to_string(),
            id: of("ID"),
            namespace: of("Namespace"),
            submission: submission.to_string(),
        })
    }

    /// From `{"Job":{…}}` or the job alone.
    fn from_json(source: &str) -> Result<Self, String> {
        let outer = object(source)?;
        let wrapped = field(&outer, "Job");
        let json = wrapped.map_or_else(|| source.trim().to_owned(), str::to_owned);
        let job = object(&json)?;
        let text = |raw: &str| json::decode::<String>(raw.as_bytes()).ok();
        let Some(id) = field(&job, "ID").and_then(text) else {
            return Err("the job has no \"ID\"".to_owned());
        };
        let namespace = field(&job, "Namespace").and_then(text).unwrap_or_default();
        let submission = serde_json::json!({ "Format": "json", "Source": source }).to_string();
        Ok(Self { json, id, namespace, submission })
    }
}

fn read_source(path: &str) -> Result<String, String> {
    let mut text = String::new();
    if path == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(|e| e.to_string())?;
    } else if path.starts_with("http://") || path.starts_with("https://") {
        return Err("addresses are not supported by this version, fetch the file first".into());
    } else {
        text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(text)
}

fn object(text: &str) -> Result<BTreeMap<String, Raw>, String> {
    json::decode_whole(text.as_bytes()).map_err(|e| e.to_string())
}

fn field<'a>(object: &'a BTreeMap<String, Raw>, name: &str) -> Option<&'a str> {
    object.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_taken_bare_or_wrapped() {
        let bare = r#"{"ID":"web","Namespace":"n"}"#;
        for source in [bare.to_owned(), format!("  {{\"Job\":{bare}}}\n")] {
            let job = JobFile::from_json(&source).unwrap();
            assert_eq!((job.json.as_str(), job.namespace.as_str()), (bare, "n"), "{source}");
        }
        assert_eq!(JobFile::from_json(r#"{"Name":"x"}"#), Err("the job has no \"ID\"".to_owned()));
        assert!(JobFile::from_json("{").is_err());
    }
}
