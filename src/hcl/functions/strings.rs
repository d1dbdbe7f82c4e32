//! Text.

use serde_json::Value;

use super::{Function, MANY, Result, arg, count, int, list, text, texts};
use crate::hcl::convert::{number_text, to_f64, to_i64, to_text};
use crate::limits::HCL_VALUE_BYTES_MAX;

pub(super) const TABLE: &[Function] = &[
    ("chomp", 1, 1, |a| Ok(text(a, 0)?.trim_end_matches(['\n', '\r']).into())),
    ("format", 1, MANY, |a| format(&text(a, 0)?, a.get(1..).unwrap_or_default()).map(Value::from)),
    ("formatlist", 1, MANY, formatlist),
    ("indent", 2, 2, |a| {
        let pad = format!("\n{}", " ".repeat(count(a, 0)?.min(1024)));
        Ok(text(a, 1)?.replace('\n', &pad).into())
    }),
    ("join", 2, MANY, |a| {
        let mut all = Vec::new();
        for i in 1..a.len() {
            all.extend(texts(a, i)?);
        }
        Ok(all.join(&text(a, 0)?).into())
    }),
    ("lower", 1, 1, |a| Ok(text(a, 0)?.to_lowercase().into())),
    ("regex_replace", 3, 3, |a| {
        let pattern = regex_lite::Regex::new(&text(a, 1)?).map_err(|e| e.to_string())?;
        Ok(pattern.replace_all(&text(a, 0)?, text(a, 2)?.as_str()).into())
    }),
    ("replace", 3, 3, |a| {
        let (of, what) = (text(a, 0)?, text(a, 1)?);
        // Between slashes stands a regular expression.
        match what.strip_prefix('/').and_then(|w| w.strip_suffix('/')) {
            Some(pattern) if !pattern.is_empty() => {
                let pattern = regex_lite::Regex::new(pattern).map_err(|e| e.to_string())?;
                Ok(pattern.replace_all(&of, text(a, 2)?.as_str()).into())
            }
            _ => {
                let by = text(a, 2)?;
                let found = of.matches(&what).count();
                if found.saturating_mul(by.len()) > HCL_VALUE_BYTES_MAX {
                    return Err("the result is too long".to_owned());
                }
                Ok(of.replace(&what, &by).into())
            }
        }
    }),
    ("reverse", 1, 1, reverse),
    ("split", 2, 2, |a| {
        let (at, of) = (text(a, 0)?, text(a, 1)?);
        if at.is_empty() {
            return Ok(of.chars().map(|c| Value::from(c.to_string())).collect());
        }
        Ok(of.split(&at).map(Value::from).collect())
    }),
    ("strlen", 1, 1, |a| Ok(text(a, 0)?.chars().count().into())),
    ("strrev", 1, 1, reverse),
    ("substr", 3, 3, |a| {
        let chars: Vec<char> = text(a, 0)?.chars().collect();
        let whole = i64::try_from(chars.len()).unwrap_or(i64::MAX);
        let from = int(a, 1)?;
        let from = if from < 0 { (whole + from).max(0) } else { from.min(whole) };
        let length = int(a, 2)?;
        let end = if length < 0 { whole } else { from.saturating_add(length).min(whole) };
        let (from, end) = (usize::try_from(from).unwrap_or(0), usize::try_from(end).unwrap_or(0));
        Ok(chars.get(from..end).unwrap_or_default().iter().collect::<String>().into())
    }),
    ("title", 1, 1, |a| {
        let mut first = true;
        let mut out = String::new();
        for c in text(a, 0)?.chars() {
            if first {
                out.extend(c.to_uppercase());
            } else {
                out.push(c);
            }
            first = !c.is_alphanumeric() && c != '\'';
        }
        Ok(out.into())
    }),
    ("trim", 2, 2, |a| {
        let cut = text(a, 1)?;
        Ok(text(a, 0)?.trim_matches(|c| cut.contains(c)).into())
    }),
    ("trimprefix", 2, 2, |a| {
        let (of, cut) = (text(a, 0)?, text(a, 1)?);
        Ok(of.strip_prefix(&cut).unwrap_or(&of).into())
    }),
    ("trimspace", 1, 1, |a| Ok(text(a, 0)?.trim().into())),
    ("trimsuffix", 2, 2, |a| {
        let (of, cut) = (text(a, 0)?, text(a, 1)?);
        Ok(of.strip_suffix(&cut).unwrap_or(&of).into())
    }),
    ("upper", 1, 1, |a| Ok(text(a, 0)?.to_uppercase().into())),
    ("urlencode", 1, 1, |a| {
        let mut out = String::new();
        for b in text(a, 0)?.bytes() {
            match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(b.into());
                }
                b' ' => out.push('+'),
                _ => out.push_str(&std::format!("%{b:02X}")),
            }
        }
        Ok(out.into())
    }),
];

fn reverse(args: &[Value]) -> Result {
    Ok(match arg(args, 0) {
        Value::Array(items) => items.iter().rev().cloned().collect(),
        _ => text(args, 0)?.chars().rev().collect::<String>().into(),
    })
}

/// `format` for each element of the lists among the arguments; what is no list is repeated.
fn formatlist(args: &[Value]) -> Result {
    let length = args.iter().filter_map(Value::as_array).map(Vec::len).max();
    let Some(length) = length else {
        let one = format(&text(args, 0)?, args.get(1..).unwrap_or_default())?;
        return Ok(vec![Value::from(one)].into());
    };
    let mut out = Vec::new();
    for i in 0..length {
        let mut row = Vec::with_capacity(args.len());
        for (n, a) in args.iter().enumerate() {
            row.push(match a {
                Value::Array(_) => match list(args, n)?.get(i) {
                    Some(item) => item.clone(),
                    None => return Err("all lists must be of one length".to_owned()),
                },
                same => same.clone(),
            });
        }
        let line = format(&text(&row, 0)?, row.get(1..).unwrap_or_default())?;
        out.push(Value::from(line));
    }
    Ok(out.into())
}

/// The verbs of `fmt.Sprintf` that make sense here: `%s %d %v %q %t %f %g %e %x %X %o %b %c %%`,
/// with flags, width, precision and `[n]` indexes.
fn format(pattern: &str, args: &[Value]) -> std::result::Result<String, String> {
    let mut out = String::new();
    let mut rest = pattern.chars().peekable();
    let mut next = 0;
    let mut used = 0;
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(f) = rest.next_if(|c| "+-# 0".contains(*c)) {
            flags.push(f);
        }
        let digits = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut n = String::new();
            while let Some(d) = rest.next_if(char::is_ascii_digit) {
                n.push(d);
            }
            n.parse::<usize>().ok().map(|n| n.min(1024))
        };
        if rest.next_if_eq(&'[').is_some() {
            next = digits(&mut rest).unwrap_or(1).saturating_sub(1);
            rest.next_if_eq(&']');
        }
        let width = digits(&mut rest).unwrap_or(0);
        let precision = rest.next_if_eq(&'.').map(|_| digits(&mut rest).unwrap_or(0));
        if rest.next_if_eq(&'[').is_some() {
            next = digits(&mut rest).unwrap_or(1).saturating_sub(1);
            rest.next_if_eq(&']');
        }
        let verb = rest.next().ok_or("the format ends with %")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = args.get(next).ok_or_else(|| {
            std::format!("not enough arguments for \"%{verb}\" at position {}", next + 1)
        })?;
        next += 1;
        used = used.max(next);
        let shown = one(verb, &flags, precision, value)?;
        let lack = width.saturating_sub(shown.chars().count());
        if flags.contains('-') {
            out.push_str(&shown);
            out.push_str(&" ".repeat(lack));
        } else if flags.contains('0') && !matches!(verb, 's' | 'q' | 'v') {
            let (sign, digits) = match shown.strip_prefix(['-', '+']) {
                Some(digits) => (&shown[..1], digits),
                None => ("", shown.as_str()),
            };
            out.push_str(sign);
            out.push_str(&"0".repeat(lack));
            out.push_str(digits);
        } else {
            out.push_str(&" ".repeat(lack));
            out.push_str(&shown);
        }
        if out.len() > HCL_VALUE_BYTES_MAX {
            return Err("the result is too long".to_owned());
        }
    }
    if used < args.len() {
        return Err(std::format!("too many arguments; only {used} used by format string"));
    }
    Ok(out)
}

/// One verb.
fn one(
    verb: char,
    flags: &str,
    precision: Option<usize>,
    value: &Value,
) -> std::result::Result<String, String> {
    let wrong = || std::format!("unsupported value for \"%{verb}\"");
    let int = || to_i64(value).ok_or_else(wrong);
    let float = || to_f64(value).ok_or_else(wrong);
    let plain = || match value {
        Value::Number(n) => number_text(n),
        other => to_text(other).unwrap_or_else(|| other.to_string()),
    };
    let mut shown = match verb {
        'v' => plain(),
        's' => {
            let s = to_text(value).ok_or_else(wrong)?;
            precision.map_or_else(|| s.clone(), |p| s.chars().take(p).collect())
        }
        'q' => Value::from(plain()).to_string(),
        't' => value.as_bool().ok_or_else(wrong)?.to_string(),
        'd' => int()?.to_string(),
        'b' => std::format!("{:b}", int()?),
        'o' => std::format!("{:o}", int()?),
        'x' | 'X' => {
            let hex = match value {
                Value::String(s) => s.bytes().map(|b| std::format!("{b:02x}")).collect(),
                _ => std::format!("{:x}", int()?),
            };
            if verb == 'X' { hex.to_uppercase() } else { hex }
        }
        'c' => {
            let code = u32::try_from(int()?).ok().and_then(char::from_u32);
            code.ok_or_else(wrong)?.to_string()
        }
        'f' | 'F' => std::format!("{:.*}", precision.unwrap_or(6), float()?),
        'e' => std::format!("{:.*e}", precision.unwrap_or(6), float()?),
        'g' => float()?.to_string(),
        _ => return Err(std::format!("unsupported verb \"%{verb}\"")),
    };
    if flags.contains('+') && matches!(verb, 'd' | 'f' | 'g' | 'e') && !shown.starts_with('-') {
        shown.insert(0, '+');
    }
    Ok(shown)
}
