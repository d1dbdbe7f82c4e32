//! What becomes of tasks that ran when the machine went down.

use super::*;

/// The agent starts again on the machine that was switched on again.
fn after_the_cut(w: World) -> World {
    let w = w.restart_agent(ClientConfig { boot_id: "boot-2".to_owned(), ..config() });
    assert_eq!(w.log[0], "adopt web 0", "only the run directory is asked");
    w
}

fn lost() -> ExecutorEvent {
    ExecutorEvent::Lost { reason: "machine restarted".to_owned() }
}

/// Whatever the job is and however seldom it may be started again, and with no server to ask: the
/// end was not the task's.
#[test]
fn tasks_run_again_whatever_their_policy() {
    for kind in ["service", "batch", "system", "sysbatch"] {
        let mut w = World::new();
        w.pull(&[&alloc("a", kind, group(0, vec![program("web")]))]);
        assert_eq!(w.state("a", "web"), "running");
        // Also where power fails again before anything is known.
        let mut w = after_the_cut(after_the_cut(w));
        w.input(ClientInput::ServerLost);
        w.event("a", "web", lost());
        assert_eq!(
            w.events("a", "web")[3],
            "Terminated: Exit Code: 0, Exit Message: \"executor lost: machine restarted\""
        );
        assert_eq!(w.state("a", "web"), "running", "{kind}");
        assert!(!w.logged().iter().any(|l| l.starts_with("kill")), "strangers have its number");
        // From then on its ends count.
        w.exit("a", "web", 1);
        assert_eq!(w.state("a", "web"), "dead", "{kind}");
        assert!(w.kinds("a", "web").contains(&"Not Restarting".to_owned()));
    }
}

#[test]
fn a_start_that_the_cut_interrupted_is_made_again() {
    let mut w = World::new();
    w.obedient = false;
    w.pull(&[&alloc("a", "batch", group(0, vec![program("web")]))]);
    let mut w = after_the_cut(w);
    w.event("a", "web", lost());
    assert!(w.logged().contains(&"start web".to_owned()));
}

/// What it did before the machine went down is its own, and so is the death of an executor while
/// the machine runs.
#[test]
fn other_ends_count() {
    let begun = || {
        let mut w = World::new();
        w.pull(&[&alloc("a", "service", group(0, vec![program("web")]))]);
        w
    };
    let mut w = after_the_cut(begun());
    w.exit("a", "web", 3);
    assert_eq!(w.state("a", "web"), "dead");
    let mut w = begun().restart_agent(config());
    w.event("a", "web", ExecutorEvent::Lost { reason: "killed".to_owned() });
    assert_eq!(w.state("a", "web"), "dead");
}
