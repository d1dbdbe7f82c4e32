//! Constraints and affinities: operators over what a node has.

use std::cmp::Ordering;

use regex_lite::{Regex, RegexBuilder};

use crate::api::{Affinity, Constraint, Node};
use crate::limits::{SCHED_REGEX_PATTERN_BYTES_MAX, SCHED_REGEX_PROGRAM_BYTES_MAX};

use super::target::Target;
use super::version::{Requirement, Version};

#[derive(Clone, Debug)]
enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Regexp,
    /// `version` or, where true, `semver`.
    Version(bool),
    SetAll,
    SetAny,
    IsSet,
    IsNotSet,
    /// Not an operator: never holds.
    Unknown,
}

/// What the right side was compiled to. A literal one is compiled once per evaluation.
#[derive(Clone, Debug)]
enum Right {
    Text(Target),
    Regex(Option<Regex>),
    Requirement(Option<Requirement>),
}

/// A comparison, ready to be asked of many nodes.
#[derive(Clone, Debug)]
pub(super) struct Check {
    left: Target,
    op: Op,
    right: Right,
    /// `<LTarget> <Operand> <RTarget>`: the reason that evaluations print.
    pub(super) text: String,
    /// Looks at something that differs within a computed class.
    pub(super) unique: bool,
}

impl Check {
    /// `None` for the operators that look at other allocations instead (`distinct_hosts`,
    /// `distinct_property`).
    pub(super) fn of(c: &Constraint) -> Option<Self> {
        if matches!(c.operand.as_str(), "distinct_hosts" | "distinct_property") {
            return None;
        }
        let text = format!("{} {} {}", c.ltarget, c.operand, c.rtarget);
        Some(Self::new(&c.ltarget, &c.operand, &c.rtarget, text))
    }

    fn new(left: &str, operand: &str, right: &str, text: String) -> Self {
        let (left, right) = (Target::parse(left), Target::parse(right));
        let op = match operand {
            "=" | "==" | "is" => Op::Eq,
            "!=" | "not" => Op::Ne,
            "<" => Op::Lt,
            "<=" => Op::Le,
            ">" => Op::Gt,
            ">=" => Op::Ge,
            "regexp" => Op::Regexp,
            "version" => Op::Version(false),
            "semver" => Op::Version(true),
            "set_contains" | "set_contains_all" => Op::SetAll,
            "set_contains_any" => Op::SetAny,
            "is_set" => Op::IsSet,
            "is_not_set" => Op::IsNotSet,
            _ => Op::Unknown,
        };
        let unique = left.is_unique() || right.is_unique();
        let right = match (&op, right) {
            (Op::Regexp, Target::Literal(pattern)) => Right::Regex(compile(&pattern)),
            (Op::Version(strict), Target::Literal(list)) => {
                Right::Requirement(Requirement::parse(&list, *strict))
            }
            (_, target) => Right::Text(target),
        };
        Self { left, op, right, text, unique }
    }

    /// Whether it holds on a node.
    pub(super) fn holds(&self, node: &Node) -> bool {
        self.compare(self.left.on(node), node)
    }

    fn compare(&self, left: Option<&str>, node: &Node) -> bool {
        let right = match &self.right {
            Right::Regex(regex) => {
                return left.zip(regex.as_ref()).is_some_and(|(l, r)| r.is_match(l));
            }
            Right::Requirement(list) => {
                return left.zip(list.as_ref()).is_some_and(|(l, r)| version_holds(l, r, &self.op));
            }
            Right::Text(target) => target.on(node),
        };
        match (&self.op, left, right) {
            (Op::Ne, l, r) => l != r,
            (Op::IsSet, l, _) => l.is_some(),
            (Op::IsNotSet, l, _) => l.is_none(),
            (op, Some(l), Some(r)) => both_found(op, l, r),
            _ => false,
        }
    }
}

fn both_found(op: &Op, l: &str, r: &str) -> bool {
    match op {
        Op::Eq => l == r,
        Op::Lt => order(l, r).is_some_and(Ordering::is_lt),
        Op::Le => order(l, r).is_some_and(Ordering::is_le),
        Op::Gt => order(l, r).is_some_and(Ordering::is_gt),
        Op::Ge => order(l, r).is_some_and(Ordering::is_ge),
        Op::Regexp => compile(r).is_some_and(|regex| regex.is_match(l)),
        Op::Version(strict) => {
            Requirement::parse(r, *strict).is_some_and(|list| version_holds(l, &list, op))
        }
        Op::SetAll => elements(r).all(|want| elements(l).any(|have| have == want)),
        Op::SetAny => elements(r).any(|want| elements(l).any(|have| have == want)),
        Op::Ne | Op::IsSet | Op::IsNotSet | Op::Unknown => false,
    }
}

fn version_holds(left: &str, list: &Requirement, op: &Op) -> bool {
    Version::parse(left, matches!(op, Op::Version(true))).is_some_and(|v| list.holds(&v))
}

fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// As integers where both are, else as floats where both are, else by bytes.
fn order(l: &str, r: &str) -> Option<Ordering> {
    if let (Ok(l), Ok(r)) = (l.parse::<i64>(), r.parse::<i64>()) {
        return Some(l.cmp(&r));
    }
    if let (Ok(l), Ok(r)) = (l.parse::<f64>(), r.parse::<f64>()) {
        return l.partial_cmp(&r);
    }
    Some(l.cmp(r))
}

/// `None` where the pattern does not read or is larger than the limits allow.
fn compile(pattern: &str) -> Option<Regex> {
    if pattern.len() > SCHED_REGEX_PATTERN_BYTES_MAX {
        return None;
    }
    RegexBuilder::new(pattern).size_limit(SCHED_REGEX_PROGRAM_BYTES_MAX).build().ok()
}

/// Affinities of job, group and tasks with the sum of their weights' magnitudes.
#[derive(Clone, Debug, Default)]
pub(super) struct Affinities {
    checks: Vec<(Check, f64)>,
    total: f64,
}

impl Affinities {
    pub(super) fn of<'a>(all: impl IntoIterator<Item = &'a Affinity>) -> Self {
        let mut out = Self::default();
        for a in all {
            let weight = f64::from(a.weight.unwrap_or(50));
            out.total += weight.abs();
            out.checks
                .push((Check::new(&a.ltarget, &a.operand, &a.rtarget, String::new()), weight));
        }
        out
    }

    pub(super) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// In [-1, 1].
    pub(super) fn score(&self, node: &Node) -> f64 {
        let sum: f64 = self.checks.iter().filter(|(c, _)| c.holds(node)).map(|(_, w)| w).sum();
        if self.total > 0.0 { sum / self.total } else { 0.0 }
    }
}

/// Compares two plain texts by an operator: what device constraints need. `None` is "not found".
pub(super) fn texts_hold(operand: &str, left: Option<&str>, right: Option<&str>) -> bool {
    let check = Check::new("", operand, "", String::new());
    match (&check.op, left, right) {
        (Op::Ne, l, r) => l != r,
        (Op::IsSet, l, _) => l.is_some(),
        (Op::IsNotSet, l, _) => l.is_none(),
        (op, Some(l), Some(r)) => both_found(op, l, r),
        _ => false,
    }
}

/// What a `distinct_hosts` constraint asks: true unless its right side says `false`.
pub(super) fn wants_distinct_hosts<'a>(all: impl IntoIterator<Item = &'a Constraint>) -> bool {
    all.into_iter().any(|c| c.operand == "distinct_hosts" && c.rtarget != "false")
}
