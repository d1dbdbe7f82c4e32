//! Starting the program of a task, from its executor. Everything that has to happen between fork
//! and exec is here.
#![expect(unsafe_code, reason = "what a child does before exec has no safe face")]

use std::fs::File;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::exec_proto::StartSpec;

use super::linux::{self, check, set_nonblocking};
use super::sysfs;

/// A task that has just been started. It leads its own session and process group, and dies with
/// its executor.
#[derive(Debug)]
pub struct Started {
    /// Process id; a child of the caller.
    pub pid: u32,
    /// Its output and its error output, non-blocking; `None` when logs are off.
    pub output: Option<[PipeReader; 2]>,
}

/// A command that has just been started beside a task, for someone who types and reads.
#[derive(Debug)]
pub struct Attached {
    /// Process id; a child of the caller that leads its own session.
    pub pid: u32,
    /// Non-blocking: its terminal alone, or its input, output and error output.
    pub ends: Vec<OwnedFd>,
}

/// A user to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    user: u32,
    group: u32,
    groups: Vec<u32>,
}

/// Starts the program. `group_procs`: an open `cgroup.procs` file that the task enters before it
/// begins.
///
/// # Errors
/// A sentence for the user: no such user, no such directory, program not found, not allowed.
pub fn start(spec: &StartSpec, group_procs: Option<File>) -> Result<Started, String> {
    let user = match spec.user.as_str() {
        "" => None,
        name => Some(find_user(name).ok_or_else(|| format!("unknown user {name}"))?),
    };
    if !Path::new(&spec.cwd).is_dir() {
        return Err(format!("working directory {} does not exist", spec.cwd));
    }
    start_as(spec, user, group_procs).map_err(|e| {
        format!("failed to start command {:?}: {}", spec.command, super::error_text(&e))
    })
}

/// Starts a command as the start file says of its task, at pipes or at a terminal of its own.
///
/// # Errors
/// A sentence for the user, as the API says it.
pub fn attach(
    spec: &StartSpec,
    group_procs: Option<File>,
    terminal: bool,
) -> Result<Attached, String> {
    let user = match spec.user.as_str() {
        "" => None,
        name => Some(find_user(name).ok_or_else(|| format!("unknown user {name}"))?),
    };
    attach_as(spec, user, group_procs, terminal).map_err(|e| {
        format!(
            "rpc error: code = Unknown desc = failed to start command: fork/exec {}: {}",
            spec.command,
            super::error_text(&e)
        )
    })
}

/// [`attach`] with its user looked up.
fn attach_as(
    spec: &StartSpec,
    user: Option<User>,
    group_procs: Option<File>,
    terminal: bool,
) -> io::Result<Attached> {
    let mut command = program(spec);
    let own = |fd: &OwnedFd| match &user {
        // So that it may open /dev/stdout, or its terminal, by name.
        Some(user) => fchown(fd, Some(user.user), Some(user.group)),
        None => Ok(()),
    };
    let ends: Vec<OwnedFd> = if terminal {
        let (ours, theirs) = super::terminal::open()?;
        let theirs = OwnedFd::from(theirs);
        own(&theirs)?;
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        if !spec.env.iter().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm");
        }
        vec![ours.into()]
    } else {
        let (in_read, in_write) = io::pipe()?;
        let (out, out_write) = io::pipe()?;
        let (err, err_write) = io::pipe()?;
        let theirs: [OwnedFd; 3] = [in_read.into(), out_write.into(), err_write.into()];
        for fd in &theirs {
            own(fd)?;
        }
        let [stdin, stdout, stderr] = theirs;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let ends = vec![in_write.into(), out.into(), err.into()];
        for fd in &ends {
            set_nonblocking(OwnedFd::as_fd(fd))?;
        }
        ends
    };
    let pid = run(command, user, group_procs, terminal)?;
    Ok(Attached { pid, ends })
}

/// The program of a task with its arguments, environment and directory.
fn program(spec: &StartSpec) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    let mut command = Command::new(&spec.command);
    command.args(&spec.args).env_clear().current_dir(&spec.cwd);
    command.envs(spec.env.iter().map(|(name, value)| (name, value)));
    command
}

/// Starts it; its process id.
fn run(
    mut command: Command,
    user: Option<User>,
    mut group_procs: Option<File>,
    terminal: bool,
) -> io::Result<u32> {
    let executor = std::process::id().cast_signed();
    let before_exec = move || {
        if let Some(procs) = &mut group_procs {
            procs.write_all(b"0")?;
        }
        become_task(user.as_ref(), executor, terminal)
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes locks.
    unsafe { command.pre_exec(before_exec) };
    Ok(command.spawn()?.id())
}

/// [`start`] with its user looked up.
fn start_as(
    spec: &StartSpec,
    user: Option<User>,
    group_procs: Option<File>,
) -> io::Result<Started> {
    let mut command = program(spec);
    command.stdin(Stdio::null());
    let output = if spec.log_disabled {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        None
    } else {
        let (out, out_write) = io::pipe()?;
        let (err, err_write) = io::pipe()?;
        for (read, write) in [(&out, &out_write), (&err, &err_write)] {
            set_nonblocking(read.as_fd())?;
            if let Some(user) = &user {
                // So that the task may open /dev/stdout by name.
                fchown(write, Some(user.user), Some(user.group))?;
            }
        }
        command.stdout(OwnedFd::from(out_write)).stderr(OwnedFd::from(err_write));
        Some([out, err])
    };
    let pid = run(command, user, group_procs, false)?;
    Ok(Started { pid, output })
}

/// In the child, before exec: own session, default signals, the user's rights, and death with the
/// executor. With `terminal`, its standard input becomes the terminal of its session.
fn become_task(user: Option<&User>, executor: i32, terminal: bool) -> io::Result<()> {
    // SAFETY: no memory is passed. A fresh child leads no group, so this succeeds.
    check(unsafe { libc::setsid() })?;
    if terminal {
        // SAFETY: no memory is passed; 0: not to be taken from another session.
        check(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
    }
    for signal in 1..=64 {
        // SAFETY: sets a default action; numbers that cannot be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // Those that the executor holds back would never reach a program that does not ask for them.
    linux::unblock_signals()?;
    if let Some(user) = user {
        // SAFETY: pointer and length are of one vector.
        check(unsafe { libc::setgroups(user.groups.len(), user.groups.as_ptr()) })?;
        // SAFETY: no memory is passed.
        check(unsafe { libc::setgid(user.group) })?;
        // SAFETY: no memory is passed.
        check(unsafe { libc::setuid(user.user) })?;
    }
    // After the change of user, which would undo it.
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: no memory is passed.
    if unsafe { libc::getppid() } != executor {
        // The executor died before the line above could take effect.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

/// Looks a user up by name or number in `/etc/passwd` and `/etc/group`. A number without an entry
/// is a user with the group of the same number. Directory services are not asked: their libraries
/// would cost more memory than an executor has.
fn find_user(name: &str) -> Option<User> {
    find_user_in(name, &sysfs::text("/etc/passwd"), &sysfs::text("/etc/group"))
}

/// The numbers of a user and its group, as a task of that user has them.
#[must_use]
pub fn user_ids(name: &str) -> Option<(u32, u32)> {
    find_user(name).map(|u| (u.user, u.group))
}

/// [`find_user`] over the texts of the two files.
fn find_user_in(name: &str, passwd: &str, groups: &str) -> Option<User> {
    let mut found = None;
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [login, _, user, group, ..] = fields.as_slice() else { continue };
        if *login == name || *user == name {
            found = Some((*login, user.parse().ok()?, group.parse().ok()?));
            break;
        }
    }
    let Some((login, user, group)) = found else {
        let number = name.parse().ok()?;
        return Some(User { user: number, group: number, groups: vec![number] });
    };
    let mut member_of = vec![group];
    for line in groups.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, number, members, ..] = fields.as_slice() else { continue };
        if members.split(',').any(|m| m == login)
            && let Ok(number) = number.parse()
            && !member_of.contains(&number)
        {
            member_of.push(number);
        }
    }
    Some(User { user, group, groups: member_of })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:44::/:/bin/false";
        let groups = "root:x:0:\nvideo:x:7:a,web\nweb:x:44:web\nbad";
        let web = User { user: 33, group: 44, groups: vec![44, 7] };
        assert_eq!(find_user_in("web", passwd, groups), Some(web.clone()));
        assert_eq!(find_user_in("33", passwd, groups), Some(web));
        let stranger = User { user: 999, group: 999, groups: vec![999] };
        assert_eq!(find_user_in("999", passwd, groups), Some(stranger));
        assert_eq!(find_user_in("nobody-here", passwd, groups), None);
        assert_eq!(find_user_in("-1", passwd, groups), None);
    }
}
