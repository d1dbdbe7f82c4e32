//! Durations in Go's notation: `1h30m0s`, `1.5s`, `250ms`.

use std::fmt;

/// Prints nanoseconds as Go does: hours, minutes and seconds from one second on, one smaller unit
/// below it, no trailing zeros in the fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Go(pub i64);

impl fmt::Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match ns {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{ns}ns"),
            1_000..1_000_000 => fraction(f, ns, 1_000, "\u{b5}s"),
            1_000_000..SECOND => fraction(f, ns, 1_000_000, "ms"),
            _ => {
                let minutes = ns / (60 * SECOND);
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                fraction(f, ns % (60 * SECOND), SECOND, "s")
            }
        }
    }
}

fn fraction(f: &mut fmt::Formatter<'_>, ns: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", ns / unit)?;
    let rest = ns % unit;
    if rest != 0 {
        let width = unit.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(name)
}

/// Reads Go's notation: a sign, then numbers with units (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`),
/// or a bare `0`. `None` where it is malformed or does not fit 64 bits of nanoseconds.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if body == "0" {
        return Some(0);
    }
    if body.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let whole = digits(rest);
        let mut after = rest.get(whole.len()..)?;
        let part = after.strip_prefix('.').map(digits);
        if let Some(part) = part {
            after = after.get(1 + part.len()..)?;
        }
        if whole.is_empty() && part.unwrap_or_default().is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, tail) = after.split_at_checked(end)?;
        let scale = scale(unit)?;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let mut place = scale;
        for digit in part.unwrap_or_default().bytes() {
            place /= 10;
            total = total.checked_add(u64::from(digit - b'0') * place)?;
        }
        rest = tail;
    }
    if negative { 0i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn scale(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        _ => return None,
    })
}

const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (250_000_000, "250ms"),
            (5_000_000_000, "5s"),
            (1_800_000_000_000, "30m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (16_672_584_629, "16.672584629s"),
            (60_000_000_001, "1m0.000000001s"),
            (-1_500_000_000, "-1.5s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(Go(ns).to_string(), text);
            assert_eq!(parse(text), Some(ns), "{text}");
        }
    }

    #[test]
    fn reads_what_people_write() {
        for (text, want) in [
            ("0", Some(0)),
            ("+5s", Some(5_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1h1ms", Some(3_600_001_000_000)),
            ("us", None),
            ("", None),
            ("-", None),
            (".s", None),
            ("5", None),
            ("1d", None),
            ("1 s", None),
            ("zz", None),
            ("9223372036854775808ns", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
