//! Cron expressions of periodic jobs: five fields, six with a year at the end, seven with seconds
//! in front as well, or a macro such as `@daily`.

use crate::api::PeriodicConfig;
use crate::stdx::time::{civil, days};
use crate::stdx::zone::Zone;

/// The expressions of a periodic block.
pub fn lines(periodic: &PeriodicConfig) -> impl Iterator<Item = &str> {
    let one = Some(periodic.spec.as_str()).filter(|s| !s.is_empty());
    one.into_iter().chain(periodic.specs.iter().map(String::as_str))
}

/// A parsed expression. Times are those of the job's time zone, as seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    /// Bit n is day n; bit 0 stands for `L`, the last day of the month.
    month_days: u64,
    months: u64,
    /// Bit 0 is Sunday.
    week_days: u64,
    /// Empty: every year.
    years: Vec<i64>,
    /// Whether the fields of days were `*`; where neither was, one of both is enough.
    any_month_day: bool,
    any_week_day: bool,
}

/// Days that the search for the next time goes forward at most: five years.
const SEARCH_DAYS: i64 = 5 * 366;
const DAY: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEK: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads an expression; the error says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 0 1 1 * *",
            "@monthly" => "0 0 0 1 * * *",
            "@weekly" => "0 0 0 * * 0 *",
            "@daily" | "@midnight" => "0 0 0 * * * *",
            "@hourly" => "0 0 * * * * *",
            other => other,
        };
        let mut fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if fields.len() < 5 {
            return Err("missing field(s)".to_owned());
        }
        if fields.len() > 7 {
            return Err("too many fields".to_owned());
        }
        if fields.len() < 7 {
            fields.insert(0, "0");
        }
        if fields.len() < 7 {
            fields.push("*");
        }
        let any = |f: &str| f == "*" || f == "?";
        let mut week_days = field(fields[5], "day-of-week", 0, 7, &WEEK, 0)?;
        if week_days & 1 << 7 != 0 {
            week_days |= 1;
        }
        Ok(Self {
            seconds: field(fields[0], "second", 0, 59, &[], 0)?,
            minutes: field(fields[1], "minute", 0, 59, &[], 0)?,
            hours: field(fields[2], "hour", 0, 23, &[], 0)?,
            month_days: month_days(fields[3])?,
            months: field(fields[4], "month", 1, 12, &MONTHS, 1)?,
            week_days,
            years: years(fields[6])?,
            any_month_day: any(fields[3]),
            any_week_day: any(fields[5]),
        })
    }

    /// The first time after `after`, both in seconds since the epoch; `None` without one in the
    /// next five years.
    pub fn next(&self, after: i64) -> Option<i64> {
        let start = after.checked_add(1)?;
        let first = start.div_euclid(DAY);
        for day in first..first + SEARCH_DAYS {
            if !self.on(day) {
                continue;
            }
            let from = if day == first { start.rem_euclid(DAY) } else { 0 };
            if let Some(second) = self.at(from) {
                return Some(day * DAY + second);
            }
        }
        None
    }

    /// The first time after `after`, in seconds since the epoch, at which clocks of a zone show a
    /// time of this expression.
    ///
    /// Where clocks are set forward, times that are left out come at once, together. Where they
    /// are set back, times that come twice count once. Expressions of every hour follow the clocks
    /// instead: they leave nothing out and repeat nothing but what the clocks show.
    pub fn next_in(&self, zone: &Zone, after: i64) -> Option<i64> {
        const HOURS: u64 = (1 << 24) - 1;
        let every_hour = self.hours == HOURS;
        let last = after.saturating_add(SEARCH_DAYS * DAY);
        let mut from = after;
        loop {
            let span = zone.span(from.saturating_add(1));
            // Local times at or before this one were shown by clocks before the span as well.
            let shown = match span.before > span.offset {
                true if !every_hour => span.start + span.before - 1,
                _ => i64::MIN,
            };
            let local = self.next((from + span.offset).max(shown))?;
            if local - span.offset < span.end {
                return Some(local - span.offset);
            }
            let next = zone.span(span.end);
            if !every_hour && local < span.end + next.offset {
                return Some(span.end);
            }
            if span.end > last {
                return None;
            }
            from = span.end - 1;
        }
    }

    fn on(&self, day: i64) -> bool {
        let (year, month, date) = civil(day);
        if self.months >> month & 1 == 0 || !(self.years.is_empty() || self.years.contains(&year)) {
            return false;
        }
        let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
        let in_month =
            self.month_days >> date & 1 == 1 || (self.month_days & 1 == 1 && day + 1 == next);
        // The epoch began on a Thursday.
        let in_week = self.week_days >> (day + 4).rem_euclid(7) & 1 == 1;
        match (self.any_month_day, self.any_week_day) {
            (false, false) => in_month || in_week,
            _ => in_month && in_week,
        }
    }

    /// The first second of a day at or after `from`.
    fn at(&self, from: i64) -> Option<i64> {
        let (h0, m0, s0) = (from / 3600, from / 60 % 60, from % 60);
        for h in (h0..24).filter(|h| self.hours >> h & 1 == 1) {
            let m0 = if h == h0 { m0 } else { 0 };
            for m in (m0..60).filter(|m| self.minutes >> m & 1 == 1) {
                let s0 = if h == h0 && m == from / 60 % 60 { s0 } else { 0 };
                if let Some(s) = (s0..60).find(|s| self.seconds >> s & 1 == 1) {
                    return Some(h * 3600 + m * 60 + s);
                }
            }
        }
        None
    }
}

fn month_days(text: &str) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        bits |= if part.eq_ignore_ascii_case("l") {
            1
        } else {
            field(part, "day-of-month", 1, 31, &[], 0)?
        };
    }
    Ok(bits)
}

fn years(text: &str) -> Result<Vec<i64>, String> {
    if text == "*" || text == "?" {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let year = |t: &str| t.parse::<i64>().ok().filter(|y| (1970..=2099).contains(y));
        match (year(low), year(high)) {
            (Some(low), Some(high)) => out.extend(low..=high),
            _ => return Err(format!("syntax error in year field: '{part}'")),
        }
    }
    Ok(out)
}

/// The values of one field as bits. `names` stand for the numbers from `name_base` on.
fn field(
    text: &str,
    what: &str,
    low: u32,
    high: u32,
    names: &[&str],
    name_base: u32,
) -> Result<u64, String> {
    let wrong = || format!("syntax error in {what} field: '{text}'");
    let value = |t: &str| -> Option<u32> {
        let lower = t.to_ascii_lowercase();
        let named = names.iter().position(|n| lower.starts_with(n));
        let n = match named {
            Some(at) => u32::try_from(at).ok()? + name_base,
            None => t.parse().ok()?,
        };
        (low..=high).contains(&n).then_some(n)
    };
    let mut bits = 0u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((r, s)) => (r, s.parse::<u32>().ok().filter(|s| *s > 0).ok_or_else(wrong)?),
            None => (part, 1),
        };
        let (from, to) = if range == "*" || range == "?" {
            (low, high)
        } else if let Some((a, b)) = range.split_once('-') {
            (value(a).ok_or_else(wrong)?, value(b).ok_or_else(wrong)?)
        } else {
            let n = value(range).ok_or_else(wrong)?;
            (n, if part.contains('/') { high } else { n })
        };
        if from > to {
            return Err(wrong());
        }
        let mut n = from;
        while n <= to {
            bits |= 1 << n;
            n += step;
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_found() {
        // 2026-11-23T12:08:48Z, a Monday.
        let now = 1_795_435_728;
        for (spec, next) in [
            ("*/5 * * * *", 1_795_435_800),
            ("@hourly", 1_795_438_800),
            ("0 0 * * sun", 1_795_910_400),
            ("0 0 1 * *", 1_796_083_200),
            ("0 0 L * *", 1_795_996_800),
            ("*/10 * * * * * *", 1_795_435_730),
            ("30 6 * * 1-5", 1_795_501_800),
        ] {
            assert_eq!(Cron::parse(spec).unwrap().next(now), Some(next), "{spec}");
        }
        assert_eq!(Cron::parse("0 0 30 2 *").unwrap().next(now), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *"] {
            assert!(Cron::parse(bad).is_err(), "{bad}");
        }
    }
}
