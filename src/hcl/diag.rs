//! What is wrong with a text in HCL, and where.

use std::fmt::Write;
use std::ops::Range;

/// One mistake. Texts follow the reference's: a summary without a full stop, a detail with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Bytes of the text; `None` where the mistake is not in it (a variable that nobody set).
    pub range: Option<Range<usize>>,
    pub summary: String,
    pub detail: String,
}

impl Diagnostic {
    pub fn new(
        range: Option<Range<usize>>,
        summary: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { range, summary: summary.into(), detail: detail.into() }
    }
}

/// A text with the name that diagnostics call it by.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// Line and column of a byte, both from 1; columns count characters.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        (line, before.get(start..).unwrap_or_default().chars().count() + 1)
    }

    /// `job.hcl:2,2-5: Summary; Detail`, in the reference's form.
    pub fn line(&self, d: &Diagnostic) -> String {
        let Some(range) = &d.range else {
            return format!("<nil>: {}; {}", d.summary, d.detail);
        };
        let ((line, column), (last, end)) = (self.place(range.start), self.place(range.end));
        let mut out = format!("{}:{line},{column}-", self.name);
        if last != line {
            _ = write!(out, "{last},");
        }
        _ = write!(out, "{end}: {}; {}", d.summary, d.detail);
        out
    }

    /// All diagnostics as [`Source::line`] says them, a line each.
    pub fn lines(&self, all: &[Diagnostic]) -> String {
        let lines: Vec<String> = all.iter().map(|d| self.line(d)).collect();
        lines.join("\n")
    }

    /// [`Source::line`], the line of the text that it is about, and carets under the mistake.
    pub fn picture(&self, d: &Diagnostic) -> String {
        let mut out = self.line(d);
        let Some(range) = &d.range else { return out };
        let ((number, column), (last, end)) = (self.place(range.start), self.place(range.end));
        let Some(text) = self.text.lines().nth(number - 1) else { return out };
        let width = text.chars().count();
        let end = if last == number { end.min(width + 2) } else { width + 1 };
        let margin = " ".repeat(number.to_string().len());
        // Tabs stay tabs, so that the carets stand where the text is.
        let indent = text.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' });
        let carets = "^".repeat(end.saturating_sub(column).max(1));
        _ = write!(out, "\n{margin} |\n{number} | {text}\n{margin} | ");
        out.extend(indent);
        out.push_str(&carets);
        out
    }
}

/// The word of `known` that was probably meant: the nearest, at most a third of it mistyped.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (distance(word.as_bytes(), k.as_bytes()), k))
        .filter(|(d, k)| *d <= k.len().div_ceil(3) && *d < k.len())
        .min()
        .map(|(_, k)| k)
}

/// Edits (insert, delete, replace, swap of neighbours) that make one word of the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut rows: [Vec<usize>; 3] = [Vec::new(), Vec::new(), (0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        rows.rotate_left(1);
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best =
                (row[j] + 1).min(rows[1][j + 1] + 1).min(rows[1][j] + usize::from(x != y));
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[0][j - 1] + 1);
            }
            row.push(best);
        }
        rows[2] = row;
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let source = Source { name: "job.hcl", text: "a = 1\n\tü = nope\n" };
        let d = Diagnostic::new(Some(12..16), "Bad", "It is.");
        assert_eq!(source.line(&d), "job.hcl:2,6-10: Bad; It is.");
        assert_eq!(
            source.picture(&d),
            "job.hcl:2,6-10: Bad; It is.\n  |\n2 | \tü = nope\n  | \t    ^^^^"
        );
        let nowhere = Diagnostic::new(None, "Unset", "Set it.");
        assert_eq!(source.line(&nowhere), "<nil>: Unset; Set it.");
    }

    #[test]
    fn near_words_are_found() {
        let known = ["driver", "config", "resources", "cpu"];
        let near = |w| nearest(w, known.into_iter());
        assert_eq!(near("drvier"), Some("driver"));
        assert_eq!(near("resource"), Some("resources"));
        assert_eq!(near("cp"), Some("cpu"));
        assert_eq!(near("memory"), None);
    }
}
