//! `variable`, `variables` and `locals`: what they are declared as, and where values come from.

use serde_json::{Map, Value, json};

use super::decode::Decoder;
use crate::hcl::convert::to_bool;
use crate::hcl::disk::Files;
use crate::hcl::eval::{Budget, Scope};
use crate::hcl::types::typed;
use crate::hcl::{Block, Body, Diagnostic, Expression, Source, Span, Structure, parse, parse_expr};
use crate::stdx::BTreeMap;

/// Values for variables, from weakest to strongest.
#[derive(Default)]
pub struct Inputs<'a> {
    /// `NOMAD_VAR_<name>` of the environment; names that no job declares are fine.
    pub environment: &'a [(String, String)],
    /// Files of values: name and text.
    pub files: &'a [(String, String)],
    /// `-var name=value`.
    pub flags: &'a [(String, String)],
    /// Whether a value for a variable that is not declared is an error.
    pub strict: bool,
}

/// A declared variable.
struct Variable<'a> {
    name: String,
    block: Option<&'a Block>,
    of: Option<&'a Expression>,
    value: Option<Value>,
}

/// The values of all variables and locals of a body, and the names of variables without one.
pub(super) struct Values {
    pub var: Value,
    pub local: Value,
    pub unset: Vec<String>,
}

/// Reads the declarations of a job file and gives them their values.
pub(super) fn read(
    body: &Body,
    text: &str,
    inputs: &Inputs<'_>,
    files: Files<'_>,
    budget: &Budget,
    d: &mut Decoder,
) -> Values {
    let bare = Scope { text, names: &[], unset: &[], files, budget, outer: None };
    let mut variables = declared(body, &bare, d);
    give(&mut variables, inputs, budget, d);
    let mut var = Map::new();
    let mut unset = Vec::new();
    for v in &variables {
        match &v.value {
            Some(value) => drop(var.insert(v.name.clone(), value.clone())),
            None => unset.push(v.name.clone()),
        }
    }
    let var = Value::Object(var);
    for v in &variables {
        validate(v, &var, &bare, d);
    }
    let local = locals(body, &var, &unset, &bare, d);
    Values { var, local, unset }
}

fn declared<'a>(body: &'a Body, scope: &Scope<'_>, d: &mut Decoder) -> Vec<Variable<'a>> {
    let mut out: Vec<Variable<'a>> = Vec::new();
    for block in body.get_blocks("variable") {
        let [label] = block.labels.as_slice() else {
            let detail = "All variable blocks must have 1 labels (name).";
            d.say(block.ident.span(), "Missing name for variable", detail);
            continue;
        };
        let name = label.as_str().to_owned();
        for s in block.body.iter() {
            let (known, at, key) = match s {
                Structure::Attribute(a) => {
                    let known = ["type", "default", "description"].contains(&a.key.as_str());
                    (known, a.key.span(), a.key.as_str())
                }
                Structure::Block(b) => {
                    (b.ident.as_str() == "validation", b.ident.span(), b.ident.as_str())
                }
            };
            if !known {
                let detail = format!("An argument named \"{key}\" is not expected here.");
                d.say(at, "Unsupported argument", detail);
            }
        }
        let of = block.body.get_attribute("type").map(|a| &a.value);
        let mut value = None;
        if let Some(default) = block.body.get_attribute("default") {
            match scope.eval(&default.value).map(|v| typed(v, of)) {
                Ok(Ok(v)) => value = Some(v),
                Ok(Err(why)) => {
                    let detail = format!(
                        "This default value is not compatible with the variable's type \
                         constraint: {why}."
                    );
                    d.say(default.value.span(), "Invalid default value for variable", detail);
                }
                Err(e) => d.keep(e),
            }
        }
        add(&mut out, Variable { name, block: Some(block), of, value }, label.span(), d);
    }
    for block in body.get_blocks("variables") {
        for a in block.body.attributes() {
            let value = scope.eval(&a.value).map_err(|e| d.keep(e)).ok();
            let name = a.key.as_str().to_owned();
            add(&mut out, Variable { name, block: None, of: None, value }, a.key.span(), d);
        }
    }
    out
}

fn add<'a>(
    out: &mut Vec<Variable<'a>>,
    v: Variable<'a>,
    at: Option<std::ops::Range<usize>>,
    d: &mut Decoder,
) {
    if out.iter().any(|o| o.name == v.name) {
        let detail = format!("Variable \"{}\" has already been declared.", v.name);
        d.say(at, "Duplicate variable", detail);
    } else {
        out.push(v);
    }
}

/// Sets what the inputs give, weakest first.
fn give(variables: &mut [Variable<'_>], inputs: &Inputs<'_>, budget: &Budget, d: &mut Decoder) {
    let mut set = |name: &str, value: Given<'_>, strict: bool, d: &mut Decoder| {
        let Some(v) = variables.iter_mut().find(|v| v.name == name) else {
            if strict {
                let detail = format!(
                    "A \"{name}\" variable was set but was not found in known variables. To \
                     declare variable \"{name}\", place a variable definition block in the job."
                );
                d.say(None, "Undefined variable", detail);
            }
            return;
        };
        let value = match value {
            Given::Value(value) => Ok(value),
            // Where text is wanted, or what is given is no expression, the text is the value.
            Given::Text(text) if is(v.of, "string") => Ok(Value::from(text)),
            Given::Text(text) => match parse_expr(text) {
                Ok(e) => {
                    let scope =
                        Scope { text, names: &[], unset: &[], files: None, budget, outer: None };
                    scope.eval(&e)
                }
                Err(_) if v.of.is_none() => Ok(Value::from(text)),
                Err(e) => Err(Diagnostic { range: None, ..e }),
            },
        };
        let value = value.and_then(|value| {
            typed(value, v.of).map_err(|why| {
                let summary = format!("Invalid value for variable \"{name}\"");
                Diagnostic::new(None, summary, format!("The value does not fit: {why}."))
            })
        });
        match value {
            Ok(value) => v.value = Some(value),
            Err(e) => d.keep(e),
        }
    };
    for (name, text) in inputs.environment {
        set(name, Given::Text(text), false, d);
    }
    for (file, text) in inputs.files {
        for (name, value) in values_of_file(file, text, budget, d) {
            set(&name, Given::Value(value), inputs.strict, d);
        }
    }
    for (name, text) in inputs.flags {
        set(name, Given::Text(text), inputs.strict, d);
    }
}

enum Given<'a> {
    Value(Value),
    Text(&'a str),
}

/// Names and values of a file of variables, HCL or JSON.
fn values_of_file(
    file: &str,
    text: &str,
    budget: &Budget,
    d: &mut Decoder,
) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    if text.trim_start().starts_with('{') {
        match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(map) => out.extend(map),
            Err(e) => d.say(None, "Invalid variables", format!("{file}: {e}.")),
        }
        return out;
    }
    let source = Source { name: file, text };
    let mut told = |e: &Diagnostic| {
        d.keep(Diagnostic::new(None, "Invalid variables", source.line(e)));
    };
    match parse(text) {
        Ok(body) => {
            let scope = Scope { text, names: &[], unset: &[], files: None, budget, outer: None };
            for a in body.attributes() {
                match scope.eval(&a.value) {
                    Ok(value) => drop(out.insert(a.key.as_str().to_owned(), value)),
                    Err(e) => told(&e),
                }
            }
            for b in body.blocks() {
                let detail = "Only values of variables may stand in this file.";
                told(&Diagnostic::new(b.ident.span(), "Unsupported block type", detail));
            }
        }
        Err(all) => all.iter().for_each(told),
    }
    out
}

/// Runs the `validation` blocks of a variable.
fn validate(v: &Variable<'_>, var: &Value, scope: &Scope<'_>, d: &mut Decoder) {
    let (Some(block), Some(value)) = (v.block, &v.value) else { return };
    for rule in block.body.get_blocks("validation") {
        let of = |key: &str| rule.body.get_attribute(key).map(|a| &a.value);
        let (Some(condition), Some(message)) = (of("condition"), of("error_message")) else {
            let detail = "A validation has a \"condition\" and an \"error_message\".";
            d.say(rule.ident.span(), "Missing required argument", detail);
            continue;
        };
        // A condition may look at its own variable only.
        let own = json!({ v.name.as_str(): value });
        let names = [("var", if var.is_object() { own } else { Value::Null })];
        let inner = scope.with(&names);
        let met = inner.eval(condition).map(|v| to_bool(&v));
        match (met, inner.text_of(message)) {
            (Ok(Some(true)), _) => {}
            (Ok(Some(false)), Ok(message)) => {
                let summary = format!("Invalid value for variable \"{}\"", v.name);
                d.say(condition.span(), &summary, message);
            }
            (Ok(None), _) => {
                let detail = "The condition must be true or false.";
                d.say(condition.span(), "Invalid validation", detail);
            }
            (Err(e), _) | (_, Err(e)) => d.keep(e),
        }
    }
}

/// Evaluates `locals`, which may use each other in any order.
fn locals(body: &Body, var: &Value, unset: &[String], scope: &Scope<'_>, d: &mut Decoder) -> Value {
    let mut left: Vec<(&str, &Expression)> = body
        .get_blocks("locals")
        .flat_map(|b| b.body.attributes())
        .map(|a| (a.key.as_str(), &a.value))
        .collect();
    let mut done = Map::new();
    loop {
        let before = left.len();
        let names = [("var", var.clone()), ("local", Value::Object(done.clone()))];
        let inner = Scope { unset, ..scope.with(&names) };
        let mut errors = Vec::new();
        left.retain(|(name, e)| match inner.eval(e) {
            Ok(value) => {
                done.insert((*name).to_owned(), value);
                false
            }
            Err(e) => {
                errors.push(e);
                true
            }
        });
        // A round that resolves nothing leaves real mistakes, circles among them.
        if left.is_empty() || left.len() == before {
            errors.into_iter().for_each(|e| d.keep(e));
            return Value::Object(done);
        }
    }
}

fn is(of: Option<&Expression>, name: &str) -> bool {
    matches!(of, Some(Expression::Variable(v)) if v.as_str() == name)
}
