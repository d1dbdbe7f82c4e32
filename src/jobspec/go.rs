//! Go's way to print a duration.

use std::fmt;

/// Nanoseconds, printed as Go does: `1h0m0s`, `1.5s`, `10ms`.
pub(super) struct Go(pub(super) i64);

impl fmt::Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let fraction = |f: &mut fmt::Formatter<'_>, n: u64, unit: u64| -> fmt::Result {
            write!(f, "{}", n / unit)?;
            let digits = format!("{:0width$}", n % unit, width = unit.ilog10() as usize);
            match digits.trim_end_matches('0') {
                "" => Ok(()),
                rest => write!(f, ".{rest}"),
            }
        };
        match ns {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{ns}ns"),
            1_000..1_000_000 => {
                fraction(f, ns, 1_000)?;
                return f.write_str("\u{b5}s");
            }
            1_000_000..1_000_000_000 => {
                fraction(f, ns, 1_000_000)?;
                return f.write_str("ms");
            }
            _ => (),
        }
        let seconds = ns / 1_000_000_000;
        if seconds >= 3600 {
            write!(f, "{}h", seconds / 3600)?;
        }
        if seconds >= 60 {
            write!(f, "{}m", seconds / 60 % 60)?;
        }
        fraction(f, ns % 60_000_000_000, 1_000_000_000)?;
        f.write_str("s")
    }
}
