//! Tables, key-value lists, times and sizes for people; and how columns are read from JSON.

use serde_json::Value;

pub(super) use crate::template::plain;

use crate::stdx::time::Rfc3339;

/// What an empty value is shown as in key-value lists.
pub(super) const NONE: &str = "<none>";

/// Columns padded to their widest cell, two spaces between, no space at line ends. The first row is
/// the head. Ends without a newline.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.pop();
    out
}

/// `Key = value`, the signs in one column. Empty values are `<none>`. Ends without a newline.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(k, _)| k.len()).max().unwrap_or(0);
    let line =
        |(k, v): &(&str, String)| format!("{k:<width$} = {}", if v.is_empty() { NONE } else { v });
    pairs.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One row of a table.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|c| (*c).to_owned()).collect()
}

/// How values are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Full ids, exact times.
    pub(super) verbose: bool,
    /// Nanoseconds since the epoch.
    pub(super) now: i64,
}

/// A member by its dotted path; null where there is none.
pub(super) fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    if path.is_empty() {
        return value;
    }
    path.split('.').fold(value, |v, key| v.get(key).unwrap_or(&Value::Null))
}

/// A member as text; empty where there is none.
pub(super) fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    at(value, path).as_str().unwrap_or_default()
}

/// A member as a whole number; 0 where there is none.
pub(super) fn int(value: &Value, path: &str) -> i64 {
    let number = at(value, path);
    number.as_i64().or_else(|| number.as_f64().map(|f| f as i64)).unwrap_or(0)
}

/// A member as a truth value.
pub(super) fn is(value: &Value, path: &str) -> bool {
    at(value, path).as_bool().unwrap_or(false)
}

/// The members of a list; none where there is no list.
pub(super) fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// Names and members of an object; none where there is no object.
pub(super) fn entries<'v>(
    value: &'v Value,
    path: &str,
) -> impl Iterator<Item = (&'v str, &'v Value)> {
    at(value, path).as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// One column of a specification: `Title`, `Title=Path` or `Title=Path:how`, where the path is the
/// title without its spaces unless given, and `how` is one of
///
/// * `id`: short unless everything is asked for; `time` and `ago` of nanoseconds or RFC 3339
/// * `none`: `<none>` where it is empty; `len`: how many there are; `for`: nanoseconds as duration
/// * `names`: the names of a list of objects; `any`: whether an object has members
fn cell(spec: &str, value: &Value, look: Look) -> String {
    let (spec, how) = spec.split_once(':').unwrap_or((spec, ""));
    let squeezed;
    let path = match spec.split_once('=') {
        Some((_, path)) => path,
        None => {
            squeezed = spec.replace(' ', "");
            &squeezed
        }
    };
    let value = at(value, path);
    match how {
        "id" => short(&plain(value), look.verbose),
        "time" => time(nanos(value)),
        "ago" if look.verbose => time(nanos(value)),
        "ago" => ago(nanos(value), look.now),
        "none" if plain(value).is_empty() => NONE.to_owned(),
        "len" => match value {
            Value::Array(items) => items.len().to_string(),
            Value::Object(map) => map.len().to_string(),
            _ => "0".to_owned(),
        },
        "any" => match value {
            Value::Object(map) => (!map.is_empty()).to_string(),
            _ => "false".to_owned(),
        },
        "names" => {
            let names: Vec<&str> = list(value, "").iter().map(|v| text(v, "Name")).collect();
            names.join(",")
        }
        "for" => match value.as_i64() {
            Some(ns) => span(ns / SECOND),
            None => plain(value),
        },
        _ => plain(value),
    }
}

fn title(spec: &str) -> &str {
    spec.split(['=', ':']).next().unwrap_or(spec)
}

/// A table of JSON objects; `columns` are specifications with `|` between.
pub(super) fn rows(columns: &str, values: &[Value], look: Look) -> Vec<Vec<String>> {
    let specs = || columns.split('|');
    let head = specs().map(|s| title(s).to_owned()).collect();
    let body = values.iter().map(|v| specs().map(|s| cell(s, v, look)).collect());
    std::iter::once(head).chain(body).collect()
}

/// [`rows`] as text.
pub(super) fn columns(columns: &str, values: &[Value], look: Look) -> String {
    table(&rows(columns, values, look))
}

/// A JSON object as a key-value list; lines whose title ends in `?` are left out where empty.
pub(super) fn fields(columns: &str, value: &Value, look: Look) -> String {
    let mut list = Vec::new();
    for spec in columns.split('|') {
        let text = cell(&spec.replace('?', ""), value, look);
        if !text.is_empty() || !title(spec).ends_with('?') {
            list.push((title(spec).trim_end_matches('?'), text));
        }
    }
    pairs(&list)
}

/// A time of the API as nanoseconds since the epoch; 0 for none.
pub(super) fn nanos(value: &Value) -> i64 {
    match value {
        Value::String(s) => crate::stdx::time::parse_rfc3339(s).filter(|n| *n > 0).unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}

/// RFC 3339 in UTC, whole seconds; `N/A` for zero.
pub(super) fn time(ns: i64) -> String {
    if ns == 0 {
        return "N/A".to_owned();
    }
    Rfc3339(ns - ns.rem_euclid(SECOND)).to_string()
}

/// `5m54s ago`: the two largest units; `now` below one second.
pub(super) fn ago(ns: i64, now: i64) -> String {
    if ns == 0 {
        return "N/A".to_owned();
    }
    let seconds = (now - ns).max(0) / SECOND;
    if seconds == 0 {
        return "now".to_owned();
    }
    format!("{} ago", span(seconds))
}

/// Seconds in the two largest units that are not zero.
pub(super) fn span(seconds: i64) -> String {
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in
        [("y", 31_536_000), ("mo", 2_592_000), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)]
    {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

/// Bytes in powers of 1,024: `32 MiB`, `1.5 GiB`.
pub(super) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 || unit == "TiB" {
            let text = if unit == "B" { format!("{value}") } else { format!("{value:.1}") };
            return format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text));
        }
        value /= 1024.0;
    }
    String::new()
}

/// The first eight characters of an id, or all of it.
pub(super) fn short(id: &str, verbose: bool) -> String {
    if verbose { id.to_owned() } else { id.chars().take(8).collect() }
}

/// `1 node`, `2 nodes`.
pub(super) fn count(n: i64, noun: &str) -> String {
    if n == 1 { format!("{n} {noun}") } else { format!("{n} {noun}s") }
}

const SECOND: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_and_lines_end_clean() {
        let rows = [row(["ID", "Status"]), row(["long-name", ""]), row(["x", "dead (stopped)"])];
        assert_eq!(table(&rows), "ID         Status\nlong-name\nx          dead (stopped)");
        let kv = pairs(&[("ID", "x".into()), ("Node Pool", String::new())]);
        assert_eq!(kv, "ID        = x\nNode Pool = <none>");
    }

    #[test]
    fn columns_are_read_from_json() {
        let v = serde_json::json!([{"ID": "0123456789", "JobID": "a", "At": 1_500_000_000,
            "T": "1970-01-01T00:01:00.5Z", "L": ["x", "y"], "M": {"k": {"v": true}}}]);
        let look = Look { verbose: false, now: 61_500_000_000 };
        let values = v.as_array().unwrap();
        let out =
            columns("ID:id|Job ID|On=At:ago|T:time|Tags=L|N=L:len|X=M.k.v|Y:none", values, look);
        assert_eq!(
            out,
            "ID        Job ID  On      T                     Tags  N  X     Y\n\
             01234567  a       1m ago  1970-01-01T00:01:00Z  x,y   2  true  <none>"
        );
        let kv = fields("ID|No?|Job ID?", &values[0], look);
        assert_eq!(kv, "ID     = 0123456789\nJob ID = a");
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (354, "5m54s"),
            (3_600, "1h"),
            (3_605, "1h"),
            (93_784, "1d2h"),
            (31_536_000 + 86_400, "1y"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
        assert_eq!(ago(SECOND, 1_500_000_000), "now");
        assert_eq!(time(1_795_426_609_802_127_616), "2026-11-23T09:36:49Z");
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (n, text) in
            [(0, "0 B"), (1023, "1023 B"), (33_554_432, "32 MiB"), (1_610_612_736, "1.5 GiB")]
        {
            assert_eq!(bytes(n), text);
        }
    }
}
