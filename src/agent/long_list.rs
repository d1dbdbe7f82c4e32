//! The last long list that was asked for, kept for as long as it is what the state says.
//!
//! A dashboard asks for the same list again and again, and several people have it open: its bytes
//! are then put together once per change, and shared by all connections that they are sent to.

use std::rc::Rc;

use crate::http::{Method, Request};
use crate::limits::LONG_LIST_BYTES_MIN;
use crate::routes::{Answer, Body, Params, Watch};
use crate::store::{Reader, Touched};

#[derive(Default)]
pub(super) struct LongList(Option<Kept>);

struct Kept {
    path: Box<str>,
    query: Box<str>,
    token: Option<String>,
    /// The tables that it shows, and the index they have.
    tables: u32,
    index: u64,
    answer: Answer,
}

impl LongList {
    /// The answer to the same question, where it is still true.
    pub(super) fn get(&self, req: &Request, reader: Reader<'_>) -> Option<Answer> {
        let kept = self.0.as_ref()?;
        let same = req.method == Method::Get
            && *kept.query == *req.query()
            && *kept.path == *req.raw_path()
            && kept.token == req.token
            && kept.index == reader.tables_index(kept.tables);
        same.then(|| kept.answer.clone())
    }

    /// Keeps an answer that is worth it; what is to be sent.
    pub(super) fn keep(
        &mut self,
        req: &Request,
        params: &Params,
        mut answer: Answer,
        reader: Reader<'_>,
    ) -> Answer {
        let plain = req.method == Method::Get && params.index == 0 && !params.pretty;
        let (Body::Bytes(bytes), Some(Watch::Tables(tables))) = (&mut answer.body, &answer.watch)
        else {
            return answer;
        };
        if plain && answer.status == 200 && bytes.len() >= LONG_LIST_BYTES_MIN {
            let shared: Rc<[u8]> = std::mem::take(bytes).into();
            let tables = *tables;
            answer.body = Body::Shared(shared);
            self.0 = Some(Kept {
                path: req.raw_path().into(),
                query: req.query().into(),
                token: req.token.clone(),
                tables,
                index: reader.tables_index(tables),
                answer: answer.clone(),
            });
        }
        answer
    }

    /// A commit: memory is not held for what no longer is so.
    pub(super) fn touched(&mut self, touched: &Touched) {
        if self.0.as_ref().is_some_and(|kept| kept.tables & touched.tables != 0) {
            self.0 = None;
        }
    }
}
