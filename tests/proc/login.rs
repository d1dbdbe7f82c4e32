//! Logging in by what an identity provider says, asked for over the network: keys from an address,
//! and the flow with a browser.

#![expect(clippy::disallowed_methods, reason = "tests wait, and run the command line")]

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vardo::http::Query;
use vardo::tls;

use super::acl::{ask, bootstrap, guarded, manage};
use super::agent::Agent;
use super::provider::{Asked, Keys, Provider, Reply};
use super::tls::Certs;
use crate::support::agent::{BINARY, free_port};
use crate::support::http::Answer;

fn now_s() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// An agent where whoever a provider says is `alice` may read nodes.
fn agent(name: &str) -> Agent {
    let agent = guarded(name, &json!({}));
    begin(&agent);
    agent
}

fn begin(agent: &Agent) {
    bootstrap(agent);
    let policy = json!({"Name": "p", "Rules": "node { policy = \"read\" }"});
    manage(agent, "PUT", "/v1/acl/policy/p", &policy);
}

fn method(agent: &Agent, name: &str, kind: &str, config: &Value) {
    let body = json!({"Name": name, "Type": kind, "TokenLocality": "local", "MaxTokenTTL": "1h",
        "TokenNameFormat": "${auth_method_name}/${value.user}", "Config": config});
    manage(agent, "PUT", "/v1/acl/auth-method", &body);
    let rule = json!({"AuthMethod": name, "BindType": "policy", "BindName": "p",
        "Selector": "value.user == alice"});
    manage(agent, "PUT", "/v1/acl/binding-rule", &rule);
}

fn by_keys(url: &str, more: &Value) -> Value {
    let mut config = json!({"JWKSURL": url, "BoundAudiences": ["vardo"],
        "ClaimMappings": {"sub": "user"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

fn alice() -> Value {
    json!({"sub": "alice", "aud": "vardo", "iat": now_s(), "exp": now_s() + 60})
}

fn login(agent: &Agent, method: &str, token: &str) -> Answer {
    let body = json!({"AuthMethodName": method, "LoginToken": token});
    ask(agent, "", "PUT", "/v1/acl/login", &body)
}

fn refused(a: &Answer, why: &str) {
    let text = a.text();
    let told = text.starts_with("unable to validate provided token: ") && text.contains(why);
    assert!(a.status == 401 && told, "{why}: {} {text}", a.status);
}

/// Every algorithm that is served logs in by keys from an address, which is asked once; what is not
/// signed by them is refused, however it says that it is.
#[test]
fn keys_are_fetched_from_an_address() {
    let agent = agent("login-keys");
    let (keys, provider) = (Keys::new(), Provider::start(None));
    let set = keys.set("a-");
    provider.answers(move |_| Reply::Json(200, set.clone()));
    method(&agent, "m", "JWT", &by_keys(&format!("{}/keys?x=1", provider.url), &json!({})));
    let all = ["EdDSA", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    for algorithm in all {
        let a = login(&agent, "m", &keys.token(algorithm, "a-", &alice()));
        assert_eq!(a.status, 200, "{algorithm}: {}", a.text());
        let token = a.json();
        assert_eq!((&token["Name"], &token["Policies"]), (&"m/alice".into(), &json!(["p"])));
        let secret = token["SecretID"].as_str().unwrap();
        assert_eq!(ask(&agent, secret, "GET", "/v1/nodes", &Value::Null).status, 200);
    }
    let asked = provider.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].target, "/keys?x=1");
    // A key's name of another kind, one for encryption, a shared secret, none at all.
    for (algorithm, key, why) in [
        ("EdDSA", "a-rsa", "verify id token signature"),
        ("RS256", "a-enc", "verify id token signature"),
        ("HS256", "a-oct", "unexpected signature algorithm"),
        ("none", "a-ed", "unexpected signature algorithm"),
        ("", "a-ed", "unexpected signature algorithm"),
    ] {
        let head = json!({"alg": algorithm, "kid": key});
        refused(&login(&agent, "m", &keys.signed(algorithm, &head, &alice())), why);
    }
    let other = Keys::new();
    refused(&login(&agent, "m", &other.token("EdDSA", "a-", &alice())), "signature");
    for (claims, why) in [
        (json!({"sub": "alice", "aud": "vardo", "exp": now_s() - 600}), "expired"),
        (json!({"sub": "alice", "aud": "other", "exp": now_s() + 60}), "audience"),
        (json!({"sub": "alice", "aud": "vardo"}), "no issued at"),
    ] {
        refused(&login(&agent, "m", &keys.token("EdDSA", "a-", &claims)), why);
    }
    let huge =
        json!({"sub": "alice", "aud": "vardo", "exp": now_s() + 60, "x": "y".repeat(70_000)});
    refused(&login(&agent, "m", &keys.token("EdDSA", "a-", &huge)), "too long");
    let stranger = json!({"sub": "bob", "aud": "vardo", "exp": now_s() + 60});
    let a = login(&agent, "m", &keys.token("EdDSA", "a-", &stranger));
    assert_eq!((a.status, a.text().as_str()), (400, "no role or policy bindings matched"));
    // Of all these, none had the keys fetched more than once more.
    assert!(provider.asked().is_empty());
}

/// A key that is not known yet has the set fetched again, at most every ten seconds.
#[test]
fn new_keys_are_found_and_not_asked_for_too_often() {
    let agent = agent("login-rotation");
    let (old, new, provider) = (Keys::new(), Keys::new(), Provider::start(None));
    let set = old.set("old-");
    provider.answers(move |_| Reply::Json(200, set.clone()));
    method(&agent, "m", "JWT", &by_keys(&provider.url, &json!({})));
    assert_eq!(login(&agent, "m", &old.token("ES256", "old-", &alice())).status, 200);
    let set = new.set("new-");
    provider.answers(move |_| Reply::Json(200, set.clone()));
    let begin = Instant::now();
    let token = new.token("ES256", "new-", &alice());
    refused(&login(&agent, "m", &token), "signature");
    agent.until("the new keys", |a| {
        sleep(Duration::from_millis(250));
        login(a, "m", &token).status == 200
    });
    assert!(begin.elapsed() > Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(provider.asked().len(), 2);
    refused(&login(&agent, "m", &old.token("ES256", "old-", &alice())), "signature");
}

/// Providers that are away, slow, too talkative or confused: whoever logs in is told, nobody else
/// notices.
#[test]
fn faults_of_a_provider_are_told_and_disturb_nobody() {
    let agent = agent("login-faults");
    let (keys, provider) = (Keys::new(), Provider::start(None));
    let set = keys.set("").to_string();
    provider.answers(move |asked: &Asked| {
        let plain = |head: &str, body: &str| {
            Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").into_bytes())
        };
        match asked.target.as_str() {
            "/slow" => Reply::Silence(Duration::from_secs(15)),
            "/huge" => plain("Content-Length: 9999999\r\n", &"x".repeat(600_000)),
            "/endless" => plain("", &"x".repeat(600_000)),
            "/cut" => plain("Content-Length: 100\r\n", "half"),
            "/broken" => plain("Content-Length: 3\r\n", "{]x"),
            "/empty" => Reply::Json(200, json!({"keys": []})),
            "/other" => Reply::Json(200, json!({"kex": 1})),
            "/away" => Reply::Json(503, json!({})),
            "/moved" => Reply::Bytes(
                b"HTTP/1.1 302 X\r\nLocation: http://169.254.169.254/\r\n\
                  Content-Length: 0\r\n\r\n"
                    .to_vec(),
            ),
            "/noise" => Reply::Bytes(b"SSH-2.0-x\r\n\r\n".to_vec()),
            "/whole" => plain("", &set),
            _ => Reply::Bytes(Vec::new()),
        }
    });
    let token = keys.token("EdDSA", "", &alice());
    for (path, why) in [
        ("huge", "longer than 524288 bytes"),
        ("endless", "longer than 524288 bytes"),
        ("cut", "closed before the answer ended"),
        ("broken", "no JSON"),
        ("empty", "holds none that checks signatures"),
        ("other", "has no \"keys\""),
        ("away", "status 503"),
        ("moved", "status 302"),
        ("noise", "malformed HTTP response"),
        ("silent", "closed before the answer ended"),
    ] {
        method(&agent, path, "JWT", &by_keys(&format!("{}/{path}", provider.url), &json!({})));
        refused(&login(&agent, path, &token), why);
    }
    method(&agent, "whole", "JWT", &by_keys(&format!("{}/whole", provider.url), &json!({})));
    assert_eq!(login(&agent, "whole", &token).status, 200);
    // Nobody listens there, or speaks no TLS.
    let nobody = format!("http://127.0.0.1:{}", free_port());
    method(&agent, "nobody", "JWT", &by_keys(&nobody, &json!({})));
    refused(&login(&agent, "nobody", &token), "refused");
    let plain = format!("https://127.0.0.1:{}", agent.port);
    method(&agent, "plain", "JWT", &by_keys(&plain, &json!({})));
    refused(&login(&agent, "plain", &token), "TLS");
    // While one waits in vain, others are answered; those who wait for the same wait together.
    method(&agent, "slow", "JWT", &by_keys(&format!("{}/slow", provider.url), &json!({})));
    provider.asked();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..5).map(|_| scope.spawn(|| login(&agent, "slow", &token))).collect();
        while !waits.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let begin = Instant::now();
            manage(&agent, "GET", "/v1/acl/tokens", &Value::Null);
            assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
            sleep(Duration::from_millis(100));
        }
        for wait in waits {
            refused(&wait.join().unwrap(), "no whole answer came within 10 s");
        }
    });
    assert!(begin.elapsed() >= Duration::from_secs(9), "{:?}", begin.elapsed());
    assert_eq!(provider.asked().len(), 1);
}

/// A provider is found by its name; one that is nobody's, or that no server tells, is told of.
#[test]
fn providers_have_names() {
    let Some(dns) = super::names::Server::start() else { return println!("SKIP: needs root") };
    let mut agent = Agent::prepare("login-names", &json!({"acl": {"enabled": true}}));
    dns.spawn(&mut agent);
    agent.until("a leader", |a| a.try_get("/v1/status/leader").is_some_and(|r| r.body.len() > 4));
    begin(&agent);
    let (keys, provider) = (Keys::new(), Provider::start(None));
    let set = keys.set("");
    provider.answers(move |_| Reply::Json(200, set.clone()));
    let port = provider.url.rsplit_once(':').expect("a port").1;
    let token = keys.token("ES384", "", &alice());
    for host in ["idp.test", "silent.test", "other.test", "localhost"] {
        method(
            &agent,
            &host.replace('.', "-"),
            "JWT",
            &by_keys(&format!("http://{host}:{port}"), &json!({})),
        );
    }
    dns.set("idp.test", "127.0.0.1");
    for name in ["idp-test", "localhost"] {
        let a = login(&agent, name, &token);
        assert_eq!(a.status, 200, "{name}: {}", a.text());
    }
    refused(&login(&agent, "other-test", &token), "other.test");
    refused(&login(&agent, "silent-test", &token), "cannot be fetched");
    assert!(provider.asked()[0].head.contains(&format!("Host: idp.test:{port}")));
}

/// Over TLS the provider's certificate must be signed by the CA that the method names.
#[test]
fn keys_are_fetched_over_tls() {
    let (certs, others) = (Certs::new("jwks"), Certs::new("jwks-other"));
    certs.make(&["cert", "create", "-server"]);
    let pem = |certs: &Certs| std::fs::read_to_string(certs.path("nomad-agent-ca.pem")).unwrap();
    let agent = agent("login-tls");
    let (keys, provider) = (Keys::new(), Provider::start(Some(server(&certs))));
    let set = keys.set("");
    provider.answers(move |_| Reply::Json(200, set.clone()));
    let token = keys.token("PS256", "", &alice());
    for (name, pem, good) in [("own", pem(&certs), true), ("other", pem(&others), false)] {
        method(&agent, name, "JWT", &by_keys(&provider.url, &json!({"JWKSCACert": pem})));
        let a = login(&agent, name, &token);
        match good {
            true => assert_eq!(a.status, 200, "{}", a.text()),
            false => refused(&a, "signed by no CA that is trusted"),
        }
    }
    method(&agent, "system", "JWT", &by_keys(&provider.url, &json!({})));
    refused(&login(&agent, "system", &token), "signed by no CA that is trusted");
    method(&agent, "bad", "JWT", &by_keys(&provider.url, &json!({"JWKSCACert": "x"})));
    refused(&login(&agent, "bad", &token), "no certificate of a CA");
}

fn server(certs: &Certs) -> tls::Server {
    let path = |name: &str| certs.path(name);
    let (cert, key) = (path("global-server-nomad.pem"), path("global-server-nomad-key.pem"));
    tls::server(Path::new(&cert), Path::new(&key), None).expect("a server")
}

const REDIRECT: &str = "http://localhost:4649/oidc/callback";

/// Has a provider say of whoever has the code that they are `alice`, if the client proves itself.
fn logs_in(
    provider: &Provider,
    keys: Keys,
    nonce: &str,
    with: impl Fn(&mut Value) + Send + 'static,
) {
    let (url, nonce) = (provider.url.clone(), nonce.to_owned());
    provider.answers(move |asked| {
        let form = Query::new(&asked.body);
        let field = |name: &str| form.get(name).unwrap_or_default().into_owned();
        match asked.target.as_str() {
            "/.well-known/openid-configuration" => Reply::Json(
                200,
                json!({"issuer": url, "jwks_uri": format!("{url}/keys"),
                    "authorization_endpoint": format!("{url}/authorize"),
                    "token_endpoint": format!("{url}/token"),
                    "userinfo_endpoint": format!("{url}/userinfo"),
                    "code_challenge_methods_supported": ["plain", "S256"]}),
            ),
            "/keys" => Reply::Json(200, keys.set("k-")),
            // `client:s&cret`, each part escaped.
            "/token" if !asked.head.contains("Authorization: Basic Y2xpZW50OnMlMjZjcmV0") => {
                Reply::Json(401, json!({"error": "invalid_client"}))
            }
            "/token" if field("code") != "c0de" => {
                Reply::Json(400, json!({"error": "invalid_grant", "error_description": "used"}))
            }
            "/token" => {
                let mut claims = json!({"iss": url, "sub": "alice", "aud": "client",
                    "iat": now_s(), "exp": now_s() + 60, "nonce": nonce, "level": "signed"});
                with(&mut claims);
                let algorithm = claims["alg"].as_str().unwrap_or("RS256").to_owned();
                let token = keys.token(&algorithm, "k-", &claims);
                Reply::Json(
                    200,
                    json!({"id_token": token, "access_token": "acc3ss",
                    "token_type": "Bearer", "verifier": field("code_verifier")}),
                )
            }
            "/userinfo" if !asked.head.contains("Authorization: Bearer acc3ss") => {
                Reply::Json(401, json!({}))
            }
            "/userinfo" => {
                Reply::Json(200, json!({"sub": "alice", "level": "said", "groups": ["ops", "dev"]}))
            }
            _ => Reply::Json(404, json!({})),
        }
    });
}

fn by_browser(url: &str, more: &Value) -> Value {
    let mut config = json!({"OIDCDiscoveryURL": url, "OIDCClientID": "client",
        "OIDCClientSecret": "s&cret", "OIDCScopes": ["groups"],
        "AllowedRedirectURIs": [REDIRECT],
        "ClaimMappings": {"sub": "user", "level": "level"},
        "ListClaimMappings": {"groups": "groups"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

fn auth_url(agent: &Agent, method: &str) -> String {
    let body = json!({"AuthMethodName": method, "RedirectURI": REDIRECT, "ClientNonce": "n0nce"});
    let a = ask(agent, "", "PUT", "/v1/acl/oidc/auth-url", &body);
    assert_eq!(a.status, 200, "{}", a.text());
    a.json()["AuthURL"].as_str().expect("text").to_owned()
}

fn state_of(url: &str) -> String {
    Query::new(url.split_once('?').unwrap().1).get("state").unwrap().into_owned()
}

fn complete(agent: &Agent, method: &str, state: &str, more: &Value) -> Answer {
    let mut body = json!({"AuthMethodName": method, "RedirectURI": REDIRECT,
        "ClientNonce": "n0nce", "State": state, "Code": "c0de"});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    ask(agent, "", "PUT", "/v1/acl/oidc/complete-auth", &body)
}

/// The flow with a browser: where it is sent, what the provider is asked, who gets a token, and
/// everything that ends it.
#[test]
fn people_log_in_with_a_browser() {
    let agent = agent("oidc");
    let provider = Provider::start(None);
    logs_in(&provider, Keys::new(), "n0nce", |_| {});
    method(&agent, "m", "OIDC", &by_browser(&provider.url, &json!({})));
    let ops = json!({"AuthMethod": "m", "BindType": "management",
        "Selector": "value.level == signed and \"ops\" in list.groups"});
    manage(&agent, "PUT", "/v1/acl/binding-rule", &ops);
    let url = auth_url(&agent, "m");
    let (place, query) = url.split_once('?').expect("a query");
    assert_eq!(place, format!("{}/authorize", provider.url));
    let query = Query::new(query);
    let challenge = query.get("code_challenge").expect("a challenge").into_owned();
    for (name, value) in [
        ("client_id", "client"),
        ("nonce", "n0nce"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "openid groups"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(query.get(name).as_deref(), Some(value));
    }
    let state = state_of(&url);
    provider.asked();
    let a = complete(&agent, "m", &state, &json!({"Iss": provider.url}));
    assert_eq!(a.status, 200, "{}", a.text());
    assert_eq!((&a.json()["Name"], &a.json()["Type"]), (&"m/alice".into(), &"management".into()));
    let asked = provider.asked();
    let targets: Vec<&str> = asked.iter().map(|a| a.target.as_str()).collect();
    assert_eq!(targets, ["/token", "/keys", "/userinfo"]);
    // The verifier is what the challenge was made of.
    let form = Query::new(&asked[0].body);
    let verifier = form.get("code_verifier").expect("a verifier");
    let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    assert_eq!(vardo::stdx::json::Bytes::encode_url(digest.as_ref()), challenge);
    assert_eq!(form.get("redirect_uri").as_deref(), Some(REDIRECT));
    // What does not belong together is refused before the provider hears of the code.
    let other = "http://localhost:4649/other";
    let refusals = [
        (json!({"State": "x"}), "not one that was given out here"),
        (json!({"State": "A".repeat(43)}), "not one that was given out here"),
        (json!({"ClientNonce": "other"}), "not one that was given out here"),
        (json!({"Iss": "https://evil.example"}), "of another provider"),
    ];
    for (body, why) in &refusals {
        refused(&complete(&agent, "m", &state, body), why);
    }
    assert!(provider.asked().is_empty());
    refused(&complete(&agent, "m", &state, &json!({"Code": "stolen"})), "invalid_grant used");
    for (body, want) in [
        (json!({"RedirectURI": other}), "unauthorized redirect_uri: "),
        (json!({"AuthMethodName": "m9"}), "auth-method \"m9\" not found"),
        (json!({"Code": ""}), "invalid OIDC complete-auth request: "),
    ] {
        let a = complete(&agent, "m", &state, &body);
        assert!(a.status == 400 && a.text().starts_with(want), "{} {}", a.status, a.text());
    }
    // What the provider says of somebody, for somebody else, at another time, or by another key.
    for (what, why) in [
        (json!({"nonce": "replayed"}), "nonce"),
        (json!({"aud": "other"}), "for another client"),
        (json!({"aud": ["client", "other"]}), "for another client"),
        (json!({"azp": "other"}), "for another client"),
        (json!({"iss": "https://evil.example"}), "issuer"),
        (json!({"exp": 1}), "expired"),
        (json!({"sub": "mallory"}), "about somebody else"),
        (json!({"alg": "none"}), "unexpected signature algorithm"),
        (json!({"alg": "HS256"}), "unexpected signature algorithm"),
    ] {
        // Other keys: the agent has to find that out, too.
        let more = what.clone();
        logs_in(&provider, Keys::new(), "n0nce", move |claims| {
            for (key, value) in more.as_object().into_iter().flatten() {
                claims[key] = value.clone();
            }
        });
        let a = complete(&agent, "m", &state, &json!({}));
        // RSA's key is always the same, so that all but the algorithm is right.
        refused(&a, why);
    }
    // A method without its provider says so, where it matters.
    method(&agent, "gone", "OIDC", &by_browser("http://127.0.0.1:1/", &json!({})));
    let body = json!({"AuthMethodName": "gone", "RedirectURI": REDIRECT, "ClientNonce": "x"});
    let a = ask(&agent, "", "PUT", "/v1/acl/oidc/auth-url", &body);
    assert!(a.status == 500 && a.text().contains("cannot be fetched"), "{}", a.text());
    let other = format!("{}/tenant", provider.url);
    method(&agent, "tenant", "OIDC", &by_browser(&other, &json!({})));
    let body = json!({"AuthMethodName": "tenant", "RedirectURI": REDIRECT, "ClientNonce": "x"});
    let a = ask(&agent, "", "PUT", "/v1/acl/oidc/auth-url", &body);
    assert!(a.status == 500 && a.text().contains("status 404"), "{}", a.text());
}

/// A client that proves itself by a signature instead of a secret.
#[test]
fn clients_prove_themselves_by_a_signature() {
    let agent = agent("oidc-assertion");
    agent.until("a key of RSA", |a| a.get("/.well-known/jwks.json").text().contains("RS256"));
    let provider = Provider::start(None);
    let key = include_str!("../data/acl/provider.pem");
    for (name, how, part) in [
        ("secret", json!({"KeySource": "client_secret"}), "{\"alg\":\"HS256\""),
        ("root", json!({"KeySource": "nomad"}), "{\"alg\":\"RS256\""),
        (
            "own",
            json!({"KeySource": "private_key", "PrivateKey": {"PemKey": key, "KeyID": "k7"}}),
            "{\"alg\":\"RS256\",\"kid\":\"k7\"",
        ),
    ] {
        logs_in(&provider, Keys::new(), "n0nce", |_| {});
        let config = by_browser(&provider.url, &json!({"OIDCClientAssertion": how}));
        method(&agent, name, "OIDC", &config);
        let shown = manage(&agent, "GET", &format!("/v1/acl/auth-method/{name}"), &Value::Null);
        assert!(!shown.text().contains("PRIVATE KEY") && !shown.text().contains("s&cret"));
        let state = state_of(&auth_url(&agent, name));
        provider.asked();
        // The secret is not sent, so that this provider gives nothing.
        refused(&complete(&agent, name, &state, &json!({})), "invalid_client");
        let asked = provider.asked().remove(0);
        let form = Query::new(&asked.body);
        let proof = form.get("client_assertion").expect("a proof").into_owned();
        let [head, claims] = [0, 1].map(|i| {
            let part = proof.split('.').nth(i).unwrap();
            String::from_utf8(vardo::stdx::json::Bytes::decode_url(part).unwrap()).unwrap()
        });
        assert!(head.starts_with(part), "{head}");
        let claims: Value = serde_json::from_str(&claims).unwrap();
        assert_eq!((&claims["iss"], &claims["sub"]), (&"client".into(), &"client".into()));
        assert_eq!(claims["aud"], json!([format!("{}/token", provider.url)]));
        assert!(!asked.head.contains("Authorization") && !asked.body.contains("client_secret="));
    }
    for how in [
        json!({"KeySource": "x"}),
        json!({"KeySource": "private_key", "PrivateKey": {"PemKey": "x"}}),
        json!({"KeySource": "private_key", "PrivateKey": {"PemKeyFile": "/etc/key"}}),
        json!({"KeySource": "client_secret", "KeyAlgorithm": "none"}),
    ] {
        let config = by_browser(&provider.url, &json!({"OIDCClientAssertion": how}));
        let body = json!({"Name": "bad", "Type": "OIDC", "TokenLocality": "local",
            "MaxTokenTTL": "1h", "Config": config});
        let a = ask(&agent, super::acl::SECRET, "PUT", "/v1/acl/auth-method", &body);
        assert!(a.status == 400 && a.text().contains("OIDCClientAssertion"), "{}", a.text());
    }
}

/// `vardo login` waits for the browser, with a provider over TLS.
#[test]
fn the_command_line_waits_for_the_browser() {
    let certs = Certs::new("oidc");
    certs.make(&["cert", "create", "-server"]);
    let agent = agent("oidc-cli");
    let provider = Provider::start(Some(server(&certs)));
    let back = format!("127.0.0.1:{}", free_port());
    let ca = std::fs::read_to_string(certs.path("nomad-agent-ca.pem")).unwrap();
    let redirect = format!("http://{back}/oidc/callback");
    let more = json!({"AllowedRedirectURIs": [redirect], "DiscoveryCaPem": [ca]});
    method(&agent, "oidc", "OIDC", &by_browser(&provider.url, &more));
    logs_in(&provider, Keys::new(), "", |_| {});
    let run = || {
        Command::new(BINARY)
            .args(["login", "-method=oidc", &format!("-oidc-callback-addr={back}"), "-json"])
            .env("NOMAD_ADDR", format!("http://127.0.0.1:{}", agent.port))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs")
    };
    // What the command prints up to the address for the browser.
    let address = |child: &mut std::process::Child| {
        let mut text = String::new();
        let mut buf = [0; 1];
        let stderr = child.stderr.as_mut().expect("a pipe");
        while !text.contains("code_challenge_method=S256") {
            assert_eq!(stderr.read(&mut buf).expect("text"), 1, "{text}");
            text.push(char::from(buf[0]));
        }
        let url = text.split_whitespace().find(|w| w.starts_with("https://")).expect("a URL");
        url.to_owned()
    };
    let get = |path: &str| crate::support::http::get(&back, path).expect("an answer");
    let mut child = run();
    let url = address(&mut child);
    let nonce = Query::new(url.split_once('?').unwrap().1).get("nonce").unwrap().into_owned();
    logs_in(&provider, Keys::new(), &nonce, |_| {});
    assert_eq!(get("/favicon.ico").status, 404);
    assert_eq!(get("/oidc/callback?code=c0de&state=forged").status, 400);
    let state = state_of(&url);
    assert_eq!(get(&format!("/oidc/callback?code=c0de&state={state}")).status, 200);
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let token: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(token["Name"], "oidc/alice");
    let mut child = run();
    let state = state_of(&address(&mut child));
    get(&format!("/oidc/callback?error=access_denied&error_description=no&state={state}"));
    let out = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && text.contains("access_denied no"), "{text}");
}
