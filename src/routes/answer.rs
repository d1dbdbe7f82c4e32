//! Answers as values: status, body, and what the headers say.

use std::rc::Rc;

use serde::Serialize;

use crate::api::ApiError;
use crate::store::Table;

pub const JSON: &str = "application/json";
pub const TEXT: &str = "text/plain; charset=utf-8";

/// The bytes of an answer.
#[derive(Clone, Debug, Default)]
pub enum Body {
    #[default]
    Empty,
    Static(&'static str),
    Bytes(Vec<u8>),
    /// The same bytes for many connections.
    Shared(Rc<[u8]>),
}

impl Body {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Static(t) => t.as_bytes(),
            Self::Bytes(b) => b,
            Self::Shared(b) => b,
        }
    }
}

/// What a blocking query waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Any change of these tables (bits of [`Table::bit`]).
    Tables(u32),
    /// A change of one row, or its appearance.
    Row(Table, Box<[u8]>),
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// None: no such header.
    pub content_type: Option<&'static str>,
    pub body: Body,
    /// `X-Nomad-Index`.
    pub index: Option<u64>,
    /// Print `X-Nomad-KnownLeader` and `X-Nomad-LastContact`: queries do, writes do not.
    pub meta: bool,
    /// `X-Nomad-NextToken`.
    pub next_token: Option<String>,
    /// Set by reads that can block.
    pub watch: Option<Watch>,
    pub headers: Vec<(&'static str, String)>,
    /// Outside of the wrapped handlers: no `Vary`, no configured headers (unknown paths,
    /// redirects).
    pub bare: bool,
}

impl Answer {
    /// 200 with JSON bytes that are ready.
    pub fn bytes(json: Vec<u8>) -> Self {
        Self { status: 200, content_type: Some(JSON), body: Body::Bytes(json), ..Self::default() }
    }

    /// 200 with a value printed as JSON.
    pub fn json<T: Serialize>(value: &T) -> Self {
        Self::bytes(crate::stdx::json::encode(value))
    }

    /// 200, no body, no `Content-Type`.
    pub fn empty() -> Self {
        Self { status: 200, ..Self::default() }
    }

    /// Plain text with a status.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let body = Body::Bytes(text.into().into_bytes());
        Self { status, content_type: Some(TEXT), body, ..Self::default() }
    }

    /// 404 of a path that no route knows: no body, no headers.
    pub fn unknown_path() -> Self {
        Self { status: 404, bare: true, ..Self::default() }
    }

    /// 307 to a path of this server.
    pub fn redirect(to: String) -> Self {
        Self { status: 307, bare: true, headers: vec![("Location", to)], ..Self::default() }
    }

    /// Marks the answer as that of a query: its index, and the headers that say how fresh it is.
    #[must_use]
    pub fn query(mut self, index: u64) -> Self {
        self.index = Some(index);
        self.meta = true;
        self
    }

    /// Makes the query one that can block on `watch`.
    #[must_use]
    pub fn watching(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// `X-Nomad-Index` of a write.
    #[must_use]
    pub fn index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }
}

impl From<ApiError> for Answer {
    fn from(e: ApiError) -> Self {
        Self::text(e.status, e.text)
    }
}
