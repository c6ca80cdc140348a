//! `envoy.filters.http.grpc_stats`: counts gRPC calls by their outcome, and their messages.

use super::hooks::{HttpFilter, RequestContext, Step};
use super::{Factory, decode};
use crate::base::headers::HeaderBlock;
use crate::base::ledger::At;
use crate::base::names::Id;
use crate::model::plugin::{Compile, PluginConfig};
use crate::observe::metrics::{self, sanitized};
use crate::observe::record::Record;
use crate::observe::stats::grpc as stat;
use crate::route::is_grpc;
use std::any::Any;
use std::sync::Arc;
use weir_proto::envoy::config::core::v3::grpc_method_list::Service;
use weir_proto::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig;
use weir_proto::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    name: "envoy.filters.http.grpc_stats",
    terminal: false,
    config: compile,
    route_config: None,
    run: Some(run),
};

/// Which methods have counters of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Methods {
    All,
    /// These, as `service/method`.
    Listed(Box<[Box<str>]>),
}

#[derive(Debug)]
struct Config {
    methods: Methods,
    /// Tell the numbers of messages to other filters.
    emit: bool,
    /// Dots in a service's name become underscores.
    replace_dots: bool,
}

fn compile(_: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let message = &decode::<FilterConfig>(at, bytes)?;
    crate::ledger!(at, message => FilterConfig { emit_filter_state, per_method_stat_specifier,
        replace_dots_in_grpc_service_name } refuse { enable_upstream_stats });
    let methods = match per_method_stat_specifier {
        Some(PerMethodStatSpecifier::StatsForAllMethods(all)) if all.value => Methods::All,
        Some(PerMethodStatSpecifier::IndividualMethodStatsAllowlist(list)) => {
            let of = |service: &Service| -> Vec<Box<str>> {
                let Service { name, method_names } = service;
                method_names.iter().map(|method| format!("{name}/{method}").into()).collect()
            };
            Methods::Listed(list.services.iter().flat_map(of).collect())
        }
        Some(PerMethodStatSpecifier::StatsForAllMethods(_)) | None => Methods::Listed(Box::default()),
    };
    let (emit, replace_dots) = (*emit_filter_state, *replace_dots_in_grpc_service_name);
    Some(Arc::new(Config { methods, emit, replace_dots }))
}

/// Counts messages in a body by their five bytes of head (gRPC over HTTP/2, "Length-Prefixed-Message").
#[derive(Default, Debug)]
struct Messages {
    count: u64,
    head: usize,
    length: u32,
    left: u32,
}

/// Bytes of a message's head: a flag and its length.
const HEAD: usize = 5;

impl Messages {
    fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skip = bytes.len().min(self.left as usize);
                self.left = self.left.saturating_sub(u32::try_from(skip).unwrap_or(u32::MAX));
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            if self.head > 0 {
                self.length = (self.length << 8) | u32::from(*first);
            }
            self.head += 1;
            bytes = rest;
            if self.head == HEAD {
                self.count = self.count.saturating_add(1);
                (self.left, self.length, self.head) = (self.length, 0, 0);
            }
        }
    }
}

struct Running {
    config: Arc<dyn Any + Send + Sync>,
    /// What stands between `grpc.` and the counter's name, when the request is a call.
    call: Option<String>,
    sent: Messages,
    answered: Messages,
}

fn run(slot: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    let config = slot.config.clone();
    let running = Running { config, call: None, sent: Messages::default(), answered: Messages::default() };
    slot.config.is::<Config>().then(|| Box::new(running) as _)
}

/// Service and method of `/service/method`.
pub fn method(path: &str) -> Option<(&str, &str)> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

impl Config {
    fn prefix(&self, service: &str, method: &str) -> String {
        let own = match &self.methods {
            Methods::All => true,
            Methods::Listed(list) => list.iter().any(|m| m.split_once('/') == Some((service, method))),
        };
        match (own, self.replace_dots) {
            (false, _) => String::new(),
            (true, false) => format!("{service}.{method}."),
            (true, true) => format!("{}.{method}.", service.replace('.', "_")),
        }
    }
}

impl HttpFilter for Running {
    fn request(&mut self, cx: &mut RequestContext<'_>) -> Step {
        let Some(config) = self.config.downcast_ref::<Config>() else { return Step::Continue };
        let headers = &cx.request.headers;
        if is_grpc(headers) && cx.cluster.is_some() {
            let called = headers.get_str(Id::Path).and_then(method);
            self.call = called.map(|(service, method)| config.prefix(service, method));
        }
        Step::Continue
    }

    fn taps(&self) -> bool {
        self.call.is_some()
    }

    fn request_data(&mut self, bytes: &[u8]) {
        self.sent.feed(bytes);
    }

    fn response_data(&mut self, bytes: &[u8]) {
        self.answered.feed(bytes);
    }

    fn finish(&mut self, record: &mut Record) {
        let emit = self.config.downcast_ref::<Config>().is_some_and(|config| config.emit);
        if emit && self.call.is_some() {
            record.mesh_facts().messages = Some((self.sent.count, self.answered.count));
        }
    }

    fn ended(&mut self, record: &Record) {
        let (Some(call), Some(cluster)) = (&self.call, &record.upstream.cluster) else { return };
        let calls = format!("cluster.{}.grpc.", sanitized(cluster));
        // The path is the client's word: beyond the bound on names, calls are counted for the cluster as a whole.
        let stats = metrics::at_hand(&stat::SCHEMA, &format!("{calls}{call}"), || calls);
        stats.add(stat::REQUEST_MESSAGE_COUNT, self.sent.count);
        stats.add(stat::RESPONSE_MESSAGE_COUNT, self.answered.count);
        let told = |block: &HeaderBlock| block.get_str(Id::GrpcStatus).and_then(|text| text.parse().ok());
        let status: Option<u32> = told(&record.response_trailers).or_else(|| told(&record.response));
        if let Some(status) = status {
            if let Some(counter) = stat::status(status) {
                stats.inc(counter);
            }
            stats.inc(if status == 0 { stat::SUCCESS } else { stat::FAILURE });
            stats.inc(stat::TOTAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let body = [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        for size in [1, 2, 3, 5, 8, 100, body.len()] {
            let mut messages = Messages::default();
            body.chunks(size).for_each(|part| messages.feed(part));
            assert_eq!((messages.count, messages.left, messages.head), (3, 0, 0), "{size}");
        }
    }

    #[test]
    fn methods_are_named_when_asked_for() {
        assert_eq!(method("/a.B/C"), Some(("a.B", "C")));
        assert_eq!(method("/a.B/C?x=/"), Some(("a.B", "C")));
        for path in ["", "/", "/a", "/a/", "//b", "/a/b/c"] {
            assert_eq!(method(path), None, "{path}");
        }
        let of = |methods, replace_dots| Config { methods, emit: false, replace_dots }.prefix("a.B", "C");
        assert_eq!(of(Methods::All, false), "a.B.C.");
        assert_eq!(of(Methods::All, true), "a_B.C.");
        assert_eq!(of(Methods::Listed(["a.B/C".into()].into()), false), "a.B.C.");
        assert_eq!(of(Methods::Listed(["a.B/D".into()].into()), false), "");
    }
}
