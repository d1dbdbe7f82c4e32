//! Tables, key-value lists, times and sizes for people.

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
