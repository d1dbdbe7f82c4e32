//! A tree of HCL against the tables of the schema: JSON out, every mistake told.

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::schema::{Field, Kind, Object, Unset};
use crate::hcl::convert::{to_bool, to_i64, to_text};
use crate::hcl::diag::nearest;
use crate::hcl::eval::{Scope, pairs};
use crate::hcl::{Attribute, Block, BlockLabel, Body, Diagnostic, Expression, Span, Structure};
use crate::limits::HCL_ERRORS_MAX;
use crate::stdx::duration;

/// An object of the API with nothing set.
pub(super) fn unset(object: &Object) -> Map<String, Value> {
    let mut out = Map::new();
    for f in object.fields {
        let value = match f.unset {
            Unset::Null => Value::Null,
            Unset::Text => json!(""),
            Unset::False => json!(false),
            Unset::Zero => json!(0),
            Unset::Nothing => continue,
        };
        out.insert(f.json.to_owned(), value);
    }
    out
}

/// A label with its place.
type Label = (String, Option<Range<usize>>);

/// Reads bodies and gathers what is wrong with them.
#[derive(Default)]
pub(super) struct Decoder {
    pub wrong: Vec<Diagnostic>,
}

impl Decoder {
    pub(super) fn say(
        &mut self,
        at: Option<Range<usize>>,
        summary: &str,
        detail: impl Into<String>,
    ) {
        self.keep(Diagnostic::new(at, summary, detail));
    }

    pub(super) fn keep(&mut self, d: Diagnostic) {
        if self.wrong.len() < HCL_ERRORS_MAX && !self.wrong.contains(&d) {
            self.wrong.push(d);
        }
    }

    /// The object of a block.
    pub(super) fn object(
        &mut self,
        body: &Body,
        label: Option<String>,
        object: &'static Object,
        at: &Option<Range<usize>>,
        scope: &Scope<'_>,
    ) -> Map<String, Value> {
        let mut out = unset(object);
        if let Some(label) = label {
            out.insert(object.label.to_owned(), label.into());
        }
        let mut seen: Vec<&str> = Vec::new();
        for structure in body.iter() {
            match structure {
                Structure::Attribute(a) => {
                    if let Some(f) = self.attribute(a, object, scope, &mut out) {
                        seen.push(f.json);
                    }
                }
                Structure::Block(b) => {
                    if let Some(f) = self.block(b, object, scope, &mut out) {
                        seen.push(f.json);
                    }
                }
            }
        }
        for f in object.fields.iter().filter(|f| f.required && !seen.contains(&f.json)) {
            self.say(
                at.clone(),
                "Missing required argument",
                format!("The argument \"{}\" is required, but no definition was found.", f.hcl),
            );
        }
        if let Some(fix) = object.fix {
            fix(&mut out);
        }
        out
    }

    fn attribute(
        &mut self,
        a: &Attribute,
        object: &'static Object,
        scope: &Scope<'_>,
        out: &mut Map<String, Value>,
    ) -> Option<&'static Field> {
        let name = a.key.as_str();
        let found = object.fields.iter().find(|f| f.hcl == name && !name.is_empty());
        let Some(field) = found.filter(|f| !is_block(f.kind)) else {
            let hint = if found.is_some() {
                format!(" Did you mean to define a block of type \"{name}\"?")
            } else {
                hint(name, object, |f| !is_block(f.kind))
            };
            let detail = format!("An argument named \"{name}\" is not expected here.{hint}");
            self.say(a.key.span(), "Unsupported argument", detail);
            return None;
        };
        match scope.eval(&a.value) {
            Ok(Value::Null) => {}
            Ok(value) => {
                if let Some(value) = self.scalar(&value, field, &a.value) {
                    merge(out, field.json, value);
                }
            }
            Err(e) => self.keep(e),
        }
        Some(field)
    }

    /// A value of the kind that a field wants.
    fn scalar(&mut self, value: &Value, field: &Field, at: &Expression) -> Option<Value> {
        let strings = |v: &Value| -> Option<Value> {
            let list = v.as_array()?.iter().map(|v| to_text(v).map(Value::from));
            list.collect::<Option<Vec<_>>>().map(Value::from)
        };
        let entries = |v: &Value, of: &dyn Fn(&Value) -> Option<Value>| -> Option<Value> {
            let entry = |(k, v): (&String, &Value)| Some((k.clone(), of(v)?));
            Some(v.as_object()?.iter().map(entry).collect::<Option<Map<_, _>>>()?.into())
        };
        let (read, what) = match field.kind {
            Kind::Str => (to_text(value).map(Value::from), "string"),
            Kind::Int => (to_i64(value).map(Value::from), "number"),
            Kind::Bool => (to_bool(value).map(Value::from), "bool"),
            Kind::Strs => (strings(value), "list of string"),
            Kind::Map => (entries(value, &|v| to_text(v).map(Value::from)), "map of string"),
            Kind::MapOfLists => (entries(value, &strings), "map of list of string"),
            Kind::Any => (value.is_object().then(|| value.clone()), "map"),
            Kind::Duration => match (value, to_i64(value)) {
                (Value::Number(_), Some(ns)) => (Some(ns.into()), ""),
                (Value::String(text), _) => {
                    let ns = duration::parse(text);
                    if ns.is_none() {
                        let shown = Value::from(text.as_str());
                        let why = if text.ends_with(|c: char| c.is_ascii_digit()) {
                            "missing unit in duration"
                        } else {
                            "invalid duration"
                        };
                        let detail = format!("Unsuitable duration value: time: {why} {shown}");
                        self.say(at.span(), "Unsuitable value type", detail);
                        return None;
                    }
                    (ns.map(Value::from), "")
                }
                _ => (None, "duration"),
            },
            _ => (None, "block"),
        };
        if read.is_none() {
            let detail =
                format!("Inappropriate value for attribute \"{}\": {what} required.", field.hcl);
            self.say(at.span(), "Incorrect attribute value type", detail);
        }
        read
    }

    fn block(
        &mut self,
        b: &Block,
        object: &'static Object,
        scope: &Scope<'_>,
        out: &mut Map<String, Value>,
    ) -> Option<&'static Field> {
        let labels: Vec<Label> = b
            .labels
            .iter()
            .map(|l| match l {
                BlockLabel::Ident(name) => (name.as_str().to_owned(), name.span()),
                BlockLabel::String(text) => (text.value().clone(), text.span()),
            })
            .collect();
        if b.ident.as_str() == "dynamic" {
            return self.dynamic(b, &labels, object, scope, out);
        }
        self.named(b.ident.as_str(), b.ident.span(), labels, &b.body, object, scope, out)
    }

    /// A block by its name, whether it stands in the text or comes out of a `dynamic` one.
    fn named(
        &mut self,
        name: &str,
        at: Option<Range<usize>>,
        labels: Vec<Label>,
        body: &Body,
        object: &'static Object,
        scope: &Scope<'_>,
        out: &mut Map<String, Value>,
    ) -> Option<&'static Field> {
        let found = object.fields.iter().find(|f| f.hcl == name);
        let Some(field) = found.filter(|f| is_block(f.kind) || is_map(f.kind)) else {
            let hint = if found.is_some() {
                format!(
                    " Did you mean to define argument \"{name}\"? If so, use the equals sign \
                     to assign it a value."
                )
            } else {
                hint(name, object, |f| is_block(f.kind) || is_map(f.kind))
            };
            let detail = format!("Blocks of type \"{name}\" are not expected here.{hint}");
            self.say(at, "Unsupported block type", detail);
            return None;
        };
        let inner = match field.kind {
            Kind::One(inner) | Kind::Many(inner) | Kind::ByLabel(inner) => inner,
            kind => {
                let mut value = self.loose(body, scope);
                if !matches!(kind, Kind::Any) {
                    // Checked as the attribute of the same name would be.
                    let whole = Expression::null();
                    match self.scalar(&value.into(), field, &whole) {
                        Some(Value::Object(map)) => value = map,
                        _ => return Some(field),
                    }
                }
                merge(out, field.json, value.into());
                return Some(field);
            }
        };
        let place = labels.first().and_then(|(_, place)| place.clone());
        let label = self.label(name, &at, labels, inner)?;
        if let (Some(label), "group" | "task") = (&label, name)
            && let Some(Value::Array(before)) = out.get(field.json)
            && before.iter().any(|b| b.get(inner.label) == Some(&label.as_str().into()))
        {
            let detail = format!("Another {name} here has the name \"{label}\" already.");
            self.say(place.or(at), &format!("Duplicate {name} name"), detail);
            return Some(field);
        }
        let key = label.clone();
        let value = Value::from(self.object(body, label, inner, &at, scope));
        let slot = out.entry(field.json).or_insert(Value::Null);
        match field.kind {
            Kind::Many(_) => match slot.as_array_mut() {
                Some(list) => list.push(value),
                None => *slot = vec![value].into(),
            },
            Kind::ByLabel(_) => {
                let key = key.unwrap_or_default();
                match slot.as_object_mut() {
                    Some(map) => drop(map.insert(key, value)),
                    None => *slot = json!({ key: value }),
                }
            }
            _ if !slot.is_null() => {
                let detail = format!("Only one {name} block is allowed.");
                self.say(at, &format!("Duplicate {name} block"), detail);
            }
            _ => *slot = value,
        }
        Some(field)
    }

    /// The one label that a block may or must have. The outer `None` says that it is wrong.
    #[expect(clippy::option_option, reason = "a block without a label differs from a wrong one")]
    fn label(
        &mut self,
        name: &str,
        at: &Option<Range<usize>>,
        labels: Vec<Label>,
        object: &Object,
    ) -> Option<Option<String>> {
        let mut labels = labels.into_iter();
        let first = labels.next();
        let extra =
            if object.label.is_empty() { first.as_ref() } else { labels.as_slice().first() };
        if let Some((_, place)) = extra {
            let detail = if object.label.is_empty() {
                format!("No labels are expected for {name} blocks.")
            } else {
                format!("Only 1 labels (name) are expected for {name} blocks.")
            };
            self.say(place.clone(), &format!("Extraneous label for {name}"), detail);
            return None;
        }
        // The value of a spread's target may be given either way.
        if first.is_none() && !object.label.is_empty() && object.label != "Value" {
            let detail = format!("All {name} blocks must have 1 labels (name).");
            self.say(at.clone(), &format!("Missing name for {name}"), detail);
            return None;
        }
        Some(first.map(|(text, _)| text))
    }

    /// `dynamic "x" { for_each = …, content { … } }`: a block for each element.
    fn dynamic(
        &mut self,
        b: &Block,
        labels: &[Label],
        object: &'static Object,
        scope: &Scope<'_>,
        out: &mut Map<String, Value>,
    ) -> Option<&'static Field> {
        let [(name, _)] = labels else {
            self.say(b.ident.span(), "Missing name for dynamic", "It is the type of the blocks.");
            return None;
        };
        let of = |key: &str| b.body.get_attribute(key);
        let (Some(each), Some(content)) = (of("for_each"), b.body.get_blocks("content").next())
        else {
            let detail = "A dynamic block must have \"for_each\" and a block \"content\".";
            self.say(b.ident.span(), "Invalid dynamic block", detail);
            return None;
        };
        let iterator = match of("iterator").map(|a| &a.value) {
            Some(Expression::Variable(v)) => v.as_str(),
            Some(other) => {
                self.say(other.span(), "Invalid dynamic block", "The iterator must be a name.");
                return None;
            }
            None => name.as_str(),
        };
        let elements = match scope.eval(&each.value).and_then(|v| pairs(v, &each.value)) {
            Ok(elements) => elements,
            Err(e) => {
                self.keep(e);
                return None;
            }
        };
        let mut field = None;
        for (key, value) in elements {
            let names = [(iterator, json!({ "key": key, "value": value }))];
            let inner = scope.with(&names);
            let mut labels = Vec::new();
            if let Some(a) = of("labels") {
                match inner.eval(&a.value) {
                    Ok(Value::Array(list)) => {
                        labels.extend(list.iter().filter_map(to_text).map(|l| (l, a.value.span())));
                    }
                    Ok(_) => self.say(a.value.span(), "Invalid labels", "They must be a list."),
                    Err(e) => self.keep(e),
                }
            }
            let at = b.ident.span();
            field = self.named(name, at, labels, &content.body, object, &inner, out).or(field);
            if self.wrong.len() >= HCL_ERRORS_MAX {
                break;
            }
        }
        field
    }

    /// A block without a schema: attributes as they are, blocks as lists of maps.
    fn loose(&mut self, body: &Body, scope: &Scope<'_>) -> Map<String, Value> {
        let mut out = Map::new();
        for structure in body.iter() {
            match structure {
                Structure::Attribute(a) => match scope.eval(&a.value) {
                    Ok(value) => drop(out.insert(a.key.as_str().to_owned(), value)),
                    Err(e) => self.keep(e),
                },
                Structure::Block(b) => {
                    let mut value = Value::from(self.loose(&b.body, scope));
                    for label in b.labels.iter().rev() {
                        value = json!([{ label.as_str(): value }]).get(0).cloned().unwrap_or(value);
                    }
                    let slot = out.entry(b.ident.as_str()).or_insert_with(|| json!([]));
                    if let Some(list) = slot.as_array_mut() {
                        list.push(value);
                    }
                }
            }
        }
        out
    }
}

/// Puts a value in; a map that is given in several blocks is one map.
fn merge(out: &mut Map<String, Value>, name: &str, value: Value) {
    match (out.get_mut(name), value) {
        (Some(Value::Object(have)), Value::Object(more)) => have.extend(more),
        (_, value) => drop(out.insert(name.to_owned(), value)),
    }
}

fn is_block(kind: Kind) -> bool {
    matches!(kind, Kind::One(_) | Kind::Many(_) | Kind::ByLabel(_) | Kind::Fixed)
}

fn is_map(kind: Kind) -> bool {
    matches!(kind, Kind::Map | Kind::MapOfLists | Kind::Any)
}

/// ` Did you mean "x"?` where a known name is near.
fn hint(name: &str, object: &Object, of: impl Fn(&Field) -> bool) -> String {
    let known = object.fields.iter().filter(|f| of(f) && !f.hcl.is_empty()).map(|f| f.hcl);
    nearest(name, known).map(|n| format!(" Did you mean \"{n}\"?")).unwrap_or_default()
}
