//! What the table of commands says to people: overview, help, manual page.

use super::args::{Args, Flag, flags};
use super::command::{COMMON, Command, GENERAL};
use super::table::{GROUPS, commands};
use super::table_rest::ENTERPRISE;
use super::{Session, Stop};

/// For people who come from Nomad or from compose files.
const MIGRATE: &str = "\
FROM NOMAD

  The API is that of Nomad 2.0.5: clients, SDKs, NOMAD_ADDR, NOMAD_TOKEN and the commands stay.

  1. Look at what your jobs use:    vardo job validate <file>, beside a vardo agent -dev
     Tasks run by the driver raw_exec. Other drivers, Consul and Vault are refused by name; what
     a release lacks stands in the table of README.md.
  2. Check the configuration:       vardo config validate /etc/nomad.d
     A key that asks for what is not there stops the start, with its name and place.
  3. Start vardo beside it, with another data_dir and other ports. States and snapshots are not
     exchanged: jobs are submitted again, variables and tokens are written again.
       nomad job inspect -hcl <job> > <job>.hcl
       vardo job run <job>.hcl
       nomad var get -out=json <path> | vardo var put -
  4. Drain the old nodes:           nomad node drain -enable <node>

  alloc exec needs alloc-node-exec beside alloc-exec, as no driver shuts tasks off from the node.

FROM COMPOSE FILES

  vardo job convert -driver raw_exec -out shop.hcl compose.yaml
  vardo job plan shop.hcl

  Each service becomes a group with one task. Notes say what changes its meaning, mistakes what
  has no counterpart:

  image, build       images need the driver docker, which this version does not have: convert with
                     -driver=raw_exec, where command names a program of the node
  depends_on         groups start together: let programs wait, or use lifecycle hooks in one group
  networks           groups find each other by services: vardo service info <name>
  volumes            raw_exec sees the node's own files: a volume_mount, or the paths of the node
  environment        env; ${VARIABLE} is put in from your environment, as compose does
  restart            always: as it is by itself; on-failure:n: restart { attempts = n }
  deploy.replicas    count
  limits             resources { cpu (MHz), memory (MB) }; a processor counts as 1000 MHz
  healthcheck        a check of the service, by script: what curl or pg_isready tells on the node;
                     retries restart nothing, as with compose: check_restart does
  env_file           read into env, when the file is converted
  ports, expose      a network with ports, and a service that others find the group by";

/// Prints [`MIGRATE`].
pub(super) fn migrate(session: &mut Session<'_>, _: &Args) -> Result<i32, Stop> {
    session.say(MIGRATE);
    Ok(0)
}

/// The list of commands.
pub(super) fn overview() -> String {
    let mut text = "Usage: vardo [-version] [-help] <command> [args]\n\nCommands:\n\n".to_owned();
    let mut seen: Vec<&str> = Vec::new();
    for command in commands() {
        let first = command.name().split(' ').next().unwrap_or_default();
        if seen.contains(&first) || command.about == ENTERPRISE {
            continue;
        }
        seen.push(first);
        let about = GROUPS.iter().find(|(name, _)| *name == first);
        let about = about.map_or(command.about, |(_, about)| about.trim_end_matches('.'));
        text.push_str(&format!("    {first:<14}{about}\n"));
    }
    text.push_str("\nShort forms:\n\n");
    for command in commands() {
        for alias in command.names.split(", ").skip(1) {
            text.push_str(&format!("    {alias:<14}The same as '{}'\n", command.name()));
        }
    }
    text.push_str("\n'vardo <command> -help' says more of each.");
    text
}

/// The commands of the longest group that the words begin with; `None`: there is no such group.
pub(super) fn group(words: &[String]) -> Option<String> {
    let asked = words.join(" ");
    let begins = |name: &str| {
        asked == name || asked.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '))
    };
    let mut found = GROUPS.iter().filter(|(name, _)| begins(name));
    let (name, about) = found.by_ref().max_by_key(|(name, _)| name.len())?;
    let mut text = format!("Usage: vardo {name} <subcommand> [options] [args]\n\n  {about}\n\n");
    text.push_str("Subcommands:\n\n");
    for command in commands() {
        let sub = command.name().strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
        if let Some(sub) = sub {
            text.push_str(&format!("    {sub:<22}{}\n", command.about));
        }
    }
    Some(text.trim_end().to_owned())
}

/// All of one command.
pub(super) fn command(command: &Command) -> String {
    let mut usage = format!("Usage: vardo {}", command.name());
    let own = command.own_flags();
    if !own.is_empty() || command.remote {
        usage.push_str(" [options]");
    }
    let args = command.args.replace("[options]", "");
    let mut text = format!("{} {args}", usage.trim_end()).trim_end().to_owned();
    text.push_str(&format!("\n\n  {}.\n", command.about));
    for alias in command.names.split(", ").skip(1) {
        text.push_str(&format!("  Also: vardo {alias}\n"));
    }
    section(&mut text, "Options", &own);
    if command.remote {
        section(&mut text, "General options", &flags(GENERAL, COMMON));
    }
    text.trim_end().to_owned()
}

fn section(text: &mut String, title: &str, flags: &[Flag]) {
    if flags.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    for flag in flags {
        let gap = if flag.value.is_empty() { "" } else { "=" };
        text.push_str(&format!("\n  -{}{gap}{}\n    {}.\n", flag.name, flag.value, flag.help));
    }
}

/// Prints the manual page, in the language of `man`.
pub(super) fn man(session: &mut Session<'_>, _args: &Args) -> Result<i32, Stop> {
    let coded = |text: &str| text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    let mut page = format!(
        ".TH VARDO 1 \"\" \"vardo {}\" \"vardo\"\n.SH NAME\nvardo \\- schedules and runs \
         workloads\n.SH SYNOPSIS\n.B vardo\n.I command\n[options] [arguments]\n.SH COMMANDS\n",
        crate::VERSION
    );
    let option = |page: &mut String, flag: &Flag| {
        let value = match flag.value {
            "" => String::new(),
            value => format!("=\\fI{}\\fR", coded(value)),
        };
        page.push_str(&format!(
            ".TP\n\\fB\\-{}\\fR{value}\n{}.\n",
            coded(flag.name),
            coded(flag.help)
        ));
    };
    for command in commands() {
        let (name, args) = (coded(command.name()), coded(command.args));
        page.push_str(&format!(".SS \"vardo {name} {args}\"\n{}.\n", coded(command.about)));
        for flag in command.own_flags() {
            option(&mut page, &flag);
        }
    }
    page.push_str(".SH GENERAL OPTIONS\n");
    for flag in flags(GENERAL, COMMON) {
        option(&mut page, &flag);
    }
    page.push_str(
        ".SH EXIT STATUS\n0 where all went well, 1 where something did not, 2 where a job was \
         registered and not all of it could be placed, 127 for a command that there is not. \
         \\fBjob plan\\fR: 0 where nothing would change, 1 where something would, 255 where it \
         cannot be told.\n",
    );
    session.write(page.as_bytes());
    Ok(0)
}
