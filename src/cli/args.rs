//! Flags by Go's rules: one dash or two, `-flag=value` or `-flag value`, flags before positionals.

use crate::stdx::{BTreeMap, parse_bool};

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    /// What stands for the value in help; empty: a switch, which takes `=false` at most.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
}

/// The flags of a text of the table: a line each, `name` or `name=<value>`, and what it does. A
/// line without that is explained by the line of that name in `common`.
pub(super) fn flags(text: &'static str, common: &'static str) -> Vec<Flag> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    lines.map(|l| flag(l, common)).collect()
}

fn flag(line: &'static str, common: &'static str) -> Flag {
    let (spec, help) = line.split_once(' ').unwrap_or((line, ""));
    let (name, value) = spec.split_once('=').unwrap_or((spec, ""));
    if help.is_empty() {
        let named = |l: &&'static str| {
            l.strip_prefix(name).is_some_and(|rest| rest.starts_with(['=', ' ']))
        };
        if let Some(full) = common.lines().map(str::trim).find(named) {
            return flag(full, "");
        }
    }
    Flag { name, value, help }
}

/// How many arguments a usage line allows: least and most.
pub(super) fn arity(usage: &str) -> (usize, usize) {
    let (mut least, mut most) = (0, 0_usize);
    for word in usage.split_whitespace() {
        let many = word.ends_with("...");
        least += usize::from(word.starts_with('<'));
        most = most.saturating_add(if many { usize::MAX } else { 1 });
    }
    (least, most)
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

    /// Reads `args` by the flags of a command; the last value of a flag counts. What follows the
    /// first argument is no flag; one that looks like a known flag is refused, unless the usage
    /// ends in a command of its own (`<command>...`).
    pub(super) fn parse(args: &[String], flags: &[Flag], usage: &str) -> Result<Self, String> {
        let mut out = Self::default();
        let find = |name: &str| flags.iter().find(|f| f.name == name);
        let bare = |arg: &'_ str| -> Option<String> {
            let bare = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
            (arg != "-").then(|| bare.to_owned())
        };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let Some(bare) = bare(arg) else {
                out.positionals.push(arg.clone());
                out.positionals.extend(rest.by_ref().cloned());
                break;
            };
            if bare.is_empty() {
                out.positionals.extend(rest.by_ref().cloned());
                break;
            }
            let (name, inline) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (bare.as_str(), None),
            };
            let Some(flag) = find(name) else {
                if matches!(name, "h" | "help") {
                    out.help = true;
                    continue;
                }
                let near = crate::hcl::diag::nearest(name, flags.iter().map(|f| f.name));
                let near = near.map(|n| format!(", did you mean -{n}?")).unwrap_or_default();
                return Err(format!("flag provided but not defined: -{name}{near}"));
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
        let late = |p: &&String| {
            let name = bare(p).unwrap_or_default();
            find(name.split('=').next().unwrap_or_default()).is_some()
        };
        if let Some(flag) = out.positionals.iter().skip(1).find(late)
            && !usage.ends_with("<command>...")
        {
            return Err(format!("flags must stand before arguments: {flag}"));
        }
        Ok(out)
    }

    /// What is wrong with the number of arguments, in the reference's words.
    pub(super) fn count_wrong(&self, usage: &str) -> Option<String> {
        let (least, most) = arity(usage);
        if (least..=most).contains(&self.positionals.len()) {
            return None;
        }
        let words = ["no", "one", "two", "three", "four"];
        let word = |n: usize| words.get(n).copied().unwrap_or("many");
        let noun = |n: usize| if n == 1 { "argument" } else { "arguments" };
        Some(match (least, most) {
            (0, 0) => "This command takes no arguments".to_owned(),
            (0, 1) => format!("This command takes either no arguments or one: {usage}"),
            (l, m) if l == m => format!("This command takes {} {}: {usage}", word(l), noun(l)),
            (l, usize::MAX) => {
                format!("This command takes at least {} {}: {usage}", word(l), noun(l))
            }
            (l, m) => format!("This command takes {} or {} arguments: {usage}", word(l), word(m)),
        })
    }

    /// An argument by its place; empty where it was left out.
    pub(super) fn at(&self, place: usize) -> &str {
        self.positionals.get(place).map_or("", String::as_str)
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

    const COMMON: &str = "verbose Say more\nt=<template> Print by a template";

    fn parse(args: &[&str]) -> Result<Args, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        Args::parse(&args, &flags("verbose\nn=<n> Lines", COMMON), "<x> [y]")
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
        for (args, text) in [
            (&["-z"][..], "flag provided but not defined: -z"),
            (&["-verbos"], "flag provided but not defined: -verbos, did you mean -verbose?"),
            (&["-n"], "flag needs an argument: -n"),
            (&["-verbose=maybe"], "invalid boolean value \"maybe\" for -verbose"),
            (&["x", "-n=4"], "flags must stand before arguments: -n=4"),
        ] {
            assert_eq!(parse(args).unwrap_err(), text);
        }
        assert!(parse(&["-n", "x"]).unwrap().number("n").is_err());
    }

    #[test]
    fn arguments_are_counted_by_the_usage() {
        let wrong = |usage: &str, n: usize| {
            let args = Args { positionals: vec![String::new(); n], ..Args::default() };
            args.count_wrong(usage).unwrap_or_default()
        };
        assert_eq!(wrong("<job>", 1), "");
        assert_eq!(wrong("<job>", 0), "This command takes one argument: <job>");
        assert_eq!(wrong("[node]", 2), "This command takes either no arguments or one: [node]");
        assert_eq!(wrong("<job>...", 0), "This command takes at least one argument: <job>...");
        assert_eq!(
            wrong("<a> [b] <c>", 1),
            "This command takes two or three arguments: <a> [b] <c>"
        );
        assert_eq!(wrong("", 1), "This command takes no arguments");
    }

    #[test]
    fn flags_without_words_are_explained_once() {
        let all = flags("t\nverbose Shout\n", COMMON);
        assert_eq!((all[0].value, all[0].help), ("<template>", "Print by a template"));
        assert_eq!(all[1].help, "Shout");
    }
}
