//! Servers that went back to an older state.

use super::*;

/// What ended since is told again, also where the node has dropped it.
#[test]
fn ends_that_the_servers_forgot_are_told_again() {
    let mut w = World::new();
    let a = alloc("a", "batch", group(0, vec![program("web")]));
    let gc = || ClientRequest::Gc { alloc: "a".to_owned() };
    w.pull(&[&a]);
    w.exit("a", "web", 0);
    for dropped in [false, true] {
        assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
        if dropped {
            assert_eq!(w.ask(gc()), Ok(String::new()));
        }
        w.server.clear();
        w.pull(&[&a]);
        w.pull(&[&a]);
        assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
        let told = w.reports;
        w.advance_ms(1000);
        assert_eq!(w.reports, told);
    }
    assert_eq!(w.client.counts(), (0, 0));
}
