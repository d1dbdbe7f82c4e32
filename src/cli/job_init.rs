//! `job init`: job files to begin with.

use super::args::Args;
use super::format::{list, text};
use super::http::{Failure, Query, escape};
use super::{Session, Stop, failed, system};

/// Kinds of jobs: name, what it is for, and what stands before the groups.
const KINDS: &[(&str, &str, &str)] = &[
    ("service", "Runs until it is stopped", "  type = \"service\"\n"),
    ("batch", "Runs to its end", "  type = \"batch\"\n"),
    (
        "periodic",
        "Runs to its end, by the clock",
        r#"  type = "batch"

  # Every night at three; times are of the zone.
  periodic {
    crons            = ["0 3 * * *"]
    time_zone        = "UTC"
    prohibit_overlap = true
  }
"#,
    ),
    (
        "parameterized",
        "Runs to its end, once for each dispatch",
        r#"  type = "batch"

  # vardo job dispatch -meta who=world <job>
  parameterized {
    meta_required = ["who"]
    payload       = "optional"
  }
"#,
    ),
    ("system", "Runs on every node", "  type = \"system\"\n"),
];

/// Where templates of one's own are kept as variables.
const TEMPLATES: &str = "nomad/job-templates";

fn example(kind: &str, head: &str) -> String {
    let script = match kind {
        "service" | "system" => "while true; do date; sleep 5; done",
        "parameterized" => "echo hello $NOMAD_META_who",
        _ => "date",
    };
    let count = match kind {
        "system" => "",
        _ => "    # So many instances, on any nodes that have room.\n    count = 1\n\n",
    };
    BODY.replace("{head}", head).replace("{count}", count).replace("{script}", script)
}

const BODY: &str = r#"job "hello" {
{head}
  group "g" {
{count}    task "t" {
      # Runs a program of the node as it is.
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "{script}"]
      }

      resources {
        cpu    = 50 # MHz
        memory = 16 # MB
      }
    }
  }
}
"#;

/// Writes a job file to begin with; an existing one is kept.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    if args.on("list-templates") {
        for (name, about, _) in KINDS {
            session.say(&format!("{name:<15}{about}"));
        }
        // Without an agent there are those of this program.
        let query = Query::default().with("prefix", TEMPLATES);
        let own = session.api.get("/v1/vars", query).unwrap_or_default();
        for variable in list(&own, "") {
            let path = text(variable, "Path");
            session.say(path.strip_prefix(TEMPLATES).unwrap_or(path).trim_start_matches('/'));
        }
        return Ok(0);
    }
    let name = args.value("template").unwrap_or("service");
    let mut content = match KINDS.iter().find(|(kind, ..)| *kind == name) {
        Some((kind, _, head)) => example(kind, head),
        None => {
            let wrong = "Error reading template";
            let path = format!("/v1/var/{}", escape(&format!("{TEMPLATES}/{name}")));
            let variable = match session.api.get(&path, Query::default()) {
                Err(Failure::Status(404, _)) => {
                    let text = format!("{wrong}: there is no {name}; see -list-templates");
                    return Err(Stop::Error(text));
                }
                other => other.map_err(failed(wrong))?,
            };
            text(&variable, "Items.template").to_owned()
        }
    };
    if args.on("short") {
        let code = content.lines().filter(|l| !l.trim_start().starts_with('#'));
        let code: Vec<&str> = code.map(|l| l.split(" # ").next().unwrap_or(l)).collect();
        content = format!("{}\n", code.join("\n"));
    }
    let path = Some(args.at(0)).filter(|p| !p.is_empty()).unwrap_or("example.nomad.hcl");
    system::create(path, content.as_bytes())?;
    session.say(&format!("Example job file written to {path}"));
    session.hint(&format!("Run it: vardo job run {path}"));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_job_in_its_usual_form() {
        for (kind, _, head) in KINDS {
            let text = example(kind, head);
            assert_eq!(crate::hcl::format::format(&text), text);
            let inputs = crate::jobspec::hcl::Inputs {
                environment: &[],
                files: &[],
                flags: &[],
                strict: true,
            };
            let job = crate::jobspec::hcl::job(&text, &inputs, None);
            assert!(job.is_ok(), "{kind}: {job:?}\n{text}");
        }
    }
}
