//! `setup`: a configuration and a service of the system for an agent, on a machine that was looked
//! at. Nothing that exists is touched.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::args::Args;
use super::{Session, Stop, system};
use crate::os::entropy;
use crate::stdx::Entropy;
use crate::stdx::json::Bytes;

/// Who starts services here.
#[derive(Clone, Copy, PartialEq)]
enum Init {
    Systemd,
    Openrc,
    Procd,
}

const SYSTEMD: &str = "[Unit]
Description=vardo
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={program} agent -config {config}
ExecReload=/bin/kill -HUP $MAINPID
# Tasks outlive their agent, so that it can be replaced.
KillMode=process
KillSignal=SIGINT
Delegate=yes
LimitNOFILE=65536
TasksMax=infinity
OOMScoreAdjust=-500
# An agent that was stopped ends with 1.
SuccessExitStatus=1
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
";

const OPENRC: &str = "#!/sbin/openrc-run

name=vardo
description=\"vardo\"
supervisor=supervise-daemon
command={program}
command_args=\"agent -config {config}\"
stopsig=SIGINT
respawn_delay=2
rc_ulimit=\"-n 65536\"
extra_started_commands=reload

depend() {
\tneed net
\tafter cgroups
}

reload() {
\tsupervise-daemon $RC_SVCNAME --signal HUP
}
";

const PROCD: &str = "#!/bin/sh /etc/rc.common

START=95
STOP=10
USE_PROCD=1

start_service() {
\tprocd_open_instance
\tprocd_set_param command {program} agent -config {config}
\tprocd_set_param respawn 3600 5 0
\tprocd_set_param limits nofile=\"65536 65536\"
\tprocd_set_param term_timeout 30
\tprocd_set_param stdout 1
\tprocd_set_param stderr 1
\tprocd_close_instance
}

reload_service() {
\tprocd_send_signal vardo '*' HUP
}
";

/// There is nothing to set up in another program that is never spoken to.
pub(super) fn absent(program: &str) -> Result<i32, Stop> {
    Err(Stop::Error(format!("vardo does not speak to {program}: there is nothing to set up in it")))
}

pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let root = PathBuf::from(args.value("root").unwrap_or("/"));
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let problems = cgroups(&root);
    for problem in &problems {
        session.warn(&format!("warning: {problem}"));
    }
    if args.on("check") {
        if problems.is_empty() {
            session.say("Control groups are as they should be");
        }
        return Ok(i32::from(!problems.is_empty()));
    }
    let init = match args.value("init") {
        None => found(&root).ok_or_else(|| {
            Stop::Usage("No service manager was found: name it by -init".to_owned())
        })?,
        Some("systemd") => Init::Systemd,
        Some("openrc") => Init::Openrc,
        Some("procd") => Init::Procd,
        Some(_) => return Err(Stop::Usage("-init is systemd, openrc or procd".to_owned())),
    };
    let folder = args.value("config").unwrap_or("/etc/vardo");
    let config = configuration(args)?;
    let (text, service, mode) = match init {
        Init::Systemd => (SYSTEMD, "/etc/systemd/system/vardo.service", 0o644),
        Init::Openrc => (OPENRC, "/etc/init.d/vardo", 0o755),
        Init::Procd => (PROCD, "/etc/init.d/vardo", 0o755),
    };
    let program = match args.value("program") {
        Some(program) => program.to_owned(),
        None => std::env::current_exe().map_err(|e| e.to_string())?.to_string_lossy().into_owned(),
    };
    for path in [&program, folder] {
        if path.contains(|c: char| c.is_whitespace() || "\"'$\\%".contains(c)) {
            return Err(Stop::Usage(format!("{path:?} cannot stand in a service's file")));
        }
    }
    let text = text.replace("{program}", &program).replace("{config}", folder);
    let file = format!("{}/vardo.hcl", folder.trim_end_matches('/'));
    // Neither is written where one of them is there.
    for path in [at(&file), at(service)] {
        if path.exists() {
            return Err(Stop::Error(format!(
                "{} is there already and is left as it is: move it away, or edit it",
                path.display()
            )));
        }
    }
    // The configuration may hold the cluster's secret.
    write(&at(&file), &config, 0o600)?;
    write(&at(service), &text, mode)?;
    session.say(&format!("Configuration written to {}", at(&file).display()));
    session.say(&format!("Service written to {}", at(service).display()));
    let start = match init {
        Init::Systemd => "systemctl daemon-reload && systemctl enable --now vardo",
        Init::Openrc => "rc-update add vardo default && rc-service vardo start",
        Init::Procd => "/etc/init.d/vardo enable && /etc/init.d/vardo start",
    };
    session.say(&format!(
        "\nNext:\n  {program} config validate {folder}\n  {start}\n  {program} node status"
    ));
    let (servers, join) = (args.value("servers").unwrap_or("1"), args.value("join"));
    if servers != "1" && args.value("encrypt").is_none() {
        session.say(&format!(
            "\nOn the other servers, where <key> is what stands for encrypt in {file}:"
        ));
        let all = join.unwrap_or_default();
        for other in all.split(',').map(str::trim).filter(|a| Some(*a) != args.value("bind")) {
            session.say(&format!(
                "  vardo setup -servers={servers} -bind={other} -join={all} -encrypt=<key>"
            ));
        }
    }
    Ok(0)
}

/// The text of the configuration that the flags ask for.
fn configuration(args: &Args) -> Result<String, Stop> {
    let servers = args.number("servers").map_err(Stop::Usage)?.unwrap_or(1);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let bind = args.value("bind");
    if servers > 1 && (bind.is_none() || args.value("join").is_none()) {
        let text = "Several servers need -bind=<address of this one> and -join=<addresses of all>";
        return Err(Stop::Usage(text.to_owned()));
    }
    let all: Vec<&str> = args.value("join").unwrap_or_default().split(',').map(str::trim).collect();
    if servers > 1 && bind.is_some_and(|own| !all.contains(&own)) {
        let text = "-join=<addresses of all> is to hold the address of this one, -bind, too";
        return Err(Stop::Usage(text.to_owned()));
    }
    if servers % 2 == 0 || servers > 7 {
        return Err(Stop::Usage("-servers is 1, 3, 5 or 7".to_owned()));
    }
    let data = args.value("data-dir").unwrap_or("/var/lib/vardo");
    let mut out = format!(
        "data_dir  = {}\nbind_addr = {}\n",
        quoted(data),
        quoted(bind.unwrap_or("127.0.0.1"))
    );
    if let Some(name) = args.value("name") {
        out.push_str(&format!("name      = {}\n", quoted(name)));
    }
    out.push_str(&format!(
        "\nserver {{\n  enabled          = true\n  bootstrap_expect = {servers}\n"
    ));
    if servers > 1 {
        let key = match args.value("encrypt") {
            Some(key) => key.to_owned(),
            None => {
                let mut bytes = [0; 32];
                entropy::System::new().fill(&mut bytes);
                Bytes::encode(&bytes)
            }
        };
        let join: Vec<String> = all.iter().map(|address| quoted(address)).collect();
        out.push_str(&format!(
            "  encrypt          = {}\n\n  server_join {{\n    retry_join = [{}]\n  }}\n",
            quoted(&key),
            join.join(", ")
        ));
    }
    out.push_str("}\n\nclient {\n  enabled = true\n}\n\n");
    out.push_str("plugin \"raw_exec\" {\n  config {\n    enabled = true\n  }\n}\n");
    Ok(out)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Stop> {
    let folder = path.parent().unwrap_or(path);
    let cannot = |e: std::io::Error| Stop::Error(format!("{}: {e}", path.display()));
    fs::create_dir_all(folder).map_err(cannot)?;
    let mut file = system::create_file(&path.to_string_lossy(), 0o600)?;
    file.write_all(text.as_bytes()).map_err(cannot)?;
    // Whatever the umask is.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(cannot)
}

fn found(root: &Path) -> Option<Init> {
    let is = |path: &str| root.join(path).exists();
    if is("run/systemd/system") {
        Some(Init::Systemd)
    } else if is("sbin/procd") || is("etc/rc.common") {
        Some(Init::Procd)
    } else if is("sbin/openrc-run") || is("run/openrc") {
        Some(Init::Openrc)
    } else {
        None
    }
}

/// What control groups lack, and what to do about it. Tasks run without them, but without limits.
fn cgroups(root: &Path) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(root.join(path));
    let Ok(known) = read("proc/cgroups") else {
        // A folder that is to become a machine's cannot be asked.
        return match root == Path::new("/") {
            true => vec!["the kernel has no control groups: CONFIG_CGROUPS=y is missing".into()],
            false => Vec::new(),
        };
    };
    let given = read("sys/fs/cgroup/cgroup.controllers").ok();
    let mut out = Vec::new();
    if given.is_none() {
        let how = match found(root) {
            Some(Init::Systemd) => {
                "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line and restart"
            }
            Some(Init::Openrc) => "set rc_cgroup_mode=\"unified\" in /etc/rc.conf and restart",
            _ => "mount them: mount -t cgroup2 none /sys/fs/cgroup",
        };
        out.push(format!("control groups of version 2 are not mounted; {how}"));
    }
    for (name, option) in [("memory", "CONFIG_MEMCG=y"), ("cpu", "CONFIG_CGROUP_SCHED=y")] {
        let line = known.lines().find(|l| l.split_whitespace().next() == Some(name));
        let enabled = line.and_then(|l| l.split_whitespace().last());
        let here = given.as_ref().is_none_or(|g| g.split_whitespace().any(|c| c == name));
        match enabled {
            Some("1") if here => {}
            None if given.as_ref().is_some_and(|_| here) => {}
            None => out.push(format!(
                "the kernel was built without the controller {name}: {option} is missing"
            )),
            // As the kernels of single-board computers come.
            Some("0") if name == "memory" => out.push(
                "the controller memory is off; add cgroup_enable=memory cgroup_memory=1 to the \
                 kernel's command line and restart"
                    .to_owned(),
            ),
            Some("0") => out.push(format!(
                "the controller {name} is off; take cgroup_disable={name} out of the kernel's \
                 command line and restart"
            )),
            Some(_) => out.push(format!(
                "the controller {name} belongs to version 1; add cgroup_no_v1=all to the kernel's \
                 command line and restart"
            )),
        }
    }
    out
}
