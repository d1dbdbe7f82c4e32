//! The web page: three files that read the API as any other client does. They are the same for
//! everyone; rights are asked for where the page asks the API.

use serde_json::Value;

use super::{Answer, Body, Ctx, Outcome, invalid_method};
use crate::api::ApiError;
use crate::stdx::json;

const PAGE: &str = include_str!("ui/page.html");
const SCRIPT: &str = include_str!("ui/page.js");
const STYLE: &str = include_str!("ui/page.css");

/// What the page may load and do: its own files, and the API that it came from. In no frame.
const RULES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/ui/*`: the script tells by the address what to show.
///
/// # Errors
/// 405 for anything but GET; 404 where the configuration says `ui { enabled = false }`.
pub(super) fn ui(ctx: &mut Ctx<'_>) -> Result<Outcome, ApiError> {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let config: Value = json::decode(&ctx.agent.config_json).unwrap_or_default();
    if config.pointer("/UI/Enabled").and_then(Value::as_bool) == Some(false) {
        return Err(ApiError::not_found("The web page is switched off (ui.enabled)"));
    }
    let (kind, file) = match ctx.rest {
        "page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "page.css" => ("text/css; charset=utf-8", STYLE),
        _ => ("text/html; charset=utf-8", PAGE),
    };
    let headers = vec![
        ("Content-Security-Policy", RULES.to_owned()),
        ("Referrer-Policy", "no-referrer".to_owned()),
        ("Cache-Control", "no-cache".to_owned()),
    ];
    let body = Body::Static(file);
    Ok(Answer { status: 200, content_type: Some(kind), body, headers, ..Answer::default() }.into())
}
