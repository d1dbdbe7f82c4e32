//! Job files in the JSON form of HCL: written again as HCL, with a table of where each part came
//! from, so that everything else reads one language.
//!
//! What is a block and whether it has a label says the schema. Strings are templates, as in the
//! reference: `"${var.n}"` is the variable's value.

use std::ops::Range;

use serde_json::Value;

use super::schema::{self, Kind, Object};
use crate::hcl::Diagnostic;
use crate::limits::{HCL_BYTES_MAX, HCL_DEPTH_MAX};

/// A value with places: those of keys in the text.
enum Node {
    Plain(Value),
    List(Vec<Self>),
    Map(Vec<(String, Range<usize>, Self)>),
}

/// The text again as HCL.
pub(super) struct Written {
    pub(super) text: String,
    /// Where parts begin in `text`, in order, and the bytes of the source that they came from.
    marks: Vec<(usize, Range<usize>)>,
}

impl Written {
    /// A mistake with its place in the source.
    pub(super) fn placed(&self, mut d: Diagnostic) -> Diagnostic {
        if let Some(range) = &d.range {
            let next = self.marks.partition_point(|(at, _)| *at <= range.start);
            let mark = next.checked_sub(1).and_then(|at| self.marks.get(at));
            d.range = Some(mark.map_or(0..0, |(_, source)| source.clone()));
        }
        d
    }
}

/// Whether a text is the JSON form.
pub fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Writes a job file as HCL.
pub(super) fn written(text: &str) -> Result<Written, Vec<Diagnostic>> {
    let wrong = |at: Range<usize>, summary: &str, detail: String| {
        Err(vec![Diagnostic::new(Some(at), summary, detail)])
    };
    if text.len() > HCL_BYTES_MAX {
        let detail = format!("It has {} bytes; at most {HCL_BYTES_MAX} are read.", text.len());
        return wrong(0..0, "Text too long", detail);
    }
    if let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let line = text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len);
        let at = (line.sum::<usize>() + e.column().saturating_sub(1)).min(text.len());
        let said = e.to_string();
        let said = said.split(" at line").next().unwrap_or_default();
        return wrong(at..at, "Invalid JSON", format!("The text is no JSON: {said}."));
    }
    let mut reader = Reader { text, at: 0 };
    let root = reader.node(0);
    let mut out = Written { text: String::new(), marks: Vec::new() };
    match root {
        Some(Node::Map(members)) => out.top(&members),
        _ => return wrong(0..0, "Invalid JSON", "Brackets are nested too deeply.".to_owned()),
    }
    Ok(out)
}

/// Reads JSON that is known to be well-formed.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&mut self) -> &str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start_matches([' ', '\n', '\t', '\r', ',', ':']);
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    /// `None` where it is too deep.
    fn node(&mut self, depth: usize) -> Option<Node> {
        if depth > HCL_DEPTH_MAX {
            return None;
        }
        let first = self.rest().chars().next()?;
        Some(match first {
            '{' => {
                self.at += 1;
                let mut out = Vec::new();
                while !self.rest().starts_with('}') {
                    let begin = self.at;
                    let key = self.plain().as_str().unwrap_or_default().to_owned();
                    let place = begin..self.at;
                    out.push((key, place, self.node(depth + 1)?));
                }
                self.at += 1;
                Node::Map(out)
            }
            '[' => {
                self.at += 1;
                let mut out = Vec::new();
                while !self.rest().starts_with(']') {
                    out.push(self.node(depth + 1)?);
                }
                self.at += 1;
                Node::List(out)
            }
            _ => Node::Plain(self.plain()),
        })
    }

    fn plain(&mut self) -> Value {
        let rest = self.rest();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = values.next().and_then(Result::ok).unwrap_or_default();
        // Never nothing, or a caller would not come on.
        self.at += values.byte_offset().max(1);
        value
    }
}

impl Written {
    fn mark(&mut self, place: &Range<usize>) {
        self.marks.push((self.text.len(), place.clone()));
    }

    fn top(&mut self, members: &[(String, Range<usize>, Node)]) {
        for (key, place, value) in members {
            match key.as_str() {
                "//" => {}
                "job" => self.blocks(key, place, value, Some(&schema::JOB), true),
                "variable" => self.blocks(key, place, value, None, true),
                "variables" | "locals" => self.blocks(key, place, value, None, false),
                _ => self.attribute(key, place, value),
            }
        }
    }

    /// Every block of a name: one, a list of them, or by label either of both.
    fn blocks(
        &mut self,
        name: &str,
        place: &Range<usize>,
        value: &Node,
        object: Option<&Object>,
        labelled: bool,
    ) {
        match value {
            Node::Plain(Value::Null) => {}
            Node::List(all) => {
                for one in all {
                    self.blocks(name, place, one, object, labelled);
                }
            }
            Node::Map(members) if labelled => {
                for (label, place, inner) in members {
                    let bodies = match inner {
                        Node::List(all) => all.as_slice(),
                        one => std::slice::from_ref(one),
                    };
                    for body in bodies {
                        let label = Some(label.as_str());
                        self.block(name, label, place, body, object);
                    }
                }
            }
            body => self.block(name, None, place, body, object),
        }
    }

    fn block(
        &mut self,
        name: &str,
        label: Option<&str>,
        place: &Range<usize>,
        body: &Node,
        object: Option<&Object>,
    ) {
        self.mark(place);
        let Node::Map(members) = body else {
            // Told as a mistake by whoever reads the schema.
            return self.attribute(name, place, body);
        };
        self.text.push_str(name);
        if let Some(label) = label {
            self.text.push(' ');
            self.text.push_str(&quoted(label));
        }
        self.text.push_str(" {\n");
        for (key, place, value) in members {
            let field = object.and_then(|o| o.fields.iter().find(|f| f.hcl == key));
            match field.map(|f| f.kind) {
                _ if key == "//" => {}
                Some(Kind::One(inner) | Kind::Many(inner) | Kind::ByLabel(inner)) => {
                    let labelled = !inner.label.is_empty() && !is_body(value, inner);
                    self.blocks(key, place, value, Some(inner), labelled);
                }
                // The type of a variable is no string.
                None if object.is_none() && name == "variable" && key == "type" => {
                    self.mark(place);
                    let text = match value {
                        Node::Plain(Value::String(text)) if is_type(text) => text.as_str(),
                        _ => "null",
                    };
                    self.text.push_str(&format!("type = {text}\n"));
                }
                None if object.is_none() && name == "variable" && key == "validation" => {
                    self.blocks(key, place, value, None, false);
                }
                // A rule is an expression.
                None if name == "validation" && key == "condition" => {
                    self.mark(place);
                    self.text.push_str("condition = ");
                    match value {
                        Node::Plain(Value::String(text)) => self.text.push_str(&template(text)),
                        other => self.expression(other),
                    }
                    self.text.push('\n');
                }
                _ => self.attribute(key, place, value),
            }
        }
        self.text.push_str("}\n");
    }

    fn attribute(&mut self, key: &str, place: &Range<usize>, value: &Node) {
        self.mark(place);
        if is_name(key) {
            self.text.push_str(key);
        } else {
            // Not to be said in HCL, and so no name of anything.
            self.text.extend(key.chars().map(|c| if is_name_char(c) { c } else { '_' }));
            if !key.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                self.text.push_str("_unknown");
            }
        }
        self.text.push_str(" = ");
        self.expression(value);
        self.text.push('\n');
    }

    fn expression(&mut self, value: &Node) {
        match value {
            Node::Plain(Value::String(text)) => self.text.push_str(&template(text)),
            Node::Plain(other) => self.text.push_str(&other.to_string()),
            Node::List(all) => {
                self.text.push('[');
                for one in all {
                    self.expression(one);
                    self.text.push_str(", ");
                }
                self.text.push(']');
            }
            Node::Map(members) => {
                self.text.push_str("{\n");
                for (key, place, value) in members {
                    self.mark(place);
                    self.text.push_str(&template(key));
                    self.text.push_str(" = ");
                    self.expression(value);
                    self.text.push_str(",\n");
                }
                self.text.push('}');
            }
        }
    }
}

/// Whether a value is the body of a block whose label may be left out, not a map of labels.
fn is_body(value: &Node, object: &Object) -> bool {
    let is_field = |key: &str| object.fields.iter().any(|f| f.hcl == key);
    match value {
        Node::List(all) => all.iter().all(|one| is_body(one, object)),
        Node::Map(members) => {
            object.label == "Value" && members.iter().all(|(key, ..)| is_field(key))
        }
        Node::Plain(_) => false,
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(is_name_char)
}

/// Words, brackets and signs of types: nothing that could end the line or call anything else.
fn is_type(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "_()[]{}=, \"".contains(c);
    !text.is_empty() && text.chars().all(fits)
}

/// A string that is a template.
fn template(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut depth = 0_usize;
    let mut before = ' ';
    for c in text.chars() {
        match c {
            // What stands in an interpolation is an expression as it is.
            '{' if depth > 0 || before == '$' || before == '%' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '"' | '\\' if depth == 0 => out.push('\\'),
            _ => {}
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
        before = if before == '$' && c == '$' { ' ' } else { c };
    }
    out.push('"');
    out
}

/// A string that is none.
fn quoted(text: &str) -> String {
    let escaped = text.replace("${", "$${").replace("%{", "%%{");
    template(&escaped)
}
