//! What the machine's journal has about a service, read from `journalctl` as it comes: no faster
//! than the reader takes it, and the program ends with the reader. And the file of the agent's log
//! in the same form.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::rc::Rc;

use serde::Serialize;

use crate::client::file_stream::{FRAME_BYTES, HEARTBEAT_NS, Step};
use crate::os::{self, spawn};
use crate::routes::ExportRequest;
use crate::stdx::Now;
use crate::stdx::json::{self, Bytes};

/// Most that are read at a time. More are refused.
const JOURNALS_MAX: usize = 4;

thread_local! {
    /// Held by each that is being read.
    static OPEN: Rc<Cell<()>> = Rc::new(Cell::new(()));
}

#[derive(Debug)]
pub(super) struct Journal {
    source: Source,
    plain: bool,
    /// Bytes that were sent.
    offset: u64,
    last_sent_ns: Option<u64>,
    _held: Rc<Cell<()>>,
}

#[derive(Debug)]
enum Source {
    Program(spawn::Follow),
    File(File),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Frame {
    data: Bytes,
    offset: u64,
}

impl Journal {
    /// # Errors
    /// A sentence for the user.
    pub(super) fn open(request: &ExportRequest) -> Result<Self, String> {
        let held = OPEN.with(Rc::clone);
        if Rc::strong_count(&held) > JOURNALS_MAX + 1 {
            return Err(format!("{JOURNALS_MAX} exports of the journal are under way"));
        }
        if request.service.is_empty() {
            let file = File::open(&request.file).map_err(|e| {
                format!("log file {}: {}", request.file.display(), os::error_text(&e))
            })?;
            return Ok(Self::of(Source::File(file), request.plain, held));
        }
        let since = format!("{}s ago", request.since_s);
        let mut args = vec!["--no-pager", "-xu", &request.service, "--since", &since];
        if request.follow {
            args.push("-f");
        }
        let program = spawn::follow("journalctl", &args)
            .map_err(|e| format!("journalctl cannot be run: {}", os::error_text(&e)))?;
        Ok(Self::of(Source::Program(program), request.plain, held))
    }

    fn of(source: Source, plain: bool, held: Rc<Cell<()>>) -> Self {
        Self { source, plain, offset: 0, last_sent_ns: None, _held: held }
    }

    /// Appends what has come, at most a frame.
    pub(super) fn poll(&mut self, now: Now, out: &mut Vec<u8>) -> Step {
        let since = *self.last_sent_ns.get_or_insert(now.mono_ns);
        let mut piece = vec![0; FRAME_BYTES];
        let read = match &self.source {
            Source::Program(program) => (&program.output).read(&mut piece),
            Source::File(file) => (&*file).read(&mut piece),
        };
        match read {
            Ok(0) => return Step::End,
            Ok(count) => {
                piece.truncate(count);
                self.offset += count as u64;
                self.last_sent_ns = Some(now.mono_ns);
                match self.plain {
                    true => out.extend_from_slice(&piece),
                    false => {
                        let frame = Frame { data: Bytes(piece), offset: self.offset };
                        json::encode_into(&frame, out);
                    }
                }
                return Step::More;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Step::More,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Step::End,
        }
        if !self.plain && now.mono_ns >= since + HEARTBEAT_NS {
            self.last_sent_ns = Some(now.mono_ns);
            out.extend_from_slice(b"{}");
        }
        Step::Idle
    }
}
