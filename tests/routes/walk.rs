//! Every endpoint of the API is served, or the README says that it is not.

use vardo::routes::Outcome;

use super::Server;

/// What is not served, by the sentence that it answers with, and the words of the README that say
/// so.
const ABSENT: &[(&str, &str)] = &[("Moving the data of allocations", "`migrate`")];

#[test]
fn every_endpoint_is_served_or_named_in_the_readme() {
    let readme = include_str!("../../README.md");
    let rows = include_str!("../data/endpoints.tsv").lines().filter(|l| !l.starts_with('#'));
    let mut s = Server::new("walk");
    let (mut walked, mut wrong) = (0, Vec::new());
    for row in rows {
        let (path, method) = row.split_once('\t').expect("path and method");
        let parts = path.split('/').map(|part| match part {
            ":alloc" | ":id" | "{id}" => "aaaaaaaa-0000-4000-8000-000000000000",
            part if part.starts_with([':', '{']) => "name",
            part => part,
        });
        let target = parts.collect::<Vec<_>>().join("/");
        let target = match path {
            "/v1/agent/monitor/export" => format!("{target}?service_name=nomad"),
            _ => target,
        };
        walked += 1;
        let (status, text) = match s.outcome(method, &target, "{}") {
            Ok(Outcome::Answer(a)) if a.bare && a.status == 404 => (404, "no route".to_owned()),
            Ok(Outcome::Answer(a)) => {
                (a.status, String::from_utf8_lossy(a.body.as_slice()).into_owned())
            }
            Ok(_) => continue,
            Err(e) => (e.status, e.text),
        };
        let enterprise = text == "Nomad Enterprise only endpoint";
        if status == 404 && text == "no route" {
            wrong.push(format!("{method} {target}: no route"));
        } else if status == 405 {
            wrong.push(format!("{method} {target}: {text}"));
        } else if status == 501 && !enterprise {
            match ABSENT.iter().find(|(says, _)| text.starts_with(says)) {
                Some((_, named)) if readme.contains(named) => {}
                Some((_, named)) => wrong.push(format!("{method} {target}: README lacks {named}")),
                None => wrong.push(format!("{method} {target}: 501 {text}")),
            }
        }
    }
    assert!(walked > 260, "{walked} rows");
    assert!(wrong.is_empty(), "{} of {walked}:\n{}", wrong.len(), wrong.join("\n"));
}
