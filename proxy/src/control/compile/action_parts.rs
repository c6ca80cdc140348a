//! Parts of route actions: mirrors, hash policies, upgrades, redirects, direct responses.

use super::{Cx, format, matcher, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::model::matcher::Fraction;
use crate::model::route_action::{
    Direct, DirectBody, HashInput, HashPolicy, Mirror, MirrorCluster, Redirect, RedirectPath,
};
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::core::v3::data_source::Specifier;
use weir_proto::envoy::config::route::v3 as route;
use weir_proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use weir_proto::envoy::config::route::v3::route_action as proto;
use weir_proto::envoy::config::route::v3::route_action::hash_policy as hash;
use weir_proto::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;

/// The deprecated place of CORS settings.
pub fn refuse_cors(at: &At<'_>, set: bool) {
    if set {
        at.field("cors").lacks(
            "the deprecated field is not supported by this release",
            "write an envoy.extensions.filters.http.cors.v3.CorsPolicy under typed_per_filter_config",
        );
    }
}

/// A cluster name; where the context knows all clusters, it must be one of them.
pub fn known_cluster(cx: &Cx<'_>, at: &At<'_>, field: &str, name: &str) -> Option<Name> {
    let name = at.non_empty(field, name)?;
    if !(cx.known_cluster)(name) {
        at.field(field).error_with(
            format!("route: unknown cluster '{name}'"),
            "define the cluster, or set validate_clusters: false on the route configuration",
        );
    }
    Some(name.into())
}

/// Mirrors.
pub fn mirrors(cx: &Cx<'_>, at: &At<'_>, list: &[proto::RequestMirrorPolicy]) -> Box<[Mirror]> {
    let all = list.iter().enumerate();
    all.filter_map(|(i, message)| mirror(cx, &at.item("request_mirror_policies", i), message)).collect()
}

fn mirror(cx: &Cx<'_>, at: &At<'_>, message: &proto::RequestMirrorPolicy) -> Option<Mirror> {
    crate::ledger!(at, message => proto::RequestMirrorPolicy { cluster, cluster_header, runtime_fraction,
        disable_shadow_host_suffix_append } refuse { request_headers_mutations, host_rewrite_literal }
        ignore { trace_sampled });
    let target = match (cluster.as_str(), cluster_header.as_str()) {
        ("", "") => {
            at.error("one of cluster and cluster_header must be set");
            None
        }
        (name, "") => known_cluster(cx, at, "cluster", name).map(MirrorCluster::Fixed),
        ("", header) => wkt::header_name(at, "cluster_header", header).map(MirrorCluster::Header),
        _ => {
            at.error("only one of cluster and cluster_header may be set");
            None
        }
    };
    let fraction = match runtime_fraction {
        Some(message) => wkt::runtime_fraction(cx, &at.field("runtime_fraction"), message)?,
        None => Fraction::ALL,
    };
    Some(Mirror { cluster: target?, fraction, keep_host: *disable_shadow_host_suffix_append })
}

/// Names of mirror clusters.
pub fn mirror_clusters(mirrors: &[Mirror]) -> impl Iterator<Item = Name> + '_ {
    mirrors.iter().filter_map(|mirror| match &mirror.cluster {
        MirrorCluster::Fixed(name) => Some(name.clone()),
        MirrorCluster::Header(_) => None,
    })
}

/// Hash policies in order.
pub fn hash_policies(cx: &Cx<'_>, at: &At<'_>, field: &str, list: &[proto::HashPolicy]) -> Box<[HashPolicy]> {
    list.iter().enumerate().filter_map(|(i, message)| hash_policy(cx, &at.item(field, i), message)).collect()
}

fn hash_policy(cx: &Cx<'_>, at: &At<'_>, message: &proto::HashPolicy) -> Option<HashPolicy> {
    crate::ledger!(at, message => proto::HashPolicy { terminal, policy_specifier });
    let input = match at.required("policy_specifier", policy_specifier.as_ref())? {
        PolicySpecifier::Header(header) => {
            let here = at.field("header");
            crate::ledger!(here, header => hash::Header { header_name, regex_rewrite });
            let rewrite = match regex_rewrite {
                Some(message) => Some(matcher::substitution(cx, &here.field("regex_rewrite"), message)?),
                None => None,
            };
            HashInput::Header(wkt::header_name(&here, "header_name", header_name)?, rewrite)
        }
        PolicySpecifier::Cookie(cookie) => hash_cookie(&at.field("cookie"), cookie)?,
        PolicySpecifier::ConnectionProperties(message) => {
            let hash::ConnectionProperties { source_ip } = message;
            if !source_ip {
                at.field("connection_properties")
                    .bad("source_ip", "must be true, there is no other property");
                return None;
            }
            HashInput::SourceIp
        }
        PolicySpecifier::QueryParameter(message) => {
            let hash::QueryParameter { name } = message;
            HashInput::Query(at.field("query_parameter").non_empty("name", name)?.as_bytes().into())
        }
        PolicySpecifier::FilterState(_) => {
            at.field("filter_state").unsupported("hashing filter state");
            return None;
        }
    };
    Some(HashPolicy { input, terminal: *terminal })
}

fn hash_cookie(at: &At<'_>, message: &hash::Cookie) -> Option<HashInput> {
    crate::ledger!(at, message => hash::Cookie { name, ttl, path, attributes });
    let all = attributes.iter().enumerate().map(|(i, hash::CookieAttribute { name, value })| {
        let here = at.item("attributes", i);
        (here.one_line("name", name).into(), here.one_line("value", value).into())
    });
    Some(HashInput::Cookie {
        name: at.non_empty("name", at.one_line("name", name))?.into(),
        ttl: wkt::duration(at, "ttl", ttl),
        path: at.one_line("path", path).into(),
        attributes: all.collect(),
    })
}

/// Upgrades of a route: lower-case type and whether it is enabled.
pub fn upgrades(at: &At<'_>, list: &[proto::UpgradeConfig]) -> Box<[(Box<str>, bool)]> {
    let one = |(i, message): (usize, &proto::UpgradeConfig)| {
        let here = at.item("upgrade_configs", i);
        crate::ledger!(here, message => proto::UpgradeConfig { upgrade_type, enabled } refuse { connect_config });
        upgrade(&here, upgrade_type, wkt::flag(enabled, true))
    };
    unique(at, list.iter().enumerate().filter_map(one).collect())
}

/// One upgrade type.
pub fn upgrade(at: &At<'_>, name: &str, enabled: bool) -> Option<(Box<str>, bool)> {
    let name = at.non_empty("upgrade_type", at.one_line("upgrade_type", name))?.to_ascii_lowercase();
    if enabled && (name == "connect" || name == "connect-udp") {
        at.field("upgrade_type").unsupported("CONNECT");
        return None;
    }
    Some((name.into(), enabled))
}

/// A type may stand there once.
pub fn unique(at: &At<'_>, list: Box<[(Box<str>, bool)]>) -> Box<[(Box<str>, bool)]> {
    for (i, (name, _)) in list.iter().enumerate() {
        if list.iter().take(i).any(|(other, _)| other == name) {
            at.item("upgrade_configs", i).error(format!("Duplicate upgrade {name}"));
        }
    }
    list
}

/// A redirect.
pub fn redirect(cx: &Cx<'_>, at: &At<'_>, message: &route::RedirectAction) -> Option<Redirect> {
    crate::ledger!(at, message => route::RedirectAction { host_redirect, port_redirect, response_code, strip_query,
        scheme_rewrite_specifier, path_rewrite_specifier });
    let status = match wkt::enumeration::<RedirectResponseCode>(at, "response_code", *response_code)? {
        RedirectResponseCode::MovedPermanently => 301,
        RedirectResponseCode::Found => 302,
        RedirectResponseCode::SeeOther => 303,
        RedirectResponseCode::TemporaryRedirect => 307,
        RedirectResponseCode::PermanentRedirect => 308,
    };
    let scheme = match scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => {
            Some(at.one_line("scheme_redirect", scheme).to_ascii_lowercase().into())
        }
        _ => None,
    };
    let path = match path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(text)) => {
            let text = at.one_line("path_redirect", text);
            Some(RedirectPath::Full(text.as_bytes().into())).filter(|_| !text.is_empty())
        }
        Some(PathRewriteSpecifier::PrefixRewrite(text)) => {
            Some(RedirectPath::Prefix(at.one_line("prefix_rewrite", text).as_bytes().into()))
        }
        Some(PathRewriteSpecifier::RegexRewrite(message)) => {
            let (regex, replacement) = matcher::substitution(cx, &at.field("regex_rewrite"), message)?;
            Some(RedirectPath::Regex(regex, replacement))
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            at.field("path_rewrite").unsupported("a path rewrite with a format");
            None
        }
    };
    Some(Redirect {
        status,
        scheme,
        host: Some(at.one_line("host_redirect", host_redirect))
            .filter(|host| !host.is_empty())
            .map(Into::into),
        port: Some(wkt::port(at, "port_redirect", *port_redirect)?).filter(|p| *p != 0),
        path,
        strip_query: *strip_query,
    })
}

/// A fixed response; its body is at most `limit` bytes.
pub fn direct(at: &At<'_>, message: &route::DirectResponseAction, limit: usize) -> Option<Direct> {
    crate::ledger!(at, message => route::DirectResponseAction { status, body, body_format });
    let status_code = u16::try_from(*status).ok().filter(|s| (200..600).contains(s));
    if status_code.is_none() {
        at.bad("status", format!("is {status}, must be between 200 and 599"));
    }
    let body = match (body, body_format) {
        (Some(_), Some(_)) => {
            at.bad("body_format", "and body may not both be set");
            return None;
        }
        (None, Some(message)) => DirectBody::Format(format::string(&at.field("body_format"), message)?.0),
        (Some(source), None) => DirectBody::Fixed(data(&at.field("body"), source, limit)?.into()),
        (None, None) => DirectBody::Fixed(Vec::new().into()),
    };
    Some(Direct { status: status_code?, body })
}

/// The bytes of a data source, at most `limit`. Files and the environment are read once, now.
pub fn data(at: &At<'_>, message: &core::DataSource, limit: usize) -> Option<Vec<u8>> {
    crate::ledger!(at, message => core::DataSource { specifier } refuse { watched_directory });
    let bytes = match at.required("specifier", specifier.as_ref())? {
        Specifier::InlineBytes(bytes) => bytes.clone(),
        Specifier::InlineString(text) => text.clone().into_bytes(),
        Specifier::EnvironmentVariable(name) => match std::env::var(name) {
            Ok(text) => text.into_bytes(),
            Err(_) => {
                at.bad("environment_variable", format!("the variable '{name}' is not set"));
                return None;
            }
        },
        Specifier::Filename(path) => read_file(at, path, limit)?,
    };
    if bytes.len() > limit {
        at.error(format!("has {} bytes, the limit is {limit}", bytes.len()));
        return None;
    }
    Some(bytes)
}

fn read_file(at: &At<'_>, path: &str, limit: usize) -> Option<Vec<u8>> {
    use std::io::Read;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than allowed, so that the caller sees that there is more.
        std::fs::File::open(path)?.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            at.bad("filename", format!("cannot read {path}: {error}"));
            None
        }
    }
}
