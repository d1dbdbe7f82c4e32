//! Answers that are read as they are sent: files and logs of allocations, and what is followed.

use super::core::Core;
use super::files::{self, OpenStream, Served};
use super::front::{Front, Timer};
use super::serve::{self, Form};
use super::snapshots::Saved;
use super::sock::{State, Streamed};
use crate::api::ApiError;
use crate::client::file_stream::{POLL_NS, Step};
use crate::http::reply;
use crate::routes::{Answer, FilesOp, FilesRequest};
use crate::stdx::Now;
use crate::stdx::slab::Key;

/// Files of allocations, read and followed.
impl Front {
    pub(super) fn files(
        &mut self,
        key: Key,
        form: Form,
        request: &FilesRequest,
        now: Now,
        core: &mut Core,
    ) {
        let mut request = std::borrow::Cow::Borrowed(request);
        if !core.info.server && request.op == FilesOp::Logs {
            // The servers' view of the task is not at hand; the node's own is.
            match core.task_started(&request.alloc, &request.task) {
                Some(started) => request.to_mut().started = started,
                None => {
                    let e = ApiError::bad(format!("unknown task name {:?}", request.task));
                    return self.answer(key, form, e.into(), &core.info);
                }
            }
        }
        let request = request.as_ref();
        let stream = match files::serve(request, &core.alloc_dir.join(&request.alloc)) {
            Ok(Served::Stream(stream)) => stream,
            Ok(Served::Answer(answer)) => return self.answer(key, form, answer, &core.info),
            Err(e) => return self.answer(key, form, e.into(), &core.info),
        };
        self.stream(key, form, stream, now, core);
    }

    /// Begins an answer that is read as it is sent.
    pub(super) fn stream(
        &mut self,
        key: Key,
        form: Form,
        stream: OpenStream,
        now: Now,
        core: &mut Core,
    ) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.meters.answered(200, None);
        self.head.clear();
        let kind = stream.content_type;
        serve::render_stream(form, kind, &core.info, &self.headers, &mut self.head);
        sock.out.copy(&self.head);
        let chunked = !form.is_http10();
        sock.state = State::Streaming(Box::new(Streamed { stream, form, chunked, timed: false }));
        self.pump(key, now, core);
    }

    /// A snapshot that was asked for is there.
    pub(super) fn send_saved(&mut self, saved: Saved, now: Now, core: &mut Core) {
        let Saved { conn: key, form, file, bytes, digest } = saved;
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.meters.answered(200, sock.asked.take());
        let content_type = "application/x-gzip";
        let mut answer =
            Answer { status: 200, content_type: Some(content_type), ..Answer::default() };
        answer.headers.push(("Digest", format!("sha-256={digest}")));
        self.head.clear();
        serve::render_file(form, &answer, bytes, &core.info, &self.headers, &mut self.head);
        sock.out.copy(&self.head);
        let stream = OpenStream::whole(content_type, file);
        sock.state =
            State::Streaming(Box::new(Streamed { stream, form, chunked: false, timed: false }));
        self.pump(key, now, core);
    }

    /// Moves bytes of a stream, as many as its reader takes.
    pub(super) fn pump(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Streaming(streamed) = &mut sock.state else { return };
        let chunked = streamed.chunked;
        let mut piece = Vec::new();
        let outcome = loop {
            if sock.out.is_full() {
                break Step::More;
            }
            piece.clear();
            let step = streamed.stream.poll(now, &mut piece);
            if chunked {
                self.head.clear();
                reply::chunk(&piece, &mut self.head);
                sock.out.copy(&self.head);
            } else {
                sock.out.copy(&piece);
            }
            if step != Step::More {
                break step;
            }
        };
        match outcome {
            // The socket is full: a little later, unless it is emptied before.
            Step::More | Step::Idle => {
                if !std::mem::replace(&mut streamed.timed, true) {
                    self.wheel.insert(now.mono_ns + POLL_NS, Timer::Stream(key));
                }
            }
            Step::End | Step::Failed(_) => {
                // What ends without its length being kept ends with the connection.
                let open = !chunked && (streamed.form.is_http10() || outcome != Step::End);
                sock.closing |= !streamed.form.keep_alive || open || sock.via.is_link();
                sock.state = State::Idle;
                if chunked {
                    sock.out.copy(reply::LAST_CHUNK);
                }
                self.run_later(key);
            }
        }
        self.flush(key, now, core);
    }
}
