//! Time zones: which offset from UTC holds when, read from TZif files (RFC 9636).

#![deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use super::sort;
use super::time::{civil, days};

const DAY: i64 = 86_400;

/// Where zones come from: the bytes of a zone's file by its name. Reading files is left to the one
/// who makes this.
#[derive(Clone, Copy, Debug)]
pub struct Zones(pub fn(&str) -> Option<Vec<u8>>);

impl Default for Zones {
    fn default() -> Self {
        Self(|_| None)
    }
}

impl Zones {
    /// The zone of a name; an empty one is UTC. `None` where there is none, or its file is damaged.
    pub fn get(self, name: &str) -> Option<Zone> {
        if matches!(name, "" | "UTC") {
            return Some(Zone::default());
        }
        Zone::parse(&(self.0)(name)?)
    }
}

/// The offsets of a zone; the default is UTC. All times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Offset before the first change.
    first: i64,
    /// When an offset begins, and the offset.
    changes: Vec<(i64, i64)>,
    /// What holds from the last change on.
    rule: Option<Rule>,
}

/// The time during which one offset holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Seconds that local time is ahead of UTC.
    pub offset: i64,
    /// The offset that held until then; `offset` itself where none did.
    pub before: i64,
    pub start: i64,
    /// Past the last second.
    pub end: i64,
}

/// Standard time and, where there is one, summer time of every year.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    standard: i64,
    summer: Option<Summer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Summer {
    offset: i64,
    begin: Date,
    end: Date,
}

/// A day of every year, and the second of it, in the local time that ends then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Date {
    day: Day,
    second: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Day {
    /// 1..=365; the 29th of February is never counted.
    Julian(i64),
    /// 0..=365
    Count(i64),
    /// Month, week (5: the last), weekday (0: Sunday).
    Week(i64, i64, i64),
}

impl Zone {
    /// Reads a TZif file of any version.
    pub fn parse(file: &[u8]) -> Option<Self> {
        let head = Header::parse(file)?;
        if head.version < b'2' {
            return head.zone(file, 4).map(|(zone, _)| zone);
        }
        let second = file.get(HEADER + head.length(4)?..)?;
        let head = Header::parse(second)?;
        let (mut zone, rest) = head.zone(second, 8)?;
        let footer = std::str::from_utf8(rest).ok()?.strip_prefix('\n')?;
        let (footer, _) = footer.split_once('\n')?;
        if !footer.is_empty() {
            zone.rule = Some(rule(footer)?);
        }
        Some(zone)
    }

    /// The span that holds at a time.
    pub fn span(&self, at: i64) -> Span {
        let next = self.changes.partition_point(|(from, _)| *from <= at);
        let offset_of = |n: usize| match n.checked_sub(1).and_then(|n| self.changes.get(n)) {
            Some((from, offset)) => (*from, *offset),
            None => (i64::MIN, self.first),
        };
        let (start, offset) = offset_of(next);
        let before = next.checked_sub(1).map_or(offset, |n| offset_of(n).1);
        let end = self.changes.get(next).map_or(i64::MAX, |(from, _)| *from);
        let span = Span { offset, before, start, end };
        match &self.rule {
            Some(rule) if next == self.changes.len() => rule.span(span, at),
            _ => span,
        }
    }
}

impl Rule {
    /// Narrows the span from the last change on to what the rule says of `at`.
    fn span(&self, last: Span, at: i64) -> Span {
        let Some(summer) = &self.summer else {
            let first = last.start == i64::MIN;
            return if first {
                Span { offset: self.standard, before: self.standard, ..last }
            } else {
                last
            };
        };
        let (year, ..) = civil(at.div_euclid(DAY));
        let mut changes = Vec::with_capacity(6);
        for year in year - 1..=year + 1 {
            changes.push((summer.begin.at(year, self.standard), summer.offset));
            changes.push((summer.end.at(year, summer.offset), self.standard));
        }
        sort::by_key(&mut changes, |(from, _)| *from);
        let mut span = last;
        for (from, offset) in changes.into_iter().filter(|(from, _)| *from > last.start) {
            if from > at {
                span.end = from;
                break;
            }
            span = Span { offset, before: span.offset, start: from, end: i64::MAX };
        }
        span
    }
}

impl Date {
    /// When it is in a year, in a zone that is `offset` ahead until then.
    fn at(&self, year: i64, offset: i64) -> i64 {
        let first = days(year, 1, 1);
        let day = match self.day {
            Day::Count(n) => first + n,
            Day::Julian(n) => {
                let leap = days(year + 1, 1, 1) - first == 366;
                first + n - 1 + i64::from(leap && n >= 60)
            }
            Day::Week(month, week, weekday) => {
                let first = days(year, month, 1);
                let end = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
                // The epoch began on a Thursday.
                let mut day = first + (weekday - first - 4).rem_euclid(7) + 7 * (week - 1);
                while day >= end {
                    day -= 7;
                }
                day
            }
        };
        day * DAY + self.second - offset
    }
}

/// Bytes of a header.
const HEADER: usize = 44;

struct Header {
    version: u8,
    /// isut, isstd, leap, time, type, char.
    counts: [usize; 6],
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != b"TZif" {
            return None;
        }
        let mut counts = [0; 6];
        for (i, count) in counts.iter_mut().enumerate() {
            *count = usize::try_from(number(bytes.get(20 + 4 * i..24 + 4 * i)?)).ok()?;
        }
        Some(Self { version: *bytes.get(4)?, counts })
    }

    /// Bytes of the data behind, where times have `wide` bytes.
    fn length(&self, wide: usize) -> Option<usize> {
        let [isut, isstd, leap, time, kinds, chars] = self.counts;
        let parts = [
            time.checked_mul(wide + 1)?,
            kinds.checked_mul(6)?,
            chars,
            leap.checked_mul(wide + 4)?,
            isstd,
            isut,
        ];
        parts.into_iter().try_fold(0usize, usize::checked_add)
    }

    /// The zone in the data behind the header, and what follows.
    fn zone<'f>(&self, file: &'f [u8], wide: usize) -> Option<(Zone, &'f [u8])> {
        let [_, _, _, time, kinds, _] = self.counts;
        let data = file.get(HEADER..)?;
        let (data, rest) = data.split_at_checked(self.length(wide)?)?;
        let (times, data) = data.split_at_checked(time * wide)?;
        let (which, data) = data.split_at_checked(time)?;
        let kinds = data.get(..kinds * 6)?;
        let offset = |n: usize| Some(number(kinds.get(n * 6..n * 6 + 4)?));
        let changes = times
            .chunks_exact(wide)
            .zip(which)
            .map(|(at, kind)| Some((number(at), offset(usize::from(*kind))?)))
            .collect::<Option<Vec<_>>>()?;
        if !changes.is_sorted_by(|a, b| a.0 < b.0) {
            return None;
        }
        Some((Zone { first: offset(0)?, changes, rule: None }, rest))
    }
}

/// A signed big-endian number of any width up to eight bytes.
fn number(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    bytes.iter().fold(if negative { -1 } else { 0 }, |n, b| n << 8 | i64::from(*b))
}

/// Reads the form of POSIX: `CET-1CEST,M3.5.0,M10.5.0/3`.
fn rule(text: &str) -> Option<Rule> {
    let (standard, rest) = offset(name(text)?)?;
    let standard = -standard;
    if rest.is_empty() {
        return Some(Rule { standard, summer: None });
    }
    let rest = name(rest)?;
    let (summer, rest) = match offset(rest) {
        Some((offset, rest)) => (-offset, rest),
        None => (standard + 3600, rest),
    };
    let (begin, rest) = date(rest.strip_prefix(',')?)?;
    let (end, rest) = date(rest.strip_prefix(',')?)?;
    let summer = Some(Summer { offset: summer, begin, end });
    rest.is_empty().then_some(Rule { standard, summer })
}

/// What follows the name of an offset.
fn name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

/// `[+-]h[h[h]][:mm[:ss]]` in seconds.
fn offset(text: &str) -> Option<(i64, &str)> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0;
    for (i, unit) in [3600, 60, 1].into_iter().enumerate() {
        if i > 0 {
            match rest.strip_prefix(':') {
                Some(more) => rest = more,
                None => break,
            }
        }
        let (n, more) = digits(rest, if i == 0 { 167 } else { 59 })?;
        seconds += n * unit;
        rest = more;
    }
    Some((sign * seconds, rest))
}

fn digits(text: &str, max: i64) -> Option<(i64, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let n: i64 = text.strip_suffix(rest)?.parse().ok()?;
    (n <= max).then_some((n, rest))
}

/// `Mm.w.d`, `Jn` or `n`, with `/time` behind; the time is two in the morning where not given.
fn date(text: &str) -> Option<(Date, &str)> {
    let (day, rest) = if let Some(rest) = text.strip_prefix('M') {
        let (month, rest) = digits(rest, 12)?;
        let (week, rest) = digits(rest.strip_prefix('.')?, 5)?;
        let (weekday, rest) = digits(rest.strip_prefix('.')?, 6)?;
        (Day::Week(month.max(1), week.max(1), weekday), rest)
    } else if let Some(rest) = text.strip_prefix('J') {
        let (n, rest) = digits(rest, 365)?;
        (Day::Julian(n.max(1)), rest)
    } else {
        let (n, rest) = digits(text, 365)?;
        (Day::Count(n), rest)
    };
    let (second, rest) = match rest.strip_prefix('/') {
        Some(rest) => offset(rest)?,
        None => (2 * 3600, rest),
    };
    Some((Date { day, second }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 2 with the given changes, offsets, and rule.
    fn file(changes: &[(i64, u8)], offsets: &[i32], footer: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for wide in [false, true] {
            let times = if wide { changes } else { &[] };
            out.extend_from_slice(b"TZif2");
            out.extend_from_slice(&[0; 15]);
            for n in [0, 0, 0, times.len(), offsets.len(), 4] {
                out.extend_from_slice(&u32::try_from(n).unwrap().to_be_bytes());
            }
            times.iter().for_each(|(at, _)| out.extend_from_slice(&at.to_be_bytes()));
            times.iter().for_each(|(_, kind)| out.push(*kind));
            for offset in offsets {
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
            }
            out.extend_from_slice(b"XYZ\0");
        }
        out.extend_from_slice(format!("\n{footer}\n").as_bytes());
        out
    }

    fn zone(footer: &str) -> Zone {
        Zone { rule: Some(rule(footer).unwrap()), ..Zone::default() }
    }

    fn at(text: &str) -> i64 {
        super::super::time::parse_rfc3339(text).unwrap() / 1_000_000_000
    }

    #[test]
    fn rules_say_when_clocks_are_set() {
        for (footer, instant, offset) in [
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T00:59:59Z", 3600),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T01:00:00Z", 7200),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T00:59:59Z", 7200),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T01:00:00Z", 3600),
            ("EST5EDT,M3.2.0,M11.1.0", "2026-03-08T06:59:59Z", -18_000),
            ("EST5EDT,M3.2.0,M11.1.0", "2026-03-08T07:00:00Z", -14_400),
            ("EST5EDT,M3.2.0,M11.1.0", "2026-11-01T06:00:00Z", -18_000),
            // The summer of the south spans the new year.
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-01-01T00:00:00Z", 39_600),
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-07-01T00:00:00Z", 36_000),
            ("<+0330>-3:30", "2026-07-01T00:00:00Z", 12_600),
            ("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "2026-07-01T00:00:00Z", -7200),
            ("XXX0YYY,J60/0,J300/0", "2028-02-29T23:59:59Z", 0),
            ("XXX0YYY,J60/0,J300/0", "2028-03-01T00:00:00Z", 3600),
            ("XXX0YYY,59/0,300/0", "2028-02-29T00:00:00Z", 3600),
        ] {
            assert_eq!(zone(footer).span(at(instant)).offset, offset, "{footer} {instant}");
        }
    }

    #[test]
    fn spans_know_their_ends() {
        let berlin = zone("CET-1CEST,M3.5.0,M10.5.0/3");
        let winter = Span {
            offset: 3600,
            before: 7200,
            start: at("2025-10-26T01:00:00Z"),
            end: at("2026-03-29T01:00:00Z"),
        };
        assert_eq!(berlin.span(winter.start), winter);
        assert_eq!(berlin.span(winter.end - 1), winter);
        let utc = Span { offset: 0, before: 0, start: i64::MIN, end: i64::MAX };
        assert_eq!(Zone::default().span(0), utc);
    }

    #[test]
    fn files_are_read() {
        let bytes = file(&[(100, 1), (200, 0)], &[60, 120], "");
        let zone = Zone::parse(&bytes).unwrap();
        assert_eq!(zone.span(99), Span { offset: 60, before: 60, start: i64::MIN, end: 100 });
        assert_eq!(zone.span(100), Span { offset: 120, before: 60, start: 100, end: 200 });
        assert_eq!(zone.span(900), Span { offset: 60, before: 120, start: 200, end: i64::MAX });
        let ruled = Zone::parse(&file(&[(100, 1)], &[0, 3600], "CET-1CEST,M3.5.0,M10.5.0/3"));
        let spring = ruled.unwrap().span(at("2030-06-01T00:00:00Z"));
        assert_eq!((spring.offset, spring.before), (7200, 3600));
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = file(&[(100, 1), (200, 0)], &[60, 120], "CET-1CEST,M3.5.0,M10.5.0/3");
        for cut in 0..whole.len() {
            assert_eq!(Zone::parse(whole.get(..cut).unwrap()), None, "{cut}");
        }
        for bad in ["CET", "C-1", "CET-1CEST", "CET-1CEST,M3.5", "CET-1CEST,M3.5.0,M10.5.0/3x"] {
            assert_eq!(Zone::parse(&file(&[], &[0], bad)), None, "{bad}");
        }
        assert_eq!(Zone::parse(&file(&[(200, 0), (100, 0)], &[0], "")), None, "out of order");
        assert_eq!(Zone::parse(&file(&[(100, 7)], &[0], "")), None, "no such offset");
        let mut huge = whole;
        huge.splice(20..44, [0xff; 24]);
        assert_eq!(Zone::parse(&huge), None);
    }
}
