//! Types as the language writes them: of variables, and of `convert`.

use hcl_edit::expr::{Expression, Object, ObjectKey};
use serde_json::{Map, Value};

use super::convert::{kind, number, set, to_bool, to_f64, to_text};

/// The value as a type, such as `list(string)`; without a type as it is. Errors are phrases.
pub fn typed(value: Value, of: Option<&Expression>) -> Result<Value, String> {
    let Some(of) = of else { return Ok(value) };
    let wrong = |what: &str, value: &Value| format!("{what} required, not {}", kind(value));
    if value.is_null() {
        return Ok(value);
    }
    match of {
        Expression::Variable(name) => match name.as_str() {
            "string" => to_text(&value).map(Value::from).ok_or_else(|| wrong("string", &value)),
            "number" => to_f64(&value).and_then(number).ok_or_else(|| wrong("a number is", &value)),
            "bool" => to_bool(&value).map(Value::from).ok_or_else(|| wrong("bool", &value)),
            "any" => Ok(value),
            "list" | "set" | "tuple" if value.is_array() => Ok(value),
            "map" | "object" if value.is_object() => Ok(value),
            other => Err(format!("\"{other}\" is no type for it")),
        },
        Expression::FuncCall(call) => {
            let name = call.name.name.as_str();
            let inner = call.args.get(0);
            match (name, value, inner) {
                ("list" | "set", Value::Array(items), _) => {
                    let items: Result<Vec<_>, _> =
                        items.into_iter().map(|v| typed(v, inner)).collect();
                    Ok(if name == "set" { set(&items?) } else { items? }.into())
                }
                ("tuple", Value::Array(items), Some(Expression::Array(types))) => {
                    if items.len() != types.len() {
                        return Err(format!("{} elements are required", types.len()));
                    }
                    items.into_iter().zip(types.iter()).map(|(v, t)| typed(v, Some(t))).collect()
                }
                ("map", Value::Object(map), _) => {
                    let entry = |(k, v)| Ok((k, typed(v, inner)?));
                    Ok(map.into_iter().map(entry).collect::<Result<Map<_, _>, String>>()?.into())
                }
                ("object", Value::Object(map), Some(Expression::Object(types))) => {
                    fields(map, types)
                }
                ("optional", value, Some(inner)) => typed(value, Some(inner)),
                (name, value, _) => Err(wrong(name, &value)),
            }
        }
        _ => Err("the type is not one of the language".to_owned()),
    }
}

/// The fields of an object by their declared types; one that may be left out is null.
fn fields(mut map: Map<String, Value>, types: &Object) -> Result<Value, String> {
    let mut out = Map::new();
    for (key, of) in types.iter() {
        let name = match key {
            ObjectKey::Ident(i) => i.as_str().to_owned(),
            ObjectKey::Expression(e) => match e {
                Expression::Variable(v) => v.as_str().to_owned(),
                Expression::String(s) => s.value().clone(),
                _ => return Err("the names of an object's fields are names".to_owned()),
            },
        };
        let of = of.expr();
        let optional = matches!(of, Expression::FuncCall(c) if c.name.name.as_str() == "optional");
        match map.remove(&name) {
            Some(value) => drop(out.insert(name, typed(value, Some(of))?)),
            None if optional => drop(out.insert(name, Value::Null)),
            None => return Err(format!("attribute \"{name}\" is required")),
        }
    }
    Ok(Value::Object(out))
}
