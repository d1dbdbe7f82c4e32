//! Versions and lists of version constraints, in the loose form (`version`) and in strict SemVer
//! order (`semver`).

use std::cmp::Ordering;

/// Most numbers in a version; longer ones do not read. Four is the most that is seen in the wild.
const SEGMENTS_MAX: usize = 16;

/// A version: numbers, then an optional prerelease. Build metadata does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// At least three; those that the text leaves out are zero.
    segments: Vec<u64>,
    /// How many the text gives.
    given: usize,
    prerelease: String,
}

impl Version {
    /// Reads `v1.2.3-beta+meta`; in the loose form the prerelease may follow without a dash
    /// (`1.2.3beta`).
    pub(super) fn parse(text: &str, strict: bool) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, meta) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
        if meta.is_some_and(|m| !is_tag(m)) {
            return None;
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (numbers, tag) = text.split_at_checked(end)?;
        let prerelease = match tag.strip_prefix('-') {
            Some(tag) if is_tag(tag) => tag,
            None if tag.is_empty() => "",
            None if !strict && is_tag(tag) => tag,
            _ => return None,
        };
        let mut segments = Vec::new();
        for part in numbers.split('.') {
            if segments.len() == SEGMENTS_MAX {
                return None;
            }
            segments.push(part.parse().ok()?);
        }
        let given = segments.len();
        segments.resize(given.max(3), 0);
        Some(Self { segments, given, prerelease: prerelease.to_owned() })
    }

    fn same_base(&self, other: &Self) -> bool {
        self.compare_base(other).is_eq()
    }

    fn compare_base(&self, other: &Self) -> Ordering {
        let n = self.segments.len().max(other.segments.len());
        let at = |v: &Self, i: usize| v.segments.get(i).copied().unwrap_or(0);
        (0..n)
            .map(|i| at(self, i).cmp(&at(other, i)))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.compare_base(other).then_with(|| {
            match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => compare_tags(&self.prerelease, &other.prerelease),
            }
        })
    }
}

fn is_tag(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|p| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'~')
        })
}

/// SemVer §11.4: part by part; numbers as numbers and below words; the shorter is less.
fn compare_tags(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => match (x.parse::<u64>(), y.parse::<u64>()) {
                (Ok(x), Ok(y)) => x.cmp(&y),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => x.cmp(y),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    /// `~>`: at least this, and the same in all numbers given but the last.
    Pessimistic,
}

/// A list such as `>= 1.2, < 2`: all must hold.
#[derive(Clone, Debug)]
pub(super) struct Requirement {
    parts: Vec<(Op, Version)>,
    strict: bool,
}

impl Requirement {
    /// `None` where a part does not read; the constraint then never holds.
    pub(super) fn parse(text: &str, strict: bool) -> Option<Self> {
        const OPS: [(&str, Op); 7] = [
            ("~>", Op::Pessimistic),
            (">=", Op::Ge),
            ("<=", Op::Le),
            ("!=", Op::Ne),
            ("=", Op::Eq),
            (">", Op::Gt),
            ("<", Op::Lt),
        ];
        let mut parts = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let (op, rest) = OPS
                .iter()
                .find_map(|(sign, op)| Some((*op, part.strip_prefix(sign)?)))
                .unwrap_or((Op::Eq, part));
            if strict && op == Op::Pessimistic {
                return None;
            }
            parts.push((op, Version::parse(rest, strict)?));
        }
        Some(Self { parts, strict })
    }

    pub(super) fn holds(&self, v: &Version) -> bool {
        self.parts.iter().all(|(op, c)| self.part_holds(*op, c, v))
    }

    fn part_holds(&self, op: Op, c: &Version, v: &Version) -> bool {
        // In the loose form a prerelease is only wanted by those who name one of the same base.
        let wanted = self.strict
            || match (v.prerelease.is_empty(), c.prerelease.is_empty()) {
                (true, _) => true,
                (false, true) => false,
                (false, false) => v.same_base(c),
            };
        let order = v.compare(c);
        match op {
            Op::Eq => order.is_eq(),
            Op::Ne => order.is_ne(),
            Op::Gt => wanted && order.is_gt(),
            Op::Lt => wanted && order.is_lt(),
            Op::Ge => wanted && order.is_ge(),
            Op::Le => wanted && order.is_le(),
            Op::Pessimistic => {
                let same = c.segments.iter().zip(&v.segments).take(c.given.saturating_sub(1));
                wanted && order.is_ge() && same.into_iter().all(|(a, b)| a == b)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(requirement: &str, version: &str, loose: bool, strict: bool) {
        for (mode, want) in [(false, loose), (true, strict)] {
            let r = Requirement::parse(requirement, mode);
            let v = Version::parse(version, mode);
            let got = r.zip(v).is_some_and(|(r, v)| r.holds(&v));
            assert_eq!(got, want, "{version} {requirement} strict={mode}");
        }
    }

    #[test]
    fn lists_hold_part_by_part() {
        check("1.2.3", "1.2.3", true, true);
        check("= 1.2", "1.2.0", true, true);
        check(">= 1.2, < 2", "1.9", true, true);
        check(">= 1.2, < 2", "2.0", false, false);
        check("!= 1.2.3", "1.2.4", true, true);
        check("> 1.2", "v1.3", true, true);
        check("<= 1.2", "1.2.0.1", false, false);
        check("~> 1.2", "1.9.9", true, false);
        check("~> 1.2", "2.0", false, false);
        check("~> 1.2.3", "1.2.9", true, false);
        check("~> 1.2.3", "1.3.0", false, false);
        check("> x", "1.0", false, false);
        check("> 1", "one", false, false);
    }

    #[test]
    fn prereleases_differ_between_the_two_forms() {
        check(">= 1.2", "1.3.0-beta", false, true);
        check(">= 1.3.0-alpha", "1.3.0-beta", true, true);
        check(">= 1.2.0-alpha", "1.3.0-beta", false, true);
        check("> 1.3.0-beta.2", "1.3.0-beta.11", true, true);
        check("< 1.3.0", "1.3.0-rc1", false, true);
        check("= 1.0.0+a", "1.0.0+b", true, true);
        check(">= 1.3.0beta1", "1.3.0beta2", true, false);
    }
}
