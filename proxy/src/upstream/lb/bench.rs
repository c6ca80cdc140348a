//! What the tests of policies stand on: a live cluster of hosts 127.0.0.1:18001, 18002, ... and a worker's state.

use super::{Cursor, PickContext, pick, policy};
use crate::base::addr::Address;
use crate::base::rng::Rng;
use crate::live::cluster::{ClusterLive, Wanted, WantedLocality};
use crate::live::host::{Attributes, Host};
use crate::live::hostset::{HostSet, Members, Settings};
use crate::model::cluster::{Assignment, Cluster, Discovery, LbPolicy, UpstreamHttp, UpstreamProtocol};
use crate::model::http::{Http1Options, Http2Options};
use crate::model::transport::{UpstreamSocket, UpstreamSockets};
use std::sync::Arc;
use std::time::Duration;

/// One host of a test: weight and flags.
pub(crate) type Spec = (u32, u32);

pub(crate) struct Bench {
    pub live: Arc<ClusterLive>,
    pub settings: Settings,
    pub rng: Rng,
    pub cursor: Cursor,
}

pub(crate) fn empty() -> [crate::base::Name; 3] {
    ["".into(), "".into(), "".into()]
}

/// A locality of hosts with ports from `port` on.
pub(crate) fn locality(port: u16, weight: u32, priority: u32, hosts: &[Spec]) -> WantedLocality {
    let want = |(n, (weight, flags)): (usize, &Spec)| Wanted {
        address: Address::Ip(([127, 0, 0, 1], port + n as u16).into()),
        weight: *weight,
        flags: *flags,
        attributes: Attributes { priority, ..Attributes::default() },
    };
    WantedLocality { name: empty(), weight, priority, hosts: hosts.iter().enumerate().map(want).collect() }
}

impl Bench {
    pub fn new(lb: LbPolicy, weights: &[u32]) -> Self {
        let bench = Self::empty(lb);
        bench.publish(weights);
        bench
    }

    pub fn empty(lb: LbPolicy) -> Self {
        let settings = Settings {
            policy: policy(&lb, None),
            panic_threshold: 50,
            fail_traffic_on_panic: false,
            locality_weighted: false,
        };
        Bench { live: ClusterLive::new("bench".into()), settings, rng: Rng::seeded(7), cursor: Cursor::new() }
    }

    pub fn publish(&self, weights: &[u32]) {
        let hosts: Vec<Spec> = weights.iter().map(|w| (*w, 0)).collect();
        self.publish_all(vec![locality(18001, 0, 0, &hosts)]);
    }

    pub fn publish_all(&self, localities: Vec<WantedLocality>) {
        self.live.publish(localities, Members::default(), self.settings.clone(), false);
    }

    pub fn set(&self) -> Arc<HostSet> {
        self.live.hosts().unwrap()
    }

    pub fn host(&self, index: usize) -> Arc<Host> {
        self.set().members.hosts().nth(index).unwrap().clone()
    }

    pub fn context(&self) -> PickContext<'_> {
        PickContext::new(&self.rng, &self.cursor)
    }

    /// Index of the host picked for a hash, in the order of the members.
    pub fn pick(&self, hash: Option<u64>) -> Option<usize> {
        let set = self.set();
        let ctx = PickContext { hash, ..self.context() };
        let id = pick(&set, &ctx)?.id;
        set.members.hosts().position(|host| host.id == id)
    }

    pub fn picks(&self, n: usize) -> Vec<usize> {
        (0..n).map(|_| self.pick(None).unwrap()).collect()
    }
}

/// How often each index occurs.
pub(crate) fn shares(picks: &[usize], hosts: usize) -> Vec<usize> {
    (0..hosts).map(|host| picks.iter().filter(|p| **p == host).count()).collect()
}

/// A compiled cluster without endpoints and with defaults, live under its name.
pub(crate) fn cluster(name: &str, lb: LbPolicy) -> Cluster {
    let name: crate::base::Name = name.into();
    Cluster {
        live: crate::live::clusters().get_or_make(&name),
        stat_name: name.clone(),
        name,
        discovery: Discovery::Static,
        assignment: Assignment::default(),
        connect_timeout: Duration::from_secs(5),
        lb,
        slow_start: None,
        panic_threshold: 50,
        fail_traffic_on_panic: false,
        locality_weighted: false,
        breakers: Default::default(),
        outlier: None,
        http: UpstreamHttp {
            protocol: UpstreamProtocol::Http1,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_requests_per_connection: None,
            max_stream_duration: None,
            max_headers_count: 100,
            max_response_headers: 80 << 10,
            http1: Http1Options::default(),
            http2: Http2Options::default(),
        },
        keepalive: None,
        source: None,
        sockets: UpstreamSockets { matches: Box::default(), default: UpstreamSocket::Plain },
        filters: Box::default(),
        buffer_limit: 1 << 20,
        metadata: None,
        service: None,
    }
}
