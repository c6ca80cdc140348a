//! The control thread with recorded workers.

use super::*;
use crate::base::Name;
use crate::base::addr::Address;
use crate::model::snapshot::{Published, Snapshot};
use prost::Message;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weir_proto::envoy::config::listener::v3::Listener;
use weir_proto::{Format, ParseOptions};

#[derive(Default)]
struct Recorded {
    snapshots: Mutex<Vec<u64>>,
    opened: Mutex<Vec<(usize, Opened)>>,
    closed: Mutex<Vec<(Name, Address)>>,
}

impl Workers for Recorded {
    fn count(&self) -> usize {
        2
    }
    fn publish(&self, snapshot: Arc<Snapshot>) {
        self.snapshots.lock().unwrap().push(snapshot.version);
    }
    fn open(&self, worker: usize, opened: Opened) {
        self.opened.lock().unwrap().push((worker, opened));
    }
    fn close(&self, listener: &Name, address: &Address) {
        self.closed.lock().unwrap().push((listener.clone(), address.clone()));
    }
}

fn parse<M: Message + Default + prost::Name>(text: &str) -> M {
    let options = ParseOptions { format: Format::Yaml, ..ParseOptions::default() };
    weir_proto::parse::<M>(text, &options).unwrap_or_else(|e| panic!("{e}\n{text}")).message
}

/// One control thread at a time: the requests of cold clusters have one reader in a process.
static ALONE: Mutex<()> = Mutex::new(());

struct Running {
    control: Option<Control>,
    thread: Option<std::thread::JoinHandle<()>>,
    _alone: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Running {
    type Target = Control;

    fn deref(&self) -> &Control {
        self.control.as_ref().expect("present until the end")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the control thread ends in peace");
        }
    }
}

fn started(text: &str) -> (Running, Arc<Published>, Arc<Recorded>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let published = Arc::new(Published::new());
    let workers = Arc::new(Recorded::default());
    let start = Start {
        bootstrap: parse::<Bootstrap>(text),
        service_node: Some("node".into()),
        service_cluster: None,
        published: published.clone(),
        workers: workers.clone(),
        state_dir: None,
    };
    let (control, thread) = Control::start(start).unwrap_or_else(|e| panic!("{e}"));
    let running = Running { control: Some(control), thread: Some(thread), _alone: alone };
    (running, published, workers)
}

mod cold;
mod surroundings;
mod waiting;

#[test]
fn a_bootstrap_with_a_mistake_serves_nothing_for_no_moment() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = Arc::new(Recorded::default());
    let listener = "{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [{filters: \
        [{name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, \
        stat_prefix: t, cluster: good}}]}]}";
    let clusters = "[{name: good}, {name: good}]";
    let text = format!("static_resources: {{listeners: [{listener}], clusters: {clusters}}}");
    let start = Start {
        bootstrap: parse::<Bootstrap>(&text),
        service_node: None,
        service_cluster: None,
        published: Arc::default(),
        workers: workers.clone(),
        state_dir: None,
    };
    let refused = Control::start(start).map(|_| ()).expect_err("two clusters of one name");
    assert_eq!(refused.errors.len(), 1, "{refused}");
    assert!(workers.snapshots.lock().unwrap().is_empty() && workers.opened.lock().unwrap().is_empty());
}

fn tcp_listener(name: &str, port: u16, cluster: &str) -> Listener {
    parse(&format!(
        r#"{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}},
            filter_chains: [{{filters: [{{name: tcp, typed_config: {{
              "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,
              stat_prefix: t, cluster: {cluster}}}}}]}}]}}"#
    ))
}

fn resource<M: Message>(name: &str, message: &M) -> Resource {
    Resource::new(name, message.encode_to_vec())
}

fn added(list: Vec<Resource>) -> Change {
    Change { added: list, ..Change::default() }
}

fn removed(name: &str) -> Change {
    Change { removed: vec![name.into()], ..Change::default() }
}

#[test]
fn updates_are_judged_one_by_one_and_published() {
    let (control, published, workers) = started("node: {id: a}");
    assert_eq!(&*control.settings().node.id, "node");
    let good = tcp_listener("good", 0, "c");
    let mut bad = tcp_listener("bad", 0, "c");
    bad.filter_chains.clear();
    let verdicts = control.apply(Update {
        version: "1".into(),
        listeners: added(vec![resource("good", &good), resource("bad", &bad)]),
        ..Update::default()
    });
    let of = |name: &str| verdicts.iter().find(|v| &*v.name == name).map(|v| &v.result).unwrap();
    assert!(matches!(of("good"), Ok(Outcome::Added)));
    assert_eq!(of("bad").as_ref().unwrap_err().first().unwrap().path, "filter_chains");
    assert!(published.load().listeners.contains_key("good"));
    assert_eq!(published.version(), 1);
    assert_eq!(workers.opened.lock().unwrap().len(), 2, "a socket for each worker");

    // The same bytes again: nothing happens.
    let again =
        control.apply(Update { listeners: added(vec![resource("good", &good)]), ..Update::default() });
    assert!(matches!(again.first().unwrap().result, Ok(Outcome::Unchanged)));
    assert_eq!(published.version(), 1);

    // Another version on the same address keeps its sockets.
    let changed = tcp_listener("good", 0, "other");
    let verdicts =
        control.apply(Update { listeners: added(vec![resource("good", &changed)]), ..Update::default() });
    assert!(matches!(verdicts.first().unwrap().result, Ok(Outcome::Changed)));
    assert_eq!(workers.opened.lock().unwrap().len(), 2);

    let bound = control.bound_blocking();
    let Address::Ip(address) = bound.first().unwrap().address.clone() else { panic!("an IP address") };
    assert_ne!(address.port(), 0);
    // The sockets take connections.
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    control.apply(Update { listeners: removed("good"), ..Update::default() });
    assert_eq!(workers.closed.lock().unwrap().len(), 1);
    workers.opened.lock().unwrap().clear();
    assert!(published.load().listeners.is_empty());
    let mut byte = [0];
    assert!(client.read(&mut byte).is_err() || byte == [0], "reset or closed, as nobody accepted");
    assert!(std::net::TcpStream::connect(address).is_err(), "the socket is closed");
}

#[test]
fn an_address_that_is_taken_refuses_the_listener() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (control, published, _) = started("node: {id: a}");
    let verdicts = control.apply(Update {
        listeners: added(vec![resource("l", &tcp_listener("l", port, "c"))]),
        ..Update::default()
    });
    let errors = verdicts.first().unwrap().result.clone().unwrap_err();
    assert_eq!(
        errors.first().unwrap().message,
        format!("cannot bind '127.0.0.1:{port}': Address already in use")
    );
    assert_eq!(published.version(), 0);
}

#[test]
fn a_socket_file_has_the_mode_that_is_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("weir-control-{}.sock", std::process::id()));
    let (control, _, _) = started("node: {id: a}");
    let mut listener = tcp_listener("l", 0, "c");
    listener.address =
        Some(parse(&format!("{{pipe: {{path: {:?}, mode: 384}}}}", path.display().to_string())));
    let verdicts =
        control.apply(Update { listeners: added(vec![resource("l", &listener)]), ..Update::default() });
    assert!(verdicts.first().unwrap().result.is_ok(), "{verdicts:?}");
    let mode = std::fs::metadata(&path).map(|found| found.permissions().mode());
    let _ = std::fs::remove_file(&path);
    assert_eq!(mode.unwrap() & 0o777, 0o600);
}

#[test]
fn two_listeners_cannot_share_an_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (control, _, _) = started("node: {id: a}");
    let verdicts = control.apply(Update {
        listeners: added(vec![
            resource("first", &tcp_listener("first", free, "c")),
            resource("second", &tcp_listener("second", free, "c")),
        ]),
        ..Update::default()
    });
    assert!(verdicts.iter().any(|v| &*v.name == "first" && v.result.is_ok()));
    let second = verdicts.iter().find(|v| &*v.name == "second").unwrap().result.clone().unwrap_err();
    assert!(second.first().unwrap().message.contains("has duplicate address"), "{second:?}");
}

#[test]
fn endpoints_reach_a_hot_cluster() {
    let (control, published, _) = started("node: {id: a}");
    let name = "control-test-eds";
    let cluster: Cluster =
        parse(&format!("{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}"));
    let endpoints = |port: u16| -> ClusterLoadAssignment {
        parse(&format!(
            "{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}"
        ))
    };
    control.apply(Update {
        clusters: added(vec![resource(name, &cluster)]),
        endpoints: added(vec![resource(name, &endpoints(1))]),
        ..Update::default()
    });
    let live = published.load().clusters.get(name).unwrap().live.clone();
    assert_eq!(live.version(), 0, "cold until somebody asks");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(10), live.ready()).await.expect("made hot")
    });
    assert_eq!(live.host_count.load(std::sync::atomic::Ordering::Relaxed), 1);
    let before = (live.version(), published.version());
    control.apply(Update { endpoints: added(vec![resource(name, &endpoints(2))]), ..Update::default() });
    assert!(live.version() > before.0);
    assert_eq!(published.version(), before.1, "endpoints do not rebuild the tree");
}

#[test]
fn a_static_resource_cannot_be_changed_and_the_dump_shows_all() {
    let (control, published, _) = started(
        "{static_resources: {clusters: [{name: fixed, type: STATIC, load_assignment: {cluster_name: fixed}}]}}",
    );
    let other: Cluster = parse("{name: fixed, connect_timeout: 3s}");
    let verdicts =
        control.apply(Update { clusters: added(vec![resource("fixed", &other)]), ..Update::default() });
    assert!(verdicts.first().unwrap().result.is_err());
    let bad: Cluster = parse("{name: moving, lb_policy: CLUSTER_PROVIDED}");
    control.apply(Update {
        version: "v7".into(),
        clusters: added(vec![resource("moving", &bad)]),
        ..Update::default()
    });
    assert!(!published.load().clusters.contains_key("moving"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dump = runtime.block_on(control.dump(DumpOptions::default()));
    let text = dump.to_string();
    assert!(text.contains(r#""name":"fixed""#), "{text}");
    assert!(text.contains("NACKED") && text.contains("v7"), "{text}");
    let only = runtime.block_on(
        control.dump(DumpOptions { resource: Some("static_clusters".into()), ..DumpOptions::default() }),
    );
    assert_eq!(only.get("configs").and_then(|c| c.as_array()).map(Vec::len), Some(1));
}

#[test]
fn a_broken_bootstrap_starts_nothing() {
    let bootstrap = parse::<Bootstrap>(
        "{static_resources: {clusters: [{name: a, type: LOGICAL_DNS}, {name: a, type: STATIC}]}, header_prefix: x}",
    );
    let Err(error) = validate(&bootstrap) else { panic!("it is broken") };
    let paths: Vec<_> = error.errors.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "header_prefix",
            "static_resources.clusters[0].load_assignment",
            "static_resources.clusters[1].name"
        ]
    );
}

#[test]
fn listeners_stop_for_good() {
    let (control, _, workers) = started("node: {id: a}");
    let inbound = Listener { traffic_direction: 1, ..tcp_listener("in", 0, "c") };
    let outbound = tcp_listener("out", 0, "c");
    control.apply(Update {
        listeners: added(vec![resource("in", &inbound), resource("out", &outbound)]),
        ..Update::default()
    });
    let address = |name: &str| {
        let bound = control.bound_blocking();
        match &bound.iter().find(|b| &*b.listener == name).unwrap().address {
            Address::Ip(address) => *address,
            Address::Unix(_) => panic!("an IP address"),
        }
    };
    let (first, second) = (address("in"), address("out"));
    control.stop_listening_blocking(true);
    assert_eq!(workers.closed.lock().unwrap().len(), 1);
    workers.opened.lock().unwrap().clear();
    assert!(std::net::TcpStream::connect(first).is_err(), "the inbound one is closed");
    assert!(std::net::TcpStream::connect(second).is_ok(), "the other is not");
    let late = Listener { traffic_direction: 1, ..tcp_listener("late", 0, "c") };
    control.apply(Update { listeners: added(vec![resource("late", &late)]), ..Update::default() });
    assert!(workers.opened.lock().unwrap().is_empty(), "an update opens no inbound one");
}
