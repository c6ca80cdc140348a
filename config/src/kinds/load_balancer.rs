//! The load-balancing part of a DestinationRule.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::yaml::Spanned;

fields! {
    /// How an endpoint is chosen: `simple` or `consistent_hash`.
    pub struct LoadBalancer {
        /// A plain algorithm.
        simple: Option<Spanned<SimpleLb>> = "simple",
        /// The same client to the same endpoint.
        consistent_hash: Option<ConsistentHash> = "consistentHash",
        /// Preference by locality.
        locality_lb_setting: Option<LocalityLb> = "localityLbSetting",
        /// Deprecated form of `warmup.duration`.
        warmup_duration_secs: Option<Spanned<Duration>> = "warmupDurationSecs",
        /// Slow start of new endpoints.
        warmup: Option<Warmup> = "warmup",
    }

    /// What is hashed (one of the first four) and by which table.
    pub struct ConsistentHash {
        /// A header.
        http_header_name: Option<Spanned<String>> = "httpHeaderName",
        /// A cookie, made if it is not there.
        http_cookie: Option<HttpCookie> = "httpCookie",
        /// The source address.
        use_source_ip: Option<Spanned<bool>> = "useSourceIp",
        /// A query parameter.
        http_query_parameter_name: Option<Spanned<String>> = "httpQueryParameterName",
        /// Deprecated form of `ring_hash.minimum_ring_size`.
        minimum_ring_size: Option<Spanned<u32>> = "minimumRingSize",
        /// Ring hash.
        ring_hash: Option<RingHash> = "ringHash",
        /// Maglev.
        maglev: Option<Maglev> = "maglev",
    }

    /// A cookie.
    pub struct HttpCookie {
        /// Its name.
        name: Spanned<String> = "name",
        /// Its path.
        path: Option<Spanned<String>> = "path",
        /// Its life; 0 for a session cookie. Without it no cookie is made.
        ttl: Option<Spanned<Duration>> = "ttl",
        /// Further attributes.
        attributes: Vec<CookieAttribute> = "attributes",
    }

    /// An attribute of a cookie.
    pub struct CookieAttribute {
        /// Its name.
        name: Spanned<String> = "name",
        /// Its value, if it has one.
        value: Option<Spanned<String>> = "value",
    }

    /// Ring hash.
    pub struct RingHash {
        /// Least number of virtual nodes; 1024 if it is not there.
        minimum_ring_size: Option<Spanned<u32>> = "minimumRingSize",
    }

    /// Maglev.
    pub struct Maglev {
        /// Size of the table, a prime; 65537 if it is not there.
        table_size: Option<Spanned<u32>> = "tableSize",
    }

    /// Preference by locality: one of the first three.
    pub struct LocalityLb {
        /// Shares by locality of the client.
        distribute: Vec<Distribute> = "distribute",
        /// Where to when a region fails.
        failover: Vec<Failover> = "failover",
        /// Labels by which priorities are made.
        failover_priority: Vec<Spanned<String>> = "failoverPriority",
        /// Whether it is in force.
        enabled: Option<Spanned<bool>> = "enabled",
    }

    /// Shares for clients of one locality.
    pub struct Distribute {
        /// `region/zone/subzone`, `*` allowed at the end.
        from: Spanned<String> = "from",
        /// Percent by locality; the sum is 100.
        to: BTreeMap<String, Spanned<u32>> = "to",
    }

    /// From one region to another.
    pub struct Failover {
        /// The region that fails.
        from: Spanned<String> = "from",
        /// The one that takes over.
        to: Spanned<String> = "to",
    }

    /// Slow start of new endpoints.
    pub struct Warmup {
        /// How long.
        duration: Spanned<Duration> = "duration",
        /// Where it begins, in percent of the full weight; 10 if it is not there.
        minimum_percent: Option<Spanned<f64>> = "minimumPercent",
        /// Shape of the curve; 1 (a line) if it is not there.
        aggression: Option<Spanned<f64>> = "aggression",
    }
}

choices! {
    /// A plain algorithm.
    pub enum SimpleLb {
        /// As the mesh says: least request.
        Unspecified = "UNSPECIFIED",
        /// Deprecated name of least request.
        LeastConn = "LEAST_CONN",
        /// Any.
        Random = "RANDOM",
        /// The address that the client asked for.
        Passthrough = "PASSTHROUGH",
        /// In turn.
        RoundRobin = "ROUND_ROBIN",
        /// The less busy of two.
        LeastRequest = "LEAST_REQUEST",
    }
}
