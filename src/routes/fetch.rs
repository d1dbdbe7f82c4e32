//! Documents of somebody outside that an answer needs: keys of identity providers, and what they
//! say of a person.
//!
//! A handler that lacks one names it, and is run again once it is there, or is known not to come.
//! What says the same to all is kept for a while; what is about one person is for that request
//! alone. The agent does the fetching.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Ctx, Outcome};
use crate::api::ApiError;
use crate::http::Url;
use crate::limits::{DOCUMENTS_KEPT_MAX, SECOND};
use crate::stdx::{Now, blake2b};

/// How long it is not tried again to get what could not be got, in nanoseconds.
const FAULT_NS: u64 = 2 * SECOND;

/// A document that is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What it is, for whoever reads of a failure, and among those of one request.
    pub what: &'static str,
    pub url: Url,
    /// CAs that are believed, as PEM; empty: those that the system trusts.
    pub pem: String,
    /// The value of the field `Authorization`; may be empty.
    pub authorization: String,
    /// Fields of a form that is posted; `None`: it is a GET.
    pub form: Option<String>,
    /// It says the same to all.
    pub keep: bool,
}

impl Ask {
    /// A document that says the same to all.
    ///
    /// # Errors
    /// The address is none.
    pub fn of(what: &'static str, url: &str, pem: &str) -> Result<Self, String> {
        let (authorization, form) = (String::new(), None);
        let url = Url::parse(url)?;
        Ok(Self { what, url, pem: pem.to_owned(), authorization, form, keep: true })
    }

    /// What tells documents apart.
    pub fn key(&self) -> [u8; 32] {
        let Url { secure, host, port, target } = &self.url;
        let scheme = if *secure { "https" } else { "http" };
        blake2b::digest(format!("{scheme} {host} {port} {target} {}", self.pem).as_bytes())
    }

    /// The bytes of the request.
    pub fn request(&self) -> Vec<u8> {
        let method = if self.form.is_some() { "POST" } else { "GET" };
        let mut out = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: vardo/{}\r\n\
             Accept: application/json\r\nConnection: close\r\n",
            self.url.target,
            self.url.authority(),
            crate::VERSION
        );
        if !self.authorization.is_empty() {
            out.push_str(&format!("Authorization: {}\r\n", self.authorization));
        }
        if let Some(form) = &self.form {
            out.push_str(&format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n\
                 {form}",
                form.len()
            ));
        } else {
            out.push_str("\r\n");
        }
        out.into_bytes()
    }
}

/// What came: status and body, or why nothing did.
pub type Fetched = Result<Came, String>;
type Came = (u16, Rc<[u8]>);

/// One that came for a request.
#[derive(Clone, Debug)]
pub struct Document {
    pub what: &'static str,
    pub fetched: Fetched,
}

#[derive(Debug)]
struct Kept {
    key: [u8; 32],
    /// Mono ns.
    at: u64,
    fetched: Fetched,
}

/// Documents that are kept, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Documents(Rc<RefCell<Vec<Kept>>>);

impl Documents {
    /// Keeps what came for an [`Ask`] with that key.
    pub fn keep(&self, key: [u8; 32], now: Now, fetched: Fetched) {
        let mut all = self.0.borrow_mut();
        all.retain(|k| k.key != key);
        if all.len() >= DOCUMENTS_KEPT_MAX {
            all.remove(0);
        }
        all.push(Kept { key, at: now.mono_ns, fetched });
    }

    /// One that is younger than `age_ns`; what could not be got counts for two seconds.
    fn get(&self, key: &[u8; 32], now: Now, age_ns: u64) -> Option<Fetched> {
        let all = self.0.borrow();
        let kept = all.iter().find(|k| k.key == *key)?;
        let age_ns = if kept.fetched.is_ok() { age_ns } else { FAULT_NS };
        (now.mono_ns.saturating_sub(kept.at) <= age_ns).then(|| kept.fetched.clone())
    }
}

/// Why something cannot be told now.
#[derive(Debug)]
pub(super) enum Stop {
    /// This is needed first.
    Fetch(Box<Ask>),
    Why(String),
}

impl<S: Into<String>> From<S> for Stop {
    fn from(why: S) -> Self {
        Self::Why(why.into())
    }
}

impl Stop {
    /// What becomes of the request.
    pub(super) fn outcome(
        self,
        refuse: impl FnOnce(String) -> ApiError,
    ) -> Result<Outcome, ApiError> {
        match self {
            Self::Fetch(ask) => Ok(Outcome::Fetch(ask)),
            Self::Why(why) => Err(refuse(why)),
        }
    }
}

impl Ctx<'_> {
    /// A document that says the same to all, not older than so many nanoseconds.
    pub(super) fn kept(&self, ask: Ask, age_ns: u64) -> Result<Rc<[u8]>, Stop> {
        let what = ask.what;
        match self.agent.documents.get(&ask.key(), self.now, age_ns) {
            None => Err(Stop::Fetch(Box::new(ask))),
            Some(Ok((200, body))) => Ok(body),
            Some(Ok((status, _))) => {
                Err(format!("the {what} cannot be fetched: the answer has status {status}").into())
            }
            Some(Err(why)) => Err(format!("the {what} cannot be fetched: {why}").into()),
        }
    }

    /// What came for this request alone: status and body. `None`: it was not fetched yet.
    pub(super) fn once(&self, what: &str) -> Option<Result<Came, Stop>> {
        let document = self.fetched.iter().find(|d| d.what == what)?;
        Some(match &document.fetched {
            Ok(came) => Ok(came.clone()),
            Err(why) => Err(format!("the {what} cannot be fetched: {why}").into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_kept_for_a_while_and_faults_shortly() {
        let documents = Documents::default();
        let at = |s: u64| Now { mono_ns: s * SECOND, wall_ns: 0 };
        let key = |n: usize| Ask::of("x", &format!("http://a/{n}"), "").unwrap().key();
        documents.keep(key(0), at(10), Ok((200, Rc::from(*b"k"))));
        let has =
            |n: usize, s: u64, age: u64| documents.get(&key(n), at(s), age * SECOND).is_some();
        assert!(has(0, 20, 10) && !has(0, 21, 10) && !has(1, 10, 10));
        documents.keep(key(0), at(30), Err("down".to_owned()));
        assert!(has(0, 32, 600) && !has(0, 33, 600));
        for n in 0..DOCUMENTS_KEPT_MAX + 5 {
            documents.keep(key(n), at(40), Err(String::new()));
        }
        assert!(!has(0, 40, 1) && has(5, 40, 1) && has(DOCUMENTS_KEPT_MAX, 40, 1));
        assert_eq!(documents.0.borrow().len(), DOCUMENTS_KEPT_MAX);
    }
}
