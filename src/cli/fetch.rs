//! A process of the agent that fetches the artifacts of one task, and ends: downloads and archives
//! may be slow, large and hostile, and the agent's loop has other things to do.
//!
//! All that is written lies in the task's directory, whatever links are there. Checksums are held
//! against what was sent, before anything of it has its name or is unpacked. Redirects are
//! followed a few times, but to no address of this machine or its link, and what was asked for
//! with headers of the job is not asked for with them elsewhere.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use ring::digest;

use super::http::{self, Failure};
use super::system;
use crate::client::exec_proto::{Artifact, FETCH_FAILED, FETCH_VARIABLE, FetchSpec};
use crate::http::query::{Query, escape, percent_decode};
use crate::http::url::Url;
use crate::os::beneath::{self, Begun, Owner, Root};
use crate::os::{self, task};
use crate::stdx::json;
use crate::unpack::{Kind, Limits, Sink, Source, unpack};

/// How often an artifact is asked for, and the pause between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
const REDIRECTS_MAX: u32 = 5;
/// Whoever sends nothing for so long sends nothing any more.
const SILENCE: Duration = Duration::from_secs(60);
/// Exit status where another try is of no use.
const REFUSED: i32 = 2;

/// Why an artifact is not there, and whether another try may help.
#[derive(Debug)]
struct Fault {
    text: String,
    again: bool,
    /// Also at once.
    soon: bool,
}

fn refused(text: impl Into<String>) -> Fault {
    Fault { text: text.into(), again: false, soon: false }
}

fn failed(text: impl Into<String>) -> Fault {
    Fault { text: text.into(), again: true, soon: true }
}

impl From<std::io::Error> for Fault {
    fn from(e: std::io::Error) -> Self {
        match beneath::is_escape(&e) {
            true => refused("the destination leads out of the task's directory"),
            false => failed(os::error_text(&e)),
        }
    }
}

/// Runs the process; its exit status.
pub(super) fn run() -> i32 {
    os::run_as_service();
    let spec = system::env(FETCH_VARIABLE).unwrap_or_default();
    let Ok(spec) = json::decode::<FetchSpec>(spec.as_bytes()) else { return REFUSED };
    os::end_with_parent(spec.limits.seconds);
    for artifact in &spec.artifacts {
        if let Err(Fault { text, again, .. }) = one(artifact, &spec) {
            let text = format!("failed to download artifact {:?}: {text}", artifact.source);
            // Nobody is left to hear of it.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return if again { FETCH_FAILED } else { REFUSED };
        }
    }
    0
}

/// What is asked for, and what is expected.
#[derive(Debug)]
struct Wanted {
    url: String,
    fields: String,
    insecure: bool,
    /// Name of the file, by the source; may be empty.
    name: String,
    archive: Option<Kind>,
    checksum: Option<(&'static digest::Algorithm, String)>,
}

fn one(artifact: &Artifact, spec: &FetchSpec) -> Result<(), Fault> {
    let wanted = read(artifact)?;
    let root = Root::open(Path::new(&spec.task_dir))?;
    let owner = match (artifact.chown, spec.user.as_str()) {
        (false, _) | (true, "") => (None, None),
        (true, user) => task::user_ids(user)
            .ok_or_else(|| refused(format!("unknown user {user}")))
            .map(|(user, group)| (Some(user), Some(group)))?,
    };
    let is_file = artifact.mode == "file";
    let dest = &artifact.destination;
    let Some(kind) = wanted.archive else {
        if artifact.mode == "dir" {
            return Err(refused("it is no archive, of which there could be a directory"));
        }
        let path = match is_file {
            true => dest.clone(),
            false if wanted.name.is_empty() => return Err(refused("the source names no file")),
            false => format!("{dest}/{}", wanted.name),
        };
        let mut begun = root.begin(&path, owner)?;
        download(&wanted, spec, &mut begun.file)?;
        // It may be the program of the task.
        return Ok(begun.finish(0o755, owner)?);
    };
    if kind == Kind::Gz && !is_file {
        return Err(refused("gzip-compressed files can only unarchive to a single file"));
    }
    let mut file = os::fs::nameless(Path::new(&spec.task_dir))?;
    download(&wanted, spec, &mut file)?;
    let limits = Limits { bytes: spec.limits.unpacked_bytes, entries: spec.limits.entries };
    let (single, seen) = (is_file, false);
    let mut place = Place { root, dest, owner, single, seen, begun: None, mode: 0 };
    unpack(kind, "file", &mut Stored::new(file)?, &mut place, limits).map_err(refused)?;
    match is_file && !place.seen {
        true => Err(refused("expected a single file, the archive has none")),
        false => Ok(()),
    }
}

/// What an artifact's texts mean.
fn read(artifact: &Artifact) -> Result<Wanted, Fault> {
    let source = &artifact.source;
    let rest = source.split_once("://").filter(|(s, _)| ["http", "https"].contains(s));
    let Some((scheme, rest)) = rest else {
        return Err(refused("only sources that begin with http:// or https:// are served"));
    };
    let rest = rest.split_once('#').map_or(rest, |(r, _)| r);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.contains("//") {
        return Err(refused("a part of a source (behind //) is not served"));
    }
    // Options and the query of the source are one; some of them are for whoever fetches.
    let pairs = Query::new(query).pairs().map(|(k, v)| (k.into_owned(), v.into_owned()));
    let all: Vec<(String, String)> = pairs.chain(artifact.options.iter().cloned()).collect();
    let option = |name: &str| {
        let found = all.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        found.unwrap_or_default()
    };
    let own = |key: &str| ["archive", "checksum", "filename"].contains(&key);
    let sent = all.iter().filter(|(k, _)| !own(k));
    let sent: Vec<String> = sent.map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect();
    let mark = if sent.is_empty() { "" } else { "?" };
    let url = format!("{scheme}://{place}{mark}{}", sent.join("&"));
    Url::parse(&url).map_err(refused)?;
    let path = place.split_once('/').map_or("", |(_, path)| path);
    let last = path.rsplit('/').next().unwrap_or_default();
    let last = percent_decode(last, false).unwrap_or_default();
    let name = if option("filename").is_empty() { &*last } else { option("filename") };
    if matches!(name, "." | "..") || name.contains(['/', '\0']) {
        return Err(refused("the source's file has no name that a file can have"));
    }
    let archive = match option("archive") {
        "false" => None,
        "" | "true" => Kind::of(&last).map_err(refused)?,
        kind => match Kind::of(kind).map_err(refused)? {
            None => return Err(refused(format!("unknown kind of archive {kind:?}"))),
            known => known,
        },
    };
    let mut fields = String::new();
    for (name, value) in &artifact.headers {
        let named = |b: u8| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b);
        let holds = value.bytes().all(|b| b >= 0x20 && b != 0x7f);
        if name.is_empty() || !name.bytes().all(named) || !holds {
            return Err(refused(format!("{name:?} is no header that can be sent")));
        }
        fields.push_str(&format!("{name}: {value}\r\n"));
    }
    let (name, insecure) = (name.to_owned(), artifact.insecure);
    let checksum = checksum(option("checksum"))?;
    Ok(Wanted { url, fields, insecure, name, archive, checksum })
}

/// `sha256:<hex>`, or the digits alone.
fn checksum(text: &str) -> Result<Option<(&'static digest::Algorithm, String)>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let (kind, digits) = match text.split_once(':') {
        Some((kind, digits)) => (kind, digits),
        None => match text.len() {
            40 => ("sha1", text),
            64 => ("sha256", text),
            128 => ("sha512", text),
            _ => ("", text),
        },
    };
    let algorithm = match kind {
        "sha1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => &digest::SHA256,
        "sha512" => &digest::SHA512,
        _ => {
            let text = "the checksum must be one of sha1, sha256 and sha512 (type:hex)";
            return Err(refused(text));
        }
    };
    let fits = digits.len() == 2 * algorithm.output_len();
    if !fits || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(refused(format!("{digits:?} is no checksum of kind {kind}")));
    }
    Ok(Some((algorithm, digits.to_ascii_lowercase())))
}

/// Writes the document to an empty file, and holds it against its checksum.
fn download(wanted: &Wanted, spec: &FetchSpec, file: &mut File) -> Result<(), Fault> {
    let mut tries = 1;
    loop {
        match attempt(wanted, spec, file) {
            Err(fault) if fault.soon && tries < TRIES => {
                tries += 1;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "this process has nothing else to do"
                )]
                std::thread::sleep(PAUSE);
                file.set_len(0)?;
                file.rewind()?;
            }
            done => return done,
        }
    }
}

fn attempt(wanted: &Wanted, spec: &FetchSpec, file: &mut File) -> Result<(), Fault> {
    let mut url = Url::parse(&wanted.url).map_err(refused)?;
    let first = (url.host.clone(), url.port);
    let told = |failure: Failure| match failure {
        Failure::Io(e) => failed(os::error_text(&e)),
        other => Fault { soon: false, ..failed(other.to_string()) },
    };
    let mut redirects = 0;
    let mut response = loop {
        let same = (&url.host, url.port) == (&first.0, first.1);
        let fields = if same { wanted.fields.as_str() } else { "" };
        let (status, response) =
            http::document(&url, fields, wanted.insecure, same, SILENCE).map_err(told)?;
        match status {
            200..=299 => break response,
            301 | 302 | 303 | 307 | 308 if !response.location.is_empty() => {}
            500.. | 408 | 429 => return Err(failed(format!("bad response code: {status}"))),
            _ => {
                let text = format!("bad response code: {status}");
                // The restart policy may try it again; there may be something there by then.
                return Err(Fault { text, again: true, soon: false });
            }
        }
        redirects += 1;
        if redirects > REDIRECTS_MAX {
            return Err(refused(format!("more than {REDIRECTS_MAX} redirects")));
        }
        let next = onward(&url, &response.location).map_err(refused)?;
        if url.secure && !next.secure {
            return Err(refused("a redirect leads from https to http"));
        }
        url = next;
    };
    let mut sum = wanted.checksum.as_ref().map(|(algorithm, _)| digest::Context::new(algorithm));
    let (mut piece, mut size) = (vec![0; 64 * 1024], 0_u64);
    loop {
        let count = response.read(&mut piece)?;
        if count == 0 {
            break;
        }
        let bytes = piece.get(..count).unwrap_or_default();
        size += count as u64;
        if size > spec.limits.bytes {
            return Err(refused(format!("it is larger than {} bytes", spec.limits.bytes)));
        }
        if let Some(sum) = &mut sum {
            sum.update(bytes);
        }
        file.write_all(bytes)?;
    }
    let Some((sum, (_, want))) = sum.zip(wanted.checksum.as_ref()) else { return Ok(()) };
    let hex: String = sum.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect();
    match hex == *want {
        true => Ok(()),
        false => Err(refused(format!("checksums did not match: expected {want}, got {hex}"))),
    }
}

/// Where a redirect leads.
fn onward(from: &Url, to: &str) -> Result<Url, String> {
    let scheme = if from.secure { "https" } else { "http" };
    if to.contains("://") {
        return Url::parse(to);
    }
    if let Some(rest) = to.strip_prefix("//") {
        return Url::parse(&format!("{scheme}://{rest}"));
    }
    let folder = match to.starts_with('/') {
        true => "",
        false => {
            let path = from.target.split('?').next().unwrap_or_default();
            path.rsplit_once('/').map_or("/", |(folder, _)| folder).trim_end_matches('/')
        }
    };
    let slash = if to.starts_with('/') { "" } else { "/" };
    Url::parse(&format!("{scheme}://{}{folder}{slash}{to}", from.authority()))
}

/// An archive that was fetched.
struct Stored {
    file: File,
    size: u64,
}

impl Stored {
    fn new(file: File) -> std::io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Source for Stored {
    fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<usize, String> {
        beneath::read_at(&self.file, at, buffer).map_err(|e| os::error_text(&e))
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// Where an archive is unpacked.
struct Place<'d> {
    root: Root,
    dest: &'d str,
    owner: Owner,
    /// The archive is to hold one file, which is put at `dest` itself.
    single: bool,
    /// There was one.
    seen: bool,
    begun: Option<Begun>,
    mode: u32,
}

impl Place<'_> {
    fn told(result: Result<(), std::io::Error>) -> Result<(), String> {
        result.map_err(|e| Fault::from(e).text)
    }
}

impl Sink for Place<'_> {
    fn folder(&mut self, path: &str) -> Result<(), String> {
        if self.single {
            return Ok(());
        }
        Self::told(self.root.make(&format!("{}/{path}", self.dest), self.owner).map(drop))
    }

    fn file(&mut self, path: &str, mode: u32) -> Result<(), String> {
        if std::mem::replace(&mut self.seen, true) && self.single {
            return Err("expected a single file, the archive has more".to_owned());
        }
        let path = match self.single {
            true => self.dest.to_owned(),
            false => format!("{}/{path}", self.dest),
        };
        self.mode = mode;
        let begun = self.root.begin(&path, self.owner);
        Self::told(begun.map(|begun| self.begun = Some(begun)))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some(begun) = &mut self.begun else { return Ok(()) };
        Self::told(begun.file.write_all(bytes))
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        Self::told(begun.finish(self.mode, self.owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(source: &str, options: &[(&str, &str)]) -> Artifact {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        let options = options.iter().map(owned).collect();
        Artifact { source: source.to_owned(), options, ..Artifact::default() }
    }

    #[test]
    fn sources_and_options_are_read() {
        let sum = "A".repeat(64);
        for (source, options, url, name, archive) in [
            ("http://a/b/c.txt", vec![], "http://a/b/c.txt", "c.txt", None),
            (
                "https://a:8/x.tar.gz?v=1#f",
                vec![],
                "https://a:8/x.tar.gz?v=1",
                "x.tar.gz",
                Some(Kind::TarGz),
            ),
            ("http://a/x.zip", vec![("archive", "false")], "http://a/x.zip", "x.zip", None),
            (
                "http://a/x?archive=tgz&b=c%20d",
                vec![],
                "http://a/x?b=c%20d",
                "x",
                Some(Kind::TarGz),
            ),
            ("http://a/x", vec![("filename", "y"), ("ref", "1")], "http://a/x?ref=1", "y", None),
            ("http://a/%41", vec![("checksum", sum.as_str())], "http://a/%41", "A", None),
            ("http://a", vec![], "http://a", "", None),
        ] {
            let wanted = read(&artifact(source, &options)).unwrap();
            assert_eq!((wanted.url.as_str(), wanted.name.as_str()), (url, name), "{source}");
            assert_eq!(wanted.archive, archive, "{source}");
            assert_eq!(wanted.checksum.is_some(), source.contains('%') && name == "A");
        }
        for (source, options) in [
            ("", vec![]),
            ("git::https://a/b", vec![]),
            ("git@github.com:a/b", vec![]),
            ("ext::sh -c x", vec![]),
            ("file:///etc/passwd", vec![]),
            ("s3://a/b", vec![]),
            ("--upload-pack=x", vec![]),
            ("http://a/b.tar.gz//c", vec![]),
            ("http://u:p@a/b", vec![]),
            ("http://a/b c", vec![]),
            ("http://a/%2e%2e", vec![]),
            ("http://a/%2Fetc%2Fx", vec![]),
            ("http://a/b.tar.xz", vec![]),
            ("http://a/b", vec![("archive", "rar")]),
            ("http://a/b", vec![("filename", "../x")]),
            ("http://a/b", vec![("checksum", "md5:d41d8cd98f00b204e9800998ecf8427e")]),
            ("http://a/b", vec![("checksum", "sha256:12")]),
            ("http://a/b", vec![("checksum", "file:http://a/sums")]),
        ] {
            let told = read(&artifact(source, &options));
            assert!(told.as_ref().is_err_and(|f| !f.again), "{source} {options:?}: {told:?}");
        }
        let mut with = artifact("http://a/b", &[]);
        with.headers = vec![("X-A".to_owned(), "b\r\nHost: c".to_owned())];
        read(&with).unwrap_err();
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let from = Url::parse("https://a:8443/b/c?d").unwrap();
        for (to, want) in [
            ("http://x/y", "http://x/y"),
            ("//x/y", "https://x/y"),
            ("/y?z", "https://a:8443/y?z"),
            ("y", "https://a:8443/b/y"),
        ] {
            assert_eq!(onward(&from, to), Url::parse(want), "{to}");
        }
        onward(&from, "ftp://x/y").unwrap_err();
    }
}
