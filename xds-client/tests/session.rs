//! The state machine, row by row: what goes in, and what the server and the sink get.

#![forbid(unsafe_code)]

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
    Connect,
    Lose,
    /// Names wanted of EDS.
    Want(&'static str),
    /// A response of a type: version and nonce, resources as `name` or `name=version`, names removed.
    Get(&'static ResourceType, &'static str, &'static str, &'static str),
    /// The verdict: names refused.
    Judge(&'static str),
    /// A resource of a type with a TTL in seconds; 0: a heartbeat without body and 60 s.
    Ttl(&'static ResourceType, &'static str, i64),
    /// Seconds go by.
    Later(u64),
}
use Do::{Connect, Get, Judge, Later, Lose, Ttl, Want};

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
            Connect => self.session.connect(),
            Lose => self.session.disconnect(),
            Want(names) => {
                let names: BTreeSet<Arc<str>> = names.split_whitespace().map(Into::into).collect();
                let before = std::mem::replace(&mut self.wanted, names);
                let more = self.wanted.difference(&before).cloned().collect();
                let less = before.difference(&self.wanted).cloned().collect();
                let gone = self.session.want(&ENDPOINTS, more, less);
                if !gone.is_empty() {
                    self.out.push(format!("  gone {}", gone.join(",")));
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

static DELTA: &[Row] = &[
    (
        "a wildcard type is asked for without names, a named one not before it is wanted",
        &[Connect, Want("a b")],
        &["CDS node", "EDS +a,b"],
    ),
    (
        "an accepted response is acknowledged by its nonce; a change of names is a message of its own",
        &[Connect, Get(&CLUSTER, "1", "a=1", ""), Judge(""), Want("a"), Want("b")],
        &["CDS node", "  CDS +a", "CDS nonce n1", "EDS +a", "EDS +b -a"],
    ),
    (
        "what is refused is named, and its version is not claimed at the next stream",
        &[Connect, Get(&CLUSTER, "1", "a=1 b=1", ""), Judge("b"), Lose, Connect],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS nonce n1 error 1 of 2 resources refused, the others are in force; b: bad",
            "CDS node known a=1,b=",
        ],
    ),
    (
        "of a changed resource that is refused the version before is claimed",
        &[
            Connect,
            Get(&CLUSTER, "1", "a=1", ""),
            Judge(""),
            Get(&CLUSTER, "2", "a=2", ""),
            Judge("a"),
            Lose,
            Connect,
        ],
        &[
            "CDS node",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS +a",
            "CDS nonce n2 error 1 of 1 resources refused, the others are in force; a: bad",
            "CDS node known a=1",
        ],
    ),
    (
        "a removal is one of a known name only; of a named type it says that there is none",
        &[
            Connect,
            Want("s"),
            Get(&CLUSTER, "1", "a=1", ""),
            Judge(""),
            Get(&CLUSTER, "2", "", "a z"),
            Judge(""),
            Get(&ENDPOINTS, "3", "", "s t"),
            Judge(""),
        ],
        &[
            "CDS node",
            "EDS +s",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS -a",
            "CDS nonce n2",
            "  EDS missing s",
            "EDS nonce n3",
        ],
    ),
    (
        "names that were not asked for are left out",
        &[Connect, Want("a"), Get(&ENDPOINTS, "1", "a=1 x=1", ""), Judge("")],
        &["CDS node", "EDS +a", "  EDS +a", "EDS nonce n1"],
    ),
    (
        "a type that nobody asked for gets no answer",
        &[Connect, Get(&weir_xds::LISTENER, "1", "a", ""), Judge("")],
        &["CDS node", "  nobody asked"],
    ),
    (
        "a stream that comes back claims what is known, and only what is wanted",
        &[Connect, Want("a b"), Get(&ENDPOINTS, "1", "a=1 b=7", ""), Judge(""), Lose, Want("b"), Connect],
        &["CDS node", "EDS +a,b", "  EDS +a,b", "EDS nonce n1", "  gone a", "CDS node", "EDS +b known b=7"],
    ),
    (
        "a resource with a TTL ends; a heartbeat keeps it",
        &[
            Connect,
            Ttl(&CLUSTER, "a", 60),
            Judge(""),
            Later(50),
            Ttl(&CLUSTER, "a", 0),
            Judge(""),
            Later(50),
            Later(11),
        ],
        &["CDS node", "  CDS +a", "CDS nonce nt", "  CDS", "CDS nonce nt", "  CDS -a"],
    ),
    (
        "bytes that are in force are recognised, also over streams; their version is taken over",
        &[
            Connect,
            Get(&CLUSTER, "1", "a=1 b=1", ""),
            Judge(""),
            Lose,
            Connect,
            Get(&CLUSTER, "2", "a=1 b=2", ""),
            Judge(""),
        ],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS nonce n1",
            "CDS node known a=1,b=1",
            "  CDS +b 1 the same",
            "CDS nonce n2",
        ],
    ),
    (
        "after a refusal the bytes before are judged again",
        &[
            Connect,
            Get(&CLUSTER, "1", "a=1", ""),
            Judge(""),
            Get(&CLUSTER, "2", "a=2", ""),
            Judge("a"),
            Get(&CLUSTER, "3", "a=1", ""),
            Judge(""),
            Get(&CLUSTER, "4", "a=1", ""),
            Judge(""),
        ],
        &[
            "CDS node",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS +a",
            "CDS nonce n2 error 1 of 1 resources refused, the others are in force; a: bad",
            "  CDS +a",
            "CDS nonce n3",
            "  CDS 1 the same",
            "CDS nonce n4",
        ],
    ),
    (
        "what was gone and comes back is new",
        &[
            Connect,
            Want("s"),
            Get(&ENDPOINTS, "1", "s=1", ""),
            Judge(""),
            Get(&ENDPOINTS, "2", "", "s"),
            Judge(""),
            Get(&ENDPOINTS, "3", "s=1", ""),
            Judge(""),
        ],
        &[
            "CDS node",
            "EDS +s",
            "  EDS +s",
            "EDS nonce n1",
            "  EDS missing s",
            "EDS nonce n2",
            "  EDS +s",
            "EDS nonce n3",
        ],
    ),
    (
        "a known name that comes twice in one response is refused",
        &[Connect, Get(&CLUSTER, "1", "a=1", ""), Judge(""), Get(&CLUSTER, "2", "a=1 a=2", ""), Judge("")],
        &[
            "CDS node",
            "  CDS +a",
            "CDS nonce n1",
            "  CDS 1 the same refused a (name: 'a' comes twice in one response)",
            "CDS nonce n2 error 1 of 2 resources refused, the others are in force; a: name: 'a' comes twice in one response",
        ],
    ),
];

#[test]
fn delta() {
    for (title, steps, want) in DELTA {
        check(title, Dialect::Delta, true, steps, want);
    }
}

static WORLD: &[Row] = &[
    (
        "an ACK has the new version and the nonce, and the names as they were",
        &[Connect, Want("a"), Get(&ENDPOINTS, "1", "a", ""), Judge(""), Want("a b")],
        &[
            "CDS node",
            "EDS names a",
            "  EDS +a",
            "EDS names a version 1 nonce n1",
            "EDS names a,b version 1 nonce n1",
        ],
    ),
    (
        "a NACK has the old version and the new nonce",
        &[Connect, Get(&CLUSTER, "1", "a", ""), Judge(""), Get(&CLUSTER, "2", "a b", ""), Judge("b")],
        &[
            "CDS node",
            "  CDS +a",
            "CDS version 1 nonce n1",
            "  CDS +b 1 the same",
            "CDS version 1 nonce n2 error 1 of 2 resources refused, the others are in force; b: bad",
        ],
    ),
    (
        "what a whole type lacks is gone, refused names too; an empty response removes all",
        &[
            Connect,
            Get(&CLUSTER, "1", "a b", ""),
            Judge("b"),
            Get(&CLUSTER, "2", "c", ""),
            Judge(""),
            Get(&CLUSTER, "3", "", ""),
            Judge(""),
        ],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS nonce n1 error 1 of 2 resources refused, the others are in force; b: bad",
            "  CDS +c -a,b",
            "CDS version 2 nonce n2",
            "  CDS -c",
            "CDS version 3 nonce n3",
        ],
    ),
    (
        "what a named type lacks may come later; an empty response says that there is nothing",
        &[
            Connect,
            Want("a b"),
            Get(&ENDPOINTS, "1", "a", ""),
            Judge(""),
            Get(&ENDPOINTS, "2", "", ""),
            Judge(""),
        ],
        &[
            "CDS node",
            "EDS names a,b",
            "  EDS +a",
            "EDS names a,b version 1 nonce n1",
            "  EDS missing a,b",
            "EDS names a,b version 2 nonce n2",
        ],
    ),
    (
        "a new stream tells the last version and no nonce; what went meanwhile is noticed",
        &[
            Connect,
            Get(&CLUSTER, "1", "a b", ""),
            Judge(""),
            Lose,
            Connect,
            Get(&CLUSTER, "5", "b", ""),
            Judge(""),
        ],
        &[
            "CDS node",
            "  CDS +a,b",
            "CDS version 1 nonce n1",
            "CDS node version 1",
            "  CDS -a 1 the same",
            "CDS version 5 nonce n5",
        ],
    ),
    (
        "a wrapped resource has a TTL here too",
        &[Connect, Ttl(&CLUSTER, "a", 5), Judge(""), Later(6)],
        &["CDS node", "  CDS +a", "CDS version t nonce nt", "  CDS -a"],
    ),
    (
        "names that are wanted no more are unsubscribed by an empty list",
        &[Connect, Want("a"), Want("")],
        &["CDS node", "EDS names a", "EDS"],
    ),
];

#[test]
fn state_of_the_world() {
    for (title, steps, want) in WORLD {
        check(title, Dialect::World, true, steps, want);
    }
}

#[test]
fn the_node_is_in_every_message_unless_once_is_asked_for() {
    let steps = [Connect, Get(&CLUSTER, "1", "a", ""), Judge(""), Want("x")];
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
