//! DestinationRule (`networking.istio.io`): how to speak to a service that a route has chosen, and which subsets
//! it has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::destination::PortSelector;
use super::load_balancer::LoadBalancer;
use crate::yaml::Spanned;

fields! {
    /// `spec` of a DestinationRule.
    pub struct DestinationRule {
        /// Short or full name of a service, or a wildcard.
        host: Spanned<String> = "host",
        /// Policy for all its traffic.
        traffic_policy: Option<TrafficPolicy> = "trafficPolicy",
        /// Named parts of its endpoints.
        subsets: Vec<Subset> = "subsets",
        /// Namespaces that see it: `.`, `*`, `~` or names.
        export_to: Vec<Spanned<String>> = "exportTo",
        /// Labels of the workloads it applies to.
        workload_selector: Option<LabelMatch> = "workloadSelector",
    }

    /// A set of labels that must all be there.
    pub struct LabelMatch {
        /// The labels.
        match_labels: BTreeMap<String, String> = "matchLabels",
    }

    /// A subset.
    pub struct Subset {
        /// Its name.
        name: Spanned<String> = "name",
        /// Labels of its endpoints.
        labels: BTreeMap<String, String> = "labels",
        /// Policy for its traffic, on top of the rule's.
        traffic_policy: Option<TrafficPolicy> = "trafficPolicy",
    }

    /// A traffic policy.
    pub struct TrafficPolicy {
        /// Choice of the endpoint.
        load_balancer: Option<LoadBalancer> = "loadBalancer",
        /// Limits and timeouts of connections.
        connection_pool: Option<ConnectionPool> = "connectionPool",
        /// Ejection of endpoints that fail.
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
        /// TLS towards the service.
        tls: Option<ClientTls> = "tls",
        /// Policies that replace this one for a port.
        port_level_settings: Vec<PortPolicy> = "portLevelSettings",
        /// TCP inside HTTP CONNECT or POST.
        tunnel: Option<Tunnel> = "tunnel",
        /// PROXY protocol towards the service.
        proxy_protocol: Option<ProxyProtocol> = "proxyProtocol",
        /// Limit of retries relative to requests.
        retry_budget: Option<RetryBudget> = "retryBudget",
    }

    /// The policy of one port.
    pub struct PortPolicy {
        /// Which port.
        port: Option<PortSelector> = "port",
        /// Choice of the endpoint.
        load_balancer: Option<LoadBalancer> = "loadBalancer",
        /// Limits and timeouts of connections.
        connection_pool: Option<ConnectionPool> = "connectionPool",
        /// Ejection of endpoints that fail.
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
        /// TLS towards the service.
        tls: Option<ClientTls> = "tls",
    }

    /// Limits and timeouts of connections.
    pub struct ConnectionPool {
        /// For all connections.
        tcp: Option<TcpSettings> = "tcp",
        /// For HTTP.
        http: Option<HttpSettings> = "http",
    }

    /// Limits and timeouts of all connections.
    pub struct TcpSettings {
        /// Most connections.
        max_connections: Option<Spanned<i32>> = "maxConnections",
        /// Longest time to connect.
        connect_timeout: Option<Spanned<Duration>> = "connectTimeout",
        /// Keepalive of the socket.
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive",
        /// Longest life of a connection.
        max_connection_duration: Option<Spanned<Duration>> = "maxConnectionDuration",
        /// Longest time without traffic.
        idle_timeout: Option<Spanned<Duration>> = "idleTimeout",
    }

    /// Keepalive of a socket.
    pub struct TcpKeepalive {
        /// Probes before the connection counts as dead.
        probes: Option<Spanned<u32>> = "probes",
        /// Idle time before the first probe.
        time: Option<Spanned<Duration>> = "time",
        /// Time between probes.
        interval: Option<Spanned<Duration>> = "interval",
    }

    /// Limits and timeouts for HTTP.
    pub struct HttpSettings {
        /// Most requests that wait for a connection.
        http1_max_pending_requests: Option<Spanned<i32>> = "http1MaxPendingRequests",
        /// Most requests under way.
        http2_max_requests: Option<Spanned<i32>> = "http2MaxRequests",
        /// Most requests over one connection.
        max_requests_per_connection: Option<Spanned<i32>> = "maxRequestsPerConnection",
        /// Most retries under way.
        max_retries: Option<Spanned<i32>> = "maxRetries",
        /// Longest time without a request.
        idle_timeout: Option<Spanned<Duration>> = "idleTimeout",
        /// Whether HTTP/1.1 is spoken as HTTP/2.
        h2_upgrade_policy: Option<Spanned<H2UpgradePolicy>> = "h2UpgradePolicy",
        /// The protocol of the client is kept.
        use_client_protocol: Option<Spanned<bool>> = "useClientProtocol",
        /// Most streams of one HTTP/2 connection.
        max_concurrent_streams: Option<Spanned<i32>> = "maxConcurrentStreams",
    }

    /// Ejection of endpoints that fail.
    pub struct OutlierDetection {
        /// Deprecated form of `consecutive_5xx_errors`.
        consecutive_errors: Option<Spanned<i32>> = "consecutiveErrors",
        /// Failures of connections counted apart from answers 5xx.
        split_external_local_origin_errors: Option<Spanned<bool>> = "splitExternalLocalOriginErrors",
        /// Failures of connections in a row.
        consecutive_local_origin_failures: Option<Spanned<u32>> = "consecutiveLocalOriginFailures",
        /// Answers 502, 503, 504 in a row.
        consecutive_gateway_errors: Option<Spanned<u32>> = "consecutiveGatewayErrors",
        /// Answers 5xx in a row.
        consecutive_5xx_errors: Option<Spanned<u32>> = "consecutive5xxErrors",
        /// Time between sweeps.
        interval: Option<Spanned<Duration>> = "interval",
        /// Time of a first ejection.
        base_ejection_time: Option<Spanned<Duration>> = "baseEjectionTime",
        /// Largest part that may be ejected, in percent.
        max_ejection_percent: Option<Spanned<i32>> = "maxEjectionPercent",
        /// Part that has to be healthy for ejection to be in force, in percent.
        min_health_percent: Option<Spanned<i32>> = "minHealthPercent",
    }

    /// TLS towards a service.
    pub struct ClientTls {
        /// Whether and how.
        mode: Option<Spanned<ClientTlsMode>> = "mode",
        /// File of the client certificate.
        client_certificate: Option<Spanned<String>> = "clientCertificate",
        /// File of its key.
        private_key: Option<Spanned<String>> = "privateKey",
        /// File of the authorities to trust.
        ca_certificates: Option<Spanned<String>> = "caCertificates",
        /// Secret that holds them.
        credential_name: Option<Spanned<String>> = "credentialName",
        /// Names of which the server's certificate must have one.
        subject_alt_names: Vec<Spanned<String>> = "subjectAltNames",
        /// Name to ask for.
        sni: Option<Spanned<String>> = "sni",
        /// Takes any certificate.
        insecure_skip_verify: Option<Spanned<bool>> = "insecureSkipVerify",
        /// File of a revocation list.
        ca_crl: Option<Spanned<String>> = "caCrl",
    }

    /// TCP inside HTTP.
    pub struct Tunnel {
        /// `CONNECT` or `POST`.
        protocol: Option<Spanned<String>> = "protocol",
        /// Where the tunnel's far end connects to.
        target_host: Spanned<String> = "targetHost",
        /// And its port.
        target_port: Spanned<u32> = "targetPort",
    }

    /// PROXY protocol towards a service.
    pub struct ProxyProtocol {
        /// `V1` or `V2`.
        version: Option<Spanned<ProxyProtocolVersion>> = "version",
    }

    /// Limit of retries relative to requests.
    pub struct RetryBudget {
        /// Percent of the requests under way; 20 if it is not there.
        percent: Option<Spanned<f64>> = "percent",
        /// Retries that are always allowed; 3 if it is not there.
        min_retry_concurrency: Option<Spanned<u32>> = "minRetryConcurrency",
    }
}

choices! {
    /// Whether HTTP/1.1 is spoken as HTTP/2.
    pub enum H2UpgradePolicy {
        /// As the mesh says.
        Default = "DEFAULT",
        /// No.
        DoNotUpgrade = "DO_NOT_UPGRADE",
        /// Yes.
        Upgrade = "UPGRADE",
    }

    /// TLS towards a service.
    pub enum ClientTlsMode {
        /// None.
        Disable = "DISABLE",
        /// The server alone shows a certificate.
        Simple = "SIMPLE",
        /// Both do, from files or a secret.
        Mutual = "MUTUAL",
        /// Both do, with the mesh's own identities.
        IstioMutual = "ISTIO_MUTUAL",
    }

    /// Version of the PROXY protocol.
    pub enum ProxyProtocolVersion {
        /// Text.
        V1 = "V1",
        /// Binary.
        V2 = "V2",
    }
}
