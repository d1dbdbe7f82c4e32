//! The history of a task: one constructor per event, with the texts that users see.
//!
//! The scalar fields and `details` say the same twice; old clients read the former. The display
//! text is set here, so that every reader of a stored row sees it.

use crate::api::{TaskEvent, TaskState};
use crate::client::exec_proto::Exit;
use crate::stdx::duration;

/// Events kept per task.
pub const EVENTS_MAX: usize = 10;

pub const BUILDING: &str = "Building Task Directory";

/// Adds an event and drops the oldest where there are too many.
pub fn push(state: &mut TaskState, event: TaskEvent) {
    state.events.push(event);
    if state.events.len() > EVENTS_MAX {
        let extra = state.events.len() - EVENTS_MAX;
        state.events.drain(..extra);
    }
}

pub fn received(at_ns: i64) -> TaskEvent {
    event("Received", at_ns, "Task received by client")
}

/// Something about the templates of a task.
pub fn template(at_ns: i64, text: &str) -> TaskEvent {
    message("Template", at_ns, text)
}

pub fn setup(at_ns: i64) -> TaskEvent {
    message("Task Setup", at_ns, BUILDING)
}

pub fn artifacts(at_ns: i64) -> TaskEvent {
    event("Downloading Artifacts", at_ns, "Client is downloading artifacts")
}

pub fn started(at_ns: i64) -> TaskEvent {
    event("Started", at_ns, "Task started by client")
}

/// `text` says what went wrong where that is not told by the exit itself; may be empty.
pub fn terminated(at_ns: i64, exit: &Exit, text: &str) -> TaskEvent {
    let code = exit_code(exit);
    let mut display = format!("Exit Code: {code}");
    if exit.signal != 0 {
        display.push_str(&format!(", Signal: {}", exit.signal));
    }
    if !text.is_empty() {
        display.push_str(&format!(", Exit Message: {text:?}"));
    }
    let mut e = event("Terminated", at_ns, &display);
    e.exit_code = i64::from(code);
    e.signal = i64::from(exit.signal);
    detail(&mut e, "exit_code", code.to_string());
    detail(&mut e, "signal", exit.signal.to_string());
    detail(&mut e, "oom_killed", exit.oom_killed.to_string());
    if !text.is_empty() {
        detail(&mut e, "exit_message", text.to_owned());
        text.clone_into(&mut e.message);
    }
    e
}

/// A process that a signal ended counts as a shell counts it.
pub fn exit_code(exit: &Exit) -> i32 {
    if exit.signal != 0 && exit.code == 0 { 128 + exit.signal } else { exit.code }
}

/// `reason` is shown before the delay; empty where it is the ordinary one.
pub fn restarting(at_ns: i64, delay_ns: i64, reason: &str, shown: bool) -> TaskEvent {
    let wait = format!("Task restarting in {}", duration::Go(delay_ns));
    let display = if shown { format!("{reason} - {wait}") } else { wait };
    let mut e = event("Restarting", at_ns, &display);
    reason.clone_into(&mut e.restart_reason);
    e.start_delay = delay_ns;
    detail(&mut e, "restart_reason", reason.to_owned());
    detail(&mut e, "start_delay", delay_ns.to_string());
    e
}

/// The task has failed and stays down.
pub fn not_restarting(at_ns: i64, reason: &str) -> TaskEvent {
    let mut e = event("Not Restarting", at_ns, reason);
    reason.clone_into(&mut e.restart_reason);
    fails(&mut e);
    detail(&mut e, "restart_reason", reason.to_owned());
    e
}

pub fn killing(at_ns: i64, timeout_ns: i64) -> TaskEvent {
    let timeout = duration::Go(timeout_ns).to_string();
    let display = if timeout_ns > 0 {
        format!("Sent interrupt. Waiting {timeout} before force killing")
    } else {
        "Sent interrupt".to_owned()
    };
    let mut e = event("Killing", at_ns, &display);
    e.kill_timeout = timeout_ns;
    detail(&mut e, "kill_timeout", timeout);
    e
}

/// `error` is empty where the task went as it was asked to.
pub fn killed(at_ns: i64, error: &str) -> TaskEvent {
    let mut e =
        event("Killed", at_ns, if error.is_empty() { "Task successfully killed" } else { error });
    if !error.is_empty() {
        error.clone_into(&mut e.kill_error);
        detail(&mut e, "kill_error", error.to_owned());
    }
    e
}

pub fn driver_failure(at_ns: i64, error: &str) -> TaskEvent {
    let mut e = event("Driver Failure", at_ns, error);
    error.clone_into(&mut e.driver_error);
    detail(&mut e, "driver_error", error.to_owned());
    e
}

pub fn setup_failure(at_ns: i64, error: &str) -> TaskEvent {
    let mut e = event("Setup Failure", at_ns, error);
    error.clone_into(&mut e.setup_error);
    detail(&mut e, "setup_error", error.to_owned());
    fails(&mut e);
    e
}

pub fn failed_validation(at_ns: i64, error: &str) -> TaskEvent {
    let mut e = event("Failed Validation", at_ns, error);
    error.clone_into(&mut e.validation_error);
    detail(&mut e, "validation_error", error.to_owned());
    fails(&mut e);
    e
}

pub fn artifact_failed(at_ns: i64, error: &str) -> TaskEvent {
    let mut e = event("Failed Artifact Download", at_ns, error);
    error.clone_into(&mut e.download_error);
    detail(&mut e, "download_error", error.to_owned());
    e
}

pub fn sibling_failed(at_ns: i64, sibling: &str) -> TaskEvent {
    let mut e =
        event("Sibling Task Failed", at_ns, &format!("Task's sibling \"{sibling}\" failed"));
    sibling.clone_into(&mut e.failed_sibling);
    detail(&mut e, "failed_sibling", sibling.to_owned());
    e
}

pub fn leader_dead(at_ns: i64) -> TaskEvent {
    event("Leader Task Dead", at_ns, "Leader Task in Group dead")
}

pub fn main_tasks_dead(at_ns: i64) -> TaskEvent {
    event("Main Tasks Dead", at_ns, "Main tasks in the group died")
}

pub fn signaling(at_ns: i64, signal: &str) -> TaskEvent {
    let mut e = event("Signaling", at_ns, &format!("Task being sent signal {signal}"));
    signal.clone_into(&mut e.task_signal);
    detail(&mut e, "signal", signal.to_owned());
    e
}

pub fn restart_signaled(at_ns: i64, reason: &str) -> TaskEvent {
    let mut e = event("Restart Signaled", at_ns, reason);
    reason.clone_into(&mut e.restart_reason);
    detail(&mut e, "restart_reason", reason.to_owned());
    e
}

/// `owner` is empty for the task's own delay and `group ` for the group's.
pub fn shutdown_delay(at_ns: i64, owner: &str, delay_ns: i64) -> TaskEvent {
    let text = format!(
        "Waiting for {owner}shutdown_delay of {} before killing the task.",
        duration::Go(delay_ns)
    );
    message("Waiting for shutdown delay", at_ns, &text)
}

pub fn shutdown_delay_skipped(at_ns: i64, owner: &str, delay_ns: i64) -> TaskEvent {
    let text = format!("Skipping {owner}shutdown_delay of {}", duration::Go(delay_ns));
    message("Skipping shutdown delay", at_ns, &text)
}

pub fn unhealthy(at_ns: i64, text: &str) -> TaskEvent {
    message("Alloc Unhealthy", at_ns, text)
}

pub fn restore_failed(at_ns: i64, text: &str) -> TaskEvent {
    message("Failed Restoring Task", at_ns, text)
}

fn event(kind: &str, at_ns: i64, display: &str) -> TaskEvent {
    TaskEvent {
        kind: kind.to_owned(),
        time: at_ns,
        display_message: display.to_owned(),
        ..TaskEvent::default()
    }
}

fn message(kind: &str, at_ns: i64, text: &str) -> TaskEvent {
    let mut e = event(kind, at_ns, text);
    text.clone_into(&mut e.message);
    detail(&mut e, "message", text.to_owned());
    e
}

fn fails(e: &mut TaskEvent) {
    e.fails_task = true;
    detail(e, "fails_task", "true".to_owned());
}

fn detail(e: &mut TaskEvent, key: &str, value: String) {
    e.details.insert(key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_users_know() {
        let exit = |code, signal| Exit { code, signal, ..Exit::default() };
        for (e, kind, text) in [
            (received(1), "Received", "Task received by client"),
            (setup(1), "Task Setup", "Building Task Directory"),
            (started(1), "Started", "Task started by client"),
            (terminated(1, &exit(0, 0), ""), "Terminated", "Exit Code: 0"),
            (terminated(1, &exit(0, 2), ""), "Terminated", "Exit Code: 130, Signal: 2"),
            (
                terminated(1, &exit(1, 0), "gone"),
                "Terminated",
                "Exit Code: 1, Exit Message: \"gone\"",
            ),
            (
                restarting(1, 15_000_000_000, "Restart within policy", false),
                "Restarting",
                "Task restarting in 15s",
            ),
            (
                restarting(1, 1, "Exceeded allowed attempts, applying a delay", true),
                "Restarting",
                "Exceeded allowed attempts, applying a delay - Task restarting in 1ns",
            ),
            (
                not_restarting(1, "Policy allows no restarts"),
                "Not Restarting",
                "Policy allows no restarts",
            ),
            (
                killing(1, 5_000_000_000),
                "Killing",
                "Sent interrupt. Waiting 5s before force killing",
            ),
            (killing(1, 0), "Killing", "Sent interrupt"),
            (killed(1, ""), "Killed", "Task successfully killed"),
            (sibling_failed(1, "x"), "Sibling Task Failed", "Task's sibling \"x\" failed"),
            (leader_dead(1), "Leader Task Dead", "Leader Task in Group dead"),
            (main_tasks_dead(1), "Main Tasks Dead", "Main tasks in the group died"),
            (signaling(1, "SIGHUP"), "Signaling", "Task being sent signal SIGHUP"),
        ] {
            assert_eq!((e.kind.as_str(), e.display_message.as_str()), (kind, text));
            assert_eq!(e.time, 1);
        }
    }

    #[test]
    fn details_mirror_the_fields() {
        let e = terminated(1, &Exit { code: 3, ..Exit::default() }, "");
        assert_eq!(e.exit_code, 3);
        let details: Vec<_> = e.details.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(details, [("exit_code", "3"), ("oom_killed", "false"), ("signal", "0")]);
        let e = not_restarting(1, "Policy allows no restarts");
        assert!(e.fails_task);
        assert_eq!(e.details.get("fails_task").map(String::as_str), Some("true"));
        let e = killing(1, 5_000_000_000);
        assert_eq!(e.details.get("kill_timeout").map(String::as_str), Some("5s"));
    }

    #[test]
    fn ten_events_are_kept() {
        let mut state = TaskState::default();
        for at in 0..25 {
            push(&mut state, received(at));
        }
        assert_eq!(state.events.len(), EVENTS_MAX);
        assert_eq!(state.events.first().map(|e| e.time), Some(15));
        assert_eq!(state.events.last().map(|e| e.time), Some(24));
    }
}
