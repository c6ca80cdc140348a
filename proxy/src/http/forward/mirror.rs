//! Copies of requests to other clusters (spec 2.7): fire and forget, responses dropped.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::base::rng;
use crate::codec::message::{BodyEvent, Data, RequestHead};
use crate::http::exchange::Exchange;
use crate::http::prepare::{append_own_address, split_port};
use crate::model::route_action::{Mirror, MirrorCluster};
use crate::observe::record::ConnFacts;
use crate::observe::record::Protocol;
use crate::observe::stats::cluster as stat;
use crate::upstream::stream::Wanted;
use crate::upstream::{ClusterCell, Upstream};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

/// Mirrors in flight on one worker; more are dropped and counted.
const MAX_MIRRORS: u32 = 1024;

/// Longest a mirror may take when the route has no timeout.
const LONGEST: Duration = Duration::from_secs(15);

thread_local! {
    static RUNNING: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Mirrors a request whose body is known in full.
pub fn send(x: &Exchange<'_>, mirrors: &[Mirror], body: &[u8]) {
    for mirror in mirrors {
        if mirror.fraction.hit(rng::with(|r| r.next_u64())) {
            start(x, mirror, body);
        }
    }
}

fn start(x: &Exchange<'_>, mirror: &Mirror, body: &[u8]) {
    let name = match &mirror.cluster {
        MirrorCluster::Fixed(name) => Some(name.to_string()),
        MirrorCluster::Header(header) => {
            x.request.headers.find(header).and_then(|v| std::str::from_utf8(v).ok()).map(str::to_owned)
        }
    };
    let Some(cell) = name.and_then(|name| x.worker.cluster(&name)) else { return };
    let mut headers = x.request.headers.clone();
    if !mirror.keep_host {
        shadow_host(&mut headers);
    }
    // The copy comes from this proxy: it says so (Envoy's asynchronous client).
    headers.set_id(Id::EnvoyInternal, b"true");
    append_own_address(&mut headers);
    if RUNNING.get() >= MAX_MIRRORS {
        cell.stats.inc(stat::WEIR_MIRROR_DROPPED);
        return;
    }
    RUNNING.set(RUNNING.get().saturating_add(1));
    cell.stats.inc(stat::WEIR_MIRROR_TOTAL);
    let head = RequestHead { protocol: x.request.protocol, headers, end: body.is_empty() };
    let (body, conn) = (body.to_vec(), x.record.conn.clone());
    tokio::task::spawn_local(async move {
        let result = tokio::time::timeout(LONGEST, deliver(&cell, &conn, head, body)).await;
        if !matches!(result, Ok(Some(()))) {
            cell.stats.inc(stat::WEIR_MIRROR_DROPPED);
        }
        RUNNING.set(RUNNING.get().saturating_sub(1));
    });
}

/// `Host` gets `-shadow` before its port.
fn shadow_host(headers: &mut HeaderBlock) {
    let host = headers.get(Id::Authority).unwrap_or_default();
    let (name, port) = split_port(host);
    let mut new = name.to_vec();
    new.extend_from_slice(b"-shadow");
    if let Some(port) = port {
        new.push(b':');
        new.extend_from_slice(port);
    }
    headers.set_id(Id::Authority, &new);
}

/// Sends the copy and reads the answer to its end, so that the connection can be used again.
async fn deliver(cell: &Rc<ClusterCell>, conn: &ConnFacts, head: RequestHead, body: Vec<u8>) -> Option<()> {
    cell.live().ready().await;
    let pool = cell.pick(conn, None, None)?;
    let http2 = cell.config().http.is_http2(head.protocol == Protocol::Http2);
    let wanted = Wanted { http2, high: false, fresh: None };
    let mut up = match Upstream::ready(cell, &pool, wanted) {
        Some(up) => up,
        None => Upstream::open(cell, &pool, wanted).await.ok()?,
    };
    cell.stats.inc(stat::UPSTREAM_RQ_TOTAL);
    up.send_head(&head);
    let mut unsent = !body.is_empty();
    let answer = poll_fn(|cx| {
        if unsent {
            unsent = false;
            if up.send_data(cx, Data::Borrowed(&body), true).is_err() {
                return Poll::Ready(None);
            }
        }
        if let Poll::Ready(Err(_)) = up.poll_flush(cx) {
            return Poll::Ready(None);
        }
        loop {
            match ready!(up.poll_head(cx)) {
                Ok(head) if head.status < 200 => {}
                Ok(head) => return Poll::Ready(Some(head)),
                Err(_) => return Poll::Ready(None),
            }
        }
    })
    .await?;
    cell.stats.response_code(answer.status);
    if answer.end {
        return Some(());
    }
    poll_fn(|cx| {
        loop {
            let done = match ready!(up.poll_body(cx)) {
                Ok(BodyEvent::Data(_, end)) => end,
                Ok(BodyEvent::Trailers(_) | BodyEvent::End) => true,
                Err(_) => return Poll::Ready(None),
            };
            up.release();
            if done {
                return Poll::Ready(Some(()));
            }
        }
    })
    .await
}
