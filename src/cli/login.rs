//! `login`: a token of this cluster for one of an identity provider, or for whom a browser tells.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::args::Args;
use super::format::{at, int, text};
use super::http::{Failure, Query};
use super::{Session, Stop, failed, http, system};
use crate::http::query::Query as Fields;
use crate::os::entropy;
use crate::stdx::Entropy;
use crate::stdx::json::Bytes;

const WRONG: &str = "Error logging in";
/// Where the browser brings the provider's answer to.
const CALLBACK: &str = "localhost:4649";
const PATH: &str = "/oidc/callback";
/// How long the browser may take, in nanoseconds.
const PATIENCE_NS: i64 = 300_000_000_000;
/// How long each connection may take, and how many bytes of it are read.
const STALL: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Makes a token of one of an identity provider.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let methods = session.get("/v1/acl/auth-methods", Query::default(), WRONG)?;
    let methods = super::format::list(&methods, "");
    let kind = args.value("type").map(str::to_ascii_uppercase);
    let fits = |m: &&Value| match (args.value("method"), &kind) {
        (Some(name), _) => text(m, "Name") == name,
        (None, Some(kind)) => text(m, "Type") == kind,
        (None, None) => at(m, "Default").as_bool() == Some(true),
    };
    let none = "there is no such method, or no default: name one by -method";
    let method = methods.iter().find(fits).ok_or_else(|| format!("{WRONG}: {none}"))?;
    let (kind, name) = (text(method, "Type"), text(method, "Name"));
    let answer = match kind {
        "OIDC" => by_browser(session, args, name)?,
        _ => by_token(session, args, name)?,
    };
    if session.shaped(args, &answer)? {
        return Ok(0);
    }
    let token = http::decode(&answer).map_err(failed(WRONG))?;
    session.say(&format!("Successfully logged in via {kind}\n"));
    session.say(&super::format::fields(super::acl::TOKEN, &token, session.look));
    if int(&token, "CreateIndex") > 0 {
        session.hint("Use it: export NOMAD_TOKEN=<Secret ID>");
    }
    Ok(0)
}

fn put(session: &Session<'_>, path: &str, body: &Value) -> Result<Vec<u8>, Failure> {
    let body = body.to_string();
    Ok(session.api.whole("PUT", path, Query::default(), Some(body.as_bytes()))?.1)
}

fn by_token(session: &Session<'_>, args: &Args, method: &str) -> Result<Vec<u8>, Stop> {
    let given = match args.value("login-token") {
        Some("-") => String::from_utf8_lossy(&system::read("-")?).trim().to_owned(),
        Some(token) => token.to_owned(),
        None => return Err(Stop::Usage("Give the provider's token by -login-token".to_owned())),
    };
    let body = json!({ "AuthMethodName": method, "LoginToken": given });
    put(session, "/v1/acl/login", &body).map_err(failed(WRONG))
}

/// Sends the user to the provider, and waits for the browser to come back with a code.
fn by_browser(session: &mut Session<'_>, args: &Args, method: &str) -> Result<Vec<u8>, Stop> {
    let place = args.value("oidc-callback-addr").unwrap_or(CALLBACK);
    let wrong = |e: std::io::Error| Stop::Error(format!("{WRONG}: listening on {place}: {e}"));
    let listener = TcpListener::bind(place).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    let redirect = format!("http://{place}{PATH}");
    let mut nonce = [0; 20];
    entropy::System::new().fill(&mut nonce);
    let nonce = Bytes::encode_url(&nonce);
    let body = json!({ "AuthMethodName": method, "RedirectURI": redirect, "ClientNonce": nonce });
    let answer = put(session, "/v1/acl/oidc/auth-url", &body).map_err(failed(WRONG))?;
    let answer: Value = http::decode(&answer).map_err(failed(WRONG))?;
    let url = text(&answer, "AuthURL");
    session.warn(&format!("Open this address in a browser to log in:\n\n    {url}\n"));
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let state = Fields::new(query).get("state").unwrap_or_default().into_owned();
    let said = wait(&listener, &state).map_err(|why| format!("{WRONG}: {why}"))?;
    let [code, issuer] = said;
    let body = json!({
        "AuthMethodName": method, "RedirectURI": redirect, "ClientNonce": nonce,
        "State": state, "Code": code, "Iss": issuer,
    });
    put(session, "/v1/acl/oidc/complete-auth", &body).map_err(failed(WRONG))
}

/// Code and issuer, once a browser brings them with the state that was given out.
fn wait(listener: &TcpListener, state: &str) -> Result<[String; 2], String> {
    let until = system::wall_ns().saturating_add(PATIENCE_NS);
    while system::wall_ns() < until {
        match listener.accept() {
            Ok((mut stream, _)) => {
                // Whoever else calls, and says nothing of use, is not waited for.
                if let Some(outcome) = hear(&mut stream, state) {
                    return outcome;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                system::pause(50_000_000);
            }
            Err(e) => return Err(e.to_string()),
        }
    }
    Err("no browser came back in time".to_owned())
}

/// One request of a browser; `None`: it is not the one that is waited for.
fn hear(stream: &mut TcpStream, state: &str) -> Option<Result<[String; 2], String>> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(STALL)).ok()?;
    stream.set_write_timeout(Some(STALL)).ok()?;
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut buf = [0; 2048];
        let n = stream.read(&mut buf).ok().filter(|n| *n > 0)?;
        head.extend_from_slice(buf.get(..n)?);
        if head.len() > HEAD_BYTES_MAX {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("GET ")?.split(' ').next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != PATH {
        say(stream, "404 Not Found", "There is nothing here.");
        return None;
    }
    let fields = Fields::new(query);
    let field = |name: &str| fields.get(name).unwrap_or_default().into_owned();
    if field("state") != state {
        say(stream, "400 Bad Request", "This is the answer to another login.");
        return None;
    }
    let error = field("error");
    if !error.is_empty() {
        say(stream, "200 OK", "Not logged in. You may close this page.");
        let more = field("error_description");
        return Some(Err(format!("the provider refuses: {error} {more}").trim_end().to_owned()));
    }
    say(stream, "200 OK", "You may close this page; the command line goes on.");
    Some(Ok([field("code"), field("iss")]))
}

fn say(stream: &mut TcpStream, status: &str, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // A browser that is gone has its code told all the same.
    drop(stream.write_all(answer.as_bytes()));
}
