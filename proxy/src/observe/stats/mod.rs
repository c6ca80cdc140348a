//! The tables of statistics, under Envoy's names: one file a kind of thing.
//!
//! | module | prefix | writer |
//! | --- | --- | --- |
//! | [`listener`] | `listener.<ip>_<port>.` (or `stat_prefix`) | workers |
//! | [`listener_http`] | `listener.<ip>_<port>.http.<hcm>.` | workers |
//! | [`listener_worker`] | `listener.<ip>_<port>.worker_<n>.` | workers |
//! | [`listener_manager`] | `listener_manager.` | control |
//! | [`http`] | `http.<hcm>.` | workers |
//! | [`fault`] | `http.<hcm>.fault.` | workers |
//! | [`cors`] | `http.<hcm>.cors.` | workers |
//! | [`compressor`], [`compressor_accept`] | `http.<hcm>.compressor.<library>.<kind>.` | workers |
//! | [`codec_http1`], [`codec_http2`] | `http1.`, `http2.` and `cluster.<name>.http1.`, `.http2.` | workers |
//! | [`tcp`] | `tcp.<prefix>.` | workers |
//! | [`proxy_protocol`] | `proxy_proto.[<prefix>.]` | workers |
//! | [`cluster`] | `cluster.<name>.` | workers, health and DNS threads |
//! | [`cluster_update`] | `cluster.<name>.` | control, DNS, health and outlier threads |
//! | [`cluster_manager`] | `cluster_manager.` | control |
//! | [`server`] | `server.` | boot, workers |
//! | [`runtime`] | `runtime.` | boot |
//! | [`filesystem`] | `filesystem.` | the log thread |
//! | [`inspector`] | `tls_inspector.`, `http_inspector.` | workers |
//! | [`metadata_exchange`] | `metadata_exchange.` | workers |
//! | [`last_good`] | `weir.last_good.` | control, the thread that writes |
//! | [`tls`] | `weir.tls.` | control, workers |
//! | [`grpc`] | `cluster.<name>.grpc.` | workers |
//! | [`istio`] | `istiocustom.` | workers |
//! | [`local_ratelimit`] | `<prefix>.http_local_rate_limit.` | workers |
//! | [`access_log`] | `access_log_file.` | workers (lines), the log thread |

pub mod access_log;
pub mod cluster;
pub mod cluster_manager;
pub mod cluster_update;
pub mod codec_http1;
pub mod codec_http2;
pub mod compressor;
pub mod compressor_accept;
pub mod cors;
pub mod fault;
pub mod filesystem;
pub mod grpc;
pub mod http;
pub mod inspector;
pub mod istio;
pub mod last_good;
pub mod listener;
pub mod listener_http;
pub mod listener_manager;
pub mod listener_worker;
pub mod local_ratelimit;
pub mod metadata_exchange;
pub mod proxy_protocol;
pub mod runtime;
pub mod server;
pub mod tcp;
pub mod tls;
