//! How tasks come to their volumes.

use super::*;
use crate::api::{ClientHostVolumeConfig, VolumeMount, VolumeRequest};

/// A task that mounts a volume of the node, read-only where one of the three says so.
fn world(mounts: bool, [node, group_asks, mount]: [bool; 3]) -> World {
    let mut config = ClientConfig { mounts, ..config() };
    let path = "/srv/data".to_owned();
    let volume = ClientHostVolumeConfig { path, read_only: node, ..Default::default() };
    config.node.host_volumes.insert("data".to_owned(), volume);
    let mut w = World::boot(config, Default::default(), Now::default());
    let mount = VolumeMount {
        volume: "v".to_owned(),
        destination: "/local/d".to_owned(),
        read_only: mount,
        ..VolumeMount::default()
    };
    let request = VolumeRequest {
        kind: "host".to_owned(),
        source: "data".to_owned(),
        read_only: group_asks,
        ..VolumeRequest::default()
    };
    let mut group = group(0, vec![Task { volume_mounts: vec![mount].into(), ..program("web") }]);
    group.volumes.insert("v".to_owned(), request);
    w.pull(&[&alloc("a", "service", group)]);
    w
}

#[test]
fn read_only_is_kept_or_refused() {
    for asks in [[true, false, false], [false, true, false], [false, false, true]] {
        let w = world(true, asks);
        let mount = &w.starts[0].mounts[0];
        assert_eq!((mount.source.as_str(), mount.target.as_str()), ("/srv/data", "local/d"));
        assert!(mount.read_only, "{asks:?}");
        let w = world(false, asks);
        assert!(w.starts.is_empty());
        assert!(w.events("a", "web").join(" ").contains("the right to mount"), "{asks:?}");
    }
    assert!(!world(true, [false; 3]).starts[0].mounts[0].read_only);
    assert!(world(false, [false; 3]).starts[0].mounts.is_empty(), "a link");
}
