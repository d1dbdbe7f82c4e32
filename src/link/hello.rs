//! The greeting: who each side is, which versions it speaks, and the proof of a shared secret.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use ring::hmac;

use super::frame::{Fault, Seal};
use super::words::{Words, join};

/// Versions of the link that this program speaks.
pub const VERSION_MIN: u64 = 1;
pub const VERSION_MAX: u64 = 1;

const MAGIC: &[u8] = b"vardo link";

/// Sixteen random bytes; zero: none.
pub type Id = [u8; 16];

/// What one side says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Identity of the server; zero on agents without one.
    pub server: Id,
    /// Identity of the node; zero on agents without a client.
    pub node: Id,
    /// Drawn at each start, so that two processes with one identity are told apart.
    pub boot: Id,
    /// Of the cluster that the server belongs to; zero before it belongs to any.
    pub cluster: Id,
    /// Drawn for this connection.
    pub challenge: [u8; 32],
    pub region: String,
    pub datacenter: String,
    pub name: String,
    /// Advertised addresses, `ip:port`.
    pub rpc: String,
    pub serf: String,
    pub http: String,
    /// Number of servers that the cluster is to begin with; 0: it must exist already.
    pub expect: u64,
    /// The server knows a membership.
    pub member: bool,
    /// The sender wants proof of a shared secret.
    pub sealed: bool,
    pub build: String,
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let flags = u64::from(self.member) | u64::from(self.sealed) << 1;
        let numbers = [VERSION_MIN, VERSION_MAX, self.expect, flags].map(u64::to_le_bytes);
        let [min, max, expect, flags] = &numbers;
        join(&[
            MAGIC,
            min,
            max,
            &self.server,
            &self.node,
            &self.boot,
            &self.cluster,
            &self.challenge,
            self.region.as_bytes(),
            self.datacenter.as_bytes(),
            self.name.as_bytes(),
            self.rpc.as_bytes(),
            self.serf.as_bytes(),
            self.http.as_bytes(),
            expect,
            flags,
            self.build.as_bytes(),
        ])
    }

    /// What stands behind the last known word is of a later version and ignored.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut w = Words(bytes);
        if w.bytes() != Some(MAGIC) {
            return Err(Fault("not a link"));
        }
        let cut = Fault("greeting is cut");
        let (min, max) = (w.u64().ok_or(cut)?, w.u64().ok_or(cut)?);
        if min > VERSION_MAX || max < VERSION_MIN {
            return Err(Fault("unknown version"));
        }
        Self::read(&mut w).ok_or(cut)
    }

    fn read(w: &mut Words<'_>) -> Option<Self> {
        let mut hello = Self {
            server: w.array()?,
            node: w.array()?,
            boot: w.array()?,
            cluster: w.array()?,
            challenge: w.array()?,
            region: w.text()?,
            datacenter: w.text()?,
            name: w.text()?,
            rpc: w.text()?,
            serf: w.text()?,
            http: w.text()?,
            expect: w.u64()?,
            ..Self::default()
        };
        let flags = w.u64()?;
        (hello.member, hello.sealed) = (flags & 1 != 0, flags & 2 != 0);
        hello.build = w.text()?;
        Some(hello)
    }
}

/// The secret that all agents of a cluster share.
#[derive(Clone, Debug)]
pub struct Secret(hmac::Key);

impl Secret {
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// What proves that a side knows the secret. Both greetings hold a challenge, and each side
    /// proves its own order of them, so that a proof cannot be sent back.
    pub(super) fn proof(&self, own: &[u8], other: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, &join(&[b"proof", own, other])).as_ref().to_vec()
    }

    pub(super) fn proves(&self, own: &[u8], other: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.0, &join(&[b"proof", own, other]), proof).is_ok()
    }

    /// Codes of what the side with greeting `own` sends.
    pub(super) fn seal(&self, own: &[u8], other: &[u8]) -> Seal {
        Seal::new(hmac::sign(&self.0, &join(&[b"seal", own, other])).as_ref())
    }
}
