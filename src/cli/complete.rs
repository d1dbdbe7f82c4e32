//! Completions: scripts for shells, which ask this program for the words that fit.

use super::args::Args;
use super::format::{list, text};
use super::http::Query;
use super::table::{self, commands};
use super::{Session, Stop};

/// Bash: the words up to the cursor are asked for; files are added where nothing fits.
const BASH: &str = r#"_vardo() {
    local IFS=$'\n'
    local words=("${COMP_WORDS[@]:1:COMP_CWORD-1}" "${COMP_WORDS[COMP_CWORD]}")
    COMPREPLY=($(vardo completions words -- "${words[@]}" 2>/dev/null))
    [[ ${#COMPREPLY[@]} == 1 && $COMPREPLY == *= ]] && compopt -o nospace
}
complete -o default -F _vardo vardo
"#;

const ZSH: &str = r#"#compdef vardo
_vardo() {
    local -a found
    found=("${(@f)$(vardo completions words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _vardo vardo
"#;

const FISH: &str = r#"function __vardo
    set -l words (commandline -opc) (commandline -ct)
    vardo completions words -- $words[2..] 2>/dev/null
end
complete -c vardo -a '(__vardo)'
"#;

/// Prints the script of a shell, or (for the scripts) the words that fit.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let script = match args.at(0) {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        "words" => {
            session.api = super::api(args);
            let given = args.positionals.get(1..).unwrap_or_default();
            let given = given.strip_prefix(&["--".to_owned()]).unwrap_or(given);
            for word in words(session, given) {
                session.say(&word);
            }
            return Ok(0);
        }
        other => {
            let text = format!("There are completions for bash, zsh and fish, not for {other:?}");
            return Err(Stop::Usage(text));
        }
    };
    session.write(script.as_bytes());
    Ok(0)
}

/// What may stand in the place of the last word.
fn words(session: &Session<'_>, given: &[String]) -> Vec<String> {
    let Some((last, before)) = given.split_last() else { return Vec::new() };
    let mut out: Vec<String> = Vec::new();
    let mut offer = |word: &str| {
        if word.starts_with(last.as_str()) && !out.iter().any(|w| w == word) {
            out.push(word.to_owned());
        }
    };
    if let Some((command, used)) = table::find(before) {
        if last.starts_with('-') {
            let double = last.starts_with("--");
            for flag in command.all_flags() {
                let dashes = if double { "--" } else { "-" };
                let equals = if flag.value.is_empty() { "" } else { "=" };
                offer(&format!("{dashes}{}{equals}", flag.name));
            }
            return out;
        }
        let place = before.iter().skip(used).filter(|w| !w.starts_with('-')).count();
        let kind = command.args.split_whitespace().nth(place).unwrap_or_default();
        for id in ids(session, kind.trim_matches(['<', '>', '[', ']', '.']), last) {
            offer(&id);
        }
        return out;
    }
    for command in commands() {
        for name in command.names.split(", ") {
            let mut parts = name.split(' ');
            if before.iter().all(|b| parts.next() == Some(b)) {
                parts.next().into_iter().for_each(&mut offer);
            }
        }
    }
    out
}

/// Ids of the objects that an argument names; none where no agent answers.
fn ids(session: &Session<'_>, kind: &str, prefix: &str) -> Vec<String> {
    let (path, field) = match kind {
        "job" => ("/v1/jobs", "ID"),
        "node" => ("/v1/nodes", "ID"),
        "allocation" => ("/v1/allocations", "ID"),
        "evaluation" => ("/v1/evaluations", "ID"),
        "deployment" => ("/v1/deployments", "ID"),
        "pool" => ("/v1/node/pools", "Name"),
        "namespace" | "name" => ("/v1/namespaces", "Name"),
        _ => return Vec::new(),
    };
    // An odd number of digits is no prefix of an id; the rest is left to the comparison.
    let even = prefix.get(..prefix.len() & !1).unwrap_or_default();
    let query = Query::default().with("prefix", if kind == "job" { prefix } else { even });
    let all = session.api.get(path, query).unwrap_or_default();
    list(&all, "").iter().map(|v| text(v, field).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_that_fit_are_offered() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut call = |given: &[&str]| {
            let mut args = vec!["completions".to_owned(), "words".to_owned(), "--".to_owned()];
            args.extend(given.iter().map(|w| (*w).to_owned()));
            out.clear();
            assert_eq!(crate::cli::run(&args, &mut out, &mut err), 0);
            String::from_utf8_lossy(&out).replace('\n', " ")
        };
        assert_eq!(call(&["al"]), "alloc ");
        assert_eq!(call(&["job", "sta"]), "status start ");
        assert_eq!(call(&["operator", "raft", "l"]), "list-peers logs ");
        assert_eq!(call(&["alloc", "logs", "-std"]), "-stdout -stderr ");
        assert_eq!(call(&["run", "--check"]), "--check-index= ");
        assert_eq!(call(&["nope", ""]), "");
        assert!(err.is_empty());
    }
}
