//! The functions of the language, as one table.

mod bcrypt;
mod collections;
mod digest;
mod files;
mod net;
mod numbers;
mod rsa;
mod strings;
mod times;

use serde_json::Value;

use super::convert::{kind, to_f64, to_i64, to_text};
use super::disk::Files;

/// Why there is no value.
pub(super) enum Refusal {
    Unknown,
    Because(String),
}

type Result = std::result::Result<Value, String>;

/// A function: its name, the least and the greatest number of arguments, and what it does.
type Function = (&'static str, usize, usize, fn(&[Value]) -> Result);

const MANY: usize = usize::MAX;

/// The tables, each sorted by what its file is about.
const TABLES: [&[Function]; 6] =
    [collections::TABLE, digest::TABLE, net::TABLE, numbers::TABLE, strings::TABLE, times::TABLE];

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let tables = TABLES.iter().flat_map(|t| t.iter().map(|f| f.0));
    tables.chain(files::TABLE.map(|f| f.0)).chain(["try", "can", "convert"])
}

/// Runs a function.
pub(super) fn call(
    name: &str,
    args: &[Value],
    files: Files<'_>,
) -> std::result::Result<Value, Refusal> {
    let of_files = files::TABLE.iter().find(|f| f.0 == name);
    let found = TABLES.iter().flat_map(|t| t.iter()).find(|f| f.0 == name);
    let (least, most) = match (found, of_files) {
        (Some(f), _) => (f.1, f.2),
        (_, Some(f)) => (f.1, f.2),
        _ => return Err(Refusal::Unknown),
    };
    if args.len() < least || args.len() > most {
        let wanted = match (least, most) {
            (n, MANY) => format!("at least {n}"),
            (n, m) if n == m => n.to_string(),
            (n, m) => format!("{n} to {m}"),
        };
        return Err(Refusal::Because(format!("it takes {wanted} arguments, not {}", args.len())));
    }
    found.map_or_else(|| files::call(name, args, files), |f| f.3(args)).map_err(Refusal::Because)
}

// ---- Arguments ----------------------------------------------------------------------------------

/// The argument, `null` where it was left out.
fn arg(args: &[Value], i: usize) -> &Value {
    args.get(i).unwrap_or(&Value::Null)
}

fn wrong(what: &str, value: &Value, i: usize) -> String {
    format!("argument {} must be a {what}, not {}", i + 1, kind(value))
}

fn text(args: &[Value], i: usize) -> std::result::Result<String, String> {
    let value = arg(args, i);
    to_text(value).ok_or_else(|| wrong("string", value, i))
}

fn float(args: &[Value], i: usize) -> std::result::Result<f64, String> {
    let value = arg(args, i);
    to_f64(value).ok_or_else(|| wrong("number", value, i))
}

fn int(args: &[Value], i: usize) -> std::result::Result<i64, String> {
    let value = arg(args, i);
    to_i64(value).ok_or_else(|| wrong("whole number", value, i))
}

/// A whole number that counts something.
fn count(args: &[Value], i: usize) -> std::result::Result<usize, String> {
    usize::try_from(int(args, i)?).map_err(|_| format!("argument {} may not be negative", i + 1))
}

fn list(args: &[Value], i: usize) -> std::result::Result<&Vec<Value>, String> {
    let value = arg(args, i);
    value.as_array().ok_or_else(|| wrong("list", value, i))
}

fn map(args: &[Value], i: usize) -> std::result::Result<&serde_json::Map<String, Value>, String> {
    let value = arg(args, i);
    value.as_object().ok_or_else(|| wrong("map", value, i))
}

fn texts(args: &[Value], i: usize) -> std::result::Result<Vec<String>, String> {
    let one = |v: &Value| to_text(v).ok_or_else(|| wrong("list of strings", v, i));
    list(args, i)?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, value: &Value) {
        let expression = crate::hcl::parse_expr(text).unwrap();
        let budget = crate::hcl::eval::Budget::new(crate::limits::HCL_STEPS_MAX);
        let scope = crate::hcl::Scope {
            text,
            names: &[],
            unset: &[],
            files: None,
            budget: &budget,
            outer: None,
        };
        match scope.eval(&expression) {
            Ok(got) => assert_eq!(&got, value, "{text}"),
            Err(e) => assert_eq!(&json!({ "error": e.detail }), value, "{text}"),
        }
    }

    /// All that the reference documents.
    #[test]
    fn every_function_is_there() {
        let wanted = "abs base64decode base64encode bcrypt can ceil chomp chunklist cidrhost \
            cidrnetmask cidrsubnet cidrsubnets coalesce coalescelist compact concat contains \
            convert csvdecode distinct element flatten floor format formatdate formatlist indent \
            index join jsondecode jsonencode keys length log lookup lower max md5 merge min \
            parseint pow range regex_replace replace reverse rsadecrypt setintersection setproduct \
            setunion sha1 sha256 sha512 signum slice sort split strlen strrev substr timeadd title \
            trim trimprefix trimspace trimsuffix try upper urlencode uuidv4 uuidv5 values \
            yamldecode yamlencode zipmap abspath basename dirname file filebase64 fileexists \
            fileset pathexpand";
        let missing: Vec<_> =
            wanted.split_whitespace().filter(|w| !names().any(|n| n == *w)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn functions_do_what_they_are_documented_to() {
        let cases: Vec<(String, Value)> = include_str!("cases.txt")
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .map(|l| l.split_once(" -> ").expect("an arrow"))
            .map(|(e, v)| (e.to_owned(), serde_json::from_str(v).expect("JSON")))
            .collect();
        assert!(cases.len() > 90);
        for (expression, value) in cases {
            check(&expression, &value);
        }
    }
}
