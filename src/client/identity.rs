//! Who the node is, as its servers have signed it: asked for when somebody wants to know, and kept
//! until it ends.

use serde_json::{Value, json};

use crate::api::{ApiError, SignedIdentity};
use crate::client::{ClientEffect, Inquiry, Told};
use crate::stdx::json::{self as codec, Bytes};

#[derive(Debug, Default)]
pub(crate) struct Identity {
    held: Option<SignedIdentity>,
    /// The question that is under way.
    asked: Option<u64>,
    /// Who waits for its answer, and whether they want to read it.
    waiting: Vec<(u64, bool)>,
}

type Reply = Result<Vec<u8>, ApiError>;

/// Most who wait at a time.
const WAITING_MAX: usize = 64;

impl Identity {
    /// An answer where there is one at once. `id`: number of a question.
    pub(crate) fn ask(
        &mut self,
        (reply, renew): (u64, bool),
        id: u64,
        wall_ns: i64,
        out: &mut Vec<ClientEffect>,
    ) -> Option<Reply> {
        if let Some(held) = self.held.as_ref().filter(|h| !renew && h.expires > wall_ns) {
            return Some(claims(&held.jwt));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Some(Err(ApiError::failed("too many wait for the node's identity")));
        }
        self.waiting.push((reply, !renew));
        if self.asked.is_none() {
            self.asked = Some(id);
            out.push(ClientEffect::Ask(id, Inquiry::Node));
        }
        None
    }

    /// The servers have answered; false where it was another question.
    pub(crate) fn told(
        &mut self,
        id: u64,
        told: Option<&Told>,
        out: &mut Vec<ClientEffect>,
    ) -> bool {
        if self.asked != Some(id) {
            return false;
        }
        self.asked = None;
        let signed = told.filter(|t| t.status == 200);
        let signed = signed.and_then(|t| codec::decode::<SignedIdentity>(&t.body).ok());
        for (reply, reads) in std::mem::take(&mut self.waiting) {
            let answer = match &signed {
                Some(signed) if reads => claims(&signed.jwt),
                Some(_) => Ok(b"{}".to_vec()),
                None => Err(ApiError::failed(told.map_or_else(
                    || "No cluster leader".to_owned(),
                    |t| String::from_utf8_lossy(&t.body).into_owned(),
                ))),
            };
            out.push(ClientEffect::Reply(reply, answer));
        }
        self.held = signed.or(self.held.take());
        true
    }
}

/// What a token says. Its numbers have a fraction, as the API prints them.
fn claims(jwt: &str) -> Reply {
    let part = jwt.split('.').nth(1).and_then(Bytes::decode_url);
    let said = part.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(Value::Object(mut said)) = said else {
        return Err(ApiError::failed("the node has no identity"));
    };
    for value in said.values_mut() {
        if let Some(number) = value.as_f64() {
            *value = number.into();
        }
    }
    Ok(codec::encode(&json!({ "Claims": said })))
}
