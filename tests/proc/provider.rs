//! An identity provider for tests: keys, tokens, and a server that answers as it is told to.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it answers in a thread of the test"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use vardo::stdx::json::Bytes;
use vardo::tls::{self, Session};

/// One key of each kind.
pub(crate) struct Keys {
    ed25519: Ed25519KeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    /// New ones, but for RSA's, which takes long to find.
    pub(crate) fn new() -> Self {
        let rng = SystemRandom::new();
        let seed = Ed25519KeyPair::generate_pkcs8(&rng).unwrap();
        let curve = |algorithm| {
            let key = EcdsaKeyPair::generate_pkcs8(algorithm, &rng).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &rng).unwrap()
        };
        let rsa = include_str!("../data/acl/provider.pem");
        let rsa: String = rsa.lines().filter(|l| !l.starts_with('-')).collect();
        Self {
            ed25519: Ed25519KeyPair::from_pkcs8(seed.as_ref()).unwrap(),
            p256: curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
            rsa: RsaKeyPair::from_pkcs8(&Bytes::decode(&rsa).unwrap()).unwrap(),
        }
    }

    /// The public halves, as a provider publishes them; names begin with `mark`.
    pub(crate) fn set(&self, mark: &str) -> Value {
        let url = Bytes::encode_url;
        let point = |crv: &str, key: &EcdsaKeyPair| {
            let whole = &key.public_key().as_ref()[1..];
            let (x, y) = whole.split_at(whole.len() / 2);
            json!({"kty": "EC", "crv": crv, "kid": format!("{mark}{crv}"), "use": "sig",
                "x": url(x), "y": url(y)})
        };
        let RsaPublicKeyComponents::<Vec<u8>> { n, e } = self.rsa.public().into();
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": format!("{mark}ed"), "alg": "EdDSA",
                "x": url(self.ed25519.public_key().as_ref())},
            point("P-256", &self.p256),
            point("P-384", &self.p384),
            {"kty": "RSA", "kid": format!("{mark}rsa"), "n": url(&n), "e": url(&e), "use": "sig"},
            {"kty": "RSA", "kid": format!("{mark}enc"), "n": url(&n), "e": url(&e), "use": "enc"},
            {"kty": "oct", "kid": format!("{mark}oct"), "k": "c2VjcmV0"},
        ]})
    }

    /// A token signed so, by the key that goes with the algorithm.
    pub(crate) fn token(&self, algorithm: &str, mark: &str, claims: &Value) -> String {
        let key = match algorithm {
            "EdDSA" => "ed",
            "ES256" => "P-256",
            "ES384" => "P-384",
            _ => "rsa",
        };
        let head = json!({"alg": algorithm, "kid": format!("{mark}{key}"), "typ": "JWT"});
        self.signed(algorithm, &head, claims)
    }

    pub(crate) fn signed(&self, algorithm: &str, head: &Value, claims: &Value) -> String {
        let parts = [head, claims].map(|v| Bytes::encode_url(v.to_string().as_bytes()));
        let text = parts.join(".");
        let rng = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut out = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(padding, &rng, text.as_bytes(), &mut out).unwrap();
            out
        };
        let signature = match algorithm {
            "EdDSA" => self.ed25519.sign(text.as_bytes()).as_ref().to_vec(),
            "ES256" => self.p256.sign(&rng, text.as_bytes()).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&rng, text.as_bytes()).unwrap().as_ref().to_vec(),
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            _ => Vec::new(),
        };
        [text, Bytes::encode_url(&signature)].join(".")
    }
}

/// A request as the provider sees it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What it does with one.
pub(crate) enum Reply {
    Json(u16, Value),
    /// Whatever bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing, for so long.
    Silence(Duration),
}

type Handler = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// Runs until the test ends.
pub(crate) struct Provider {
    pub(crate) url: String,
    handler: Arc<Mutex<Handler>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Provider {
    /// With a certificate: over TLS.
    pub(crate) fn start(server: Option<tls::Server>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if server.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let nothing: Handler = Box::new(|_| Reply::Json(404, Value::Null));
        let handler = Arc::new(Mutex::new(nothing));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (to, log) = (Arc::clone(&handler), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (to, log, server) = (Arc::clone(&to), Arc::clone(&log), server.clone());
                thread::spawn(move || answer(stream, server.as_ref(), &to, &log));
            }
        });
        Self { url, handler, asked }
    }

    pub(crate) fn answers(&self, handler: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.handler.lock().unwrap() = Box::new(handler);
    }

    /// What it was asked since the last look.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(
    mut stream: TcpStream,
    server: Option<&tls::Server>,
    handler: &Mutex<Handler>,
    log: &Mutex<Vec<Asked>>,
) {
    drop(stream.set_read_timeout(Some(Duration::from_secs(20))));
    let mut session = server.map(|s| Session::accepted(s).unwrap());
    let mut bytes = Vec::new();
    let asked = loop {
        if let Some(asked) = whole(&bytes) {
            break asked;
        }
        let mut buf = [0; 16_384];
        let Ok(n @ 1..) = stream.read(&mut buf) else { return };
        match &mut session {
            None => bytes.extend_from_slice(&buf[..n]),
            Some(session) => {
                let fed = session.feed(&mut buf[..n], &mut bytes);
                if push(session, &mut stream).is_none() || fed.is_err() {
                    return;
                }
            }
        }
    };
    log.lock().unwrap().push(asked.clone());
    let reply = handler.lock().unwrap()(&asked);
    let bytes = match reply {
        Reply::Bytes(bytes) => bytes,
        Reply::Silence(time) => return thread::sleep(time),
        Reply::Json(status, body) => {
            let body = body.to_string();
            let length = body.len();
            format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        }
    };
    match &mut session {
        None => drop(stream.write_all(&bytes)),
        Some(session) => {
            for piece in bytes.chunks(8_192) {
                session.send(piece);
                if push(session, &mut stream).is_none() {
                    return;
                }
            }
            session.close();
            push(session, &mut stream);
        }
    }
}

fn push(session: &mut Session, stream: &mut TcpStream) -> Option<()> {
    let n = session.unsent().len();
    stream.write_all(session.unsent()).ok()?;
    session.sent(n);
    Some(())
}

fn whole(bytes: &[u8]) -> Option<Asked> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |l| l.parse().unwrap());
    (body.len() >= length).then(|| Asked {
        target: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
