//! Both sides over loopback sockets, against the `h2` crate as the peer.

use super::HeadLimits;
use super::account::Flood;
use super::client;
use super::server::{Closed, Connection, Stream as ServerStream};
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::{BodyEvent, Data, RequestHead, ResponseHead};
use crate::failure::{Flag, Reset};
use crate::model::http::Http2Options;
use crate::observe::record::Protocol;
use crate::transport::Io;
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

const LIMITS: HeadLimits = HeadLimits { bytes: 60 << 10, fields: 100 };

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded =
        async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, bounded);
}

/// Serves every stream with `serve`; how the connection ended.
async fn serve<F: Future<Output = ()> + 'static>(
    io: TcpStream,
    options: Http2Options,
    serve: impl Fn(RequestHead, ServerStream) -> F,
) -> Closed {
    let mut connection = Connection::open(Io::Tcp(io), Vec::new(), &options, LIMITS).await.unwrap();
    loop {
        match poll_fn(|cx| connection.poll_accept(cx)).await {
            Ok(Ok((head, stream))) => drop(spawn_local(serve(head, stream))),
            Ok(Err(_)) => {}
            Err(closed) => return closed,
        }
    }
}

/// Sends the body and the trailers back as they come.
async fn echo(head: RequestHead, mut stream: ServerStream) {
    stream.send_head(&ResponseHead { status: 200, headers: HeaderBlock::new(), end: head.end }, false);
    let mut done = head.end;
    poll_fn(|cx| {
        loop {
            if !stream.drained() {
                match stream.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if done {
                return Poll::Ready(());
            }
            let result = match std::task::ready!(stream.poll_body(cx)) {
                Ok(BodyEvent::Data(data, end)) => {
                    done = end;
                    stream.send_data(cx, data, end)
                }
                Ok(BodyEvent::Trailers(trailers)) => {
                    done = true;
                    stream.send_trailers(cx, &trailers)
                }
                Ok(BodyEvent::End) => {
                    done = true;
                    stream.send_data(cx, Data::Borrowed(&[]), true)
                }
                Err(_) => return Poll::Ready(()),
            };
            if result.is_err() {
                return Poll::Ready(());
            }
        }
    })
    .await;
}

fn get() -> http::Request<()> {
    http::Request::builder().method("POST").uri("http://a/x").body(()).unwrap()
}

#[test]
fn bodies_pass_both_ways_through_tiny_windows() {
    run(async {
        let (near, far) = pair().await;
        let options =
            Http2Options { stream_window: 65_535, connection_window: 65_535, ..Http2Options::default() };
        spawn_local(serve(far, options, echo));
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(7).initial_connection_window_size(65_535);
        let (sender, connection) = builder.handshake::<_, Bytes>(near).await.unwrap();
        spawn_local(async move { connection.await.unwrap() });
        let mut sender = sender.ready().await.unwrap();
        let (response, mut out) = sender.send_request(get(), false).unwrap();
        let sent: Vec<u8> = (0..3_000u32).map(|i| (i % 251) as u8).collect();
        let all = Bytes::from(sent.clone());
        spawn_local(async move {
            out.send_data(all, false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("content-length", "9".parse().unwrap());
            out.send_trailers(trailers).unwrap();
        });
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut got = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.unwrap();
            assert!(part.len() <= 7);
            body.flow_control().release_capacity(part.len()).unwrap();
            got.extend_from_slice(&part);
        }
        assert_eq!(got, sent);
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers["grpc-status"], "0");
    });
}

#[test]
fn streams_share_the_connections_window() {
    run(async {
        let (near, far) = pair().await;
        spawn_local(serve(far, Http2Options::default(), echo));
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(65_535);
        let (mut sender, connection) = builder.handshake::<_, Bytes>(near).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        let sent = Bytes::from(vec![7; 30_000]);
        let mut bodies = Vec::new();
        for _ in 0..20 {
            let (response, mut out) = sender.send_request(get(), false).unwrap();
            out.send_data(sent.clone(), true).unwrap();
            bodies.push(spawn_local(async move {
                let mut body = response.await.unwrap().into_body();
                let mut got = 0;
                while let Some(part) = body.data().await {
                    got += part.as_ref().unwrap().len();
                    body.flow_control().release_capacity(part.unwrap().len()).unwrap();
                }
                got
            }));
        }
        // Some that wait go away: their turns are the others'.
        bodies.drain(..5).for_each(|body| body.abort());
        for body in bodies {
            assert_eq!(body.await.unwrap(), 30_000);
        }
    });
}

#[test]
fn resets_of_the_client_are_told() {
    run(async {
        let (near, far) = pair().await;
        let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let wait = move |_, mut stream: ServerStream| {
            let told = told.clone();
            async move {
                poll_fn(|cx| stream.poll_gone(cx)).await;
                told.send(stream.gone()).unwrap();
            }
        };
        spawn_local(serve(far, Http2Options::default(), wait));
        let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
        let driver = spawn_local(async move { drop(connection.await) });
        let (_response, mut out) = sender.send_request(get(), false).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        out.send_reset(h2::Reason::CANCEL);
        assert_eq!(ended.recv().await.unwrap(), (Flag::DR, "http2.remote_reset"));
        let (_response, _out) = sender.send_request(get(), false).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        driver.abort();
        assert_eq!(ended.recv().await.unwrap(), (Flag::DC, "downstream_remote_disconnect"));
    });
}

#[test]
fn large_and_malformed_heads_cost_their_stream_alone() {
    run(async {
        let (near, far) = pair().await;
        spawn_local(serve(far, Http2Options::default(), echo));
        let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        // The server's SETTINGS limit what this client would send.
        let mut large = get();
        large.headers_mut().insert("x-large", "v".repeat(62 << 10).parse().unwrap());
        let (response, _) = sender.send_request(large, true).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(h2::Reason::INTERNAL_ERROR));
        let mut far_too_large = get();
        for i in 0..3 {
            let name = http::HeaderName::try_from(format!("x-{i}")).unwrap();
            far_too_large.headers_mut().insert(name, "v".repeat(50 << 10).parse().unwrap());
        }
        let (response, _) = sender.send_request(far_too_large, true).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(h2::Reason::INTERNAL_ERROR));
        let mut twice = get();
        twice.headers_mut().append("content-length", "0".parse().unwrap());
        twice.headers_mut().append("content-length", "0".parse().unwrap());
        let (response, _) = sender.send_request(twice, true).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(h2::Reason::PROTOCOL_ERROR));
        let (response, _) = sender.send_request(get(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

async fn flood(frame: &[u8], opening: &[u8]) -> Closed {
    let (mut near, far) = pair().await;
    let served = spawn_local(serve(far, Http2Options::default(), echo));
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    near.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    near.write_all(opening).await.unwrap();
    let (mut reader, mut writer) = near.into_split();
    spawn_local(async move {
        let mut sink = vec![0; 4096];
        while reader.read(&mut sink).await.is_ok_and(|n| n > 0) {}
    });
    let many = frame.repeat(100);
    for _ in 0..100 {
        if writer.write_all(&many).await.is_err() {
            break;
        }
    }
    served.await.unwrap()
}

#[test]
fn floods_end_the_connection() {
    run(async {
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(flood(&ping, &[]).await, Closed::Flood(Flood::Control));
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        assert_eq!(flood(&settings, &[]).await, Closed::Flood(Flood::Control));
        // PRIORITY of an idle stream.
        let priority = [0, 0, 5, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 16];
        assert_eq!(flood(&priority, &[]).await, Closed::Flood(Flood::Priority));
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(flood(&window, &[]).await, Closed::Flood(Flood::WindowUpdate));
        // POST http a /
        let post = [0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
        let empty = [0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(flood(&empty, &post).await, Closed::Flood(Flood::Empty));
    });
}

#[test]
fn a_connection_goes_away_with_its_last_stream() {
    run(async {
        let (near, far) = pair().await;
        let (mut sender, connection) = h2::client::handshake(near).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        let mut server =
            Connection::open(Io::Tcp(far), Vec::new(), &Http2Options::default(), LIMITS).await.unwrap();
        let (response, mut out) = sender.send_request(get(), false).unwrap();
        let (head, stream) = poll_fn(|cx| server.poll_accept(cx)).await.unwrap().unwrap();
        spawn_local(echo(head, stream));
        server.go_away();
        assert!(server.is_going());
        let ending = spawn_local(async move { poll_fn(|cx| server.poll_accept(cx)).await.map(|_| ()) });
        assert_eq!(response.await.unwrap().status(), 200);
        assert!(!ending.is_finished());
        out.send_data(Bytes::from_static(b"x"), true).unwrap();
        assert_eq!(ending.await.unwrap(), Err(Closed::Done));
        assert!(sender.ready().await.is_err());
    });
}

fn head(end: bool) -> RequestHead {
    let mut headers = HeaderBlock::new();
    for (id, value) in [(Id::Method, "GET"), (Id::Path, "/"), (Id::Authority, "a"), (Id::Scheme, "http")] {
        headers.append_id(id, value.as_bytes());
    }
    RequestHead { protocol: Protocol::Http11, headers, end }
}

async fn session(io: TcpStream) -> Rc<client::Session> {
    let options = Http2Options::default();
    let (session, driver) = client::open(Io::Tcp(io), &options, LIMITS, super::downstream_stats());
    spawn_local(driver.run(None));
    session
}

#[test]
fn resets_of_the_upstream_are_mapped() {
    run(async {
        let (near, far) = pair().await;
        let session = session(near).await;
        spawn_local(async move {
            let mut server = h2::server::handshake(far).await.unwrap();
            for reason in [h2::Reason::REFUSED_STREAM, h2::Reason::CANCEL] {
                let (_, mut respond) = server.accept().await.unwrap().unwrap();
                respond.send_reset(reason);
            }
            let (_, _respond) = server.accept().await.unwrap().unwrap();
            // Dropped: the connection ends while the request waits.
        });
        for want in [Reset::RemoteRefused, Reset::Remote, Reset::Termination] {
            let mut stream = session.stream();
            assert!(!stream.request_started());
            stream.send_head(&head(true));
            let got = poll_fn(|cx| stream.poll_head(cx)).await.unwrap_err();
            assert_eq!(got, want);
            assert!(stream.request_started() && !stream.response_started());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!session.is_open() && session.active() == 0);
    });
}

#[test]
fn a_stream_above_goaway_was_not_processed() {
    run(async {
        let (near, mut far) = pair().await;
        let session = session(near).await;
        let mut stream = session.stream();
        stream.send_head(&head(true));
        // SETTINGS, then GOAWAY with last stream 0.
        far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        far.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let got = poll_fn(|cx| stream.poll_head(cx)).await.unwrap_err();
        assert_eq!(got, Reset::RemoteRefused);
        assert!(!session.is_open());
    });
}

#[test]
fn interim_and_final_heads_and_trailers_come_in_order() {
    run(async {
        let (near, far) = pair().await;
        let session = session(near).await;
        spawn_local(async move {
            let mut server = h2::server::handshake(far).await.unwrap();
            let (_, mut respond) = server.accept().await.unwrap().unwrap();
            respond.send_informational(http::Response::builder().status(103).body(()).unwrap()).unwrap();
            let mut out = respond.send_response(http::Response::new(()), false).unwrap();
            out.send_data(Bytes::from_static(b"hello"), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-end", "1".parse().unwrap());
            out.send_trailers(trailers).unwrap();
            assert!(server.accept().await.is_none());
        });
        let mut stream = session.stream();
        stream.send_head(&head(true));
        assert_eq!(poll_fn(|cx| stream.poll_head(cx)).await.unwrap().status, 103);
        let final_head = poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
        assert_eq!((final_head.status, final_head.end), (200, false));
        let event = poll_fn(|cx| stream.poll_body(cx)).await.unwrap();
        assert!(matches!(event, BodyEvent::Data(data, false) if data.as_slice() == b"hello"));
        let event = poll_fn(|cx| stream.poll_body(cx)).await.unwrap();
        assert!(matches!(event, BodyEvent::Trailers(block) if block.len() == 1));
        session.stop();
    });
}
