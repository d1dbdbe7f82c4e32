//! Expressions to values.
//!
//! A reference whose first name is not in scope belongs to the client: it stays in the value as
//! `${…}`, to be resolved where the task runs. Everything else is evaluated here, within a budget,
//! so that no text of a few lines can hold up a server.

use std::cell::Cell;

use hcl_edit::Span;
use hcl_edit::expr::{
    BinaryOperator, Expression, ForExpr, FuncCall, ObjectKey, Traversal, TraversalOperator,
    UnaryOperator,
};
use hcl_edit::template::{Directive, Element, ForDirective, IfDirective, Template};
use serde_json::{Map, Value};

use super::convert::{equal, kind, number, to_bool, to_f64, to_i64, to_text};
use super::diag::{Diagnostic, nearest};
use super::disk::Files;
use super::functions;
use super::types::typed;
use crate::limits::HCL_VALUE_BYTES_MAX;

pub type Result<T> = std::result::Result<T, Diagnostic>;

/// What is left to spend; shared by all scopes of one evaluation.
pub struct Budget {
    steps: Cell<u64>,
    bytes: Cell<usize>,
}

impl Budget {
    /// So many steps, and the text that any evaluation may make.
    pub fn new(steps: u64) -> Self {
        Self { steps: Cell::new(steps), bytes: Cell::new(HCL_VALUE_BYTES_MAX) }
    }

    fn step(&self) -> bool {
        let left = self.steps.get();
        self.steps.set(left.saturating_sub(1));
        left > 0
    }

    /// Text that an evaluation made; false once there was too much.
    pub(super) fn text(&self, bytes: usize) -> bool {
        let left = self.bytes.get();
        self.bytes.set(left.saturating_sub(bytes));
        left >= bytes
    }
}

/// The names that an expression may use.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The text that the places of the expression are in.
    pub text: &'a str,
    pub names: &'a [(&'a str, Value)],
    /// Names of the variables that are declared, but that nobody gave a value.
    pub unset: &'a [String],
    pub files: Files<'a>,
    pub budget: &'a Budget,
    pub outer: Option<&'a Self>,
}

impl<'a> Scope<'a> {
    fn find(&self, name: &str) -> Option<&Value> {
        let here = self.names.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
        here.or_else(|| self.outer?.find(name))
    }

    /// A scope with more names.
    pub fn with<'b>(&'b self, names: &'b [(&'b str, Value)]) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope { names, outer: Some(self), ..*self }
    }

    /// The text of a part of the tree.
    fn source(&self, of: &dyn Span) -> &'a str {
        of.span().and_then(|r| self.text.get(r)).unwrap_or_default().trim()
    }

    pub fn eval(&self, e: &Expression) -> Result<Value> {
        if !self.budget.step() {
            return Err(too_much(e));
        }
        Ok(match e {
            Expression::Null(_) => Value::Null,
            Expression::Bool(b) => Value::Bool(*b.value()),
            Expression::Number(n) => {
                let n = n.value();
                match (n.as_i64(), n.as_u64(), n.as_f64()) {
                    (Some(i), ..) => Value::from(i),
                    (_, Some(u), _) => Value::from(u),
                    (.., f) => f.and_then(number).unwrap_or(Value::Null),
                }
            }
            Expression::String(s) => Value::String(s.value().clone()),
            Expression::Array(a) => {
                Value::Array(a.iter().map(|e| self.eval(e)).collect::<Result<_>>()?)
            }
            Expression::Object(o) => {
                let mut out = Map::new();
                for (key, value) in o.iter() {
                    let key = match key {
                        ObjectKey::Ident(name) => name.as_str().to_owned(),
                        ObjectKey::Expression(Expression::Variable(v)) => v.as_str().to_owned(),
                        ObjectKey::Expression(e) => self.text_of(e)?,
                    };
                    out.insert(key, self.eval(value.expr())?);
                }
                Value::Object(out)
            }
            Expression::StringTemplate(t) => return self.template_value(t, e),
            Expression::HeredocTemplate(t) => return self.template_value(&t.template, e),
            Expression::Parenthesis(p) => return self.eval(p.inner()),
            Expression::Variable(name) => match self.find(name.as_str()) {
                Some(value) => value.clone(),
                None => Value::String(format!("${{{}}}", name.as_str())),
            },
            Expression::Conditional(c) => {
                let met = self.condition(&c.cond_expr)?;
                return self.eval(if met { &c.true_expr } else { &c.false_expr });
            }
            Expression::FuncCall(call) => return self.call(call, e),
            Expression::Traversal(t) => return self.traverse(t, e),
            Expression::UnaryOp(op) => match op.operator.value() {
                UnaryOperator::Not => Value::Bool(!self.condition(&op.expr)?),
                UnaryOperator::Neg => match number(-self.number_of(&op.expr)?) {
                    Some(n) => n,
                    None => return Err(bad(e, "The result is not a number.")),
                },
            },
            Expression::BinaryOp(op) => {
                return self.binary(&op.lhs_expr, *op.operator.value(), &op.rhs_expr, e);
            }
            Expression::ForExpr(f) => return self.for_expr(f, e),
        })
    }

    /// The value as text.
    pub fn text_of(&self, e: &Expression) -> Result<String> {
        let value = self.eval(e)?;
        to_text(&value).ok_or_else(|| wanted(e, "string", &value))
    }

    fn condition(&self, e: &Expression) -> Result<bool> {
        let value = self.eval(e)?;
        to_bool(&value).ok_or_else(|| wanted(e, "bool", &value))
    }

    fn number_of(&self, e: &Expression) -> Result<f64> {
        let value = self.eval(e)?;
        to_f64(&value).ok_or_else(|| wanted(e, "number", &value))
    }

    /// A reference. One that starts with a name of ours is resolved, others stay as text.
    fn traverse(&self, t: &Traversal, e: &Expression) -> Result<Value> {
        let mut value = match &t.expr {
            Expression::Variable(name) => match self.find(name.as_str()) {
                Some(value) => value.clone(),
                None => return Ok(Value::String(format!("${{{}}}", self.source(e)))),
            },
            other => self.eval(other)?,
        };
        if let (Expression::Variable(root), Some(TraversalOperator::GetAttr(name))) =
            (&t.expr, t.operators.first().map(|o| o.value()))
            && root.as_str() == "var"
            && self.unset.iter().any(|u| u == name.as_str())
        {
            return Err(unset(name.as_str()));
        }
        for (i, op) in t.operators.iter().enumerate() {
            value = match op.value() {
                TraversalOperator::GetAttr(name) => attribute(&value, name.as_str(), op)?,
                TraversalOperator::Index(index) => {
                    let index = self.eval(index)?;
                    element(&value, &index, op)?
                }
                TraversalOperator::LegacyIndex(n) => element(&value, &Value::from(*n.value()), op)?,
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                    let items = match value {
                        Value::Array(items) => items,
                        Value::Null => Vec::new(),
                        one => vec![one],
                    };
                    let rest = t.operators.get(i + 1..).unwrap_or_default();
                    let mut out = Vec::with_capacity(items.len());
                    for mut item in items {
                        for op in rest {
                            item = match op.value() {
                                TraversalOperator::GetAttr(n) => attribute(&item, n.as_str(), op)?,
                                TraversalOperator::Index(i) => {
                                    let index = self.eval(i)?;
                                    element(&item, &index, op)?
                                }
                                TraversalOperator::LegacyIndex(n) => {
                                    element(&item, &Value::from(*n.value()), op)?
                                }
                                _ => return Err(bad(op, "A splat inside a splat.")),
                            };
                        }
                        out.push(item);
                    }
                    return Ok(Value::Array(out));
                }
            };
        }
        Ok(value)
    }

    fn binary(
        &self,
        left: &Expression,
        op: BinaryOperator,
        right: &Expression,
        e: &Expression,
    ) -> Result<Value> {
        use BinaryOperator as B;
        match op {
            B::And => return Ok(Value::Bool(self.condition(left)? && self.condition(right)?)),
            B::Or => return Ok(Value::Bool(self.condition(left)? || self.condition(right)?)),
            B::Eq => return Ok(Value::Bool(equal(&self.eval(left)?, &self.eval(right)?))),
            B::NotEq => return Ok(Value::Bool(!equal(&self.eval(left)?, &self.eval(right)?))),
            _ => {}
        }
        let (a, b) = (self.number_of(left)?, self.number_of(right)?);
        let result = match op {
            B::Less => return Ok(Value::Bool(a < b)),
            B::LessEq => return Ok(Value::Bool(a <= b)),
            B::Greater => return Ok(Value::Bool(a > b)),
            B::GreaterEq => return Ok(Value::Bool(a >= b)),
            B::Plus => a + b,
            B::Minus => a - b,
            B::Mul => a * b,
            B::Div | B::Mod if b == 0.0 => {
                return Err(Diagnostic::new(
                    right.span(),
                    "Division by zero",
                    "The right side of a division is zero.",
                ));
            }
            B::Div => a / b,
            _ => a % b,
        };
        number(result).ok_or_else(|| bad(e, "The result is not a number."))
    }

    fn call(&self, call: &FuncCall, e: &Expression) -> Result<Value> {
        let name = call.name.name.as_str();
        // These two look at what their arguments evaluate to, or that they do not.
        if matches!(name, "try" | "can") && !call.name.is_namespaced() {
            let mut last = bad(e, "It needs an argument.");
            for argument in call.args.iter() {
                match self.eval(argument) {
                    Ok(_) if name == "can" => return Ok(Value::Bool(true)),
                    Ok(value) => return Ok(value),
                    Err(e) => last = e,
                }
            }
            return if name == "can" { Ok(Value::Bool(false)) } else { Err(last) };
        }
        if name == "convert" {
            return self.convert(call, e);
        }
        let mut args = call.args.iter().map(|a| self.eval(a)).collect::<Result<Vec<_>>>()?;
        if call.args.expand_final() {
            match args.pop() {
                Some(Value::Array(more)) => args.extend(more),
                _ => return Err(bad(e, "Only a list can be expanded by three dots.")),
            }
        }
        let value = functions::call(name, &args, self.files).map_err(|why| match why {
            functions::Refusal::Unknown => {
                let near = nearest(name, functions::names());
                let hint = near.map(|n| format!(" Did you mean \"{n}\"?")).unwrap_or_default();
                Diagnostic::new(
                    call.name.name.span(),
                    "Call to unknown function",
                    format!("There is no function named \"{name}\".{hint}"),
                )
            }
            functions::Refusal::Because(why) => Diagnostic::new(
                e.span(),
                "Error in function call",
                format!("Call to function \"{name}\" failed: {why}."),
            ),
        })?;
        if self.budget.text(weight(&value)) { Ok(value) } else { Err(too_much(e)) }
    }

    /// `convert(value, type)`: the second argument is no value.
    fn convert(&self, call: &FuncCall, e: &Expression) -> Result<Value> {
        let fault = |why: String| {
            let detail = format!("Call to function \"convert\" failed: {why}.");
            Diagnostic::new(e.span(), "Error in function call", detail)
        };
        let (Some(value), Some(of), 2) = (call.args.get(0), call.args.get(1), call.args.len())
        else {
            return Err(fault(format!("it takes 2 arguments, not {}", call.args.len())));
        };
        typed(self.eval(value)?, Some(of)).map_err(fault)
    }

    fn for_expr(&self, f: &ForExpr, e: &Expression) -> Result<Value> {
        let intro = &f.intro;
        let collection = self.eval(&intro.collection_expr)?;
        let (mut list, mut object) = (Vec::new(), Map::new());
        for (key, value) in pairs(collection, &intro.collection_expr)? {
            let names: [(&str, Value); 2] = [
                (intro.value_var.as_str(), value),
                (intro.key_var.as_ref().map_or("", |k| k.as_str()), key),
            ];
            let inner = self.with(&names);
            if let Some(cond) = &f.cond
                && !inner.condition(&cond.expr)?
            {
                continue;
            }
            let value = inner.eval(&f.value_expr)?;
            if !self.budget.text(weight(&value)) {
                return Err(too_much(e));
            }
            let Some(key) = &f.key_expr else {
                list.push(value);
                continue;
            };
            let key = inner.text_of(key)?;
            if !f.grouping {
                object.insert(key, value);
            } else if let Some(Value::Array(group)) = object.get_mut(&key) {
                group.push(value);
            } else {
                object.insert(key, Value::Array(vec![value]));
            }
        }
        Ok(if f.key_expr.is_some() { Value::Object(object) } else { Value::Array(list) })
    }

    /// A template of one interpolation alone is the value itself, any other is text.
    fn template_value(&self, t: &Template, e: &Expression) -> Result<Value> {
        if let (1, Some(Element::Interpolation(i))) = (t.len(), t.get(0)) {
            return self.eval(&i.expr);
        }
        let text = self.template(t, false, false)?;
        if self.budget.text(text.len()) { Ok(Value::String(text)) } else { Err(too_much(e)) }
    }

    /// The text of a template. The ends of its literals lose their white space where a marker
    /// beside them says so (`~`), also one outside of this template.
    fn template(&self, t: &Template, trim_start: bool, trim_end: bool) -> Result<String> {
        let mut out = String::new();
        let mut trim = trim_start;
        for (i, element) in t.iter().enumerate() {
            let next = match t.get(i + 1) {
                Some(next) => strips(next).0,
                None => trim_end,
            };
            match element {
                Element::Literal(text) => {
                    let text = text.as_str();
                    let text = if trim { text.trim_start() } else { text };
                    out.push_str(if next { text.trim_end() } else { text });
                }
                Element::Interpolation(i) => out.push_str(&self.text_of(&i.expr)?),
                Element::Directive(d) => match &**d {
                    Directive::If(d) => self.if_directive(d, &mut out)?,
                    Directive::For(d) => self.for_directive(d, &mut out)?,
                },
            }
            if out.len() > HCL_VALUE_BYTES_MAX || !self.budget.step() {
                return Err(Diagnostic::new(None, TOO_MUCH.0, TOO_MUCH.1));
            }
            trim = strips(element).1;
        }
        Ok(out)
    }

    fn if_directive(&self, d: &IfDirective, out: &mut String) -> Result<()> {
        let first = d.if_expr.strip.strip_end();
        let last = d.endif_expr.strip.strip_start();
        let text = match (self.condition(&d.if_expr.cond_expr)?, &d.else_expr) {
            (true, Some(e)) => self.template(&d.if_expr.template, first, e.strip.strip_start())?,
            (true, None) => self.template(&d.if_expr.template, first, last)?,
            (false, Some(e)) => self.template(&e.template, e.strip.strip_end(), last)?,
            (false, None) => return Ok(()),
        };
        out.push_str(&text);
        Ok(())
    }

    fn for_directive(&self, d: &ForDirective, out: &mut String) -> Result<()> {
        let (first, last) = (d.for_expr.strip.strip_end(), d.endfor_expr.strip.strip_start());
        let f = &d.for_expr;
        let collection = self.eval(&f.collection_expr)?;
        for (key, value) in pairs(collection, &f.collection_expr)? {
            let names: [(&str, Value); 2] = [
                (f.value_var.as_str(), value),
                (f.key_var.as_ref().map_or("", |k| k.as_str()), key),
            ];
            out.push_str(&self.with(&names).template(&f.template, first, last)?);
            if out.len() > HCL_VALUE_BYTES_MAX {
                return Err(Diagnostic::new(None, TOO_MUCH.0, TOO_MUCH.1));
            }
        }
        Ok(())
    }
}

/// Whether an element takes the white space before and after itself.
fn strips(element: &Element) -> (bool, bool) {
    match element {
        Element::Literal(_) => (false, false),
        Element::Interpolation(i) => (i.strip.strip_start(), i.strip.strip_end()),
        Element::Directive(d) => match &**d {
            Directive::If(d) => (d.if_expr.strip.strip_start(), d.endif_expr.strip.strip_end()),
            Directive::For(d) => (d.for_expr.strip.strip_start(), d.endfor_expr.strip.strip_end()),
        },
    }
}

/// Keys and values of what can be walked: indexes of a list, names of an object.
pub fn pairs(collection: Value, e: &dyn Span) -> Result<Vec<(Value, Value)>> {
    match collection {
        Value::Array(items) => {
            Ok(items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect())
        }
        Value::Object(map) => Ok(map.into_iter().map(|(k, v)| (Value::String(k), v)).collect()),
        other => Err(Diagnostic::new(
            e.span(),
            "Iteration over non-iterable value",
            format!("A value of type {} cannot be used as the collection.", kind(&other)),
        )),
    }
}

fn attribute(value: &Value, name: &str, at: &dyn Span) -> Result<Value> {
    match value {
        Value::Object(map) => map.get(name).cloned().ok_or_else(|| {
            let near = nearest(name, map.keys().map(String::as_str));
            let hint = near.map(|n| format!(" Did you mean \"{n}\"?")).unwrap_or_default();
            let detail = format!("This object does not have an attribute named \"{name}\".{hint}");
            Diagnostic::new(at.span(), "Unsupported attribute", detail)
        }),
        other => Err(Diagnostic::new(
            at.span(),
            "Unsupported attribute",
            format!("A value of type {} does not have any attributes.", kind(other)),
        )),
    }
}

fn element(value: &Value, index: &Value, at: &dyn Span) -> Result<Value> {
    let found = match value {
        Value::Array(items) => {
            to_i64(index).and_then(|i| usize::try_from(i).ok()).and_then(|i| items.get(i))
        }
        Value::Object(map) => to_text(index).and_then(|k| map.get(&k)),
        _ => None,
    };
    found.cloned().ok_or_else(|| {
        let detail = "The given key does not identify an element in this collection value.";
        Diagnostic::new(at.span(), "Invalid index", detail)
    })
}

/// A variable that is used, and that nobody gave a value.
pub fn unset(name: &str) -> Diagnostic {
    Diagnostic::new(
        None,
        format!("Unset variable \"{name}\""),
        "A used variable must be set or have a default value; see \
         https://developer.hashicorp.com/nomad/docs/reference/hcl2/variables  for details.",
    )
}

fn wanted(e: &Expression, what: &str, value: &Value) -> Diagnostic {
    let detail = format!("Inappropriate value: {what} required, not {}.", kind(value));
    Diagnostic::new(e.span(), "Unsuitable value type", detail)
}

fn bad(e: &dyn Span, detail: &str) -> Diagnostic {
    Diagnostic::new(e.span(), "Invalid expression", detail)
}

const TOO_MUCH: (&str, &str) =
    ("Evaluation takes too much", "The text expands to more than any job may hold.");

fn too_much(e: &dyn Span) -> Diagnostic {
    Diagnostic::new(e.span(), TOO_MUCH.0, TOO_MUCH.1)
}

/// Bytes that a value stands for, roughly.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(s) => s.len() + 24,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 24,
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + weight(v)).sum::<usize>() + 24,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HCL_STEPS_MAX;
    use serde_json::json;

    fn eval(text: &str) -> Result<Value> {
        let expression = crate::hcl::parse_expr(text)?;
        let names = [("var", json!({"n": 3, "list": ["a", "b"], "o": {"k": "v"}}))];
        let (budget, unset) = (Budget::new(HCL_STEPS_MAX), ["u".to_owned()]);
        Scope { text, names: &names, unset: &unset, files: None, budget: &budget, outer: None }
            .eval(&expression)
    }

    #[track_caller]
    fn check(text: &str, value: Value) {
        assert_eq!(eval(text), Ok(value), "{text}");
    }

    #[test]
    fn values_are_evaluated() {
        check("1 + 2 * 3", json!(7));
        check("7 / 2", json!(3.5));
        check("var.n > 2 && !false ? \"yes\" : \"no\"", json!("yes"));
        check("var.list[1]", json!("b"));
        check("var.o[\"k\"]", json!("v"));
        check("[for i, x in var.list : \"${i}=${x}\"]", json!(["0=a", "1=b"]));
        check("{for x in var.list : x => upper(x) if x != \"a\"}", json!({"b": "B"}));
        check("[{a = 1}, {a = 2}][*].a", json!([1, 2]));
        check("\"${var.n}\"", json!(3));
        check("\"n is ${var.n}\"", json!("n is 3"));
        check("{a = 1, \"b c\" = [2, null]}", json!({"a": 1, "b c": [2, null]}));
        check("try(var.nope, \"else\")", json!("else"));
        check("can(var.nope)", json!(false));
        check("max([1, 5, 2]...)", json!(5));
        check("-var.n", json!(-3));
    }

    #[test]
    fn references_of_the_client_stay() {
        check("attr.kernel.name", json!("${attr.kernel.name}"));
        check("\"${node.class}-${var.n}\"", json!("${node.class}-3"));
        check("\"${meta[\"a.b\"]}\"", json!("${meta[\"a.b\"]}"));
        check("\"$${x}\"", json!("${x}"));
        check("NOMAD_PORT_http", json!("${NOMAD_PORT_http}"));
        check("upper(\"x\")", json!("X"));
    }

    #[test]
    fn templates_have_directives_and_markers() {
        check("\"%{ if var.n == 3 }three%{ else }other%{ endif }\"", json!("three"));
        check("\"%{ for x in var.list }<${x}>%{ endfor }\"", json!("<a><b>"));
        check("\"a  ${~ var.n ~}  b\"", json!("a3b"));
        check("<<EOF\n  one\n  ${var.n}\nEOF", json!("  one\n  3\n"));
        check("<<-EOF\n    one\n      two\n    EOF", json!("one\n  two\n"));
    }

    #[test]
    fn mistakes_have_places_and_hints() {
        let said =
            |text: &str| crate::hcl::Source { name: "t", text }.line(&eval(text).unwrap_err());
        assert_eq!(
            said("uper(\"x\")"),
            "t:1,1-5: Call to unknown function; There is no function named \"uper\". \
             Did you mean \"upper\"?"
        );
        assert!(said("var.lst").contains("Did you mean \"list\"?"));
        assert!(said("1 / 0").starts_with("t:1,5-6: Division by zero"));
        assert!(said("var.u").starts_with("<nil>: Unset variable \"u\""));
        assert!(said("\"a\" + 1").contains("number required, not string"));
    }

    #[test]
    fn expansion_is_bounded() {
        let ten = "0,1,2,3,4,5,6,7,8,9";
        let bomb = format!(
            "[for a in [{ten}] : [for b in [{ten}] : [for c in [{ten}] : [for d in [{ten}] : \
             [for e in [{ten}] : [for f in [{ten}] : [for g in [{ten}] : \"x\"]]]]]]]"
        );
        assert_eq!(eval(&bomb).unwrap_err().summary, TOO_MUCH.0);
    }
}
