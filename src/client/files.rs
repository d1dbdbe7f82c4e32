//! The directory of an allocation and the files that its tasks find there.
//!
//! ```text
//! <alloc_dir>/<allocation id>/
//!     alloc/{data,logs,tmp}                 shared by the tasks
//!     <task>/{local,secrets,private,tmp}
//! ```
//!
//! Templates are rendered once, before the tasks begin: literal text and `{{ env "NAME" }}`. What
//! needs more than that fails its task, with a sentence that says so.

use std::collections::BTreeMap;

use crate::api::{Task, Template};
use crate::client::AllocDirSpec;
use crate::client::driver::{self, Launch};
use crate::client::env::{self, TaskDirs};
use crate::client::interpolate::Scope;
use crate::client::task::{Ctx, Spec, alloc_root, sources};

/// What is to be made, and for each task whose files cannot be made the reason.
pub(crate) fn plan(
    specs: &[Spec<'_>],
    alloc: &str,
    ctx: &Ctx<'_>,
) -> (AllocDirSpec, BTreeMap<String, String>) {
    let root = alloc_root(ctx.config, alloc);
    let mut dirs = vec![
        ("alloc".to_owned(), SHARED),
        ("alloc/data".to_owned(), SHARED),
        ("alloc/logs".to_owned(), SHARED),
        ("alloc/tmp".to_owned(), SHARED | STICKY),
    ];
    let mut files = Vec::new();
    let mut errors = BTreeMap::new();
    for spec in specs {
        let name = &spec.task.name;
        // Only a task that runs as another user than the agent needs the rights of everyone.
        let secret = if spec.task.user.is_empty() { PRIVATE } else { SHARED };
        for (dir, mode) in [
            ("", SHARED),
            ("/local", SHARED),
            ("/secrets", secret),
            ("/private", secret),
            ("/tmp", SHARED | STICKY),
        ] {
            dirs.push((format!("{name}{dir}"), mode));
        }
        match task_files(*spec, &root, ctx) {
            Ok(more) => files.extend(more),
            Err(text) => {
                errors.insert(name.clone(), text);
            }
        }
    }
    (AllocDirSpec { alloc: alloc.to_owned(), root, dirs, files }, errors)
}

type File = (String, u32, Vec<u8>);

fn task_files(spec: Spec<'_>, root: &str, ctx: &Ctx<'_>) -> Result<Vec<File>, String> {
    let task = spec.task;
    let dirs = TaskDirs::host(root, &task.name);
    let scope = env::build(&sources(spec, ctx, &dirs));
    let mut files = Vec::new();
    if let (Some(payload), Some(bytes)) = (&task.dispatch_payload, &spec.job.payload)
        && !payload.file.is_empty()
    {
        let path = inside(&format!("local/{}", payload.file))
            .ok_or("dispatch payload file escapes the task directory")?;
        files.push((format!("{}/{path}", task.name), FILE, bytes.0.clone()));
    }
    for template in &task.templates {
        files.push(render(template, task, &scope)?);
    }
    if let Ok(Launch::Mock(mock)) = driver::launch(&task.driver, &task.config, &scope)
        && !mock.stdout.is_empty()
    {
        files.push((format!("alloc/logs/{}.stdout.0", task.name), FILE, mock.output()));
    }
    Ok(files)
}

fn render(template: &Template, task: &Task, scope: &Scope) -> Result<File, String> {
    let dest = scope.text(&template.dest_path);
    let path =
        inside(&dest).ok_or_else(|| format!("template destination escapes task dir: {dest:?}"))?;
    if template.embedded_tmpl.is_empty() && !template.source_path.is_empty() {
        return Err("template sources from files are not served by this version".to_owned());
    }
    if template.envvars {
        return Err("templates that set variables are not served by this version".to_owned());
    }
    let text = fill(template, scope)?;
    let mode = u32::from_str_radix(&template.perms, 8).unwrap_or(FILE) & 0o777;
    Ok((format!("{}/{path}", task.name), mode, text.into_bytes()))
}

fn fill(template: &Template, scope: &Scope) -> Result<String, String> {
    let left = if template.left_delim.is_empty() { "{{" } else { &template.left_delim };
    let right = if template.right_delim.is_empty() { "}}" } else { &template.right_delim };
    let mut out = String::new();
    let mut rest = template.embedded_tmpl.as_str();
    while let Some((before, after)) = rest.split_once(left) {
        let (action, tail) = after.split_once(right).ok_or("template: unclosed action")?;
        let trim_left = action.starts_with("- ");
        let trim_right = action.ends_with(" -");
        let action = action.trim_start_matches("- ").trim_end_matches(" -").trim();
        out.push_str(if trim_left { before.trim_end() } else { before });
        let name = action
            .strip_prefix("env ")
            .map(str::trim)
            .and_then(|t| t.strip_prefix('"'))
            .and_then(|t| t.strip_suffix('"'));
        match name {
            Some(name) => out.push_str(scope.vars.get(name).map_or("", String::as_str)),
            None if action.starts_with("/*") => {}
            None => {
                return Err(format!(
                    "template: \"{action}\" is not served by this version (only env is)"
                ));
            }
        }
        rest = if trim_right { tail.trim_start() } else { tail };
    }
    out.push_str(rest);
    Ok(out)
}

/// A relative path without steps outwards; `None` where it leaves its directory.
fn inside(path: &str) -> Option<String> {
    let path = path.trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let bad = parts.is_empty() || parts.iter().any(|p| *p == ".." || p.contains('\0'));
    if bad { None } else { Some(parts.join("/")) }
}

/// Modes of directories and files.
const SHARED: u32 = 0o777;
const PRIVATE: u32 = 0o700;
const STICKY: u32 = 0o1000;
const FILE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Node;

    #[test]
    fn templates_know_the_environment_only() {
        let vars = [("A".to_owned(), "1".to_owned())].into_iter().collect();
        let scope = Scope::new(vars, &Node::default(), "global");
        for (text, want) in [
            ("plain", Ok("plain")),
            ("a={{ env \"A\" }}\nb={{env \"B\"}};", Ok("a=1\nb=;")),
            ("a  {{- env \"A\" -}}  b", Ok("a1b")),
            ("{{/* note */}}x", Ok("x")),
            (
                "{{ key \"x\" }}",
                Err("template: \"key \"x\"\" is not served by this version (only env is)"),
            ),
            ("{{ env", Err("template: unclosed action")),
        ] {
            let t = Template { embedded_tmpl: text.to_owned(), ..Template::default() };
            assert_eq!(fill(&t, &scope), want.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn paths_stay_inside() {
        for (path, want) in [
            ("local/x", Some("local/x")),
            ("/local//./x", Some("local/x")),
            ("local/../../x", None),
            ("..", None),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(inside(path).as_deref(), want);
        }
    }
}
