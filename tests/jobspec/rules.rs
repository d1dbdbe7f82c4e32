//! Every rule that a job may break, one case each: lines that change the small job, and what is
//! answered, in one line per problem.

use vardo::api::multi_error;

use super::fixture;

/// `group:` and `task:` stand for the words in which problems are nested.
fn run(input: &str) -> String {
    let mut job = fixture::job();
    input.lines().for_each(|line| fixture::set(&mut job, line));
    let mut out = Vec::new();
    match super::admitted(super::given(&job)) {
        Ok((_, warnings)) => out.extend(warnings.iter().map(|w| format!("warning: {}", flat(w)))),
        Err(errors) => {
            assert!(multi_error(&errors).contains("occurred:\n\t* "));
            out.extend(errors.iter().map(|e| flat(e)));
        }
    }
    out.join("\n")
}

/// Nested lists of problems on one line, `a | b`.
fn flat(text: &str) -> String {
    let mut lines = Vec::new();
    let mut lead = String::new();
    for line in text.lines().filter(|l| !l.is_empty()) {
        let line = line.strip_prefix("\t* ").unwrap_or(line);
        // `Task group app validation failed: 1 error occurred:`
        match line.rsplitn(4, ' ').nth(3).filter(|_| line.ends_with(" occurred:")) {
            Some(head) => lead.push_str(&format!("{head} ")),
            None => lines.push(line.to_owned()),
        }
    }
    let text = format!("{lead}{}", lines.join(" | "));
    let text = text.replace("Task group app validation failed: ", "group: ");
    text.replace("group: Task web validation failed: ", "task: ")
}

#[test]
fn rules_are_answered_one_by_one() {
    assert!(fixture::compare("rules.txt", run) >= 150);
}
