//! What is remembered of one request (or one raw connection) for the access log and for formatter variables.

use crate::base::Name;
use crate::base::addr::Address;
use crate::base::clock::Instant;
use crate::base::headers::HeaderBlock;
use crate::failure::Flags;
use crate::observe::mesh::{MeshFacts, Service};
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Protocol of a stream, as `%PROTOCOL%` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// `HTTP/1.1` and so on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// What a connection knows for all its requests.
#[derive(Debug)]
pub struct ConnFacts {
    /// Process-wide connection id.
    pub id: u64,
    /// Peer of the socket (`%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%`).
    pub direct_remote: Address,
    /// Peer after PROXY protocol or original source (`%DOWNSTREAM_REMOTE_ADDRESS%` before XFF).
    pub remote: Address,
    /// Local address after original destination (`%DOWNSTREAM_LOCAL_ADDRESS%`).
    pub local: Address,
    /// Local address of the socket (`%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%`).
    pub direct_local: Address,
    /// `%REQUESTED_SERVER_NAME%`
    pub server_name: Option<Name>,
    /// `%LISTENER_NAME%`
    pub listener: Name,
    /// `%FILTER_CHAIN_NAME%`
    pub chain: Name,
    /// Upstream connections come from the client's address, with this mark (0: none).
    pub spoofed: Option<u32>,
    /// The listener is for what comes in.
    pub inbound: bool,
    /// When the connection was accepted.
    pub start: Instant,
}

/// The moments of one exchange, each since `Record::start`; none when it did not happen.
#[derive(Clone, Default, Debug)]
#[allow(missing_docs)]
pub struct Moments {
    pub request_headers_received: Option<Duration>,
    pub request_received: Option<Duration>,
    pub upstream_connected: Option<Duration>,
    pub upstream_request_sent: Option<Duration>,
    pub response_headers_received: Option<Duration>,
    pub response_received: Option<Duration>,
    pub response_headers_sent: Option<Duration>,
    pub end: Option<Duration>,
}

/// Bytes of an exchange on one side, framing included.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct WireBytes {
    /// Everything written.
    pub sent: u64,
    /// Everything read.
    pub received: u64,
    /// Header bytes written.
    pub header_sent: u64,
    /// Header bytes read.
    pub header_received: u64,
}

/// Upstream side of a record: the last attempt's host.
#[derive(Clone, Default, Debug)]
pub struct UpstreamFacts {
    /// `%UPSTREAM_CLUSTER%` (the cluster's observable name).
    pub cluster: Option<Name>,
    /// `%UPSTREAM_CLUSTER_RAW%` (the cluster's own name).
    pub cluster_raw: Option<Name>,
    /// The service that the cluster stands for.
    pub service: Option<Arc<Service>>,
    /// The host's metadata, when somebody asked for it.
    pub metadata: Option<Arc<serde_json::Value>>,
    /// `%UPSTREAM_HOST%`
    pub host: Option<Address>,
    /// `%UPSTREAM_HOST_NAME%`
    pub host_name: Option<Name>,
    /// `%UPSTREAM_LOCAL_ADDRESS%`
    pub local: Option<Address>,
    /// `%UPSTREAM_CONNECTION_ID%`
    pub connection_id: Option<u64>,
    /// `%UPSTREAM_PROTOCOL%`
    pub protocol: Option<Protocol>,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`
    pub transport_failure: Option<Cow<'static, str>>,
    /// `%UPSTREAM_REQUEST_ATTEMPT_COUNT%`
    pub attempts: u32,
    /// Hosts tried so far (`%UPSTREAM_HOSTS_ATTEMPTED%`); at most 16 are kept.
    pub tried: smallvec::SmallVec<[Address; 1]>,
    /// `%UPSTREAM_WIRE_BYTES_SENT%` and kin.
    pub wire: WireBytes,
}

/// Everything known of one exchange. The exchange fills it; formatters read it.
#[derive(Debug)]
pub struct Record {
    /// The connection's facts; none for requests without one (none today).
    pub conn: Rc<ConnFacts>,
    /// Monotonic start.
    pub start: Instant,
    /// Wall-clock start since the Unix epoch.
    pub start_wall: Duration,
    /// Downstream protocol; none on a raw TCP connection.
    pub protocol: Option<Protocol>,
    /// Request headers as forwarded (pseudo-headers included).
    pub request: HeaderBlock,
    /// Request trailers, if any.
    pub request_trailers: HeaderBlock,
    /// Response headers as sent.
    pub response: HeaderBlock,
    /// Response trailers, if any.
    pub response_trailers: HeaderBlock,
    /// Status sent; 0 when none was.
    pub status: u16,
    /// Response flags in order.
    pub flags: Flags,
    /// `%RESPONSE_CODE_DETAILS%`; empty when unset.
    pub details: Cow<'static, str>,
    /// `%CONNECTION_TERMINATION_DETAILS%`
    pub termination: Option<Cow<'static, str>>,
    /// Body bytes received from the client (`%BYTES_RECEIVED%`).
    pub bytes_received: u64,
    /// Body bytes sent to the client (`%BYTES_SENT%`).
    pub bytes_sent: u64,
    /// `%DOWNSTREAM_WIRE_BYTES_SENT%` and kin.
    pub wire: WireBytes,
    /// Peer after x-forwarded-for rules (`%DOWNSTREAM_REMOTE_ADDRESS%`); none: the connection's.
    pub remote: Option<Address>,
    /// `%ROUTE_NAME%`
    pub route: Option<Name>,
    /// Virtual host's name (for statistics and details).
    pub virtual_host: Option<Name>,
    /// Upstream side.
    pub upstream: UpstreamFacts,
    /// Time stamps.
    pub moments: Moments,
    /// Body of the local reply (`%LOCAL_REPLY_BODY%`).
    pub local_body: Cow<'static, str>,
    /// `%STREAM_ID%`-like unique number of the exchange in the process.
    pub stream_id: u64,
    /// A health check that was answered here.
    pub health_check: bool,
    /// Who speaks with whom in the mesh, when filters found out.
    pub mesh: Option<Box<MeshFacts>>,
    /// Why a failed attempt was not retried (`%WEIR_NO_RETRY%`; [`WITHHELD`] in the response code details, too).
    pub no_retry: Option<&'static str>,
}

/// Envoy would have retried by the policy; weir did not, for the upstream may have seen the request.
pub const WITHHELD: &str = "withheld_may_have_been_seen";

impl Record {
    /// A fresh record of an exchange that starts now.
    pub fn new(conn: Rc<ConnFacts>, start: Instant, start_wall: Duration) -> Self {
        Record {
            conn,
            start,
            start_wall,
            protocol: None,
            request: HeaderBlock::new(),
            request_trailers: HeaderBlock::new(),
            response: HeaderBlock::new(),
            response_trailers: HeaderBlock::new(),
            status: 0,
            flags: Flags::default(),
            details: Cow::Borrowed(""),
            termination: None,
            bytes_received: 0,
            bytes_sent: 0,
            wire: WireBytes::default(),
            remote: None,
            route: None,
            virtual_host: None,
            upstream: UpstreamFacts::default(),
            moments: Moments::default(),
            local_body: Cow::Borrowed(""),
            stream_id: 0,
            health_check: false,
            mesh: None,
            no_retry: None,
        }
    }

    /// What is known of the mesh, to be added to.
    pub fn mesh_facts(&mut self) -> &mut MeshFacts {
        self.mesh.get_or_insert_default()
    }

    /// The client's address: after x-forwarded-for rules, else the connection's.
    pub fn remote(&self) -> &Address {
        self.remote.as_ref().unwrap_or(&self.conn.remote)
    }
}
