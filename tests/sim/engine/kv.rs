//! The state of the simulated servers: registers that are put, compared and deleted by index, as
//! variables and jobs are.

use vardo::stdx::BTreeMap;

use super::rng::fold;

/// What one write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    /// Only where the register was last changed at that index; 0: where there is none.
    Cas(u64),
    Delete,
}

/// An entry of the log. The number of the operation is the value that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) op: u64,
    pub(crate) key: u32,
    pub(crate) kind: Kind,
}

impl Command {
    /// `padding` bytes follow, to try the limits of messages.
    pub(crate) fn encode(&self, padding: usize) -> Vec<u8> {
        let (kind, index) = match self.kind {
            Kind::Put => (0u8, 0),
            Kind::Cas(index) => (1, index),
            Kind::Delete => (2, 0),
        };
        let mut out = Vec::with_capacity(21 + padding);
        out.extend_from_slice(&self.op.to_le_bytes());
        out.extend_from_slice(&self.key.to_le_bytes());
        out.push(kind);
        out.extend_from_slice(&index.to_le_bytes());
        out.resize(21 + padding, 0);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (op, rest) = bytes.split_first_chunk::<8>()?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first()?;
        let (index, _) = rest.split_first_chunk::<8>()?;
        let kind = match kind {
            0 => Kind::Put,
            1 => Kind::Cas(u64::from_le_bytes(*index)),
            2 => Kind::Delete,
            _ => return None,
        };
        Some(Self { op: u64::from_le_bytes(*op), key: u32::from_le_bytes(*key), kind })
    }
}

/// A register: what was written and at which index; both 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) value: u64,
    pub(crate) index: u64,
}

/// All registers, and a digest of everything that made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kv {
    pub(crate) registers: BTreeMap<u32, Register>,
    pub(crate) digest: u64,
}

impl Kv {
    pub(crate) fn get(&self, key: u32) -> Register {
        self.registers.get(&key).copied().unwrap_or_default()
    }

    /// Whether the write took place, and what stands there now.
    pub(crate) fn apply(&mut self, index: u64, command: Command) -> (bool, Register) {
        let old = self.get(command.key);
        let done = match command.kind {
            Kind::Put | Kind::Delete => true,
            Kind::Cas(expected) => old.index == expected,
        };
        let now = match command.kind {
            _ if !done => old,
            Kind::Delete => Register::default(),
            Kind::Put | Kind::Cas(_) => Register { value: command.op, index },
        };
        if now == Register::default() {
            self.registers.remove(&command.key);
        } else if done {
            self.registers.insert(command.key, now);
        }
        self.digest = fold(fold(fold(self.digest, index), command.op), u64::from(done));
        (done, now)
    }

    /// An entry that changes nothing here.
    pub(crate) fn skip(&mut self, index: u64) {
        self.digest = fold(self.digest, index);
    }
}
