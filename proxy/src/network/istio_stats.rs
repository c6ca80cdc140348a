//! `istio.stats` on raw connections: Istio's metrics of TCP, told when a connection to the upstream is made, in
//! intervals while it lives, and when it ends.

use super::{Event, Factory};
use crate::base::ledger::At;
use crate::model::istio_stats::{self, Config};
use crate::model::plugin::{Node, PluginConfig};
use crate::observe::mesh::{Labels, Peer, Reporter};
use crate::observe::record::Record;
use crate::observe::stats::istio::tcp as stat;
use std::any::Any;
use std::sync::Arc;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "stats.PluginConfig",
    upstream: false,
    config: compile,
    opened: |_| {},
    told: Some(told),
};

fn compile(node: &Node, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    compile_config(node, at, bytes).map(|config| Arc::new(config) as _)
}

/// Compiles the configuration, which is that of the HTTP filter, too.
pub fn compile_config(node: &Node, at: &At<'_>, bytes: &[u8]) -> Option<Config> {
    use prost::Message;
    use weir_proto::stats::{MetricConfig, PluginConfig as Proto};
    let message =
        &Proto::decode(bytes).map_err(|error| at.error(format!("cannot be decoded: {error}"))).ok()?;
    crate::ledger!(at, message => Proto { disable_host_header_fallback, tcp_reporting_duration, metrics, reporter }
        refuse { definitions } ignore { rotation_interval, graceful_deletion_interval });
    if *reporter != 0 {
        at.field("reporter").unsupported("a reporter other than the side of the listener");
    }
    let interval = weir_proto::any::optional_duration(tcp_reporting_duration.as_ref());
    let interval = interval.unwrap_or_else(|error| {
        at.bad("tcp_reporting_duration", format!("is {error}"));
        None
    });
    let mut config = Config {
        own: Arc::new(Peer::of_node(&node.metadata)),
        host_header: !disable_host_header_fallback,
        interval: interval.unwrap_or(istio_stats::INTERVAL).max(istio_stats::LEAST_INTERVAL),
        dropped: Vec::new(),
        left_out: Vec::new(),
    };
    for (i, message) in metrics.iter().enumerate() {
        let here = at.item("metrics", i);
        crate::ledger!(here, message => MetricConfig { dimensions, name, tags_to_remove, r#match, drop });
        if !dimensions.is_empty() {
            here.field("dimensions").unsupported("a label by a CEL expression");
        }
        if !r#match.is_empty() {
            here.field("match").unsupported("a condition by a CEL expression");
        }
        // Without a name it holds for all metrics.
        if *drop {
            config.dropped.push(name.as_str().into());
        }
        if !tags_to_remove.is_empty() {
            let labels = tags_to_remove.iter().map(|label| label.as_str().into()).collect();
            config.left_out.push((name.as_str().into(), labels));
        }
    }
    Some(config)
}

fn told(config: &PluginConfig, event: Event, record: &Record) {
    let Some(config) = config.config.downcast_ref::<Config>() else { return };
    let (reporter, unknown) = (config.reporter(record), Peer::default());
    let endpoint = record.upstream.metadata.as_deref().and_then(Peer::of_endpoint);
    let (source, destination) = match reporter {
        Reporter::Source => (&*config.own, endpoint.as_ref().unwrap_or(&unknown)),
        Reporter::Destination => (&unknown, &*config.own),
    };
    let service = record.upstream.service.as_deref().cloned().unwrap_or_default();
    let one = |metric: &str, counter, by: u64| {
        let Some(left_out) = config.labels_left_out(metric) else { return };
        let labels = Labels {
            reporter,
            source,
            destination,
            service: &service,
            protocol: "tcp",
            answer: None,
            left_out,
        };
        labels.cells(&stat::SCHEMA, record).add(counter, by);
    };
    match event {
        Event::Opened => one("tcp_connections_opened_total", stat::OPENED, 1),
        Event::Moved { received, sent } => {
            one("tcp_received_bytes_total", stat::RECEIVED, received);
            one("tcp_sent_bytes_total", stat::SENT, sent);
        }
        Event::Closed => one("tcp_connections_closed_total", stat::CLOSED, 1),
    }
}
