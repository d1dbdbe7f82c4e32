//! What the poll knows its sources by: the kind, and the place in the table of that kind.

use mio::Token;

use crate::stdx::slab::Key;

pub(super) const SIGNALS: Token = Token(0);
/// Listeners of the API.
pub(super) const LISTENERS: usize = 1;
pub(super) const LISTENERS_MAX: usize = 15;
/// Listeners of links.
pub(super) const LINK_LISTENERS: usize = 16;
pub(super) const LINK_LISTENERS_MAX: usize = 19;
/// The bits of the place. What is above them is the kind: on machines of 32 bits there are few.
const PLACE: usize = usize::MAX >> 4;
/// Connections of the API.
pub(super) const CONNS: usize = kind(1);
/// Executors of tasks.
pub(super) const TALKS: usize = kind(2);
/// Links to other agents.
pub(super) const LINKS: usize = kind(3);
/// Probes of checks.
pub(super) const PROBES: usize = kind(4);
/// Pipes and terminals of commands that run in tasks.
pub(super) const EXECS: usize = kind(5);
/// Requests for other regions.
pub(super) const REGIONS: usize = kind(6);
/// Questions to name servers.
pub(super) const NAMES: usize = kind(7);
/// Documents that are fetched.
pub(super) const FETCHES: usize = kind(8);

const fn kind(n: usize) -> usize {
    n << PLACE.trailing_ones()
}

/// The kind, 0 for signals and listeners, and the place.
pub(super) fn parts(Token(token): Token) -> (usize, usize) {
    (token & !PLACE, token & PLACE)
}

/// The token of a place in the table of a kind.
pub(super) fn of(kind: usize, key: Key) -> Token {
    Token(kind | key.index as usize)
}

pub(super) fn listener(at: usize) -> Token {
    Token(LISTENERS + at)
}
