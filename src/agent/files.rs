//! Answers requests for files of an allocation: the rules of [`crate::client::fs`] over the
//! reading of [`crate::os::beneath`].
//!
//! What fits is answered at once; what is larger, or followed, becomes an [`OpenStream`] that the
//! loop polls.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::journal::Journal;
use super::logger::Follower;
use crate::api::ApiError;
use crate::client::file_stream::{FRAME_BYTES, FileError, FileStream, Files, Form, Origin, Step};
use crate::client::fs::{self, FileInfo};
use crate::os;
use crate::os::beneath::{self, Found, Root};
use crate::routes::answer::{JSON, TEXT};
use crate::routes::{Answer, Body, ExportRequest, FilesOp, FilesRequest, MonitorRequest};
use crate::stdx::Now;

type Result<T> = std::result::Result<T, ApiError>;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Served {
    /// A whole answer.
    Answer(Answer),
    /// The beginning of one: status 200, and a body of unknown length.
    Stream(OpenStream),
}

/// A body that is read, and perhaps awaited, piece by piece.
#[derive(Debug)]
pub(super) struct OpenStream {
    /// The answer's `Content-Type`.
    pub content_type: &'static str,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Files(AllocFiles, FileStream),
    Log(Follower),
    /// From here to its end.
    Whole(File, u64),
    Journal(Journal),
}

impl OpenStream {
    /// Appends the next piece, at most one frame of 64 KiB of data. To be called again at once
    /// after [`Step::More`] (if the reader keeps up), after
    /// [`crate::client::file_stream::POLL_NS`] on [`Step::Idle`]; anything else is the end.
    pub(super) fn poll(&mut self, now: Now, out: &mut Vec<u8>) -> Step {
        match &mut self.source {
            Source::Files(files, cursor) => cursor.poll(now, files, out),
            Source::Log(follower) => follower.poll(now, out),
            Source::Whole(file, at) => {
                let mut piece = vec![0; FRAME_BYTES];
                match beneath::read_at(file, *at, &mut piece) {
                    Ok(0) => Step::End,
                    Ok(n) => {
                        *at += n as u64;
                        out.extend_from_slice(piece.get(..n).unwrap_or_default());
                        Step::More
                    }
                    Err(e) => Step::Failed(file_error(e)),
                }
            }
            Source::Journal(journal) => journal.poll(now, out),
        }
    }

    fn files(content_type: &'static str, files: AllocFiles, cursor: FileStream) -> Self {
        Self { content_type, source: Source::Files(files, cursor) }
    }

    /// All of a file that is at hand.
    pub(super) fn whole(content_type: &'static str, file: File) -> Self {
        Self { content_type, source: Source::Whole(file, 0) }
    }

    /// The machine's journal.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn journal(request: &ExportRequest) -> Result<Self> {
        let content_type = if request.plain { "text/plain" } else { JSON };
        let journal = Journal::open(request).map_err(ApiError::failed)?;
        Ok(Self { content_type, source: Source::Journal(journal) })
    }

    /// The agent's own log, from now on.
    pub(super) fn log(request: MonitorRequest, now: Now) -> Self {
        let content_type = if request.plain { "text/plain" } else { JSON };
        Self { content_type, source: Source::Log(Follower::new(request, now)) }
    }
}

/// Serves a request from the allocation's directory.
///
/// # Errors
/// For `ls`, `stat`, `stream` and `logs`; those of `cat` and `readat` are the body of a 200.
pub(super) fn serve(request: &FilesRequest, alloc_dir: &Path) -> Result<Served> {
    match open(request, alloc_dir) {
        Err(e) if request.op.tells_errors_as_text() => {
            Ok(Served::Answer(Answer::text(200, e.text)))
        }
        other => other,
    }
}

/// [`serve`] with errors as such.
fn open(request: &FilesRequest, alloc_dir: &Path) -> Result<Served> {
    let root = Root::open(alloc_dir)
        .map_err(|_| ApiError::not_found(format!("Unknown allocation \"{}\"", request.alloc)))?;
    let mut files = AllocFiles { root };
    if request.op == FilesOp::Logs {
        return logs(request, files).map(Served::Stream);
    }
    let path = fs::clean(&request.path)
        .ok_or_else(|| ApiError::failed("Path escapes the alloc directory"))?;
    // What the reference prints for a file of the allocation: its absolute path.
    let shown = if path.is_empty() {
        alloc_dir.display().to_string()
    } else {
        format!("{}/{path}", alloc_dir.display())
    };
    let verb = if request.op == FilesOp::Ls { "open" } else { "stat" };
    let fail = |e: &io::Error| refuse(verb, &shown, e);
    if !matches!(request.op, FilesOp::Ls | FilesOp::Stat) && fs::is_secret(&path) {
        return Err(secret(&request.path));
    }
    let found = files.root.find(&path).map_err(|e| fail(&e))?;
    match request.op {
        FilesOp::Ls => {
            let entries = found.list().map_err(|e| fail(&e))?;
            let infos: Vec<FileInfo> =
                entries.into_iter().map(|e| info(e.name, &e.meta, "")).collect();
            return Ok(Served::Answer(Answer::json(&infos)));
        }
        FilesOp::Stat => {
            let name = shown.rsplit('/').next().unwrap_or_default().to_owned();
            let kind = content_type(&found);
            return Ok(Served::Answer(Answer::json(&info(name, &found.meta, kind))));
        }
        FilesOp::Cat | FilesOp::ReadAt | FilesOp::Stream | FilesOp::Logs => {}
    }
    if found.meta.is_dir() {
        return Err(ApiError::bad(format!("file {:?} is a directory", request.path)));
    }
    if fs::is_secret(&found.real_text()) {
        return Err(secret(&request.path));
    }
    let offset = u64::try_from(request.offset).unwrap_or(0);
    if request.op == FilesOp::Stream {
        let origin = Origin { offset, from_end: request.from_end };
        let cursor = FileStream::file(&mut files, &path, origin, request.follow)
            .map_err(|e| from_files(&shown, e))?;
        return Ok(Served::Stream(OpenStream::files(TEXT, files, cursor)));
    }
    let limit = u64::try_from(request.limit).unwrap_or(0);
    raw(&found, files, &path, offset, limit).map_err(|e| fail(&e))
}

/// The bytes themselves: at once if they fit into one piece.
fn raw(
    found: &Found,
    files: AllocFiles,
    path: &str,
    offset: u64,
    limit: u64,
) -> io::Result<Served> {
    let limit = if limit == 0 { u64::MAX } else { limit };
    let rest = found.meta.len().saturating_sub(offset).min(limit);
    let mut bytes = vec![0; usize::try_from(rest).unwrap_or(FRAME_BYTES).min(FRAME_BYTES)];
    let count = beneath::read_at(&found.open()?, offset, &mut bytes)?;
    bytes.truncate(count);
    let content_type = fs::sniff(&bytes);
    if rest <= FRAME_BYTES as u64 {
        let content_type = Some(content_type);
        let body = Body::Bytes(bytes);
        return Ok(Served::Answer(Answer { status: 200, content_type, body, ..Answer::default() }));
    }
    let cursor = FileStream::raw(path, offset, limit);
    Ok(Served::Stream(OpenStream::files(content_type, files, cursor)))
}

/// The logs of one task.
fn logs(request: &FilesRequest, mut files: AllocFiles) -> Result<OpenStream> {
    let (task, kind) = (&request.task, &request.kind);
    let prefix = format!("alloc/logs/{task}.{kind}.");
    let origin =
        Origin { offset: u64::try_from(request.offset).unwrap_or(0), from_end: request.from_end };
    let form = if request.plain { Form::Raw } else { Form::Frames };
    let found = FileStream::logs(&mut files, &prefix, origin, request.follow, form);
    match found.map_err(|e| from_files(&prefix, e))? {
        Some(cursor) => {
            let content_type = if request.plain { "text/plain" } else { JSON };
            Ok(OpenStream::files(content_type, files, cursor))
        }
        None if request.started => Err(ApiError::not_found(format!(
            "log entry for task \"{task}\" and log type \"{kind}\" not found"
        ))),
        None => {
            Err(ApiError::not_found(format!("task \"{task}\" not started yet. No logs available")))
        }
    }
}

fn secret(path: &str) -> ApiError {
    ApiError::new(403, format!("Reading secret file prohibited: {path}"))
}

/// An error of the file system as the API tells it.
fn refuse(verb: &str, shown: &str, e: &io::Error) -> ApiError {
    if beneath::is_escape(e) {
        return ApiError::failed("Path escapes the alloc directory");
    }
    let text = format!("{verb} {shown}: {}", os::error_text(e));
    if e.kind() == io::ErrorKind::NotFound {
        return ApiError::not_found(text);
    }
    ApiError::failed(text)
}

/// An error of the cursor as the API tells it.
fn from_files(shown: &str, e: FileError) -> ApiError {
    match e {
        FileError::Missing => {
            ApiError::not_found(format!("stat {shown}: no such file or directory"))
        }
        FileError::Failed(text) => ApiError::failed(text),
    }
}

/// Describes one file.
fn info(name: String, meta: &std::fs::Metadata, content_type: &'static str) -> FileInfo {
    FileInfo {
        content_type,
        file_mode: fs::mode_text(meta.mode()),
        is_dir: meta.is_dir(),
        mod_time: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
        name,
        size: meta.len(),
    }
}

/// Content type of a file by its first bytes; of what is no file, or secret, that of bytes.
fn content_type(found: &Found) -> &'static str {
    if fs::is_secret(&found.real_text()) {
        return fs::BINARY;
    }
    let mut head = [0; fs::SNIFF_BYTES];
    let read = found.open().and_then(|file| beneath::read_at(&file, 0, &mut head));
    read.map_or(fs::BINARY, |count| fs::sniff(head.get(..count).unwrap_or_default()))
}

/// The files of one allocation for a cursor. Opens a file for each read and holds none, so that
/// idle followers cost no descriptor each but that of the directory.
#[derive(Debug)]
struct AllocFiles {
    root: Root,
}

impl AllocFiles {
    /// Finds a file that may be read.
    fn find(&self, path: &str) -> std::result::Result<Found, FileError> {
        let found = self.root.find(path).map_err(file_error)?;
        if fs::is_secret(&found.real_text()) {
            return Err(FileError::Failed(format!("Reading secret file prohibited: {path}")));
        }
        Ok(found)
    }
}

impl Files for AllocFiles {
    fn numbers(&mut self, prefix: &str) -> std::result::Result<Vec<u64>, FileError> {
        let (dir, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let entries = match self.root.find(dir).and_then(|found| found.list()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(file_error)?,
        };
        let names = entries.into_iter().filter(|e| e.meta.is_file());
        Ok(names.filter_map(|e| e.name.strip_prefix(name)?.parse().ok()).collect())
    }

    fn size(&mut self, path: &str) -> std::result::Result<u64, FileError> {
        let found = self.find(path)?;
        if found.meta.is_file() {
            return Ok(found.meta.len());
        }
        Err(FileError::Failed(format!("file {path:?} is not a regular file")))
    }

    fn read(
        &mut self,
        path: &str,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::result::Result<usize, FileError> {
        let file = self.find(path)?.open().map_err(file_error)?;
        beneath::read_at(&file, offset, buffer).map_err(file_error)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn file_error(e: io::Error) -> FileError {
    if e.kind() == io::ErrorKind::NotFound {
        return FileError::Missing;
    }
    if beneath::is_escape(&e) {
        return FileError::Failed("Path escapes the alloc directory".to_owned());
    }
    FileError::Failed(os::error_text(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("vardo-files-{}-{name}", std::process::id()));
        os::fs::remove_tree(&dir).unwrap();
        for part in ["alloc/logs", "alloc/data", "web/secrets", "web/local"] {
            std::fs::create_dir_all(dir.join("a").join(part)).unwrap();
        }
        let write =
            |path: &str, text: &str| std::fs::write(dir.join("a").join(path), text).unwrap();
        write("alloc/logs/web.stdout.0", "hello\n");
        write("web/secrets/key", "secret");
        write("web/local/page.html", "<html><script>");
        std::fs::write(dir.join("outside"), "outside").unwrap();
        dir
    }

    fn ask(dir: &Path, op: FilesOp, path: &str) -> (u16, String) {
        let request = FilesRequest { op, path: path.to_owned(), ..FilesRequest::default() };
        told(serve(&request, &dir.join("a")))
    }

    fn told(served: Result<Served>) -> (u16, String) {
        match served {
            Err(e) => (e.status, e.text),
            Ok(Served::Answer(a)) => {
                (a.status, String::from_utf8(a.body.as_slice().to_vec()).unwrap())
            }
            Ok(Served::Stream(mut stream)) => {
                let mut out = Vec::new();
                while stream.poll(Now::default(), &mut out) == Step::More {}
                (200, String::from_utf8(out).unwrap())
            }
        }
    }

    /// Hostile paths by every operation: none shows the outside or a secret (faults A01 to A03).
    #[test]
    fn no_operation_leads_out_or_to_secrets() {
        let dir = scratch("hostile");
        symlink("/etc/passwd", dir.join("a/alloc/passwd")).unwrap();
        symlink("../../outside", dir.join("a/alloc/outside")).unwrap();
        symlink("../web/secrets/key", dir.join("a/alloc/sly")).unwrap();
        symlink("../web/secrets", dir.join("a/alloc/slydir")).unwrap();
        let long = "x".repeat(4096);
        let paths = [
            "../outside",
            "..",
            "/../../outside",
            "alloc/../../outside",
            "./..//outside",
            "..\\outside",
            "alloc/passwd",
            "alloc/outside",
            "alloc/sly",
            "alloc/slydir/key",
            "web/secrets/key",
            "alloc/../web/secrets/key",
            "WEB/../web/secrets/../secrets/key",
            "a\0b",
            &long,
        ];
        for path in paths {
            for op in [FilesOp::Cat, FilesOp::ReadAt, FilesOp::Stream] {
                let (status, text) = ask(&dir, op, path);
                let refused = ["escapes", "prohibited", "stat "].iter().any(|t| text.contains(t));
                assert!(refused, "{op:?} {path}: {status} {text}");
                assert_eq!(status == 200, op != FilesOp::Stream, "{op:?} {path}: {text}");
            }
        }
        let escapes = (500, "Path escapes the alloc directory".to_owned());
        assert_eq!(ask(&dir, FilesOp::Ls, "../"), escapes);
        assert_eq!(ask(&dir, FilesOp::Stat, "alloc/passwd"), escapes);
        let prohibited = (403, "Reading secret file prohibited: web/secrets/key".to_owned());
        assert_eq!(ask(&dir, FilesOp::Stream, "web/secrets/key"), prohibited);
        assert_eq!(ask(&dir, FilesOp::Ls, "web/secrets").0, 200);
        let (status, text) = ask(&dir, FilesOp::Stat, "web/secrets/key");
        assert!(status == 200 && text.contains(fs::BINARY), "{text}");
        os::fs::remove_tree(&dir).unwrap();
    }

    #[test]
    fn answers_are_as_recorded() {
        let dir = scratch("recorded");
        let log = "alloc/logs/web.stdout.0";
        assert_eq!(ask(&dir, FilesOp::Ls, "alloc/data"), (200, "[]".to_owned()));
        assert_eq!(ask(&dir, FilesOp::Cat, log), (200, "hello\n".to_owned()));
        let (_, text) = ask(&dir, FilesOp::Stat, log);
        assert!(text.starts_with(r#"{"ContentType":"text/plain; charset=utf-8","FileMode":"-rw"#));
        assert!(text.ends_with(r#""Name":"web.stdout.0","Size":6}"#));
        let (_, text) = ask(&dir, FilesOp::Cat, "alloc");
        assert_eq!(text, "file \"alloc\" is a directory");
        let at = dir.join("a");
        let missing = format!("stat {}/nope: no such file or directory", at.display());
        assert_eq!(ask(&dir, FilesOp::Cat, "nope"), (200, missing.clone()));
        assert_eq!(ask(&dir, FilesOp::Stat, "nope"), (404, missing));
        let missing = format!("open {}/nope: no such file or directory", at.display());
        assert_eq!(ask(&dir, FilesOp::Ls, "nope"), (404, missing));
        let request = FilesRequest {
            op: FilesOp::ReadAt,
            path: log.to_owned(),
            offset: 1,
            limit: 3,
            ..FilesRequest::default()
        };
        assert_eq!(told(serve(&request, &at)), (200, "ell".to_owned()));
        let (status, _) = told(serve(&request, &dir.join("gone")));
        assert_eq!(status, 200);
        os::fs::remove_tree(&dir).unwrap();
    }

    #[test]
    fn logs_of_a_task() {
        let dir = scratch("logs");
        let ask = |task: &str, started, plain| {
            let request = FilesRequest {
                op: FilesOp::Logs,
                task: task.to_owned(),
                kind: "stdout".to_owned(),
                started,
                plain,
                ..FilesRequest::default()
            };
            told(serve(&request, &dir.join("a")))
        };
        assert_eq!(ask("web", true, true), (200, "hello\n".to_owned()));
        let frame = r#"{"Data":"aGVsbG8K","File":"alloc/logs/web.stdout.0","Offset":6}"#;
        assert_eq!(ask("web", true, false), (200, frame.to_owned()));
        let text = "task \"db\" not started yet. No logs available";
        assert_eq!(ask("db", false, false), (404, text.to_owned()));
        let text = "log entry for task \"db\" and log type \"stdout\" not found";
        assert_eq!(ask("db", true, false), (404, text.to_owned()));
        os::fs::remove_tree(&dir).unwrap();
    }

    #[test]
    fn a_large_file_is_streamed_whole() {
        let dir = scratch("large");
        let size = FRAME_BYTES * 3 + 1;
        std::fs::write(dir.join("a/alloc/big"), vec![b'x'; size]).unwrap();
        let (status, text) = ask(&dir, FilesOp::Cat, "alloc/big");
        assert_eq!((status, text.len()), (200, size));
        os::fs::remove_tree(&dir).unwrap();
    }
}
