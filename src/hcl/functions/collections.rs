//! Lists and maps.

use serde_json::{Map, Value};

use super::{Function, MANY, Result, arg, count, int, list, map, text, texts};
use crate::hcl::convert::{distinct, equal, set, sorted, to_f64};
use crate::limits::HCL_STEPS_MAX;

pub(super) const TABLE: &[Function] = &[
    ("chunklist", 2, 2, |a| {
        let size = count(a, 1)?;
        let items = list(a, 0)?;
        let size = if size == 0 { items.len().max(1) } else { size };
        Ok(items.chunks(size).map(|c| Value::Array(c.to_vec())).collect())
    }),
    ("coalesce", 1, MANY, |a| {
        let given = |v: &&Value| !v.is_null() && v.as_str() != Some("");
        a.iter().find(given).cloned().ok_or_else(|| "no argument has a value".to_owned())
    }),
    ("coalescelist", 1, MANY, |a| {
        let given = |v: &&Value| v.as_array().is_some_and(|l| !l.is_empty());
        a.iter().find(given).cloned().ok_or_else(|| "no argument has elements".to_owned())
    }),
    ("compact", 1, 1, |a| {
        let items = list(a, 0)?.iter();
        Ok(items.filter(|v| !v.is_null() && v.as_str() != Some("")).cloned().collect())
    }),
    ("concat", 1, MANY, |a| {
        let mut out = Vec::new();
        for i in 0..a.len() {
            out.extend(list(a, i)?.iter().cloned());
        }
        Ok(out.into())
    }),
    ("contains", 2, 2, |a| Ok(list(a, 0)?.iter().any(|v| equal(v, arg(a, 1))).into())),
    ("csvdecode", 1, 1, |a| csv(&text(a, 0)?)),
    ("distinct", 1, 1, |a| Ok(distinct(list(a, 0)?).into())),
    ("element", 2, 2, |a| {
        let items = list(a, 0)?;
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let at = int(a, 1)?.checked_rem_euclid(length).ok_or("the list is empty")?;
        let found = usize::try_from(at).ok().and_then(|i| items.get(i));
        found.cloned().ok_or_else(|| "there is no such element".to_owned())
    }),
    ("flatten", 1, 1, |a| {
        let mut out = Vec::new();
        flatten(list(a, 0)?, &mut out);
        Ok(out.into())
    }),
    ("index", 2, 2, |a| {
        let found = list(a, 0)?.iter().position(|v| equal(v, arg(a, 1)));
        found.map(Value::from).ok_or_else(|| "item not found".to_owned())
    }),
    ("jsondecode", 1, 1, |a| serde_json::from_str(&text(a, 0)?).map_err(|e| e.to_string())),
    ("jsonencode", 1, 1, |a| Ok(arg(a, 0).to_string().into())),
    ("keys", 1, 1, |a| Ok(map(a, 0)?.keys().map(|k| Value::from(k.as_str())).collect())),
    ("length", 1, 1, |a| {
        Ok(match arg(a, 0) {
            Value::Array(items) => items.len().into(),
            Value::Object(map) => map.len().into(),
            _ => text(a, 0)?.chars().count().into(),
        })
    }),
    ("lookup", 2, 3, |a| {
        let key = text(a, 1)?;
        let found = map(a, 0)?.get(&key).or_else(|| a.get(2));
        found.cloned().ok_or_else(|| format!("the map has no \"{key}\""))
    }),
    ("merge", 0, MANY, |a| {
        let mut out = Map::new();
        for i in 0..a.len() {
            if !arg(a, i).is_null() {
                out.extend(map(a, i)?.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
        }
        Ok(out.into())
    }),
    ("range", 1, 3, range),
    ("setintersection", 1, MANY, |a| {
        let mut out = distinct(list(a, 0)?);
        for i in 1..a.len() {
            let other = list(a, i)?;
            out.retain(|v| other.iter().any(|o| equal(v, o)));
        }
        Ok(sorted(out).into())
    }),
    ("setproduct", 1, MANY, |a| {
        let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
        for i in 0..a.len() {
            let items = list(a, i)?;
            if rows.len().saturating_mul(items.len()) > PRODUCT_MAX {
                return Err("the product is too large".to_owned());
            }
            let longer = |row: &Vec<Value>, v: &Value| [row.clone(), vec![v.clone()]].concat();
            rows = rows.iter().flat_map(|r| items.iter().map(move |v| longer(r, v))).collect();
        }
        Ok(rows.into_iter().map(Value::Array).collect())
    }),
    ("setunion", 1, MANY, |a| {
        let mut out = Vec::new();
        for i in 0..a.len() {
            out.extend(list(a, i)?.iter().cloned());
        }
        Ok(set(&out).into())
    }),
    ("slice", 3, 3, |a| {
        let part = list(a, 0)?.get(count(a, 1)?..count(a, 2)?);
        part.map(|p| p.to_vec().into()).ok_or_else(|| "the ends are not in the list".to_owned())
    }),
    ("sort", 1, 1, |a| {
        let mut all = texts(a, 0)?;
        all.sort();
        Ok(all.into())
    }),
    ("values", 1, 1, |a| Ok(map(a, 0)?.values().cloned().collect())),
    // JSON is YAML too.
    ("yamldecode", 1, 1, |a| {
        let wrong = |(line, why)| format!("line {line} of the YAML: {why}");
        crate::hcl::yaml::parse(&text(a, 0)?).map_err(wrong)
    }),
    ("yamlencode", 1, 1, |a| Ok(crate::hcl::yaml::print(arg(a, 0)).into())),
    ("zipmap", 2, 2, |a| {
        let (keys, values) = (texts(a, 0)?, list(a, 1)?);
        if keys.len() != values.len() {
            return Err("there must be as many values as keys".to_owned());
        }
        Ok(keys.into_iter().zip(values.iter().cloned()).collect::<Map<_, _>>().into())
    }),
];

/// Most rows of a product.
const PRODUCT_MAX: usize = 10_000;

fn flatten(items: &[Value], out: &mut Vec<Value>) {
    for item in items {
        match item {
            Value::Array(inner) => flatten(inner, out),
            other => out.push(other.clone()),
        }
    }
}

fn range(args: &[Value]) -> Result {
    let at = |i: usize| to_f64(arg(args, i)).ok_or("the ends of a range are numbers");
    let (start, end) = if args.len() == 1 { (0.0, at(0)?) } else { (at(0)?, at(1)?) };
    let step = if args.len() == 3 {
        at(2)?
    } else if end < start {
        -1.0
    } else {
        1.0
    };
    if step == 0.0 || (end - start) * step < 0.0 {
        return Err("the step does not lead to the end".to_owned());
    }
    let length = ((end - start) / step).ceil();
    if length > 1024.0 || length > HCL_STEPS_MAX as f64 {
        return Err("more than 1024 values were generated".to_owned());
    }
    let value = |i: u32| crate::hcl::convert::number(f64::from(i).mul_add(step, start));
    Ok((0..length as u32).filter_map(value).collect())
}

/// Rows as objects named by the first row; quotes as in RFC 4180.
fn csv(text: &str) -> Result {
    let mut rows: Vec<Vec<String>> = vec![vec![String::new()]];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(field) = rows.last_mut().and_then(|r| r.last_mut()) else { break };
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => {
                if let Some(row) = rows.last_mut() {
                    row.push(String::new());
                }
            }
            '\r' if !quoted => {}
            '\n' if !quoted => rows.push(vec![String::new()]),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    let mut rows = rows.into_iter().filter(|r| r.len() > 1 || r.iter().any(|f| !f.is_empty()));
    let Some(head) = rows.next() else { return Err("missing header line".to_owned()) };
    let mut out = Vec::new();
    for row in rows {
        if row.len() != head.len() {
            return Err("wrong number of fields".to_owned());
        }
        let object: Map<_, _> =
            head.iter().cloned().zip(row.into_iter().map(Value::from)).collect();
        out.push(Value::Object(object));
    }
    Ok(out.into())
}
