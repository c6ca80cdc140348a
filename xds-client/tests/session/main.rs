//! The state machine, row by row: what goes in, and what the server and the sink get.

#![forbid(unsafe_code)]

mod delta;
mod world;

use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_proto::any;
use weir_proto::envoy::config::cluster::v3::Cluster;
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource as Wrapped,
};
use weir_proto::google::protobuf::{Any, Duration as ProtoDuration};
use weir_xds::{CLUSTER, Dialect, ENDPOINTS, Refusal, Request, ResourceType, Response, Session};

/// What is done; lists are words.
enum Do {
    /// Names of clusters that an earlier life knew.
    Restore(&'static str),
    Connect,
    Lose,
    /// Names wanted of EDS.
    Want(&'static str),
    /// A response of a type: version and nonce, resources as `name` or `name=version`, names removed.
    Get(&'static ResourceType, &'static str, &'static str, &'static str),
    /// One that is accepted whole.
    Take(&'static ResourceType, &'static str, &'static str, &'static str),
    /// The verdict: names refused.
    Judge(&'static str),
    /// A resource of a type with a TTL in seconds; 0: a heartbeat without body and 60 s.
    Ttl(&'static ResourceType, &'static str, i64),
    /// Seconds go by.
    Later(u64),
}
use Do::{Connect, Get, Judge, Later, Lose, Restore, Take, Ttl, Want};

fn short(url: &str) -> &'static str {
    if url == CLUSTER.url() {
        "CDS"
    } else if url == ENDPOINTS.url() {
        "EDS"
    } else {
        "?"
    }
}

/// A request in one line; what is empty is left out.
fn line(request: &Request) -> String {
    let mut text = String::new();
    let mut part = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!(" {name}{value}"));
        }
    };
    match request {
        Request::Delta(m) => {
            part("", short(&m.type_url).into());
            part("", m.node.as_ref().map(|_| "node".into()).unwrap_or_default());
            part("+", m.resource_names_subscribe.join(","));
            part("-", m.resource_names_unsubscribe.join(","));
            let known: BTreeMap<_, _> = m.initial_resource_versions.iter().collect();
            part("known ", known.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","));
            part("nonce ", m.response_nonce.clone());
            part("error ", m.error_detail.as_ref().map(|e| e.message.clone()).unwrap_or_default());
        }
        Request::World(m, names) => {
            assert!(m.resource_names.is_empty(), "they are encoded apart");
            let names = DiscoveryRequest::decode(names.clone()).unwrap().resource_names;
            part("", short(&m.type_url).into());
            part("", m.node.as_ref().map(|_| "node".into()).unwrap_or_default());
            part("names ", names.join(","));
            part("version ", m.version_info.clone());
            part("nonce ", m.response_nonce.clone());
            part("error ", m.error_detail.as_ref().map(|e| e.message.clone()).unwrap_or_default());
        }
    }
    text.trim_start().to_owned()
}

/// A resource whose bytes are those of its version.
fn packed_as(kind: &ResourceType, name: &str, version: &str) -> Any {
    let value = if *kind == CLUSTER {
        Cluster { name: name.into(), alt_stat_name: version.into(), ..Cluster::default() }.encode_to_vec()
    } else {
        ClusterLoadAssignment { cluster_name: name.into(), ..ClusterLoadAssignment::default() }
            .encode_to_vec()
    };
    Any { type_url: kind.url(), value }
}

fn packed(kind: &ResourceType, name: &str) -> Any {
    packed_as(kind, name, "")
}

fn response(
    dialect: Dialect,
    kind: &ResourceType,
    at: &str,
    resources: Vec<Wrapped>,
    removed: &str,
) -> Response {
    let (version, nonce) = (at.to_owned(), format!("n{at}"));
    let bytes = match dialect {
        Dialect::Delta => DeltaDiscoveryResponse {
            system_version_info: version,
            resources,
            type_url: kind.url(),
            removed_resources: removed.split_whitespace().map(Into::into).collect(),
            nonce,
            ..DeltaDiscoveryResponse::default()
        }
        .encode_to_vec(),
        Dialect::World => DiscoveryResponse {
            version_info: version,
            resources: resources
                .into_iter()
                .map(|wrapped| {
                    if wrapped.ttl.is_none()
                        && let Some(bare) = wrapped.resource
                    {
                        return bare;
                    }
                    any::pack(&wrapped)
                })
                .collect(),
            type_url: kind.url(),
            nonce,
            ..DiscoveryResponse::default()
        }
        .encode_to_vec(),
    };
    Response::read(dialect, &bytes.into()).unwrap()
}

struct Bench {
    dialect: Dialect,
    session: Session,
    wanted: BTreeSet<Arc<str>>,
    now: Instant,
    out: Vec<String>,
}

impl Bench {
    fn new(dialect: Dialect, node_once: bool) -> Self {
        let node = Node { id: "me".into(), ..Node::default() };
        let session = Session::new(dialect, node, node_once, &[(&CLUSTER, true), (&ENDPOINTS, false)]);
        Bench { dialect, session, wanted: BTreeSet::new(), now: Instant::now(), out: Vec::new() }
    }

    fn said(&mut self, incoming: &weir_xds::Incoming) {
        let words = |list: &[Arc<str>]| list.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let added: Vec<Arc<str>> = incoming.added.iter().map(|r| r.name.clone()).collect();
        let mut text = format!("  {}", short(&incoming.kind.url()));
        for (sign, list) in [("+", &added), ("-", &incoming.removed), ("missing ", &incoming.missing)] {
            if !list.is_empty() {
                text.push_str(&format!(" {sign}{}", words(list)));
            }
        }
        if incoming.same > 0 {
            text.push_str(&format!(" {} the same", incoming.same));
        }
        for Refusal { name, why } in &incoming.refused {
            text.push_str(&format!(" refused {name} ({why})"));
        }
        self.out.push(text);
    }

    fn receive(&mut self, response: Response) {
        match self.session.receive(&response, self.now) {
            Some(incoming) => self.said(&incoming),
            None => self.out.push("  nobody asked".into()),
        }
    }

    fn step(&mut self, step: &Do) {
        match step {
            Restore(names) => {
                let names: Vec<std::sync::Arc<str>> = names.split_whitespace().map(Into::into).collect();
                self.session.restore(CLUSTER.name, &names);
            }
            Connect => self.session.connect(),
            Lose => self.session.disconnect(),
            Want(names) => {
                let names: BTreeSet<Arc<str>> = names.split_whitespace().map(Into::into).collect();
                let before = std::mem::replace(&mut self.wanted, names);
                let more = self.wanted.difference(&before).cloned().collect();
                let less = before.difference(&self.wanted).cloned().collect();
                let unwanted = self.session.want(&ENDPOINTS, more, less);
                if !unwanted.is_empty() {
                    self.out.push(format!("  unwanted {}", unwanted.join(",")));
                }
            }
            Get(kind, at, names, removed) => {
                let resources = names.split_whitespace().map(|word| {
                    let (name, version) = word.split_once('=').unwrap_or((word, ""));
                    let resource = Some(packed_as(kind, name, version));
                    Wrapped { name: name.into(), version: version.into(), resource, ..Wrapped::default() }
                });
                let response = response(self.dialect, kind, at, resources.collect(), removed);
                self.receive(response);
            }
            Take(kind, at, names, removed) => {
                self.step(&Get(kind, at, names, removed));
                self.step(&Judge(""));
            }
            Ttl(kind, name, seconds) => {
                let heartbeat = *seconds == 0;
                let seconds = if heartbeat { 60 } else { *seconds };
                let wrapped = Wrapped {
                    name: (*name).into(),
                    version: "1".into(),
                    resource: (!heartbeat).then(|| packed(kind, name)),
                    ttl: Some(ProtoDuration { seconds, nanos: 0 }),
                    ..Wrapped::default()
                };
                let response = response(self.dialect, kind, "t", vec![wrapped], "");
                self.receive(response);
            }
            Judge(names) => {
                let refused = names.split_whitespace().map(|n| Refusal { name: n.into(), why: "bad".into() });
                self.session.settle(refused.collect());
            }
            Later(seconds) => {
                self.now += Duration::from_secs(*seconds);
                for incoming in self.session.expire(self.now) {
                    self.said(&incoming);
                }
            }
        }
        while let Some(request) = self.session.next_request() {
            self.out.push(line(&request));
        }
    }
}

fn check(title: &str, dialect: Dialect, node_once: bool, steps: &[Do], want: &[&str]) {
    let mut bench = Bench::new(dialect, node_once);
    for step in steps {
        bench.step(step);
    }
    assert_eq!(bench.out, want, "{title}, {dialect:?}");
}

/// What a row is about, what is done, and what comes of it: requests, and what the sink gets (indented).
type Row = (&'static str, &'static [Do], &'static [&'static str]);

#[test]
fn only_what_changes() {
    for (title, steps, want) in delta::ROWS {
        check(title, Dialect::Delta, true, steps, want);
    }
}

#[test]
fn state_of_the_world() {
    for (title, steps, want) in world::ROWS {
        check(title, Dialect::World, true, steps, want);
    }
}

#[test]
fn the_node_is_in_every_message_unless_once_is_asked_for() {
    let steps = [Connect, Take(&CLUSTER, "1", "a", ""), Want("x")];
    check(
        "delta",
        Dialect::Delta,
        false,
        &steps,
        &["CDS node", "  CDS +a", "CDS node nonce n1", "EDS node +x"],
    );
    check(
        "world",
        Dialect::World,
        false,
        &steps,
        &["CDS node", "  CDS +a", "CDS node version 1 nonce n1", "EDS node names x"],
    );
}

#[test]
fn a_resource_that_cannot_be_read_takes_nothing_away() {
    let mut session = Session::new(Dialect::World, Node::default(), true, &[(&CLUSTER, true)]);
    session.connect();
    let whole = |resources: Vec<Any>| DiscoveryResponse {
        type_url: CLUSTER.url(),
        resources,
        ..DiscoveryResponse::default()
    };
    let both = whole(vec![packed(&CLUSTER, "a"), packed(&CLUSTER, "b")]).encode_to_vec();
    let both = Response::read(Dialect::World, &both.into()).unwrap();
    assert_eq!(session.receive(&both, Instant::now()).unwrap().added.len(), 2);
    session.settle(Vec::new());
    let mut broken = whole(vec![packed(&CLUSTER, "a")]).encode_to_vec();
    // An `Any` whose value is longer than it.
    broken.extend([0x12, 0x02, 0x12, 0x7f]);
    let broken = Response::read(Dialect::World, &broken.into()).unwrap();
    let incoming = session.receive(&broken, Instant::now()).unwrap();
    assert_eq!((incoming.same, incoming.removed.len()), (1, 0), "it may be 'b'");
    let Some(Refusal { name, why }) = incoming.refused.first() else { panic!("it is refused") };
    assert_eq!((&**name, why.as_str()), ("resources[1]", "field 2 is longer than the message"));
}

#[test]
fn what_is_wrong_with_the_wrapping_is_refused_by_name() {
    let mut session =
        Session::new(Dialect::Delta, Node::default(), true, &[(&CLUSTER, true), (&ENDPOINTS, false)]);
    session.connect();
    let wrapped = |name: &str, resource: Any| Wrapped {
        name: name.into(),
        resource: Some(resource),
        ..Wrapped::default()
    };
    let resources = vec![
        wrapped("wrong-type", packed(&ENDPOINTS, "wrong-type")),
        wrapped("", Any { type_url: CLUSTER.url(), value: Vec::new() }),
        wrapped("outside", packed(&CLUSTER, "inside")),
        wrapped("good", packed(&CLUSTER, "good")),
        Wrapped { aliases: vec!["inside".into()], ..wrapped("aliased", packed(&CLUSTER, "inside")) },
    ];
    let incoming =
        session.receive(&response(Dialect::Delta, &CLUSTER, "1", resources, ""), Instant::now()).unwrap();
    let added: Vec<&str> = incoming.added.iter().map(|r| &*r.name).collect();
    assert_eq!(added, ["good", "aliased"]);
    let whys: Vec<&str> = incoming.refused.iter().map(|r| r.why.as_str()).collect();
    assert_eq!(
        whys,
        [
            "it is a envoy.config.endpoint.v3.ClusterLoadAssignment, where a envoy.config.cluster.v3.Cluster is due",
            "name: must be set",
            "name: 'inside' in the message, another outside it",
        ]
    );
    session.settle(Vec::new());
    let _subscription = session.next_request();
    let Some(Request::Delta(nack)) = session.next_request() else { panic!("a NACK is due") };
    assert!(nack.error_detail.unwrap().message.starts_with("3 of 5 resources refused"));
}
