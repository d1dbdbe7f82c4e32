//! Arithmetic.

use serde_json::Value;

use super::{Function, MANY, Result, float, int, text};
use crate::hcl::convert::number;

pub(super) const TABLE: &[Function] = &[
    ("abs", 1, 1, |a| of(float(a, 0)?.abs())),
    ("ceil", 1, 1, |a| of(float(a, 0)?.ceil())),
    ("floor", 1, 1, |a| of(float(a, 0)?.floor())),
    ("log", 2, 2, |a| of(libm::log(float(a, 0)?) / libm::log(float(a, 1)?))),
    ("max", 1, MANY, |a| extreme(a, f64::max)),
    ("min", 1, MANY, |a| extreme(a, f64::min)),
    ("parseint", 2, 2, |a| {
        let base = u32::try_from(int(a, 1)?).ok().filter(|b| (2..=36).contains(b));
        let base = base.ok_or("the base must be between 2 and 36")?;
        let digits = text(a, 0)?;
        let parsed = i64::from_str_radix(&digits, base).map(Value::from);
        parsed.map_err(|_| format!("cannot parse \"{digits}\" as a base {base} integer"))
    }),
    ("pow", 2, 2, |a| of(libm::pow(float(a, 0)?, float(a, 1)?))),
    ("signum", 1, 1, |a| {
        let n = float(a, 0)?;
        Ok(Value::from(if n > 0.0 {
            1
        } else if n < 0.0 {
            -1
        } else {
            0
        }))
    }),
];

fn of(f: f64) -> Result {
    number(f).ok_or_else(|| "the result is not a number".to_owned())
}

fn extreme(args: &[Value], better: fn(f64, f64) -> f64) -> Result {
    let mut best = float(args, 0)?;
    for i in 1..args.len() {
        best = better(best, float(args, i)?);
    }
    of(best)
}
