//! Flags by Go's rules: one dash or two, `-flag=value` or `-flag value`, flags before positionals.

use std::collections::BTreeMap;

use crate::stdx::parse_bool;

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    /// What stands for the value in help; empty: a switch, which takes `=false` at most.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
}

/// A switch.
pub(super) const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, value: "", help }
}

/// A flag with a value.
pub(super) const fn valued(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value, help }
}

/// What a command was called with.
#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    given: BTreeMap<&'static str, Vec<String>>,
    pub(super) positionals: Vec<String>,
    /// `-h` or `-help` was among the flags.
    pub(super) help: bool,
}

impl Args {
    /// Arguments of a command that reads its flags itself.
    pub(super) fn raw(args: &[String]) -> Self {
        Self { positionals: args.to_vec(), ..Self::default() }
    }

    /// Reads `args` by the flags of a command; the last value of a flag counts.
    pub(super) fn parse(args: &[String], flags: &[&[Flag]]) -> Result<Self, String> {
        let mut out = Self::default();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let bare = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
            let Some(bare) = bare.filter(|_| arg != "-") else {
                out.positionals.push(arg.clone());
                out.positionals.extend(rest.cloned());
                break;
            };
            if bare.is_empty() {
                out.positionals.extend(rest.cloned());
                break;
            }
            let (name, inline) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (bare, None),
            };
            let Some(flag) = flags.iter().copied().flatten().find(|f| f.name == name) else {
                if matches!(name, "h" | "help") {
                    out.help = true;
                    continue;
                }
                return Err(format!("flag provided but not defined: -{name}"));
            };
            let value = match inline {
                Some(value) => value,
                None if flag.value.is_empty() => "true".to_owned(),
                None => {
                    rest.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?.clone()
                }
            };
            if flag.value.is_empty() && parse_bool(&value).is_none() {
                return Err(format!("invalid boolean value {value:?} for -{name}"));
            }
            out.given.entry(flag.name).or_default().push(value);
        }
        Ok(out)
    }

    /// Whether a switch is on.
    pub(super) fn on(&self, name: &str) -> bool {
        self.value(name).and_then(parse_bool).unwrap_or(false)
    }

    /// The value of a flag, where it was given.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.given.get(name)?.last().map(String::as_str)
    }

    /// All values of a flag that may be repeated, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.given.get(name).into_iter().flatten().map(String::as_str)
    }

    /// A value that must be a whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        self.value(name)
            .map(|v| v.parse().map_err(|_| format!("invalid value {v:?} for flag -{name}")))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[switch("verbose", ""), valued("n", "<n>", "")];

    fn parse(args: &[&str]) -> Result<Args, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        Args::parse(&args, &[FLAGS])
    }

    #[test]
    fn dashes_and_equal_signs_are_free() {
        for args in [
            &["-verbose", "-n", "5", "x", "-y"][..],
            &["--verbose", "--n=5", "x", "-y"],
            &["-verbose=true", "-n=5", "--", "x", "-y"],
        ] {
            let a = parse(args).unwrap();
            assert!(a.on("verbose"));
            assert_eq!(a.number("n"), Ok(Some(5)));
            assert_eq!(a.positionals, ["x", "-y"]);
        }
        assert_eq!(parse(&["-"]).unwrap().positionals, ["-"]);
        assert!(!parse(&["-verbose=false"]).unwrap().on("verbose"));
        assert!(parse(&["-help"]).unwrap().help);
    }

    #[test]
    fn wrong_flags_are_named() {
        assert_eq!(parse(&["-z"]).unwrap_err(), "flag provided but not defined: -z");
        assert_eq!(parse(&["-n"]).unwrap_err(), "flag needs an argument: -n");
        let wrong = "invalid boolean value \"maybe\" for -verbose";
        assert_eq!(parse(&["-verbose=maybe"]).unwrap_err(), wrong);
        assert!(parse(&["-n", "x"]).unwrap().number("n").is_err());
    }
}
