//! A proxy programmed by the control plane for tests: what the cases of the suite `xds` share, and those of a kind.

pub mod around;
pub mod counted;
pub mod files;
pub mod last_good;
pub mod own;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use weir_proto::google::protobuf::{Any, Duration as ProtoDuration};
use weir_xds::{CLUSTER, ENDPOINTS, LISTENER, ROUTE};

use crate::plane::{Plane, any, assignment, cluster, listener, route};
use crate::ports::free;
use crate::process::Proxy;
use crate::wire::h1::{exchange, fetch};

/// How long a state is waited for.
pub const WITHIN: Duration = Duration::from_secs(15);

/// A control plane, a proxy that it programs, and the ports of both faces of the proxy.
pub struct Bench {
    /// The control plane.
    pub plane: Plane,
    /// The proxy.
    pub proxy: Proxy,
    /// Where the proxy listens when the control plane says so.
    pub listen: u16,
    admin: u16,
    bootstrap: Value,
}

/// How the proxy is told to reach its control plane.
#[derive(Clone, Copy, PartialEq)]
pub struct Mode {
    /// `api_type`.
    pub api: &'static str,
    /// Clusters and listeners over streams of their own.
    pub apart: bool,
}

/// Every way.
pub const MODES: [(&str, Mode); 4] = [
    ("delta", Mode { api: "DELTA_GRPC", apart: false }),
    ("world", Mode { api: "GRPC", apart: false }),
    ("delta-apart", Mode { api: "DELTA_GRPC", apart: true }),
    ("world-apart", Mode { api: "GRPC", apart: true }),
];

/// A case and its name.
pub type Case<F> = (&'static str, F);

/// A case of each dialect.
pub type InMode = fn(Mode) -> anyhow::Result<()>;

/// A folder of its own, removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Not made yet.
    pub fn unique() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("weir-state-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(unique))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is gone already harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The stream as an `ApiConfigSource`.
pub fn api(mode: Mode) -> Value {
    json!({
        "api_type": mode.api,
        "transport_api_version": "V3",
        "set_node_on_first_message_only": true,
        "grpc_services": [{"envoy_grpc": {
            "cluster_name": "plane",
            "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"}},
        }}],
    })
}

/// A connection manager whose routes come from a source.
pub fn manager(prefix: &str, routes: &str, source: &Value) -> Value {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let network = "type.googleapis.com/envoy.extensions.filters.network";
    json!({
        "@type": format!("{network}.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": prefix,
        "rds": {"route_config_name": routes, "config_source": source},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    })
}

/// A cluster with hosts of its own on ports of 127.0.0.1.
pub fn hosts(name: &str, ports: &[u16]) -> Value {
    let host = |port: &u16| {
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        json!({"endpoint": {"address": address}})
    };
    let hosts: Vec<Value> = ports.iter().map(host).collect();
    json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}})
}

/// What such a proxy starts from.
pub fn bootstrap(mode: Mode, plane: u16, admin: u16) -> Value {
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let api = api(mode);
    let source = match mode.apart {
        false => json!({"ads": {}, "resource_api_version": "V3"}),
        true => json!({"api_config_source": api, "resource_api_version": "V3"}),
    };
    json!({
        "node": {"id": "sidecar~127.0.0.1~a.default~default.svc.cluster.local", "cluster": "a"},
        "admin": {"address": socket(admin)},
        "layered_runtime": {"layers": [
            {"name": "static", "static_layer": {"weir.cluster_idle_seconds": 1}}
        ]},
        "dynamic_resources": {"ads_config": api, "cds_config": source, "lds_config": source},
        "static_resources": {"clusters": [{
            "name": "plane", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {"cluster_name": "plane", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": socket(plane)}}]}
            ]},
        }]},
    })
}

/// A cluster whose endpoints are pushed.
pub fn eds(name: &str) -> (String, Any) {
    (name.to_owned(), any(&cluster(name)))
}

/// A cluster that no proxy takes.
pub fn bad(name: &str) -> (String, Any) {
    let mut message = cluster(name);
    message.connect_timeout = Some(ProtoDuration { seconds: -1, nanos: 0 });
    (name.to_owned(), any(&message))
}

impl Bench {
    /// A proxy before a control plane.
    pub fn start(mode: Mode, plane: Plane) -> anyhow::Result<Self> {
        Self::start_with(mode, plane, &[])
    }

    /// The same with further flags.
    pub fn start_with(mode: Mode, plane: Plane, flags: &[&str]) -> anyhow::Result<Self> {
        let admin = free()?;
        Self::start_on(bootstrap(mode, plane.port, admin), plane, admin, flags)
    }

    /// The same with a bootstrap of the caller's, whose admin API is on this port.
    pub fn start_on(bootstrap: Value, plane: Plane, admin: u16, flags: &[&str]) -> anyhow::Result<Self> {
        let proxy = Proxy::start_more(&bootstrap, flags, admin)?;
        Ok(Self { plane, proxy, listen: free()?, admin, bootstrap })
    }

    /// Kills the proxy and starts another one with the same bootstrap.
    pub fn restart(&mut self, flags: &[&str]) -> anyhow::Result<()> {
        self.proxy.kill()?;
        self.proxy = Proxy::start_more(&self.bootstrap, flags, self.admin)?;
        Ok(())
    }

    /// Tells the admin API to do something.
    pub fn posts(&self, path: &str) -> anyhow::Result<()> {
        let head = "HTTP/1.1\r\nHost: live.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        exchange(self.admin, format!("POST {path} {head}").as_bytes(), WITHIN)?;
        Ok(())
    }

    /// Asks the proxy to end, and waits until it has.
    pub fn quit(&mut self) -> anyhow::Result<()> {
        self.posts("/quitquitquit")?;
        let end = Instant::now() + WITHIN;
        while self.proxy.alive().is_ok() {
            anyhow::ensure!(Instant::now() < end, "it does not end: {}", self.proxy.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What the admin API says under a path.
    pub fn text(&self, path: &str) -> anyhow::Result<String> {
        let (_, body) = fetch(self.admin, path, WITHIN)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The same as JSON.
    pub fn asks(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.text(path)?)?)
    }

    /// A running control plane that leads everything to one backend.
    pub fn serving(mode: Mode, upstream: u16) -> anyhow::Result<Self> {
        let bench = Self::start(mode, Plane::start()?)?;
        bench.push("a", upstream)?;
        bench.answers("/", 200, b"a")?;
        Ok(bench)
    }

    /// Everything, in one change.
    pub fn push(&self, name: &str, upstream: u16) -> anyhow::Result<()> {
        let (listener, route) = (listener("edge", self.listen, "routes")?, route("routes", &[("/", name)])?);
        self.plane.change(|batch| {
            batch.put(&CLUSTER, vec![eds(name)]);
            batch.put(&ENDPOINTS, vec![assignment(name, &[upstream])]);
            batch.put(&LISTENER, vec![listener]);
            batch.put(&ROUTE, vec![route]);
        });
        Ok(())
    }

    /// Asks for a path.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        fetch(self.listen, path, Duration::from_secs(5))
    }

    /// Waits for an answer.
    pub fn answers(&self, path: &str, status: u16, body: &[u8]) -> anyhow::Result<()> {
        let end = Instant::now() + WITHIN;
        loop {
            let got = self.get(path);
            if let Ok((got_status, got_body)) = &got
                && *got_status == status
                && (body.is_empty() || got_body == body)
            {
                return Ok(());
            }
            if Instant::now() > end {
                let got = got.map(|(status, body)| (status, String::from_utf8_lossy(&body).into_owned()));
                let told = self.plane.told();
                anyhow::bail!("{path}: {got:?}, not {status}; {:?}\n{}", told.nacks, self.proxy.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// State of the process.
    pub fn ready(&self) -> anyhow::Result<(u16, String)> {
        let (status, body) = fetch(self.admin, "/ready", WITHIN)?;
        Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
    }

    /// Every statistic.
    pub fn stats(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let (status, body) = fetch(self.admin, "/stats", WITHIN)?;
        anyhow::ensure!(status == 200, "/stats: {status}");
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(text.lines().filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.into(), v.into())).collect())
    }

    /// One of them.
    pub fn stat(&self, name: &str) -> anyhow::Result<u64> {
        self.stats()?.get(name).and_then(|value| value.parse().ok()).with_context(|| name.to_owned())
    }

    /// Waits for a statistic.
    pub fn shows(&self, name: &str, enough: impl Fn(u64) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + WITHIN;
        loop {
            let value = self.stat(name);
            if value.as_ref().is_ok_and(|value| enough(*value)) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < end, "{name} is {value:?}\n{}", self.proxy.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until no statistic has a name that begins so.
    pub fn forgets(&self, prefix: &str) -> anyhow::Result<()> {
        let end = Instant::now() + WITHIN;
        loop {
            let left: Vec<String> =
                self.stats()?.into_keys().filter(|name| name.starts_with(prefix)).collect();
            if left.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < end, "{} statistics are left: {left:?}", left.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `/config_dump`
    pub fn dump(&self) -> anyhow::Result<Value> {
        self.asks("/config_dump")
    }

    /// The proxy lives, and the protocol was honoured.
    pub fn done(mut self) -> anyhow::Result<()> {
        self.proxy.alive()?;
        self.plane.honoured()
    }
}
