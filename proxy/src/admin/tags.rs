//! From the flat name of a statistic to a family name and tags (spec 6.3).
//!
//! Envoy's default extractors, in their order, for the statistics that exist here; then those of `stats_config`. What
//! an extractor finds is cut out of the name.

use crate::control::compile::stats::{TagRule, TagValue, Tagging};
use std::ops::Range;

/// A statistic's name without its tags, and the tags in the order they were found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tagged {
    /// What is left of the name.
    pub name: String,
    /// Tag and value.
    pub tags: Vec<(String, String)>,
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Tags {
    tagging: Tagging,
    /// The default extractors that are used where not all are.
    chosen: Vec<String>,
}

/// A default extractor on dotted names: `*` is any token, `$` the value (cut out with its dot), `**` one or more
/// tokens at the end.
const TOKENS: &[(&str, &str)] = &[
    ("envoy.http_user_agent", "http.*.user_agent.$.**"),
    ("envoy.virtual_cluster", "vhost.*.vcluster.$.**"),
    ("envoy.fault_downstream_cluster", "http.*.fault.$.**"),
    ("envoy.tcp_prefix", "tcp.$.**"),
    ("envoy.ratelimit_prefix", "ratelimit.$.**"),
    ("envoy.cluster_name", "cluster.$.**"),
    ("envoy.http_conn_manager_prefix", "http.$.**"),
];

/// After worker and listener.
const LATE_TOKENS: &[(&str, &str)] = &[
    ("envoy.virtual_host", "vhost.$.**"),
    ("envoy.route", "vhost.*.route.$.**"),
    ("envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    ("envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    ("envoy.connection_limit_prefix", "connection_limit.$.**"),
];

/// What was found in a name: tags, and ranges to cut.
struct Found<'a> {
    name: &'a str,
    tags: Vec<(String, String)>,
    cut: Vec<Range<usize>>,
    /// The default extractors that are used; all when none is named.
    chosen: &'a [String],
}

impl<'a> Found<'a> {
    fn tag(&mut self, tag: &str, value: &str, cut: Range<usize>) {
        if !self.chosen.is_empty() && !self.chosen.iter().any(|name| name == tag) {
            return;
        }
        self.tags.push((tag.to_owned(), value.to_owned()));
        self.cut.push(cut);
    }

    /// The name with every range cut out.
    fn rest(&self) -> String {
        let kept = self.name.char_indices().filter(|(at, _)| !self.cut.iter().any(|cut| cut.contains(at)));
        kept.map(|(_, c)| c).collect()
    }

    /// `..._rq_200` and `..._rq_2xx`.
    fn response_codes(&mut self) {
        let name = self.name;
        let Some(at) = name.rfind("_rq_") else { return };
        let code_at = at.saturating_add(4);
        let Some(code) = name.get(code_at..) else { return };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if code.len() == 3 && digits(code) {
            self.tag("envoy.response_code", code, at.saturating_add(3)..name.len());
        } else if let Some(class) = code.strip_suffix("xx").filter(|class| class.len() == 1 && digits(class))
        {
            self.tag("envoy.response_code_class", class, code_at..code_at.saturating_add(1));
        }
    }

    fn tokens(&mut self, tag: &str, pattern: &str) {
        if let Some(range) = match_tokens(self.name, pattern) {
            let value = self.name.get(range.clone()).unwrap_or_default();
            self.tag(tag, value, range.start..range.end.saturating_add(1));
        }
    }

    /// `listener.<address>.`, its connection manager and its worker.
    fn listener(&mut self) {
        let name = self.name;
        let Some(rest) = name.strip_prefix("listener.") else { return };
        let start = "listener.".len();
        let len = match listener_address(rest) {
            Some(len) => len,
            None => return,
        };
        let address = rest.get(..len).unwrap_or_default();
        let behind_at = start.saturating_add(len).saturating_add(1);
        let behind = name.get(behind_at..).unwrap_or_default();
        if let Some(range) = match_tokens(behind, "http.$.**") {
            let value = behind.get(range.clone()).unwrap_or_default();
            let cut =
                behind_at.saturating_add(range.start)..behind_at.saturating_add(range.end).saturating_add(1);
            self.tag("envoy.http_conn_manager_prefix", value, cut);
        }
        if address == "admin" {
            return;
        }
        if let Some((worker, _)) = behind.strip_prefix("worker_").and_then(|b| b.split_once('.')) {
            let at = behind_at.saturating_add("worker_".len());
            // `worker_0.` leaves `worker.`
            let cut = at.saturating_sub(1)..at.saturating_add(worker.len());
            self.tag("envoy.worker_id", worker, cut);
        }
        self.tag("envoy.listener_address", address, start..behind_at);
    }

    /// `proxy_proto.[<prefix>.]versions.v<n>.<statistic>`
    fn proxy_protocol(&mut self) {
        let Some(rest) = self.name.strip_prefix("proxy_proto.") else { return };
        let start = self.name.len().saturating_sub(rest.len());
        let (head, counted) = rest.rsplit_once('.').unwrap_or(("", rest));
        let (prefix, version) = match head.rsplit_once("versions.v") {
            Some((prefix, version)) => (prefix.trim_end_matches('.'), Some(version)),
            None => (head, None),
        };
        let end = self.name.len().saturating_sub(counted.len());
        let behind = start.saturating_add(if prefix.is_empty() { 0 } else { prefix.len().saturating_add(1) });
        if behind > start {
            self.tag("envoy.proxy_protocol_prefix", prefix, start..behind);
        }
        if let Some(version) = version {
            self.tag("envoy.proxy_protocol_version", version, behind..end);
        }
    }

    /// `server.worker_<n>.` and the like.
    fn worker(&mut self) {
        for scope in ["server.", "listener_manager.", "thread_local_cluster_manager."] {
            let Some(rest) = self.name.strip_prefix(scope).and_then(|r| r.strip_prefix("worker_")) else {
                continue;
            };
            let Some((worker, _)) = rest.split_once('.') else { continue };
            let at = scope.len().saturating_add("worker_".len());
            self.tag("envoy.worker_id", worker, at.saturating_sub(1)..at.saturating_add(worker.len()));
        }
    }

    /// `http.<prefix>.rds.<name>.<statistic>`; the name may have dots.
    fn rds(&mut self) {
        let Some(rest) = self.name.strip_prefix("http.") else { return };
        let Some((_, behind)) = rest.split_once(".rds.") else { return };
        let Some((route, _)) = behind.rsplit_once('.') else { return };
        let start = self.name.len().saturating_sub(behind.len());
        self.tag("envoy.rds_route_config", route, start..start.saturating_add(route.len()).saturating_add(1));
    }

    fn rule(&mut self, rule: &TagRule) {
        match &rule.value {
            TagValue::Fixed(value) => self.tags.push((rule.name.clone(), value.clone())),
            TagValue::Found(regex) => {
                if let Some((cut, value)) = regex.find(self.name) {
                    self.tags.push((rule.name.clone(), value.to_owned()));
                    self.cut.push(cut);
                }
            }
            TagValue::Default => {}
        }
    }
}

/// Length of a listener's address: an IP and port (`127.0.0.1_80`, `[__1]_80`), else the first token.
fn listener_address(rest: &str) -> Option<usize> {
    let token = rest.find('.')?;
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '_' | '.');
    let hex = |c: char| c.is_ascii_hexdigit() || matches!(c, '_' | '[' | ']');
    let run = rest.find(|c| !numeric(c)).unwrap_or(rest.len());
    // The longest run of digits, dots and underscores that ends before a dot.
    let v4 = rest.get(..run).and_then(|run| run.rfind('.')).filter(|at| *at > 0);
    let v6 =
        rest.find(|c| !hex(c)).filter(|at| *at > 0 && rest.get(*at..).is_some_and(|r| r.starts_with('.')));
    Some(v4.or(v6).unwrap_or(token))
}

/// The range of `$` in a name that the pattern matches.
fn match_tokens(name: &str, pattern: &str) -> Option<Range<usize>> {
    let mut at = 0usize;
    let mut found = None;
    for want in pattern.split('.') {
        let rest = name.get(at..)?;
        if want == "**" {
            return if rest.is_empty() { None } else { found };
        }
        let token = rest.split('.').next()?;
        match want {
            "*" => {}
            "$" => found = Some(at..at.checked_add(token.len())?),
            literal if literal == token => {}
            _ => return None,
        }
        at = at.checked_add(token.len())?.checked_add(1)?;
    }
    None
}

impl Tags {
    /// The rules of `stats_config`.
    pub fn new(tagging: Tagging) -> Tags {
        let named = tagging.rules.iter().filter(|rule| matches!(rule.value, TagValue::Default));
        let chosen = named.map(|rule| rule.name.clone()).collect();
        Tags { tagging, chosen }
    }

    /// Takes a name apart.
    pub fn extract(&self, name: &str) -> Tagged {
        let mut found = Found { name, tags: Vec::new(), cut: Vec::new(), chosen: &self.chosen };
        if self.tagging.defaults || !self.chosen.is_empty() {
            found.response_codes();
            TOKENS.iter().for_each(|(tag, pattern)| found.tokens(tag, pattern));
            found.listener();
            found.worker();
            found.rds();
            LATE_TOKENS.iter().for_each(|(tag, pattern)| found.tokens(tag, pattern));
            found.proxy_protocol();
        }
        self.tagging.rules.iter().for_each(|rule| found.rule(rule));
        Tagged { name: found.rest(), tags: found.tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::compile::stats::TagRegex;

    fn shown(tags: &Tags, name: &str) -> String {
        let tagged = tags.extract(name);
        let list: Vec<_> = tagged.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{} {}", tagged.name, list.join(","))
    }

    #[test]
    fn names_that_envoy_was_seen_to_take_apart() {
        for (name, want) in [
            ("cluster.a.upstream_rq_200", "cluster.upstream_rq envoy.response_code=200,envoy.cluster_name=a"),
            (
                "cluster.a.b.external.upstream_rq_2xx",
                "cluster.b.external.upstream_rq_xx envoy.response_code_class=2,envoy.cluster_name=a",
            ),
            ("cluster.a.upstream_rq_completed", "cluster.upstream_rq_completed envoy.cluster_name=a"),
            ("http.in.x.downstream_cx_total", "http.x.downstream_cx_total envoy.http_conn_manager_prefix=in"),
            (
                "http.in.rds.a.b.update_success",
                "http.rds.update_success envoy.http_conn_manager_prefix=in,envoy.rds_route_config=a.b",
            ),
            ("http.in.fault.aborts_injected", "http.fault.aborts_injected envoy.http_conn_manager_prefix=in"),
            (
                "http.in.fault.c1.aborts_injected",
                "http.fault.aborts_injected envoy.fault_downstream_cluster=c1,envoy.http_conn_manager_prefix=in",
            ),
            (
                "listener.127.0.0.1_80.downstream_cx_total",
                "listener.downstream_cx_total envoy.listener_address=127.0.0.1_80",
            ),
            (
                "listener.[__1]_80.downstream_cx_total",
                "listener.downstream_cx_total envoy.listener_address=[__1]_80",
            ),
            ("listener.mine.downstream_cx_total", "listener.downstream_cx_total envoy.listener_address=mine"),
            (
                "listener.127.0.0.1_80.http.in.downstream_rq_2xx",
                "listener.http.downstream_rq_xx envoy.response_code_class=2,envoy.http_conn_manager_prefix=in,envoy.listener_address=127.0.0.1_80",
            ),
            (
                "listener.127.0.0.1_80.worker_0.downstream_cx_total",
                "listener.worker.downstream_cx_total envoy.worker_id=0,envoy.listener_address=127.0.0.1_80",
            ),
            ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total "),
            (
                "listener.admin.http.admin.downstream_rq_completed",
                "listener.admin.http.downstream_rq_completed envoy.http_conn_manager_prefix=admin",
            ),
            ("server.worker_0.watchdog_miss", "server.worker.watchdog_miss envoy.worker_id=0"),
            (
                "proxy_proto.a.versions.v1.found",
                "proxy_proto.found envoy.proxy_protocol_prefix=a,envoy.proxy_protocol_version=1",
            ),
            ("proxy_proto.versions.v2.error", "proxy_proto.error envoy.proxy_protocol_version=2"),
            (
                "proxy_proto.a.not_found_allowed",
                "proxy_proto.not_found_allowed envoy.proxy_protocol_prefix=a",
            ),
            ("proxy_proto.not_found_allowed", "proxy_proto.not_found_allowed "),
            ("tcp.t.downstream_cx_total", "tcp.downstream_cx_total envoy.tcp_prefix=t"),
            ("server.uptime", "server.uptime "),
            ("cluster_manager.cluster_added", "cluster_manager.cluster_added "),
        ] {
            assert_eq!(shown(&Tags::default(), name), want);
        }
    }

    #[test]
    fn rules_of_the_configuration() {
        let istio = r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)";
        let rules = vec![
            TagRule { name: "cluster_name".into(), value: TagValue::Found(TagRegex::new(istio).unwrap()) },
            TagRule { name: "zone".into(), value: TagValue::Fixed("z1".into()) },
        ];
        let tags = Tags::new(Tagging { rules: rules.clone(), defaults: false });
        assert_eq!(
            shown(&tags, "cluster.outbound|80||a.b.svc.cluster.local.upstream_rq_total"),
            "cluster.upstream_rq_total cluster_name=outbound|80||a.b.svc.cluster.local,zone=z1"
        );
        assert_eq!(shown(&tags, "server.uptime"), "server.uptime zone=z1");
        assert_eq!(
            shown(&Tags::new(Tagging { rules, defaults: true }), "tcp.x.y"),
            "tcp.y envoy.tcp_prefix=x,zone=z1"
        );
        let one = TagRule { name: "envoy.tcp_prefix".into(), value: TagValue::Default };
        let one = Tags::new(Tagging { rules: vec![one], defaults: false });
        assert_eq!(shown(&one, "tcp.x.y"), "tcp.y envoy.tcp_prefix=x");
        assert_eq!(shown(&one, "cluster.x.y"), "cluster.x.y ");
    }
}
