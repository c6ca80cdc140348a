//! The format of a section file.
//!
//! Before a case is read, `${NAME}` is replaced in all its strings: `${b1}` by a backend's address,
//! `${b1.port}` by its port, `${port}` by the port of the case's listener, `${admin}` by the admin port,
//! `${pad3000}` by 3,000 characters;
//! and `@b1` by the full name of the case's cluster `b1`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Section of the specification that the file covers.
    pub spec: String,
    /// Top-level bootstrap fields for all cases (`layered_runtime`, ...).
    #[serde(default)]
    pub bootstrap: Value,
    /// Keys that a case has unless it gives its own.
    #[serde(default)]
    pub base: BTreeMap<String, Value>,
    /// The cases, read after substitution.
    pub cases: Vec<Value>,
}

/// One case: a configuration, a script for its upstreams, what is sent, and facts that must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name, unique in its file.
    pub name: String,
    /// Row or rows of the specification that the case stands for.
    #[serde(default)]
    pub row: Option<String>,
    /// The case runs in a process of its own (it changes process-wide state).
    #[serde(default)]
    pub alone: bool,
    /// The bootstrap must be refused; nothing is sent.
    #[serde(default)]
    pub refused: bool,
    /// What weir waits for before it can take this case. Until then weir must refuse the bootstrap, by name.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// Fragments that [`super::template`] splices; they stand beside the other keys in the file.
    #[serde(skip)]
    pub config: Fragments,
    /// Scripted upstreams by name.
    #[serde(default)]
    pub backends: BTreeMap<String, BackendScript>,
    /// What the client does, in order.
    #[serde(default)]
    pub send: Vec<Send>,
    /// Paths of the observation that are not compared (`*` for one step, `**` for the rest).
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Header order is compared, on both sides of the proxy.
    #[serde(default)]
    pub order: bool,
    /// Header spelling is compared too.
    #[serde(default)]
    pub spelling: bool,
    /// The number of upstream connections is compared.
    #[serde(default)]
    pub connections: bool,
    /// Stats compared after the case.
    #[serde(default)]
    pub stats: Vec<String>,
    /// Milliseconds to wait after the last request before stats are read.
    #[serde(default)]
    pub settle: u64,
    /// Log lines come in any order.
    #[serde(default)]
    pub unordered: bool,
    /// Facts of the specification, by path into the observation.
    #[serde(default)]
    pub expect: BTreeMap<String, Value>,
}

/// Keys of [`Fragments`].
const FRAGMENTS: [&str; 15] = [
    "hcm",
    "filters",
    "router",
    "routes",
    "vhost",
    "vhosts",
    "route_config",
    "listener",
    "listeners",
    "tcp",
    "clusters",
    "bootstrap",
    "log_format",
    "log_json",
    "log",
];

impl Case {
    /// Reads a case after substitution.
    ///
    /// # Errors
    /// A key is unknown or of the wrong type.
    pub fn read(value: Value) -> anyhow::Result<Self> {
        let Value::Object(all) = value else { anyhow::bail!("a case is a mapping") };
        let (fragments, rest): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
            all.into_iter().partition(|(key, _)| FRAGMENTS.contains(&key.as_str()));
        let mut case: Self = serde_json::from_value(Value::Object(rest))?;
        case.config = serde_json::from_value(Value::Object(fragments))
            .map_err(|e| anyhow::anyhow!("{}: {e}", case.name))?;
        Ok(case)
    }
}

/// Configuration fragments of a case.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragments {
    /// Merged into the connection manager.
    #[serde(default)]
    pub hcm: Value,
    /// HTTP filters before the router: `{name: config}` with the short names of [`super::template`].
    #[serde(default)]
    pub filters: Vec<Value>,
    /// Merged into the router's config.
    #[serde(default)]
    pub router: Value,
    /// Routes of the one virtual host `*`.
    #[serde(default)]
    pub routes: Option<Value>,
    /// Merged into that virtual host.
    #[serde(default)]
    pub vhost: Value,
    /// Virtual hosts in place of `routes`.
    #[serde(default)]
    pub vhosts: Option<Value>,
    /// Merged into the route configuration.
    #[serde(default)]
    pub route_config: Value,
    /// Merged into the listener.
    #[serde(default)]
    pub listener: Value,
    /// Further listeners, whole but for the case's name before theirs.
    #[serde(default)]
    pub listeners: Vec<Value>,
    /// A `tcp_proxy` config in place of the connection manager.
    #[serde(default)]
    pub tcp: Option<Value>,
    /// Clusters; one per backend is made when a name is absent here.
    #[serde(default)]
    pub clusters: BTreeMap<String, Value>,
    /// Fields of the bootstrap's top level (only for a case that runs alone or is refused).
    #[serde(default)]
    pub bootstrap: Value,
    /// Access-log text format in place of the default fields.
    #[serde(default)]
    pub log_format: Option<String>,
    /// Access-log JSON format.
    #[serde(default)]
    pub log_json: Option<Value>,
    /// Merged into the access-log entry (filters).
    #[serde(default)]
    pub log: Value,
}

/// What a backend is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendScript {
    /// Protocol or condition.
    #[serde(default)]
    pub kind: Kind,
    /// Replies by attempt, counted over all connections; the last one repeats.
    #[serde(default)]
    pub replies: Vec<Reply>,
    /// What a TCP backend does on each connection.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// Protocol or condition of a backend.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2 by prior knowledge.
    H2,
    /// Bytes.
    Tcp,
    /// Nobody listens.
    Refused,
    /// A full accept queue: connecting never completes.
    Blackhole,
}

/// One reply of an HTTP backend. A bare number is a status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplyFields {
    /// Status, 200 when absent.
    pub status: Option<u16>,
    /// Header lines `name: value`, in order.
    pub headers: Vec<String>,
    /// Body.
    pub body: String,
    /// Length of a generated body.
    pub body_size: usize,
    /// Body as gRPC messages (HTTP/2).
    pub grpc: Vec<String>,
    /// The body in chunks.
    pub chunks: Vec<String>,
    /// Trailer lines.
    pub trailers: Vec<String>,
    /// Milliseconds before the head.
    pub delay: u64,
    /// Milliseconds between head and body, and between chunks.
    pub body_delay: u64,
    /// Interim heads sent first, raw, without the empty line.
    pub interim: Vec<String>,
    /// Exact bytes in place of everything above.
    pub raw: Option<String>,
    /// The reply goes out before the request's body is read.
    pub early: bool,
    /// No `content-length`; the body ends with the connection.
    pub bare: bool,
    /// What follows: `keep` (default), `close`, `rst`, `hang`, `echo`.
    pub then: Option<String>,
    /// HTTP/2 reset code sent after the head (or in place of it when no status is given).
    pub reset: Option<String>,
}

/// See [`ReplyFields`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Value")]
pub struct Reply(pub ReplyFields);

impl TryFrom<Value> for Reply {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        if let Some(status) = value.as_u64() {
            let status = u16::try_from(status).map_err(|e| e.to_string())?;
            return Ok(Self(ReplyFields { status: Some(status), ..ReplyFields::default() }));
        }
        if let Some(word) = value.as_str() {
            return Ok(Self(ReplyFields {
                raw: Some(String::new()),
                then: Some(word.to_owned()),
                ..ReplyFields::default()
            }));
        }
        serde_json::from_value(value).map(Self).map_err(|e| e.to_string())
    }
}

/// One thing the client does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Send {
    /// `METHOD target`.
    pub req: String,
    /// `h1` (default), `h1.0`, `h2`.
    pub proto: String,
    /// Host or :authority; `foo.test` when absent, none when empty.
    pub host: Option<String>,
    /// Header lines.
    pub headers: Vec<String>,
    /// Body with a content-length.
    pub body: Option<String>,
    /// Length of a generated body.
    pub body_size: usize,
    /// Body in chunks.
    pub chunks: Vec<String>,
    /// gRPC messages (HTTP/2).
    pub grpc: Vec<String>,
    /// Trailers.
    pub trailers: Vec<String>,
    /// The end of the request is not sent (HTTP/2, or chunked).
    pub unfinished: bool,
    /// Requests with the same name use one connection.
    pub conn: Option<String>,
    /// How often, one after the other.
    pub times: Option<usize>,
    /// How many at once.
    pub parallel: Option<usize>,
    /// Milliseconds between the starts of parallel ones.
    pub stagger: u64,
    /// Only the number of answers per status is observed.
    pub tally: bool,
    /// Milliseconds before.
    pub pause: u64,
    /// Milliseconds after which the client closes without having read.
    pub abandon: Option<u64>,
    /// After the reply, wait until the proxy closes (observed as `end`).
    pub until_end: bool,
    /// A scripted conversation in place of a request.
    pub steps: Vec<Step>,
    /// A request to the admin listener: `METHOD path`.
    pub admin: Option<String>,
    /// Lower and upper bound of the time until the answer is whole, in milliseconds.
    pub within: Option<(u64, u64)>,
    /// Facts about this answer.
    pub expect: BTreeMap<String, Value>,
}

/// One step of a scripted conversation; exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Bytes to write.
    pub write: Option<String>,
    /// This many bytes to write.
    pub write_size: Option<usize>,
    /// Read one whole HTTP/1 reply.
    pub reply: Option<String>,
    /// Read until these bytes came.
    pub until: Option<String>,
    /// Read until the peer ends.
    pub end: Option<bool>,
    /// Write back what comes until the peer ends.
    pub echo: Option<bool>,
    /// Milliseconds of doing nothing.
    pub pause: Option<u64>,
    /// Close the writing half.
    pub finish: Option<bool>,
    /// Reset the connection.
    pub reset: Option<bool>,
}
