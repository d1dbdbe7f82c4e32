//! Instants as text.

use super::{Function, text};
use crate::stdx::duration;
use crate::stdx::time::{Rfc3339, civil, parse_rfc3339};

pub(super) const TABLE: &[Function] = &[
    ("formatdate", 2, 2, |a| {
        let at = parse_rfc3339(&text(a, 1)?).ok_or("the time is not RFC 3339")?;
        formatdate(&text(a, 0)?, at).map(Into::into)
    }),
    ("timeadd", 2, 2, |a| {
        let at = parse_rfc3339(&text(a, 0)?).ok_or("the time is not RFC 3339")?;
        let by = duration::parse(&text(a, 1)?).ok_or("the duration is malformed")?;
        let sum = at.checked_add(by).ok_or("the result is out of range")?;
        Ok(Rfc3339(sum).to_string().into())
    }),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Runs of one letter are parts of the time, in UTC; what stands in single quotes is itself.
fn formatdate(pattern: &str, ns: i64) -> Result<String, String> {
    let seconds = ns.div_euclid(1_000_000_000);
    let (day_number, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(day_number);
    let hour = second / 3600;
    let name = |names: &'static [&'static str], i: i64| {
        usize::try_from(i).ok().and_then(|i| names.get(i)).copied().unwrap_or_default()
    };
    let (month_name, day_name) = (name(&MONTHS, month - 1), name(&DAYS, day_number.rem_euclid(7)));
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let (inner, after) = quoted.split_once('\'').ok_or("a quote is not closed")?;
            out.push_str(inner);
            // A doubled quote inside of quotes is one that is meant.
            if after.starts_with('\'') {
                out.push('\'');
            }
            rest = after;
            continue;
        }
        let run = rest.chars().take_while(|d| *d == c).count() * c.len_utf8();
        let (token, after) = rest.split_at(run);
        rest = after;
        match token {
            "YYYY" => out.push_str(&format!("{year:04}")),
            "YY" => out.push_str(&format!("{:02}", year % 100)),
            "MMMM" => out.push_str(month_name),
            "MMM" => out.push_str(&month_name[..3]),
            "MM" => out.push_str(&format!("{month:02}")),
            "M" => out.push_str(&month.to_string()),
            "DD" => out.push_str(&format!("{day:02}")),
            "D" => out.push_str(&day.to_string()),
            "EEEE" => out.push_str(day_name),
            "EEE" => out.push_str(&day_name[..3]),
            "hh" => out.push_str(&format!("{hour:02}")),
            "h" => out.push_str(&hour.to_string()),
            "HH" => out.push_str(&format!("{twelve:02}")),
            "H" => out.push_str(&twelve.to_string()),
            "AA" => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            "aa" => out.push_str(if hour < 12 { "am" } else { "pm" }),
            "mm" => out.push_str(&format!("{:02}", second / 60 % 60)),
            "m" => out.push_str(&(second / 60 % 60).to_string()),
            "ss" => out.push_str(&format!("{:02}", second % 60)),
            "s" => out.push_str(&(second % 60).to_string()),
            "ZZZZZ" => out.push_str("+00:00"),
            "ZZZZ" => out.push_str("+0000"),
            "ZZZ" => out.push_str("UTC"),
            "Z" => out.push('Z'),
            other if c.is_ascii_alphabetic() => {
                return Err(format!("invalid date format verb \"{other}\""));
            }
            other => out.push_str(other),
        }
    }
    Ok(out)
}
