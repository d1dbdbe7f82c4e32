//! Nodes.

use vardo::api::{DrainMetadata, DrainStrategy, NodeEvent};
use vardo::command::{Applied, Command};
use vardo::store::{Table, keys};

use super::{WALL, World, id, job, node, pending, register_node};

fn event(message: &str) -> NodeEvent {
    NodeEvent { message: message.into(), subsystem: "Cluster".into(), ..NodeEvent::default() }
}

fn status(to: &str, message: &str) -> Command {
    Command::NodeStatus {
        id: id(b'd', 1),
        status: to.into(),
        event: Some(event(message)),
        wall_ns: WALL,
        evals: Vec::new(),
    }
}

fn stored(w: &World) -> vardo::api::Node {
    w.read(|r| r.node(&id(b'd', 1)).unwrap().unwrap())
}

#[test]
fn a_node_registers_once_and_describes_itself_anew() {
    let mut w = World::with_node();
    let n = stored(&w);
    assert_eq!((n.create_index, n.modify_index), (w.index, w.index));
    assert_eq!(n.scheduling_eligibility, "eligible");
    assert_eq!(n.status_updated_at, WALL / 1_000_000_000);
    assert_eq!(n.events.len(), 1);
    assert_eq!((n.events[0].message.as_str(), n.events[0].create_index), ("Node registered", 0));
    w.read(|r| {
        let key = keys::by_uuid(&id(b'd', 1)).unwrap();
        assert_eq!(r.secret(Table::Node, &key).unwrap(), Some("secret"));
        let row = r.row(Table::Node, &key).unwrap().unwrap();
        assert!(!std::str::from_utf8(row.json).unwrap().contains("secret"));
        assert_eq!((row.node().cpu, row.node().memory), (1000, 1000));
        let stub = std::str::from_utf8(r.stub(Table::Node, &key).unwrap().unwrap().json).unwrap();
        assert!(stub.starts_with("{\"Address\":\"127.0.0.1\",\"CreateIndex\":"), "{stub}");
        assert!(stub.contains("\"HostVolumes\":{}"), "{stub}");
    });
    // The same again moves nothing.
    assert_eq!(w.run(&register_node(&node(1))), Applied::Nothing);
    assert_eq!(w.touched.tables, 0);
    let mut other = node(1);
    other.node_class = "big".into();
    other.node_pool = "edge".into();
    w.run(&register_node(&other));
    let n = stored(&w);
    assert_eq!((n.node_class.as_str(), n.modify_index), ("big", w.index));
    assert!(n.create_index < n.modify_index);
    assert_eq!(n.events.len(), 1);
    // A pool that a node names comes to be.
    assert_eq!(w.read(|r| r.node_pool("edge").unwrap().unwrap().create_index), w.index);
}

#[test]
fn a_node_goes_down_and_comes_back() {
    let mut w = World::with_node();
    w.run(&status("down", "Node heartbeat missed"));
    let n = stored(&w);
    assert_eq!((n.status.as_str(), n.last_missed_heartbeat_index), ("down", w.index));
    assert_eq!(n.events[1].create_index, w.index);
    w.run(&register_node(&node(1)));
    let n = stored(&w);
    assert_eq!(n.status, "ready");
    assert_eq!(n.events[2].message, "Node re-registered");
    for _ in 0..6 {
        w.run(&status("down", "Node heartbeat missed"));
        w.run(&status("ready", "Node reregistered by heartbeat"));
    }
    let n = stored(&w);
    assert_eq!(n.events.len(), 10, "ten events are kept");
    assert_eq!(n.events[9].message, "Node reregistered by heartbeat");
}

#[test]
fn eligibility_changes_once() {
    let mut w = World::with_node();
    let to = |to: &str, evals| Command::NodeEligibility {
        id: id(b'd', 1),
        eligibility: to.into(),
        event: event("Node marked"),
        evals,
    };
    assert_eq!(w.run(&to("ineligible", Vec::new())), Applied::Done);
    assert_eq!(w.run(&to("ineligible", Vec::new())), Applied::Nothing);
    assert_eq!(stored(&w).events.len(), 2);
    w.run(&to("eligible", vec![pending(1, &job("web"))]));
    assert_eq!(w.touched.evals.len(), 1);
    assert!(w.touched.nodes_changed.contains(&id(b'd', 1)));
    assert_eq!(stored(&w).scheduling_eligibility, "eligible");
}

#[test]
fn a_drain_closes_the_node() {
    let mut w = World::with_node();
    let drain = |strategy, mark_eligible, state: &str| Command::NodeDrain {
        id: id(b'd', 1),
        strategy,
        mark_eligible,
        last: Some(DrainMetadata { status: state.into(), ..DrainMetadata::default() }),
        event: event("Node drain strategy set"),
        evals: Vec::new(),
    };
    w.run(&drain(Some(DrainStrategy::default()), false, "draining"));
    let n = stored(&w);
    assert!(n.drain_strategy.is_some());
    assert_eq!(n.scheduling_eligibility, "ineligible");
    // Describing itself anew does not open it.
    let mut other = node(1);
    other.node_class = "big".into();
    w.run(&register_node(&other));
    assert!(stored(&w).drain_strategy.is_some());
    w.run(&drain(None, false, "complete"));
    let n = stored(&w);
    assert_eq!((n.drain_strategy, n.scheduling_eligibility), (None, "ineligible".to_owned()));
    assert_eq!(n.last_drain.unwrap().status, "complete");
    w.run(&drain(None, true, "canceled"));
    assert_eq!(stored(&w).scheduling_eligibility, "eligible");
}

#[test]
fn a_purged_node_is_gone() {
    let mut w = World::with_node();
    let purge = Command::NodePurge { ids: vec![id(b'd', 1)], evals: Vec::new() };
    assert_eq!(w.run(&purge), Applied::Done);
    w.read(|r| {
        assert!(r.node(&id(b'd', 1)).unwrap().is_none());
        assert!(r.raw(Table::Node).unwrap().is_empty());
        let key = keys::by_uuid(&id(b'd', 1)).unwrap();
        assert_eq!(r.secret(Table::Node, &key).unwrap(), None);
    });
    assert_eq!(w.run(&purge), Applied::Nothing);
    assert_eq!(w.run(&status("ready", "x")), Applied::Nothing);
    assert_eq!(w.touched.tables, 0);
}
