//! Clusters that get hot, and cold again.

use super::*;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const NAME: &str = "control-test-cold";

fn endpoints(port: u16) -> Change {
    let message: ClusterLoadAssignment = parse(&format!(
        "{{cluster_name: {NAME}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}"
    ));
    added(vec![resource(NAME, &message)])
}

#[test]
fn what_nobody_uses_is_given_back_and_found_anew_when_it_is_asked_for() {
    let (control, published, _) = started("node: {id: a}");
    let cluster: Cluster =
        parse(&format!("{{name: {NAME}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}"));
    control.apply(Update {
        clusters: added(vec![resource(NAME, &cluster)]),
        endpoints: endpoints(1),
        ..Update::default()
    });
    let live = published.load().clusters.get(NAME).unwrap().live.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hot = || -> SocketAddr {
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(10), live.ready()).await.expect("made hot")
        });
        let set = live.hosts().expect("it is hot");
        let host = set.members.hosts().next().expect("one host").clone();
        host.address.socket().expect("an IP address")
    };
    assert!(!live.is_touched());
    // Two workers use it.
    live.enter();
    live.enter();
    assert_eq!(hot().port(), 1);
    live.leave();
    assert!(!live.cool() && live.is_touched(), "one of them still does");
    live.leave();
    let end = Instant::now() + Duration::from_secs(10);
    while live.version() != 0 {
        assert!(Instant::now() < end, "given back");
        std::thread::sleep(Duration::from_millis(2));
    }
    let before = published.version();
    control.apply(Update { endpoints: endpoints(2), ..Update::default() });
    assert_eq!((live.version(), published.version()), (0, before), "what comes meanwhile leaves it cold");
    live.enter();
    assert_eq!(hot().port(), 2);
    live.leave();
}
