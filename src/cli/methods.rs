//! Methods of logging in, and the rules that bind whoever logs in to policies and roles.

use serde_json::{Value, json};

use super::args::Args;
use super::command::{Command, Run, api};
use super::http::{Query, escape};
use super::{Session, Stop, acl, system};

/// Lines of a method and of a rule.
const METHOD: &str = "Name|Type|Locality=TokenLocality|Max Token TTL|Token Name Format|Default\
    |Bound Issuer=Config.BoundIssuer|Bound Audiences=Config.BoundAudiences\
    |Claim Mappings=Config.ClaimMappings|List Claim Mappings=Config.ListClaimMappings\
    |Create Index|Modify Index";
const RULE: &str = "ID|Description|Auth Method|Selector|Bind Type|Bind Name|Create Index\
    |Modify Index";

/// Flags that say what a method is.
const METHOD_FLAGS: &str = "\
    type=<type> JWT or OIDC
    token-locality=<kind> local or global
    token-name-format=<text> Name of the tokens, such as ${auth_method_name}-${value.user}
    max-token-ttl=<duration> How long the tokens last
    default Log in by it where no method is named; taken as true or false
    config=<path> The rest, as JSON: a file, - for standard input, or the text itself
    json\nt";

pub(super) const METHODS: &[Command] = &[
    api(
        "acl auth-method list",
        "",
        "Show methods of logging in",
        "json\nt",
        Run::List("auth methods", "/v1/acl/auth-methods", "Name|Type|Default"),
    ),
    api(
        "acl auth-method info",
        "<method>",
        "Show a method of logging in",
        "json\nt",
        Run::Show("ACL auth method", "/v1/acl/auth-method/{0}", METHOD),
    ),
    api(
        "acl auth-method create",
        "<method>",
        "Make a method of logging in",
        METHOD_FLAGS,
        Run::Do(method_create),
    ),
    api(
        "acl auth-method update",
        "<method>",
        "Change a method of logging in",
        METHOD_FLAGS,
        Run::Do(method_update),
    ),
    api(
        "acl auth-method delete",
        "<method>",
        "Remove a method of logging in, with its rules",
        "",
        Run::Send(
            "deleting ACL auth method",
            "DELETE",
            "/v1/acl/auth-method/{0}",
            "ACL auth method {0} successfully deleted",
        ),
    ),
    api(
        "acl binding-rule list",
        "",
        "Show what binds people to policies and roles",
        "verbose\njson\nt",
        Run::List("binding rules", "/v1/acl/binding-rules", "ID:id|Description|Auth Method"),
    ),
    api(
        "acl binding-rule info",
        "<rule>",
        "Show a binding rule",
        "json\nt",
        Run::Show("ACL binding rule", "/v1/acl/binding-rule/{0}", RULE),
    ),
    api(
        "acl binding-rule create",
        "",
        "Bind those who log in by a method to a policy or role",
        "auth-method=<method> The method
        bind-type=<type> policy, role or management
        bind-name=<name> The policy or role, such as team-${value.team}
        selector=<expression> Only those for whom it is true
        description\njson\nt",
        Run::Do(rule_create),
    ),
    api(
        "acl binding-rule update",
        "<rule>",
        "Change a binding rule",
        "bind-type=<type> policy, role or management
        bind-name=<name> The policy or role, such as team-${value.team}
        selector=<expression> Only those for whom it is true
        description
        no-merge Replace what is not given too
        json\nt",
        Run::Do(rule_update),
    ),
    api(
        "acl binding-rule delete",
        "<rule>",
        "Remove a binding rule",
        "",
        Run::Send(
            "deleting ACL binding rule",
            "DELETE",
            "/v1/acl/binding-rule/{0}",
            "ACL binding rule {0} successfully deleted",
        ),
    ),
];

/// Puts what flags say into an object; what is not given stays.
fn fill(object: &mut Value, args: &Args, flags: &[(&str, &str)]) {
    for (flag, member) in flags {
        if let Some(value) = args.value(flag) {
            object[*member] = value.into();
        }
    }
}

fn method(body: &mut Value, args: &Args) -> Result<(), Stop> {
    fill(
        body,
        args,
        &[
            ("type", "Type"),
            ("token-locality", "TokenLocality"),
            ("token-name-format", "TokenNameFormat"),
            ("max-token-ttl", "MaxTokenTTL"),
        ],
    );
    if args.value("default").is_some() {
        body["Default"] = args.on("default").into();
    }
    if let Some(given) = args.value("config") {
        let bytes = match given.trim_start().starts_with('{') {
            true => given.as_bytes().to_vec(),
            false => system::read(given)?,
        };
        let config: Value = serde_json::from_slice(&bytes)
            .map_err(|e| Stop::Error(format!("Error reading the method's config: {e}")))?;
        body["Config"] = config;
    }
    Ok(())
}

fn method_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut body = json!({ "Name": args.at(0) });
    method(&mut body, args)?;
    let wrong = "Error creating ACL auth method";
    acl::sent(session, args, "/v1/acl/auth-method", &body, (wrong, METHOD))
}

fn method_update(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = format!("/v1/acl/auth-method/{}", escape(args.at(0)));
    // The server keeps what is left empty; secrets do not come this way.
    let mut body = json!({ "Name": args.at(0) });
    let now = session.get(&path, Query::default(), "Error reading ACL auth method")?;
    body["Default"] = now["Default"].clone();
    method(&mut body, args)?;
    acl::sent(session, args, &path, &body, ("Error updating ACL auth method", METHOD))
}

fn rule(body: &mut Value, args: &Args) {
    let flags = [
        ("auth-method", "AuthMethod"),
        ("bind-type", "BindType"),
        ("bind-name", "BindName"),
        ("selector", "Selector"),
        ("description", "Description"),
    ];
    fill(body, args, &flags);
}

fn rule_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut body = json!({});
    rule(&mut body, args);
    let wrong = "Error creating ACL binding rule";
    acl::sent(session, args, "/v1/acl/binding-rule", &body, (wrong, RULE))
}

fn rule_update(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = format!("/v1/acl/binding-rule/{}", escape(args.at(0)));
    let there = session.get(&path, Query::default(), "Error reading ACL binding rule")?;
    let mut body = match args.on("no-merge") {
        true => json!({ "ID": there["ID"], "AuthMethod": there["AuthMethod"] }),
        false => there,
    };
    rule(&mut body, args);
    acl::sent(session, args, &path, &body, ("Error updating ACL binding rule", RULE))
}
