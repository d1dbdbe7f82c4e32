//! Rules of the source that no compiler checks. Each failure reads `file:line: rule, do this`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// What the parts of the crate may use of each other; all may use `stdx` and `limits`. A new edge
/// is a decision about the design and changes this table in the same commit.
const EDGES: &[(&str, &[&str])] = &[
    ("stdx", &[]),
    ("limits", &[]),
    ("acl", &["hcl::v1"]),
    ("api", &[]),
    ("command", &["api"]),
    ("dns", &[]),
    ("raft", &[]),
    ("link", &["raft"]),
    ("http", &[]),
    ("bexpr", &[]),
    ("hcl", &[]),
    ("jobspec", &["api", "hcl"]),
    ("store", &["api", "command", "raft", "sched::fit", "sched::volume"]),
    ("sched", &["api", "command"]),
    ("server", &["acl", "api", "command", "jobspec", "raft", "sched", "store"]),
    ("template", &["hcl::yaml"]),
    ("client", &["api", "command", "http", "template"]),
    ("routes", &["acl", "api", "bexpr", "client", "command", "http", "jobspec", "server", "store"]),
    ("os", &["client::exec_proto"]),
    ("executor", &["client::exec_proto", "os"]),
    (
        "simulate",
        &["api", "client::fingerprint", "command", "jobspec", "os", "sched", "server", "store"],
    ),
    ("tls", &[]),
    ("unpack", &["http::gzip"]),
    (
        "cli",
        &[
            "agent",
            "api",
            "client::exec_proto",
            "hcl",
            "http::gzip",
            "http::query",
            "http::url",
            "http::websocket",
            "jobspec::hcl",
            "os",
            "simulate",
            "template",
            "tls",
            "unpack",
        ],
    ),
    (
        "agent",
        &[
            "api", "client", "command", "dns", "hcl", "http", "link", "os", "raft", "routes",
            "sched", "server", "store", "tls",
        ],
    ),
];

/// Names that only some parts may speak of, and what others do instead.
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("heed::", &["store"], "ask the store"),
    ("libc::", &["os"], "add a function to os"),
    ("mio::", &["agent", "os"], "leave polling to the agent's loop"),
    ("std::process::Command", &["os"], "start processes by os::spawn"),
    ("rustls::", &["tls"], "ask tls"),
    ("webpki::", &["tls"], "ask tls"),
    ("miniz_oxide::", &["http"], "use http::gzip"),
];

/// Longest line, in characters.
const COLUMNS_MAX: usize = 100;

/// Longest file, in lines.
const LINES_MAX: usize = 1_000;

struct Source {
    /// Relative to the root of the repository.
    name: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The files below a folder whose names end so.
fn files(folder: &str, ending: &str) -> Vec<Source> {
    let mut out = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a readable folder").path();
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            let skipped = ["fuzz/target", "fuzz/corpus", "fuzz/artifacts"].contains(&name.as_str());
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).expect("text");
                out.push(Source { name, text });
            }
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn rust() -> Vec<Source> {
    ["src", "tests", "fuzz"].iter().flat_map(|f| files(f, ".rs")).collect()
}

/// Fails with all problems at once.
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}

/// `src/store/apply/job.rs` → `store`.
fn part(name: &str) -> Option<&str> {
    let inner = name.strip_prefix("src/")?;
    let first = inner.split('/').next()?.trim_end_matches(".rs");
    (!matches!(first, "lib" | "main")).then_some(first)
}

/// The lines before the tests of a file, without comments.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().enumerate();
    let lines = lines.take_while(|(_, l)| *l != "#[cfg(test)]");
    lines.map(|(i, l)| (i + 1, l.split("//").next().unwrap_or_default()))
}

#[test]
fn lines_and_files_keep_their_form() {
    let mut problems = Vec::new();
    for source in rust() {
        let name = &source.name;
        let mut say = |line: usize, rule: &str| problems.push(format!("{name}:{line}: {rule}"));
        if !source.text.starts_with("//!") && !name.starts_with("fuzz/") {
            say(1, "no module comment, begin with //! and what the file is for");
        }
        if !source.text.ends_with('\n') {
            say(source.text.lines().count(), "no newline at the end, add it");
        }
        if source.text.lines().count() > LINES_MAX {
            say(LINES_MAX, "longer than 1,000 lines, split it by what it owns");
        }
        for (i, line) in source.text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                say(i + 1, "longer than 100 columns, wrap it");
            }
            if line.ends_with([' ', '\t']) {
                say(i + 1, "white space at the end, remove it");
            }
            if line.contains('\t') {
                say(i + 1, "a tab, use spaces or \\t");
            }
        }
    }
    report(&problems);
}

#[test]
fn nothing_unfinished_is_left() {
    // Put together, so that this file does not name them.
    let leftovers: &[(&str, &str)] = &[
        (concat!("FIX", "ME"), "mend it"),
        (concat!("XX", "X:"), "say it in a sentence"),
        (concat!("todo", "!("), "write it"),
        (concat!("unimplemented", "!("), "write it"),
        (concat!("dbg", "!("), "remove it"),
        (concat!("#[ig", "nore"), "assert what happens today instead"),
        (concat!("#[should_", "panic"), "assert the value instead"),
        (concat!("allow(dead", "_code"), "remove the code"),
    ];
    let mut problems = Vec::new();
    for source in rust() {
        for (i, line) in source.text.lines().enumerate() {
            for (word, advice) in leftovers.iter().filter(|(w, _)| line.contains(w)) {
                problems.push(format!("{}:{}: {word}, {advice}", source.name, i + 1));
            }
            let marked = line.contains(concat!("TO", "DO"));
            if marked && !line.contains(concat!("TO", "DO(#")) {
                problems.push(format!("{}:{}: give it an issue's number", source.name, i + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn parts_use_each_other_only_as_the_design_says() {
    let mut problems = Vec::new();
    for source in files("src", ".rs") {
        let Some(part) = part(&source.name) else { continue };
        let Some((_, allowed)) = EDGES.iter().find(|(p, _)| *p == part) else {
            problems.push(format!("{}:1: {part} is not in the table of edges", source.name));
            continue;
        };
        for (line, code) in code(&source) {
            for path in uses(code) {
                let first = path.split("::").next().unwrap_or_default();
                let own = first == part || ["stdx", "limits"].contains(&first);
                // Constants of the crate itself.
                let plain = first.chars().next().is_none_or(|c| !c.is_ascii_lowercase());
                let fits = |edge: &&str| {
                    let rest = path.strip_prefix(*edge);
                    rest.is_some_and(|r| r.is_empty() || r.starts_with("::"))
                };
                if !own && !plain && !allowed.iter().any(fits) {
                    let (file, text) = (&source.name, path.as_str());
                    problems.push(format!(
                        "{file}:{line}: {part} uses {text}, pass a value in or change the design"
                    ));
                }
            }
            // The numbers of signals are words of the protocols too.
            let code = code.replace("libc::SIG", "");
            for (word, parts, advice) in CONFINED {
                if code.contains(word) && !parts.contains(&part) {
                    problems.push(format!("{}:{line}: {part} uses {word}, {advice}", source.name));
                }
            }
        }
    }
    report(&problems);
}

/// The paths after each `crate::` of a line, the braces of a list opened.
fn uses(code: &str) -> Vec<String> {
    let mut out = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let word = |t: &str| -> String {
            t.chars().take_while(|c| c.is_ascii_alphanumeric() || "_:".contains(*c)).collect()
        };
        match rest.strip_prefix('{') {
            Some(list) => out.extend(list.split(',').map(|p| word(p.trim()))),
            None => out.push(word(rest)),
        }
    }
    out.retain(|p| !p.is_empty());
    out
}

#[test]
fn every_limit_is_used() {
    let limits = fs::read_to_string(root().join("src/limits.rs")).expect("limits.rs");
    let sources = files("src", ".rs");
    let mut problems = Vec::new();
    for (i, line) in limits.lines().enumerate() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let name = rest.split(':').next().unwrap_or_default();
        let elsewhere = |s: &&Source| s.name != "src/limits.rs" && s.text.contains(name);
        let within = limits.matches(name).count() > 1;
        if !within && !sources.iter().any(|s| elsewhere(&s)) {
            problems.push(format!("src/limits.rs:{}: {name} is not used, remove it", i + 1));
        }
    }
    report(&problems);
}

#[test]
fn every_dependency_has_its_page() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let section = manifest.split("[dependencies]").nth(1).expect("dependencies");
    let section = section.split("\n[").next().expect("a section");
    let mut problems = Vec::new();
    for name in section.lines().filter_map(|l| l.split_once(" = ")).map(|(n, _)| n.trim()) {
        if !root().join(format!("vendor-notes/{name}.md")).exists() {
            problems.push(format!("Cargo.toml: {name} has no page, write vendor-notes/{name}.md"));
        }
    }
    for page in files("vendor-notes", ".md") {
        let name = page.name.trim_start_matches("vendor-notes/").trim_end_matches(".md");
        if name != "README" && !section.contains(&format!("\n{name} = ")) {
            problems.push(format!("{}:1: {name} is no dependency, remove the page", page.name));
        }
    }
    report(&problems);
}

#[test]
fn every_fuzz_target_is_listed() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap_or_default();
    let mut problems = Vec::new();
    for target in files("fuzz/fuzz_targets", ".rs") {
        let name = target.name.trim_start_matches("fuzz/");
        if !manifest.contains(&format!("path = \"{name}\"")) {
            problems.push(format!("{}:1: not in fuzz/Cargo.toml, add a [[bin]]", target.name));
        }
    }
    report(&problems);
}

/// Every file of modules is declared, so that it is compiled at all.
#[test]
fn every_source_file_is_reachable() {
    let mut problems = Vec::new();
    for folder in ["src", "tests"] {
        let sources = files(folder, ".rs");
        for source in &sources {
            let inner = source.name.trim_start_matches(folder).trim_start_matches('/');
            // Benches are programs of their own.
            if matches!(inner, "lib.rs" | "main.rs") || inner.starts_with("bench/") {
                continue;
            }
            let stem = inner.trim_end_matches(".rs").trim_end_matches("/mod");
            let (above, name) = stem.rsplit_once('/').unwrap_or(("", stem));
            let parents = match (folder, above) {
                ("src", "") => vec!["src/lib.rs".to_owned()],
                ("tests", "") => vec!["tests/main.rs".to_owned()],
                _ => vec![
                    format!("{folder}/{above}/mod.rs"),
                    format!("{folder}/{above}.rs"),
                    format!("{folder}/main.rs"),
                ],
            };
            let declared = |p: &String| {
                let parent = sources.iter().find(|s| s.name == *p);
                parent.is_some_and(|s| s.text.contains(&format!("mod {name}")))
            };
            if !parents.iter().any(declared) {
                problems.push(format!("{}:1: nobody declares it, add mod {name}", source.name));
            }
        }
    }
    report(&problems);
}

#[test]
fn nothing_tells_of_the_machine_it_was_written_on() {
    let marks: &[&str] = &[
        concat!("/wo", "rk/"),
        concat!("/tmp/", "wt"),
        concat!("/tmp/", "tgt"),
        concat!("/fa", "rm/"),
        concat!(" /ro", "ot/"),
        concat!("\"/ro", "ot/"),
        concat!("bash", "_jobs"),
        concat!("artifac", "tory"),
        concat!("[regis", "tries"),
        concat!("replace", "-with"),
    ];
    let mut problems = Vec::new();
    let mut all = rust();
    for (folder, ending) in
        [("vendor-notes", ".md"), ("tests", ".json"), ("tests", ".txt"), (".cargo", ".toml")]
    {
        all.extend(files(folder, ending));
    }
    for name in ["Cargo.toml", "README.md", ".ci/run", ".clippy.toml", ".gitignore"] {
        if let Ok(text) = fs::read_to_string(root().join(name)) {
            all.push(Source { name: name.to_owned(), text });
        }
    }
    for source in &all {
        for (i, line) in source.text.lines().enumerate() {
            for mark in marks.iter().filter(|m| line.contains(**m)) {
                problems.push(format!("{}:{}: {mark}, leave it out", source.name, i + 1));
            }
        }
    }
    report(&problems);
}

/// The tests above are worth nothing if they look at nothing.
#[test]
fn rules_see_what_they_look_for() {
    assert!(rust().len() > 50);
    let mut seen = String::new();
    for path in uses("use crate::{api, store::Snap}; let x = crate::stdx::json::Any::Null;") {
        write!(seen, "{path} ").expect("a string takes it");
    }
    assert_eq!(seen, "api store::Snap stdx::json::Any::Null ");
    assert_eq!(part("src/store/apply/job.rs"), Some("store"));
    assert_eq!(part("src/limits.rs"), Some("limits"));
    assert_eq!(part("src/main.rs"), None);
}
