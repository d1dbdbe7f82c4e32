//! Tokens, policies and roles.

use serde_json::{Value, json};

use super::args::Args;
use super::format::{at, fields, list, text};
use super::http::{Query, escape};
use super::{Session, Stop, failed, http, system};

/// Lines of a token.
pub(super) const TOKEN: &str = "Accessor ID|Secret ID|Name|Type|Global|Create Time:time\
    |Expiry Time=ExpirationTime:time|Policies|Roles:names";

/// Lines of a role.
const ROLE: &str = "ID|Name|Description|Policies:names|Create Index|Modify Index";

/// Sends an object and shows the one that comes back.
pub(super) fn sent(
    session: &mut Session<'_>,
    args: &Args,
    path: &str,
    body: &Value,
    (what, specs): (&str, &str),
) -> Result<i32, Stop> {
    let body = body.to_string();
    let (_, answer) = session
        .api
        .whole("PUT", path, Query::default(), Some(body.as_bytes()))
        .map_err(failed(what))?;
    if !session.shaped(args, &answer)? {
        let value = http::decode(&answer).map_err(failed(what))?;
        session.say(&fields(specs, &value, session.look));
    }
    Ok(0)
}

/// Makes the first token, with the secret of a file where one is given.
pub(super) fn bootstrap(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let body = match args.at(0) {
        "" => json!({}),
        path => {
            let secret = system::read(path)?;
            json!({ "BootstrapSecret": String::from_utf8_lossy(&secret).trim() })
        }
    };
    sent(session, args, "/v1/acl/bootstrap", &body, ("Error bootstrapping", TOKEN))
}

/// Shows a policy with its rules.
pub(super) fn policy_info(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error fetching info on ACL policy";
    let path = format!("/v1/acl/policy/{}", escape(args.at(0)));
    let body = session.api.get_raw(&path, Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let policy = http::decode(&body).map_err(failed(wrong))?;
    let specs = "Name|Description|Job Namespace?=JobACL.Namespace|Job ID?=JobACL.JobID\
        |Job Group?=JobACL.Group|Job Task?=JobACL.Task|Create Index|Modify Index";
    session.say(&fields(specs, &policy, session.look));
    session.section("Rules", text(&policy, "Rules").trim_end());
    Ok(0)
}

/// Makes or changes a policy.
pub(super) fn policy_apply(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let rules = system::read(args.at(1))?;
    let of = |flag: &str| args.value(flag).unwrap_or_default();
    let name = args.at(0);
    let mut body = json!({
        "Name": name, "Description": of("description"), "Rules": String::from_utf8_lossy(&rules),
    });
    if args.value("job").is_some() || args.value("namespace").is_some() {
        body["JobACL"] = json!({
            "Namespace": of("namespace"), "JobID": of("job"), "Group": of("group"),
            "Task": of("task"),
        });
    }
    let path = format!("/v1/acl/policy/{}", escape(name));
    session.put(&path, Query::default(), &body, "Error writing ACL policy")?;
    session.say(&format!("Successfully wrote \"{name}\" ACL policy!"));
    Ok(0)
}

/// Puts what flags say into a token; what is not given stays.
fn token(token: &mut Value, args: &Args) {
    for (flag, member) in [
        ("name", "Name"),
        ("type", "Type"),
        ("ttl", "ExpirationTTL"),
        ("accessor", "AccessorID"),
        ("secret", "SecretID"),
    ] {
        if let Some(value) = args.value(flag) {
            token[member] = value.into();
        }
    }
    let policies: Vec<&str> = args.all("policy").collect();
    if !policies.is_empty() {
        token["Policies"] = policies.into();
    }
    let names = args.all("role-name").map(|n| json!({ "Name": n }));
    let roles: Vec<Value> = names.chain(args.all("role-id").map(|i| json!({ "ID": i }))).collect();
    if !roles.is_empty() {
        token["Roles"] = roles.into();
    }
    if args.value("global").is_some() {
        token["Global"] = args.on("global").into();
    }
}

/// Makes a token.
pub(super) fn token_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut body = json!({ "Type": "client" });
    token(&mut body, args);
    sent(session, args, "/v1/acl/token", &body, ("Error creating token", TOKEN))
}

/// Changes a token.
pub(super) fn token_update(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = format!("/v1/acl/token/{}", escape(args.at(0)));
    let mut body = session.get(&path, Query::default(), "Error updating token")?;
    token(&mut body, args);
    sent(session, args, &path, &body, ("Error updating token", TOKEN))
}

/// Shows a role, by id or by name.
pub(super) fn role_info(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = match args.value("by-name") {
        Some(name) => format!("/v1/acl/role/name/{}", escape(name)),
        None if args.at(0).is_empty() => {
            return Err(Stop::Usage("This command takes one argument: <role>".to_owned()));
        }
        None => format!("/v1/acl/role/{}", escape(args.at(0))),
    };
    super::show::one(session, args, "ACL role", &path, ROLE)
}

/// Puts what flags say into a role; what is not given stays.
fn role(role: &mut Value, args: &Args) {
    for (flag, member) in [("name", "Name"), ("description", "Description")] {
        if let Some(value) = args.value(flag) {
            role[member] = value.into();
        }
    }
    let mut policies = list(at(role, "Policies"), "").to_vec();
    policies.extend(args.all("policy").map(|name| json!({ "Name": name })));
    role["Policies"] = policies.into();
}

/// Makes a role.
pub(super) fn role_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut body = json!({});
    role(&mut body, args);
    sent(session, args, "/v1/acl/role", &body, ("Error creating ACL role", ROLE))
}

/// Changes a role.
pub(super) fn role_update(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = format!("/v1/acl/role/{}", escape(args.at(0)));
    let mut body = match args.on("no-merge") {
        true => json!({ "ID": args.at(0) }),
        false => session.get(&path, Query::default(), "Error reading ACL role")?,
    };
    role(&mut body, args);
    sent(session, args, &path, &body, ("Error updating ACL role", ROLE))
}
