//! `StatsConfig`: which parts of a statistic's name are tags, and which statistics are kept.

use super::{Cx, matcher, wkt};
use crate::base::ledger::At;
use crate::model::matcher::StringMatch;
use regex::Regex;
use std::ops::Range;
use weir_proto::envoy::config::metrics::v3 as proto;
use weir_proto::envoy::config::metrics::v3::stats_matcher::StatsMatcher as Kept;
use weir_proto::envoy::config::metrics::v3::tag_specifier::TagValue as Kind;
use weir_proto::envoy::r#type::matcher::v3::ListStringMatcher;

/// Most steps that an expression with look-around may go back for one name.
const BACKTRACK_LIMIT: usize = 100_000;

/// Tags that Envoy 1.40 has an extractor for.
const DEFAULT_TAGS: &[&str] = &[
    "envoy.clientssl_prefix",
    "envoy.cluster_name",
    "envoy.connection_limit_prefix",
    "envoy.dns_filter_prefix",
    "envoy.dynamo_operation",
    "envoy.dynamo_partition_id",
    "envoy.dynamo_table",
    "envoy.ext_authz_prefix",
    "envoy.fault_downstream_cluster",
    "envoy.google_grpc_client_prefix",
    "envoy.grpc_bridge_method",
    "envoy.grpc_bridge_service",
    "envoy.http_conn_manager_prefix",
    "envoy.http_user_agent",
    "envoy.listener_address",
    "envoy.local_http_ratelimit_prefix",
    "envoy.local_listener_ratelimit_prefix",
    "envoy.local_network_ratelimit_prefix",
    "envoy.mongo_callsite",
    "envoy.mongo_cmd",
    "envoy.mongo_collection",
    "envoy.mongo_prefix",
    "envoy.proxy_protocol_prefix",
    "envoy.proxy_protocol_version",
    "envoy.ratelimit_prefix",
    "envoy.rbac_http_prefix",
    "envoy.rbac_policy_name",
    "envoy.rbac_prefix",
    "envoy.rds_route_config",
    "envoy.redis_prefix",
    "envoy.response_code",
    "envoy.response_code_class",
    "envoy.route",
    "envoy.scoped_rds_config",
    "envoy.ssl_cipher",
    "envoy.ssl_cipher_suite",
    "envoy.ssl_curve",
    "envoy.ssl_sigalg",
    "envoy.ssl_version",
    "envoy.tcp_prefix",
    "envoy.thrift_prefix",
    "envoy.tls_certificate",
    "envoy.udp_prefix",
    "envoy.virtual_cluster",
    "envoy.virtual_host",
    "envoy.worker_id",
    "envoy.xds_resource_name",
];

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub enum TagValue {
    /// The same for every statistic.
    Fixed(String),
    /// What an expression finds in the name.
    Found(TagRegex),
    /// What Envoy's default extractor of this tag finds.
    Default,
}

/// An expression over names of statistics. Its first group is cut out of the name; the second (else the first) is the
/// value.
#[derive(Clone, Debug)]
pub enum TagRegex {
    /// Linear in time.
    Plain(Regex),
    /// With look-around, which Istio's bootstrap has: by backtracking, within [`BACKTRACK_LIMIT`]. Only names of
    /// statistics come here, and only when somebody reads them.
    LookAround(Box<fancy_regex::Regex>),
}

impl TagRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<TagRegex, String> {
        let (regex, groups) = match Regex::new(text) {
            Ok(regex) => {
                let groups = regex.captures_len();
                (TagRegex::Plain(regex), groups)
            }
            Err(error) => {
                let built = fancy_regex::RegexBuilder::new(text).backtrack_limit(BACKTRACK_LIMIT).build();
                // What neither engine takes is told in the words of the first.
                let regex = built.map_err(|_| format!("invalid regular expression: {error}"))?;
                let groups = regex.captures_len();
                (TagRegex::LookAround(Box::new(regex)), groups)
            }
        };
        if groups < 2 {
            return Err("needs a group: what it finds is the tag's value".into());
        }
        Ok(regex)
    }

    /// The part of a name that is cut out, and the value.
    pub fn find<'n>(&self, name: &'n str) -> Option<(Range<usize>, &'n str)> {
        match self {
            TagRegex::Plain(regex) => {
                let groups = regex.captures(name)?;
                let cut = groups.get(1)?;
                Some((cut.range(), groups.get(2).unwrap_or(cut).as_str()))
            }
            TagRegex::LookAround(regex) => {
                // Beyond the limit the name has no such tag.
                let groups = regex.captures(name).ok().flatten()?;
                let cut = groups.get(1)?;
                Some((cut.range(), groups.get(2).unwrap_or(cut).as_str()))
            }
        }
    }
}

/// One entry of `stats_config.stats_tags`.
#[derive(Clone, Debug)]
pub struct TagRule {
    /// The tag.
    pub name: String,
    /// Its value.
    pub value: TagValue,
}

/// The tags of statistics.
#[derive(Clone, Debug)]
pub struct Tagging {
    /// Rules of the configuration, in order.
    pub rules: Vec<TagRule>,
    /// Envoy's default extractors come first (`use_all_default_tags`).
    pub defaults: bool,
}

impl Default for Tagging {
    fn default() -> Self {
        Tagging { rules: Vec::new(), defaults: true }
    }
}

/// Which statistics are kept (`stats_matcher`).
#[derive(Clone, Debug, Default)]
pub enum Keep {
    /// All.
    #[default]
    All,
    /// None.
    None,
    /// Those that one of these matches.
    Matching(Vec<StringMatch>),
    /// Those that none of these matches.
    Others(Vec<StringMatch>),
}

impl Keep {
    /// Is a statistic of this name kept?
    pub fn has(&self, name: &str) -> bool {
        let any = |all: &[StringMatch]| all.iter().any(|one| one.matches(name.as_bytes()));
        match self {
            Keep::All => true,
            Keep::None => false,
            Keep::Matching(all) => any(all),
            Keep::Others(all) => !any(all),
        }
    }
}

/// What a bootstrap says of statistics.
pub fn stats(cx: &Cx<'_>, at: &At<'_>, message: &proto::StatsConfig) -> (Tagging, Keep) {
    crate::ledger!(at, message => proto::StatsConfig { stats_tags, use_all_default_tags, stats_matcher }
        refuse { allow_default_tag_overrides } note { histogram_bucket_settings });
    let defaults = wkt::flag(use_all_default_tags, true);
    let all = stats_tags.iter().enumerate();
    let rules = all.filter_map(|(i, message)| rule(&at.item("stats_tags", i), message, defaults)).collect();
    let keep = stats_matcher.as_ref().map(|message| keep(cx, &at.field("stats_matcher"), message));
    (Tagging { rules, defaults }, keep.unwrap_or_default())
}

fn rule(at: &At<'_>, message: &proto::TagSpecifier, defaults: bool) -> Option<TagRule> {
    crate::ledger!(at, message => proto::TagSpecifier { tag_name, tag_value });
    let value = match tag_value {
        Some(Kind::FixedValue(text)) => TagValue::Fixed(text.clone()),
        Some(Kind::Regex(text)) if !text.is_empty() => match TagRegex::new(text) {
            Ok(regex) => TagValue::Found(regex),
            Err(error) => {
                at.bad("regex", error);
                return None;
            }
        },
        _ if !DEFAULT_TAGS.contains(&tag_name.as_str()) => {
            at.bad(
                "regex",
                format!("No regex specified for tag specifier and no default regex for name: '{tag_name}'"),
            );
            return None;
        }
        // It is there already.
        _ if defaults => return None,
        _ => TagValue::Default,
    };
    Some(TagRule { name: at.non_empty("tag_name", tag_name)?.to_owned(), value })
}

fn keep(cx: &Cx<'_>, at: &At<'_>, message: &proto::StatsMatcher) -> Keep {
    crate::ledger!(at, message => proto::StatsMatcher { stats_matcher });
    let list = |field: &'static str, message: &ListStringMatcher| -> Vec<StringMatch> {
        let here = at.field(field);
        crate::ledger!(here, message => ListStringMatcher { patterns });
        let all = patterns.iter().enumerate();
        all.filter_map(|(i, one)| matcher::string(cx, &here.item("patterns", i), one)).collect()
    };
    match stats_matcher {
        None => {
            at.bad("stats_matcher", "must be set");
            Keep::All
        }
        Some(Kept::RejectAll(true)) => Keep::None,
        Some(Kept::RejectAll(false)) => Keep::All,
        Some(Kept::InclusionList(message)) => Keep::Matching(list("inclusion_list", message)),
        Some(Kept::ExclusionList(message)) => Keep::Others(list("exclusion_list", message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ledger::Sink;

    fn read(text: &str) -> (Tagging, Keep, Vec<String>) {
        let parsed = weir_proto::parse::<proto::StatsConfig>(text, &weir_proto::ParseOptions::default());
        let sink = Sink::new();
        let live = |name: &crate::base::Name| crate::live::clusters().get_or_make(name);
        let (node, runtime) = Default::default();
        let cx = Cx::new(&node, &runtime, &|_| false, &live);
        let (tagging, keep) = stats(&cx, &sink.root("stats_config"), &parsed.unwrap().message);
        drop(cx);
        (tagging, keep, sink.into_errors().into_iter().map(|error| error.path).collect())
    }

    #[test]
    fn rules_are_kept_in_order_and_mistakes_named() {
        let (tagging, _, errors) = read(
            "{stats_tags: [{tag_name: a, regex: 'x(.*)'}, {tag_name: b, fixed_value: v}, {tag_name: envoy.cluster_name}]}",
        );
        assert!(errors.is_empty() && tagging.defaults, "{errors:?}");
        let names: Vec<&str> = tagging.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let (tagging, _, errors) = read(
            "{use_all_default_tags: false, stats_tags: [{tag_name: a, regex: '('}, {tag_name: b, regex: x}, {tag_name: c}, {tag_name: envoy.cluster_name}]}",
        );
        assert!(
            !tagging.defaults && matches!(&tagging.rules[..], [TagRule { value: TagValue::Default, .. }])
        );
        let place = |i: usize| format!("stats_config.stats_tags[{i}].regex");
        assert_eq!(errors, [place(0), place(1), place(2)]);
    }

    #[test]
    fn look_around_is_understood_and_bounded() {
        let regex = TagRegex::new(r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*))\.)").unwrap();
        let name = "listener.0.0.0.0_80.http.0.0.0.0_80.downstream_rq_2xx";
        assert_eq!(regex.find(name).map(|(_, value)| value), Some("0.0.0.0_80"));
        assert_eq!(regex.find("cluster.a.upstream_rq"), None);
        let slow = TagRegex::new(r"^(?=a)((a+)+)$").unwrap();
        assert_eq!(slow.find(&format!("{}b", "a".repeat(60))), None);
    }

    #[test]
    fn statistics_are_kept_by_name() {
        let kept = |text: &str| -> Vec<bool> {
            let (_, keep, errors) = read(&format!("{{stats_matcher: {text}}}"));
            assert!(errors.is_empty(), "{errors:?}");
            ["server.state", "cluster.a.x"].iter().map(|name| keep.has(name)).collect()
        };
        assert_eq!(kept("{inclusion_list: {patterns: [{prefix: server}]}}"), [true, false]);
        assert_eq!(kept("{exclusion_list: {patterns: [{safe_regex: {regex: 'cl.*'}}]}}"), [true, false]);
        assert_eq!(kept("{reject_all: true}"), [false, false]);
        assert_eq!(kept("{reject_all: false}"), [true, true]);
    }
}
