//! The TCP proxy (`envoy.filters.network.tcp_proxy`, spec 4.4): a cluster, a connection, bytes both ways.

mod relay;

use crate::base::{clock, rng};
use crate::failure::{Flag, Reset};
use crate::live::host::Stat;
use crate::live::permit::Kind;
use crate::live::stay::Stay;
use crate::model::cluster::Discovery;
use crate::model::listener::TcpProxy;
use crate::model::plugin::PluginConfig;
use crate::network::{Event, Told};
use crate::observe::metrics::{Cells, Registry};
use crate::observe::record::{ConnFacts, Record};
use crate::observe::stats::cluster as cluster_stat;
use crate::observe::stats::tcp as stat;
use crate::transport::Io;
use crate::upstream::outlier::{self, Outcome};
use crate::upstream::{ClusterCell, Worker, lease};
use relay::{End, relay};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The client's side of a connection.
pub struct Client {
    /// The stream.
    pub io: Io,
    /// Bytes that listener filters have read.
    pub read: Vec<u8>,
    /// How long it may stay.
    pub stay: Rc<Stay>,
}

/// Serves a raw connection to its end.
pub async fn serve(client: Client, facts: Rc<ConnFacts>, proxy: &Arc<TcpProxy>, filters: &[PluginConfig]) {
    let Some(worker) = Worker::current() else { return };
    let stats = Registry::global().cells(&stat::SCHEMA, &format!("tcp.{}.", proxy.stat_prefix));
    stats.inc(stat::DOWNSTREAM_CX_TOTAL);
    let mut record = Record::new(facts, clock::now(), clock::wall());
    let mut told = Told::new(filters);
    session(client, proxy, &worker, &stats, &mut record, &mut told).await;
    record.moments.end = Some(clock::now().saturating_duration_since(record.start));
    stats.add(stat::DOWNSTREAM_CX_RX_BYTES_TOTAL, record.bytes_received);
    stats.add(stat::DOWNSTREAM_CX_TX_BYTES_TOTAL, record.bytes_sent);
    proxy.logs.iter().for_each(|log| log.log(&record));
}

/// Draws a cluster by weight.
fn cluster(proxy: &TcpProxy) -> Option<&str> {
    if let [(only, _)] = &*proxy.clusters {
        return Some(only);
    }
    let mut point = rng::with(|r| r.below(proxy.total_weight));
    proxy.clusters.iter().find_map(|(name, weight)| {
        let here = point < u64::from(*weight);
        point = point.saturating_sub(u64::from(*weight));
        here.then_some(&**name)
    })
}

async fn session(
    client: Client,
    proxy: &TcpProxy,
    worker: &Rc<Worker>,
    stats: &Cells,
    record: &mut Record,
    told: &mut Told<'_>,
) {
    let Some(cell) = cluster(proxy).and_then(|name| worker.cluster(name)) else {
        stats.inc(stat::DOWNSTREAM_CX_NO_ROUTE);
        record.flags.set(Flag::NC);
        return;
    };
    let config = cell.config();
    record.upstream.cluster = Some(config.stat_name.clone());
    record.upstream.cluster_raw = Some(config.name.clone());
    record.upstream.service.clone_from(&config.service);
    if !cell.is_warm() && tokio::time::timeout(config.connect_timeout, cell.live().ready()).await.is_err() {
        record.flags.set(Flag::UH);
        return;
    }
    let Some(permit) = cell.lender(false).take(Kind::Connections) else {
        cell.stats.inc(cluster_stat::UPSTREAM_CX_OVERFLOW);
        record.flags.set(Flag::UO);
        return;
    };
    let Some((upstream, pool)) = connect(proxy, &cell, record).await else {
        return;
    };
    let host = pool.host.clone();
    cell.stats.inc(cluster_stat::UPSTREAM_CX_TOTAL);
    cell.stats.gauge_add(cluster_stat::UPSTREAM_CX_ACTIVE, 1);
    // As in Envoy, a raw connection counts as a request of its own.
    cell.stats.inc(cluster_stat::UPSTREAM_RQ_TOTAL);
    cell.stats.inc(cluster_stat::UPSTREAM_RQ_PENDING_TOTAL);
    host.inc(Stat::RqTotal);
    host.inc(Stat::RqActive);
    host.inc(Stat::CxTotal);
    host.inc(Stat::CxActive);
    record.upstream.local = upstream.local().ok();
    told.tell(Event::Opened, record);
    let end = relay(client, upstream, proxy, record, told).await;
    match end {
        End::Idle => stats.inc(stat::IDLE_TIMEOUT),
        End::TooLong => {
            stats.inc(stat::MAX_DOWNSTREAM_CONNECTION_DURATION);
            record.flags.set(Flag::DT);
        }
        End::UpBroken => record.flags.set(Flag::UR),
        End::DownBroken | End::Complete | End::Retired => {}
    }
    told.moved(record.bytes_received, record.bytes_sent, record);
    told.tell(Event::Closed, record);
    cell.stats.add(cluster_stat::UPSTREAM_CX_TX_BYTES_TOTAL, record.bytes_received);
    cell.stats.add(cluster_stat::UPSTREAM_CX_RX_BYTES_TOTAL, record.bytes_sent);
    cell.stats.inc(cluster_stat::UPSTREAM_CX_DESTROY);
    cell.stats.gauge_sub(cluster_stat::UPSTREAM_CX_ACTIVE, 1);
    host.dec(Stat::CxActive);
    host.dec(Stat::RqActive);
    drop(permit);
}

/// Connects to a host, up to `max_connect_attempts` times; each attempt picks again.
async fn connect(
    proxy: &TcpProxy,
    cell: &Rc<ClusterCell>,
    record: &mut Record,
) -> Option<(Io, Rc<crate::upstream::pool::HostPool>)> {
    let source = proxy.hash_source_ip.then(|| record.conn.remote.ip()).flatten();
    let hash = source.map(|ip| xxhash_rust::xxh64::xxh64(ip.to_string().as_bytes(), 0));
    let config = cell.config();
    let mut failed = None;
    for _ in 0..proxy.max_connect_attempts.max(1) {
        let picked = match &config.discovery {
            Discovery::OriginalDst { port, .. } => {
                let local = record.conn.local.ip().zip(port.or(record.conn.local.port()));
                cell.original(&record.conn, local.map(|(ip, port)| SocketAddr::new(ip, port)))
            }
            _ => cell.pick(&record.conn, hash, None),
        };
        let Some(pool) = picked else {
            cell.stats.inc(cluster_stat::UPSTREAM_CX_NONE_HEALTHY);
            record.flags.set(Flag::UH);
            return None;
        };
        record.upstream.host = Some(pool.host.address.clone());
        record.upstream.metadata = pool.host.attributes().metadata.clone();
        record.upstream.attempts = record.upstream.attempts.saturating_add(1);
        match lease::connect(cell, &pool, &config).await {
            Ok(io) => {
                rng::with(|r| outlier::report(&config, &pool.host, Outcome::Success, r));
                return Some((io, pool));
            }
            Err(error) => {
                rng::with(|r| outlier::report(&config, &pool.host, Outcome::ConnectFailure, r));
                record.upstream.transport_failure = Some(error.reason).filter(|r| !r.is_empty());
                failed = Some(error.reset);
            }
        }
    }
    if let Some(reset) = failed {
        record.flags.set(reset.row().flag);
        if reset != Reset::Overflow {
            record.flags.set(Flag::URX);
            cell.stats.inc(cluster_stat::UPSTREAM_CX_CONNECT_ATTEMPTS_EXCEEDED);
        }
    }
    None
}
