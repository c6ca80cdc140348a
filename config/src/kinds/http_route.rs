//! The HTTP rules of a VirtualService.

use std::collections::BTreeMap;
use std::time::Duration;

use super::destination::Destination;
use crate::read::StringMatch;
use crate::yaml::{Span, Spanned};

fields! {
    /// A rule of `http`.
    pub struct HttpRoute {
        /// Its name, for logs and statistics.
        name: Option<Spanned<String>> = "name",
        /// Conditions, any of which suffices; with none, all requests.
        matches: Vec<HttpMatch> = "match",
        /// Where to, by weight.
        route: Vec<HttpRouteDestination> = "route",
        /// An answer 30x in place of a destination.
        redirect: Option<HttpRedirect> = "redirect",
        /// A fixed answer in place of a destination.
        direct_response: Option<DirectResponse> = "directResponse",
        /// Another VirtualService that holds the rules below this one.
        delegate: Option<Delegate> = "delegate",
        /// Changes of path and authority.
        rewrite: Option<HttpRewrite> = "rewrite",
        /// Longest time for a whole request, retries included. None: no limit.
        timeout: Option<Spanned<Duration>> = "timeout",
        /// Retries. None: the mesh's default (2 attempts).
        retries: Option<HttpRetry> = "retries",
        /// Delays and errors put in on purpose.
        fault: Option<HttpFault> = "fault",
        /// A copy of each request goes there.
        mirror: Option<Destination> = "mirror",
        /// Copies to several destinations.
        mirrors: Vec<HttpMirror> = "mirrors",
        /// Deprecated form of `mirror_percentage`, whole percents.
        mirror_percent: Option<Spanned<u32>> = "mirrorPercent",
        /// Share of requests that `mirror` copies; all if it is not there.
        mirror_percentage: Option<Percent> = "mirrorPercentage",
        /// Cross-origin policy.
        cors_policy: Option<CorsPolicy> = "corsPolicy",
        /// Header changes for all destinations.
        headers: Option<Headers> = "headers",
    }

    /// A condition of an HTTP rule; all its parts must hold.
    pub struct HttpMatch {
        /// Its name; routes are called `<rule>.<match>`.
        name: Option<Spanned<String>> = "name",
        /// Path, without the query.
        uri: Option<StringMatch> = "uri",
        /// `http` or `https`.
        scheme: Option<StringMatch> = "scheme",
        /// Method.
        method: Option<StringMatch> = "method",
        /// Host header or `:authority`.
        authority: Option<StringMatch> = "authority",
        /// Headers, by lower-case name.
        headers: BTreeMap<String, StringMatch> = "headers",
        /// Port of the listener.
        port: Option<Spanned<u32>> = "port",
        /// Labels of the workloads it applies to.
        source_labels: BTreeMap<String, String> = "sourceLabels",
        /// Gateways it applies to, in place of the resource's own.
        gateways: Vec<Spanned<String>> = "gateways",
        /// Query parameters, by name.
        query_params: BTreeMap<String, StringMatch> = "queryParams",
        /// Path compared without regard to case (exact and prefix).
        ignore_uri_case: Option<Spanned<bool>> = "ignoreUriCase",
        /// Headers that must not match.
        without_headers: BTreeMap<String, StringMatch> = "withoutHeaders",
        /// Namespace of the workloads it applies to.
        source_namespace: Option<Spanned<String>> = "sourceNamespace",
        /// Prefix of the route's statistics.
        stat_prefix: Option<Spanned<String>> = "statPrefix",
    }

    /// A destination of an HTTP rule.
    pub struct HttpRouteDestination {
        /// Where to.
        destination: Destination = "destination",
        /// Its share, relative to the sum over the rule; 0 if it is not alone and has none.
        weight: Option<Spanned<i32>> = "weight",
        /// Header changes for this destination.
        headers: Option<Headers> = "headers",
    }

    /// Header changes, both ways.
    pub struct Headers {
        /// Before the request is forwarded.
        request: Option<HeaderOperations> = "request",
        /// Before the response is returned.
        response: Option<HeaderOperations> = "response",
    }

    /// Header changes, one way.
    pub struct HeaderOperations {
        /// Replace, or add if absent.
        set: BTreeMap<String, Spanned<String>> = "set",
        /// Append.
        add: BTreeMap<String, Spanned<String>> = "add",
        /// Remove.
        remove: Vec<Spanned<String>> = "remove",
    }

    /// A redirect.
    pub struct HttpRedirect {
        /// New path.
        uri: Option<Spanned<String>> = "uri",
        /// New authority.
        authority: Option<Spanned<String>> = "authority",
        /// New port.
        port: Option<Spanned<u32>> = "port",
        /// How to derive the port, instead of giving it.
        derive_port: Option<Spanned<DerivePort>> = "derivePort",
        /// New scheme, `http` or `https`.
        scheme: Option<Spanned<String>> = "scheme",
        /// Status, 301 if it is not there.
        redirect_code: Option<Spanned<u32>> = "redirectCode",
    }

    /// A fixed answer.
    pub struct DirectResponse {
        /// Status.
        status: Spanned<u32> = "status",
        /// Body.
        body: Option<HttpBody> = "body",
    }

    /// The body of a fixed answer: one of the two.
    pub struct HttpBody {
        /// As text.
        string: Option<Spanned<String>> = "string",
        /// As base64.
        bytes: Option<Spanned<String>> = "bytes",
    }

    /// A reference to the VirtualService that goes on.
    pub struct Delegate {
        /// Its name.
        name: Spanned<String> = "name",
        /// Its namespace; that of the referring one if it is not there.
        namespace: Option<Spanned<String>> = "namespace",
    }

    /// Changes of path and authority.
    pub struct HttpRewrite {
        /// The new path, or for a prefix match the new prefix.
        uri: Option<Spanned<String>> = "uri",
        /// The new authority.
        authority: Option<Spanned<String>> = "authority",
        /// The new path by regular expression.
        uri_regex_rewrite: Option<RegexRewrite> = "uriRegexRewrite",
    }

    /// Replacement by regular expression.
    pub struct RegexRewrite {
        /// What to look for.
        pattern: Spanned<String> = "match",
        /// What to put there; `\1` stands for the first group.
        rewrite: Spanned<String> = "rewrite",
    }
    check check_regex_rewrite;

    /// Retries.
    pub struct HttpRetry {
        /// How many times at most; 0 for none.
        attempts: Option<Spanned<i32>> = "attempts",
        /// Longest time for one attempt, the first included.
        per_try_timeout: Option<Spanned<Duration>> = "perTryTimeout",
        /// Conditions, separated by commas: Envoy's tokens and status codes.
        retry_on: Option<Spanned<String>> = "retryOn",
        /// Also to other localities.
        retry_remote_localities: Option<Spanned<bool>> = "retryRemoteLocalities",
        /// Not to hosts that were tried.
        retry_ignore_previous_hosts: Option<Spanned<bool>> = "retryIgnorePreviousHosts",
        /// Least time between attempts.
        backoff: Option<Spanned<Duration>> = "backoff",
    }

    /// Faults.
    pub struct HttpFault {
        /// Delay before forwarding.
        delay: Option<FaultDelay> = "delay",
        /// An error in place of forwarding.
        abort: Option<FaultAbort> = "abort",
    }

    /// A delay.
    pub struct FaultDelay {
        /// Deprecated form of `percentage`, whole percents.
        percent: Option<Spanned<i32>> = "percent",
        /// How long.
        fixed_delay: Option<Spanned<Duration>> = "fixedDelay",
        /// Not implemented by Istio.
        exponential_delay: Option<Spanned<Duration>> = "exponentialDelay",
        /// Share of requests; all if it is not there.
        percentage: Option<Percent> = "percentage",
    }

    /// An error answer: one of the first three.
    pub struct FaultAbort {
        /// HTTP status.
        http_status: Option<Spanned<i32>> = "httpStatus",
        /// gRPC status, by name or number.
        grpc_status: Option<Spanned<String>> = "grpcStatus",
        /// Not implemented by Istio.
        http2_error: Option<Spanned<String>> = "http2Error",
        /// Share of requests; all if it is not there.
        percentage: Option<Percent> = "percentage",
    }

    /// A share in percent.
    pub struct Percent {
        /// 0.0 to 100.0; 0 if it is not there.
        value: Option<Spanned<f64>> = "value",
    }

    /// A copy.
    pub struct HttpMirror {
        /// Where to.
        destination: Destination = "destination",
        /// Share of requests; all if it is not there.
        percentage: Option<Percent> = "percentage",
    }

    /// Cross-origin policy.
    pub struct CorsPolicy {
        /// Deprecated: exact origins.
        allow_origin: Vec<Spanned<String>> = "allowOrigin",
        /// Origins.
        allow_origins: Vec<StringMatch> = "allowOrigins",
        /// Methods.
        allow_methods: Vec<Spanned<String>> = "allowMethods",
        /// Request headers.
        allow_headers: Vec<Spanned<String>> = "allowHeaders",
        /// Response headers that scripts may read.
        expose_headers: Vec<Spanned<String>> = "exposeHeaders",
        /// How long a preflight may be cached.
        max_age: Option<Spanned<Duration>> = "maxAge",
        /// Whether credentials may be sent.
        allow_credentials: Option<Spanned<bool>> = "allowCredentials",
        /// What happens to preflights of other origins.
        unmatched_preflights: Option<Spanned<UnmatchedPreflights>> = "unmatchedPreflights",
    }
}

choices! {
    /// How a redirect derives its port.
    pub enum DerivePort {
        /// 80 or 443, by scheme.
        FromProtocolDefault = "FROM_PROTOCOL_DEFAULT",
        /// The port of the request.
        FromRequestPort = "FROM_REQUEST_PORT",
    }

    /// What happens to preflights of origins that are not allowed.
    pub enum UnmatchedPreflights {
        /// The default: forward.
        Unspecified = "UNSPECIFIED",
        /// Forward to the upstream.
        Forward = "FORWARD",
        /// Answer 200 without the CORS headers.
        Ignore = "IGNORE",
    }
}

fn check_regex_rewrite(rewrite: &RegexRewrite, reader: &mut crate::read::Reader<'_>) {
    crate::read::check_regex(&rewrite.pattern, reader);
}

impl HttpMatch {
    /// The match that holds for all requests.
    pub(crate) fn any(span: Span) -> Self {
        Self {
            span,
            name: None,
            uri: None,
            scheme: None,
            method: None,
            authority: None,
            headers: BTreeMap::new(),
            port: None,
            source_labels: BTreeMap::new(),
            gateways: Vec::new(),
            query_params: BTreeMap::new(),
            ignore_uri_case: None,
            without_headers: BTreeMap::new(),
            source_namespace: None,
            stat_prefix: None,
        }
    }
}
