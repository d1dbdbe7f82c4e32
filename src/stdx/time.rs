//! RFC 3339 text and nanoseconds since the epoch (UTC only on the way out).

use std::fmt;

/// Prints nanoseconds since the epoch as Go's RFC3339Nano: no trailing zeros in the fraction.
pub struct Rfc3339(pub i64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, nanos) = (self.0.div_euclid(NS), self.0.rem_euclid(NS));
        let (days, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")?;
        if nanos != 0 {
            let digits = format!("{nanos:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Reads RFC 3339 with any offset; `None` where it is malformed or outside of what 64 bits of
/// nanoseconds hold (years 1678 to 2262).
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let digits = |from: usize, n: usize| -> Option<i64> {
        let part = b.get(from..from + n)?;
        part.iter().try_fold(0i64, |a, c| c.is_ascii_digit().then(|| a * 10 + i64::from(c - b'0')))
    };
    let is = |at: usize, c: u8| b.get(at).is_some_and(|x| x.eq_ignore_ascii_case(&c));
    if !(is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':')) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    let (h, m, s) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || h > 23 || m > 59 || s > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b'.') {
        at += 1;
        let mut scale = NS;
        while let Some(d) = digits(at, 1) {
            scale /= 10;
            nanos += d * scale;
            at += 1;
        }
    }
    let offset = if is(at, b'Z') && b.len() == at + 1 {
        0
    } else if (is(at, b'+') || is(at, b'-')) && is(at + 3, b':') && b.len() == at + 6 {
        let o = digits(at + 1, 2)? * 3600 + digits(at + 4, 2)? * 60;
        if b[at] == b'-' { -o } else { o }
    } else {
        return None;
    };
    let secs = days(year, month, day) * 86_400 + h * 3600 + m * 60 + s - offset;
    secs.checked_mul(NS)?.checked_add(nanos)
}

/// Days since the epoch → year, month, day (the proleptic Gregorian calendar; H. Hinnant's
/// civil-from-days).
pub fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// The inverse of [`civil`].
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

const NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_print_and_read_back() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_426_609_802_127_616, "2026-11-23T09:36:49.802127616Z"),
            (1_795_426_609_800_000_000, "2026-11-23T09:36:49.8Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(Rfc3339(ns).to_string(), text);
            assert_eq!(parse_rfc3339(text), Some(ns));
        }
        assert_eq!(parse_rfc3339("1970-01-01T01:00:00+01:00"), Some(0));
        for bad in
            ["", "1970", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00", "9999-01-01T00:00:00Z"]
        {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
