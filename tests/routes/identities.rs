//! Tokens of tasks under root keys of all ages.

use serde_json::{Value, json};
use vardo::api::{Allocation, Node, SignedIdentity};
use vardo::command::{Command, Placement, Plan};
use vardo::server::identity::{BEING_MADE, Issuer, sign};
use vardo::server::keyring::{first_key, new_key};
use vardo::server::rsa::Search;
use vardo::stdx::Now;
use vardo::stdx::json::Bytes;

use super::acl::{SECRET, guarded};
use super::{NODE, Server, job, json as body};

const NOW: Now = Now { mono_ns: 1, wall_ns: 1_795_426_609_000_000_000 };
const ALLOC: &str = "cccccccc-0000-4000-8000-000000000000";

/// A job whose task has one identity of each kind, placed.
fn place(s: &mut Server) {
    let mut web = job("web");
    web["TaskGroups"][0]["Tasks"][0]["Identities"] = json!([
        {"Name": "default"},
        {"Name": "lasting", "Audience": ["nomadproject.io"], "Env": true},
        {"Name": "ending", "Audience": ["nomadproject.io"], "File": true,
            "TTL": 3_600_000_000_000_i64},
    ]);
    s.register(&web);
    let created = s.index;
    let node = Box::new(Node {
        id: NODE.to_owned(),
        status: "ready".to_owned(),
        scheduling_eligibility: "eligible".to_owned(),
        ..Node::default()
    });
    s.apply(&Command::NodeRegister { node, secret: "x".into(), wall_ns: 1, evals: Vec::new() });
    let alloc = Allocation {
        id: ALLOC.to_owned(),
        namespace: "default".to_owned(),
        job_id: "web".to_owned(),
        task_group: "app".to_owned(),
        name: "web.app[0]".to_owned(),
        node_id: NODE.to_owned(),
        desired_status: "run".to_owned(),
        client_status: "pending".to_owned(),
        ..Allocation::default()
    };
    let places = vec![Placement { alloc, job_version: 0, job_create_index: created }];
    let (namespace, job_id) = ("default".to_owned(), "web".to_owned());
    let plan = Box::new(Plan { namespace, job_id, places, ..Plan::default() });
    s.apply(&Command::PlanApply { plan, wall_ns: 1 });
}

fn signed(s: &mut Server) -> Result<Vec<SignedIdentity>, u16> {
    let snap = s.store.as_ref().unwrap().snap().unwrap();
    let issuer = Issuer { region: "global", url: "" };
    sign(snap.reader(), NOW, &mut s.chance, issuer, (NODE, ALLOC)).map_err(|e| e.status)
}

/// Algorithm and key of each token.
fn heads(tokens: &[SignedIdentity]) -> Vec<[String; 2]> {
    let head = |token: &SignedIdentity| {
        let part = Bytes::decode_url(token.jwt.split('.').next().unwrap()).unwrap();
        let head: Value = serde_json::from_slice(&part).unwrap();
        ["alg", "kid"].map(|name| head[name].as_str().unwrap().to_owned())
    };
    tokens.iter().map(head).collect()
}

/// All tokens open what is the task's.
fn all_open(s: &mut Server, tokens: &[SignedIdentity]) {
    for token in tokens {
        s.token = Some(token.jwt.clone());
        assert_eq!(s.get("/v1/services").status, 200, "{}", token.name);
        let cut = token.jwt.len() - 8;
        s.token = Some(token.jwt[..cut].to_owned() + "AAAAAAAA");
        assert_eq!(s.get("/v1/services").status, 403, "{}", token.name);
    }
    s.token = Some(SECRET.to_owned());
}

fn id_of(command: &Command) -> String {
    let Command::RootKey { id, .. } = command else { unreachable!("it is a key") };
    id.clone()
}

/// Keys of Ed25519 alone sign until another takes their place, and what they signed stays good.
#[test]
fn old_keys_sign_until_they_are_replaced() {
    let mut s = guarded("identities-old");
    let mut old = s.read(|r| first_key(r, NOW, &mut super::Chance(1))).unwrap().unwrap();
    let Command::RootKey { secret, .. } = &mut old else { unreachable!("it is a key") };
    assert_eq!(secret.pop(), Some('.'), "so were they before keys had two halves");
    s.apply(&old);
    place(&mut s);
    let by = |algorithm: &str, command: &Command| [algorithm.to_owned(), id_of(command)];
    let before = signed(&mut s).unwrap();
    assert_eq!(heads(&before), [by("EdDSA", &old), by("EdDSA", &old), by("EdDSA", &old)]);
    all_open(&mut s, &before);

    let mut search = Search::default();
    let pair = std::iter::from_fn(|| Some(search.step(&mut s.chance))).flatten().next().unwrap();
    let new = new_key(NOW.wall_ns, true, 0, false, Some(&pair), &mut s.chance);
    s.apply(&new);
    let after = signed(&mut s).unwrap();
    // Those without an end stay with the key that the allocation names.
    assert_eq!(heads(&after), [by("EdDSA", &old), by("EdDSA", &old), by("RS256", &new)]);
    all_open(&mut s, &before);
    all_open(&mut s, &after);
    // A token of one half under the name of the other kind is none.
    let parts: Vec<&str> = after[2].jwt.split('.').collect();
    let head = json!({"alg": "EdDSA", "kid": id_of(&new), "typ": "JWT"}).to_string();
    s.token = Some([&*Bytes::encode_url(head.as_bytes()), parts[1], parts[2]].join("."));
    assert_eq!(s.get("/v1/services").status, 403);

    let set = body(&s.get("/.well-known/jwks.json"));
    let kinds: Vec<_> = (0..2).map(|i| [&set["keys"][i]["alg"], &set["keys"][i]["kid"]]).collect();
    assert_eq!(kinds, [["EdDSA", &id_of(&old)], ["RS256", &id_of(&new)]]);
    assert_eq!(set["keys"][1]["n"], Bytes::encode_url(&pair.modulus));
}

/// Until the first key has its RSA half, nothing is signed that leaves.
#[test]
fn the_first_key_signs_for_others_when_it_can() {
    let mut s = guarded("identities-late");
    let first = s.read(|r| first_key(r, NOW, &mut super::Chance(1))).unwrap().unwrap();
    s.apply(&first);
    place(&mut s);
    assert_eq!(signed(&mut s).err(), Some(BEING_MADE));
    let Command::RootKey { id, secret, .. } = &first else { unreachable!("it is a key") };
    let mut search = Search::default();
    let pair = std::iter::from_fn(|| Some(search.step(&mut s.chance))).flatten().next().unwrap();
    let secret = secret.clone() + &Bytes::encode(&pair.private);
    let half = |id: &str| Command::RootKeyRsa {
        id: id.to_owned(),
        modulus: Bytes(pair.modulus.clone()),
        secret: secret.clone(),
    };
    assert_eq!(s.apply(&half("none")), vardo::command::Applied::Nothing);
    assert_eq!(s.apply(&half(id)), vardo::command::Applied::Done);
    assert_eq!(s.apply(&half(id)), vardo::command::Applied::Nothing, "it stays as it is");
    let tokens = signed(&mut s).unwrap();
    let algorithms: Vec<_> = heads(&tokens).into_iter().map(|[algorithm, _]| algorithm).collect();
    // The first is shown to servers by the node alone.
    assert_eq!(algorithms, ["EdDSA", "RS256", "RS256"]);
    all_open(&mut s, &tokens);
    assert_eq!(body(&s.get("/.well-known/jwks.json"))["keys"].as_array().unwrap().len(), 1);
}
