//! Surgery on JSON text: reads and changes members of the outermost object without a tree.
//!
//! Rows hold objects whose members stand in byte order of their names, so a member's place is
//! known also where it is absent. All functions answer `None` for text that is not such an object.

use crate::stdx::json::plain;

/// One member of an object, as offsets into the text.
struct Member<'a> {
    name: &'a [u8],
    /// Of the name's opening quote.
    start: usize,
    value: std::ops::Range<usize>,
}

/// Walks over the members of the object that begins at the front.
struct Members<'a> {
    json: &'a [u8],
    at: usize,
    begun: bool,
}

impl<'a> Members<'a> {
    fn new(json: &'a [u8]) -> Self {
        Self { json, at: 0, begun: false }
    }

    /// `Some(None)` at the end of the object; `at` is then its closing brace.
    fn next(&mut self) -> Option<Option<Member<'a>>> {
        self.at = blank(self.json, self.at);
        match (*self.json.get(self.at)?, self.begun) {
            (b'{', false) => {
                self.begun = true;
                self.at = blank(self.json, self.at + 1);
                if *self.json.get(self.at)? == b'}' {
                    return Some(None);
                }
            }
            (b',', true) => self.at = blank(self.json, self.at + 1),
            (b'}', true) => return Some(None),
            _ => return None,
        }
        let start = self.at;
        let end = string(self.json, start)?;
        let name = self.json.get(start + 1..end - 1)?;
        let colon = blank(self.json, end);
        if *self.json.get(colon)? != b':' {
            return None;
        }
        let from = blank(self.json, colon + 1);
        self.at = value(self.json, from)?;
        Some(Some(Member { name, start, value: from..self.at }))
    }
}

fn blank(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The end of the string whose opening quote is at `at`.
fn string(json: &[u8], at: usize) -> Option<usize> {
    if *json.get(at)? != b'"' {
        return None;
    }
    let mut i = at + 1;
    loop {
        i += plain(json.get(i..)?);
        match *json.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// The end of the value that begins at `at`.
fn value(json: &[u8], at: usize) -> Option<usize> {
    match *json.get(at)? {
        b'"' => string(json, at),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut i = at;
            loop {
                match *json.get(i)? {
                    b'"' => {
                        i = string(json, i)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(i + 1);
                        }
                    }
                    _ => {}
                }
                i += 1;
            }
        }
        _ => {
            let rest = json.get(at..)?;
            let end = rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n'))?;
            (end > 0).then_some(at + end)
        }
    }
}

/// The text of a member's value; `None` also where there is no such member.
pub fn field<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut members = Members::new(json);
    while let Some(m) = members.next()? {
        if m.name == name.as_bytes() {
            return json.get(m.value);
        }
    }
    None
}

/// The texts of several members, named in byte order, in one pass over an object whose members
/// stand in byte order; `None` where one is missing.
pub fn fields<'a, const N: usize>(json: &'a [u8], names: [&str; N]) -> Option<[&'a [u8]; N]> {
    let mut out = [&b""[..]; N];
    let mut members = Members::new(json);
    for (slot, name) in out.iter_mut().zip(names) {
        loop {
            let m = members.next()??;
            if m.name == name.as_bytes() {
                *slot = json.get(m.value)?;
                break;
            }
        }
    }
    Some(out)
}

/// A member that is a whole number.
pub fn number(json: &[u8], name: &str) -> Option<i64> {
    std::str::from_utf8(field(json, name)?).ok()?.parse().ok()
}

/// Copies an object with some members set. Edits are sorted by name; an empty value removes the
/// member. The object's own members stand in byte order; what follows the last edit is copied
/// without a look.
pub fn patch(json: &[u8], edits: &[(&str, &[u8])]) -> Option<Vec<u8>> {
    let grow: usize = edits.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
    let mut out = Vec::with_capacity(json.len() + grow);
    out.push(b'{');
    let mut edits = edits.iter().peekable();
    let mut members = Members::new(json);
    let mut patched = false;
    // Runs of untouched members are copied as one piece.
    let mut run: Option<(usize, usize)> = None;
    loop {
        let member = members.next()?;
        if patched
            && edits.peek().is_none()
            && let Some(m) = &member
        {
            // Nothing of the rest changes.
            let begin = run.filter(|(from, _)| *from != usize::MAX).map_or(m.start, |(f, _)| f);
            put(&mut out, json.get(begin..)?);
            return Some(out);
        }
        while let Some((name, text)) = edits.peek() {
            match &member {
                Some(m) if name.as_bytes() > m.name => break,
                _ => {}
            }
            if let Some((from, to)) = run.take() {
                put(&mut out, json.get(from..to)?);
            }
            edits.next();
            patched = true;
            if !text.is_empty() {
                put(&mut out, b"\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                out.extend_from_slice(text);
            }
            if member.as_ref().is_some_and(|m| m.name == name.as_bytes()) {
                run = Some((usize::MAX, 0));
                break;
            }
        }
        let Some(m) = member else { break };
        run = match run {
            // Replaced just now.
            Some((usize::MAX, _)) => None,
            Some((from, _)) => Some((from, m.value.end)),
            None => Some((m.start, m.value.end)),
        };
    }
    if let Some((from, to)) = run {
        put(&mut out, json.get(from..to)?);
    }
    out.push(b'}');
    Some(out)
}

fn put(out: &mut Vec<u8>, piece: &[u8]) {
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(piece);
}

/// Writes an object of the members that `line` names, in byte order: each with its value among the
/// edits, or else in `json`, or else the text that stands beside its name. Empty text leaves a
/// member out.
pub fn project(
    json: &[u8],
    line: &[(&str, &str)],
    edits: &[(&str, &[u8])],
    out: &mut Vec<u8>,
) -> Option<()> {
    let begin = out.len();
    out.push(b'{');
    let mut members = Members::new(json);
    let mut next = members.next()?;
    let mut edits = edits.iter().peekable();
    for (name, absent) in line {
        while next.as_ref().is_some_and(|m| m.name < name.as_bytes()) {
            next = members.next()?;
        }
        let there = next.as_ref().filter(|m| m.name == name.as_bytes());
        let text = match (edits.next_if(|(n, _)| n == name), there) {
            (Some((_, text)), _) => text,
            (None, Some(m)) => json.get(m.value.clone())?,
            (None, None) => absent.as_bytes(),
        };
        if text.is_empty() {
            continue;
        }
        if out.len() > begin + 1 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(text);
    }
    out.push(b'}');
    Some(())
}

/// Copies an object of any order with the value of one member exchanged; as it is where there is
/// no such member.
pub fn replace(json: &[u8], name: &str, text: &[u8]) -> Option<Vec<u8>> {
    let mut members = Members::new(json);
    while let Some(m) = members.next()? {
        if m.name == name.as_bytes() {
            let mut out = Vec::with_capacity(json.len() + text.len());
            out.extend_from_slice(json.get(..m.value.start)?);
            out.extend_from_slice(text);
            out.extend_from_slice(json.get(m.value.end..)?);
            return Some(out);
        }
    }
    Some(json.to_vec())
}

/// Where a member of the given name begins, or would begin. The second value tells whether a
/// member follows there.
pub fn place(json: &[u8], name: &str) -> Option<(usize, bool)> {
    let mut members = Members::new(json);
    while let Some(m) = members.next()? {
        if m.name >= name.as_bytes() {
            return Some((m.start, true));
        }
    }
    Some((members.at, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = br#"{"A":1,"B":{"x":"}\""},"C":[1,"]"],"E":"e\\"}"#;

    fn text(edits: &[(&str, &str)]) -> String {
        let edits: Vec<(&str, &[u8])> = edits.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        String::from_utf8(patch(OBJECT, &edits).unwrap()).unwrap()
    }

    #[test]
    fn members_are_found() {
        assert_eq!(field(OBJECT, "B").unwrap(), br#"{"x":"}\""}"#);
        assert_eq!(field(OBJECT, "E").unwrap(), br#""e\\""#);
        assert_eq!(field(OBJECT, "x"), None);
        assert_eq!(number(OBJECT, "A"), Some(1));
        assert_eq!(fields(OBJECT, ["A", "E"]), Some([&b"1"[..], br#""e\\""#]));
        assert_eq!(fields(OBJECT, ["A", "D"]), None);
        assert_eq!(place(OBJECT, "D"), Some((35, true)));
        assert_eq!(place(b"{}", "D"), Some((1, false)));
    }

    #[test]
    fn members_are_set_added_and_removed() {
        assert_eq!(text(&[]), String::from_utf8_lossy(OBJECT));
        assert_eq!(
            text(&[("A", "2"), ("D", "4"), ("F", "6")]),
            r#"{"A":2,"B":{"x":"}\""},"C":[1,"]"],"D":4,"E":"e\\","F":6}"#
        );
        assert_eq!(text(&[("0", "0"), ("A", ""), ("C", ""), ("D", "")]), {
            r#"{"0":0,"B":{"x":"}\""},"E":"e\\"}"#
        });
        assert_eq!(text(&[("A", "1"), ("B", "2"), ("C", "3"), ("E", "")]), {
            r#"{"A":1,"B":2,"C":3}"#
        });
        assert_eq!(patch(b"{}", &[("A", b"1")]).unwrap(), br#"{"A":1}"#);
        assert_eq!(patch(b"{ }", &[]).unwrap(), b"{}");
        assert_eq!(replace(br#"{"b":1, "a":2}"#, "a", b"[]").unwrap(), br#"{"b":1, "a":[]}"#);
    }

    #[test]
    fn an_object_becomes_a_line() {
        let line = [("0", "0"), ("A", "9"), ("B", ""), ("BB", ""), ("D", "null"), ("F", "\"\"")];
        let text = |edits: &[(&str, &[u8])]| {
            let mut out = b"[".to_vec();
            project(OBJECT, &line, edits, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&[]), r#"[{"0":0,"A":1,"B":{"x":"}\""},"D":null,"F":""}"#);
        assert_eq!(text(&[("0", b""), ("B", b""), ("D", b"4")]), r#"[{"A":1,"D":4,"F":""}"#);
        assert_eq!(project(b"[]", &line, &[], &mut Vec::new()), None);
    }

    #[test]
    fn damaged_text_is_refused() {
        for cut in 0..OBJECT.len() {
            assert_eq!(patch(&OBJECT[..cut], &[("Z", b"1")]), None, "{cut}");
        }
        for bad in [&b"[]"[..], b"", b"{,}", b"{\"a\"}", b"{\"a\":}", b"{\"a\":1 \"b\":2}"] {
            assert_eq!(patch(bad, &[]), None);
        }
    }
}
