//! `istio.stats`: Istio's metrics of exchanges, told when an exchange ends.

use super::Factory;
use super::hooks::HttpFilter;
use crate::base::ledger::At;
use crate::base::names::Id;
use crate::model::istio_stats::Config;
use crate::model::plugin::{Compile, PluginConfig};
use crate::network::istio_stats;
use crate::observe::mesh::{Labels, MeshFacts, Peer, Reporter, Service};
use crate::observe::metrics::Cells;
use crate::observe::record::Record;
use crate::observe::stats::istio::{grpc, http};
use crate::route::is_grpc;
use std::any::Any;
use std::sync::Arc;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "stats.PluginConfig",
    name: "istio.stats",
    terminal: false,
    config: compile,
    route_config: None,
    run: Some(run),
};

/// Routes of the catch-all virtual host, and the service that they stand for.
const ROUTES: [(&str, &str); 2] = [("allow_any", "PassthroughCluster"), ("block_all", "BlackHoleCluster")];

fn compile(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    istio_stats::compile_config(cx.node(), at, bytes).map(|config| Arc::new(config) as _)
}

struct Running(Arc<dyn Any + Send + Sync>);

fn run(slot: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    slot.config.is::<Config>().then(|| Box::new(Running(slot.config.clone())) as _)
}

impl HttpFilter for Running {
    fn wants_upstream(&self) -> bool {
        true
    }

    fn ended(&mut self, record: &Record) {
        if let Some(config) = self.0.downcast_ref::<Config>() {
            tell(config, record);
        }
    }
}

/// The service that a request went to.
fn service(config: &Config, record: &Record) -> Service {
    if let Some(found) = &record.upstream.service {
        return (**found).clone();
    }
    let route = record.route.as_deref().unwrap_or_default();
    if let Some((_, own)) = ROUTES.iter().find(|(name, _)| *name == route) {
        return Service::named(own);
    }
    match record.request.get_str(Id::Authority).filter(|_| config.host_header) {
        Some(host) => Service::named(host),
        None => Service::default(),
    }
}

fn tell(config: &Config, record: &Record) {
    let (none, unknown) = (MeshFacts::default(), Peer::default());
    let facts = record.mesh.as_deref().unwrap_or(&none);
    let reporter = config.reporter(record);
    let endpoint = record.upstream.metadata.as_deref().and_then(Peer::of_endpoint);
    let (source, destination) = match reporter {
        Reporter::Source => {
            (&*config.own, facts.upstream.as_deref().or(endpoint.as_ref()).unwrap_or(&unknown))
        }
        Reporter::Destination => (facts.downstream.as_deref().unwrap_or(&unknown), &*config.own),
    };
    let mut service = service(config, record);
    if service.namespace.is_empty() {
        service.namespace = destination.namespace.clone();
    }
    let is_grpc = is_grpc(&record.request);
    let trailer = [&record.response_trailers, &record.response]
        .into_iter()
        .find_map(|block| block.get_str(Id::GrpcStatus).and_then(|status| status.parse().ok()));
    let labels = |left_out| Labels {
        reporter,
        source,
        destination,
        service: &service,
        protocol: if is_grpc { "grpc" } else { "http" },
        answer: Some((record.status, trailer.filter(|_| is_grpc))),
        left_out,
    };
    let http = |metric: &str, work: &dyn Fn(&Cells)| {
        if let Some(left_out) = config.labels_left_out(metric) {
            work(&labels(left_out).cells(&http::SCHEMA, record));
        }
    };
    let millis = record.moments.end.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    http("requests_total", &|cells| cells.inc(http::REQUESTS));
    http("request_duration_milliseconds", &|cells| cells.record(http::DURATION, millis.unwrap_or_default()));
    http("request_bytes", &|cells| cells.record(http::REQUEST_BYTES, record.wire.received));
    http("response_bytes", &|cells| cells.record(http::RESPONSE_BYTES, record.wire.sent));
    if let Some((sent, answered)) = facts.messages.filter(|_| is_grpc) {
        for (metric, counter, by) in [
            ("request_messages_total", grpc::REQUEST_MESSAGES, sent),
            ("response_messages_total", grpc::RESPONSE_MESSAGES, answered),
        ] {
            if let Some(left_out) = config.labels_left_out(metric) {
                labels(left_out).cells(&grpc::SCHEMA, record).add(counter, by);
            }
        }
    }
}
