//! `/v1/event/stream`: who wants to hear of what.

use super::auth::need;
use super::{Ctx, EventsRequest, Outcome, invalid_method};
use crate::api::ApiError;
use crate::http::Query;
use crate::server::events::may_hear;

type Result<T> = std::result::Result<T, ApiError>;

/// Any topic or key.
const ANY: &str = "*";

pub(super) fn stream(ctx: &mut Ctx<'_>) -> Result<Outcome> {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let q = Query::new(ctx.req.query());
    let index = index(&q.get("index").unwrap_or_default())?;
    let mut topics = Vec::new();
    for text in q.all("topic") {
        topics.push(topic(&text)?);
    }
    if topics.is_empty() {
        topics.push((ANY.to_owned(), ANY.to_owned()));
    }
    let names: Vec<&str> = topics.iter().map(|(topic, _)| topic.as_str()).collect();
    need(ctx.may(|a| may_hear(a, &names, &ctx.params.namespace)))?;
    if ctx.agent.event_buffer == 0 {
        return Err(ApiError::bad("event broker is not enabled on this agent"));
    }
    let namespace = ctx.params.namespace.clone();
    let acl = ctx.access.who.as_ref().and_then(|who| who.acl.clone());
    let token = ctx.req.token.clone();
    Ok(Outcome::Events(EventsRequest { topics, namespace, index, acl, token }))
}

fn index(text: &str) -> Result<u64> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<i64>() {
        Ok(n) => Ok(u64::try_from(n).unwrap_or(0)),
        Err(_) => {
            let why = if number { "value out of range" } else { "invalid syntax" };
            let why = format!("strconv.Atoi: parsing {text:?}: {why}");
            Err(ApiError::bad(format!("Unable to parse index: {why}")))
        }
    }
}

/// `Topic` or `Topic:key`.
fn topic(text: &str) -> Result<(String, String)> {
    let (topic, key) = text.split_once(':').unwrap_or((text, ANY));
    if key.contains(':') {
        return Err(ApiError::bad(format!(
            "Invalid topic query: error parsing topics: Invalid key value pair for topic, topic: \
             {text}"
        )));
    }
    Ok((topic.to_owned(), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_indexes() {
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(topic("Job"), pair("Job", "*"));
        assert_eq!(topic("Job:web"), pair("Job", "web"));
        assert_eq!(topic("a:b:c").map_err(|e| e.status), Err(400));
        assert_eq!(index(""), Ok(0));
        assert_eq!((index("7"), index("-7")), (Ok(7), Ok(0)));
        for (bad, why) in [("zz", "invalid syntax"), ("-", "invalid syntax")] {
            let text = format!("Unable to parse index: strconv.Atoi: parsing {bad:?}: {why}");
            assert_eq!(index(bad).map_err(|e| e.text), Err(text));
        }
        assert!(index("99999999999999999999").is_err_and(|e| e.text.contains("out of range")));
    }
}
