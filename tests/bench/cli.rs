//! What a person waits for at the command line: its start, and a job file of 200 lines that is
//! read, sent and answered.
//!
//! `cargo bench --bench cli` prints each figure beside what is asked for, and fails above it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time and starts the binary")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;
use support::agent::{Agent, BINARY};

/// How often each is run.
const TIMES: usize = 51;

fn main() {
    let agent = Agent::start(&json!({}));
    let path = agent.dir().join("job.hcl");
    let text = job();
    std::fs::write(&path, &text).expect("a job file");
    let path = path.display().to_string();
    println!("{:<52} {:>9} {:>9} {:>9}", "in ms", "median", "worst", "asked");
    let lines = text.lines().count();
    let what = format!("vardo job run -detach, {lines} lines");
    let slow = measured(&what, 15.0, &agent, &["job", "run", "-detach", &path])
        | measured("vardo version", 3.0, &agent, &["version"]);
    assert!(!slow, "slower than what is asked for");
}

/// Runs a command many times and prints how long it took; whether the median is above `most`.
fn measured(what: &str, most: f64, agent: &Agent, args: &[&str]) -> bool {
    let mut took: Vec<f64> = (0..TIMES)
        .map(|_| {
            let mut command = Command::new(BINARY);
            command.args(args).env("NOMAD_ADDR", format!("http://{}", agent.address));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let begun = Instant::now();
            let ended = command.status().expect("the binary runs");
            assert!(ended.success(), "{args:?}");
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let (median, worst) = (took[TIMES / 2], took[TIMES - 1]);
    println!("{what:<52} {median:>9.2} {worst:>9.2} {:>9}", format!("<= {most}"));
    median > most
}

/// A job with variables, a dynamic block and many tasks, of about 200 lines.
fn job() -> String {
    let mut out = "variable \"count\" {\n  type    = number\n  default = 0\n}\n\n\
                   locals {\n  tags = [for i in range(3) : \"tag-${i}\"]\n}\n\njob \"long\" {\n"
        .to_owned();
    for group in 0..6 {
        write!(
            out,
            r#"
  group "g{group}" {{
    count = var.count
    network {{
      dynamic "port" {{
        for_each = ["http", "admin"]
        labels   = [port.value]
        content {{
          to = 8080 + port.key
        }}
      }}
    }}
    service {{
      name     = "front-{group}"
      provider = "nomad"
      port     = "http"
      tags     = local.tags
    }}
    task "t" {{
      driver = "raw_exec"
      config {{
        command = "/bin/sleep"
        args    = ["600"]
      }}
      env {{
        GROUP = upper("g{group}")
        NODE  = "${{node.unique.name}}"
      }}
      resources {{
        cpu    = 20
        memory = 16
      }}
    }}
  }}
"#
        )
        .expect("text");
    }
    out.push_str("}\n");
    out
}
