//! One page of a list: filter, size, and the token of what comes after it.
//!
//! The bytes of an item are copied as they lie in the store; only a filter makes an object be
//! parsed.

use serde_json::Value;

use super::{Answer, Params, Watch};
use crate::api::ApiError;
use crate::bexpr::Filter;
use crate::stdx::json::{self, Record};

/// Bytes that a list begins with room for.
const BODY_BYTES: usize = 4 << 10;

/// A list in the making.
pub(super) struct Page {
    out: Vec<u8>,
    /// Items that still fit.
    left: usize,
    filter: Option<Filter>,
    /// Fields of the filtered object, for those that its JSON leaves out.
    known: Vec<&'static str>,
    next: Option<String>,
}

impl Page {
    /// An empty page of objects of type `T`, which the filter is about.
    ///
    /// # Errors
    /// 400 where the filter does not parse.
    pub(super) fn new<T: Record + Default>(params: &Params) -> Result<Self, ApiError> {
        let filter = if params.filter.is_empty() {
            None
        } else {
            Some(Filter::parse(&params.filter).map_err(|e| {
                ApiError::bad(format!(
                    "failed to create result paginator: failed to read filter expression: {e}"
                ))
            })?)
        };
        let known = if filter.is_some() {
            T::default().shape().fields.iter().collect()
        } else {
            Vec::new()
        };
        let left = usize::try_from(params.per_page).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
        let mut out = Vec::with_capacity(BODY_BYTES);
        out.push(b'[');
        Ok(Self { out, left, filter, known, next: None })
    }

    /// Whether there is a filter, so that objects must be shown to [`Self::passes`].
    pub(super) fn filters(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether an object's JSON passes the filter.
    ///
    /// # Errors
    /// 400 where the filter does not suit the object.
    pub(super) fn passes(&self, object: &[u8]) -> Result<bool, ApiError> {
        let Some(filter) = &self.filter else { return Ok(true) };
        let failed = |e: String| ApiError::bad(format!("failed to read result page: {e}"));
        let value: Value = json::decode(object).map_err(|e| failed(e.to_string()))?;
        filter.matches(&value, &self.known).map_err(failed)
    }

    /// Makes room for an item; `None` where the page is full, which ends the list. `token` names
    /// this item, the first of the next page. What is returned is where the item is written to.
    pub(super) fn room(&mut self, token: impl FnOnce() -> String) -> Option<&mut Vec<u8>> {
        if self.left == 0 {
            self.next = Some(token());
            return None;
        }
        self.left -= 1;
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        Some(&mut self.out)
    }

    /// The answer, with the index of what was read and what to watch.
    pub(super) fn answer(mut self, index: u64, watch: Watch) -> Answer {
        self.out.push(b']');
        let mut answer = Answer::bytes(self.out).query(index).watching(watch);
        answer.next_token = self.next;
        answer
    }
}

/// The prefix of ids in a table with UUIDs, as bytes; `what` names the table in the error.
///
/// # Errors
/// 500 with the reference's text for what is not an even number of hex digits.
pub(super) fn hex_prefix(what: &str, prefix: &str) -> Result<Vec<u8>, ApiError> {
    let failed =
        |why: String| ApiError::failed(format!("{what} lookup failed: index error: {why}"));
    let hyphens = prefix.bytes().filter(|b| *b == b'-').count();
    if hyphens > 4 {
        return Err(failed(format!("UUID should have maximum of 4 \"-\"; got {hyphens}")));
    }
    let digits: Vec<char> = prefix.chars().filter(|c| *c != '-').collect();
    if digits.iter().map(|c| c.len_utf8()).sum::<usize>() % 2 != 0 {
        return Err(failed("Input (without hyphens) must be even length".to_owned()));
    }
    let mut nibbles = Vec::with_capacity(digits.len());
    for c in digits {
        let Some(n) = c.to_digit(16).and_then(|n| u8::try_from(n).ok()) else {
            // The reference looks at bytes, so a longer character shows as its first byte.
            let mut first = [0; 4];
            let byte = c.encode_utf8(&mut first).as_bytes().first().copied().unwrap_or(0);
            let shown = char::from(byte);
            return Err(failed(format!(
                "Invalid UUID: encoding/hex: invalid byte: U+{byte:04X} '{shown}'"
            )));
        };
        nibbles.push(n);
    }
    Ok(nibbles.chunks_exact(2).map(|p| p[0] << 4 | p[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Evaluation;

    fn list(params: &Params, items: &[&str]) -> Result<(String, Option<String>), ApiError> {
        let mut page = Page::new::<Evaluation>(params)?;
        for item in items {
            if !page.passes(item.as_bytes())? {
                continue;
            }
            let Some(out) = page.room(|| format!("at {item}")) else { break };
            out.extend_from_slice(item.as_bytes());
        }
        let answer = page.answer(7, Watch::Tables(1));
        Ok((String::from_utf8_lossy(answer.body.as_slice()).into_owned(), answer.next_token))
    }

    const ITEMS: [&str; 3] = [r#"{"ID":"a"}"#, r#"{"ID":"b","DeploymentID":"d"}"#, r#"{"ID":"c"}"#];

    #[test]
    fn the_token_names_the_first_item_of_the_next_page() {
        let all = Params::default();
        assert_eq!(list(&all, &[]).unwrap(), ("[]".to_owned(), None));
        let (body, next) = list(&all, &ITEMS).unwrap();
        assert_eq!((body, next), (format!("[{}]", ITEMS.join(",")), None));
        let two = Params { per_page: 2, ..Params::default() };
        let (body, next) = list(&two, &ITEMS).unwrap();
        assert_eq!(body, format!("[{}]", ITEMS[..2].join(",")));
        assert_eq!(next, Some(format!("at {}", ITEMS[2])));
        // No further item: no token.
        assert_eq!(list(&two, &ITEMS[..2]).unwrap().1, None);
    }

    #[test]
    fn what_the_filter_drops_takes_no_room() {
        let p =
            Params { per_page: 1, filter: "DeploymentID is empty".to_owned(), ..Params::default() };
        let (body, next) = list(&p, &ITEMS).unwrap();
        assert_eq!((body.as_str(), next), (r#"[{"ID":"a"}]"#, Some(format!("at {}", ITEMS[2]))));
    }

    #[test]
    fn filters_fail_as_recorded() {
        let p = |filter: &str| Params { filter: filter.to_owned(), ..Params::default() };
        let e = list(&p("ID =="), &[]).unwrap_err();
        assert_eq!(e.status, 400);
        let head = "failed to create result paginator: failed to read filter expression: 1:6 (5): ";
        assert!(e.text.starts_with(head), "{}", e.text);
        // Unknown fields are found on an object only.
        assert_eq!(list(&p("Nope == \"x\""), &[]).unwrap().0, "[]");
        let e = list(&p("Nope == \"x\""), &ITEMS).unwrap_err();
        assert_eq!(
            (e.status, e.text.as_str()),
            (
                400,
                "failed to read result page: error finding value in datum: /Nope at part 0: \
                 couldn't find key: struct field with name \"Nope\""
            )
        );
    }

    #[test]
    fn prefixes_are_whole_bytes() {
        assert_eq!(hex_prefix("alloc", "").unwrap(), Vec::<u8>::new());
        assert_eq!(hex_prefix("alloc", "0a1B-22").unwrap(), [0x0a, 0x1b, 0x22]);
        for (prefix, why) in [
            ("abc", "Input (without hyphens) must be even length"),
            ("zz", "Invalid UUID: encoding/hex: invalid byte: U+007A 'z'"),
            ("-----", "UUID should have maximum of 4 \"-\"; got 5"),
        ] {
            assert_eq!(
                hex_prefix("alloc", prefix),
                Err(ApiError::failed(format!("alloc lookup failed: index error: {why}")))
            );
        }
    }
}
