use super::*;
use crate::base::addr::Address;
use crate::base::clock;
use crate::base::names::{HeaderName, Id};
use crate::failure::Flag;
use crate::observe::record::{ConnFacts, Protocol};
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;

fn at(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

/// The inbound line of `access-log-lines.txt`.
pub(crate) fn sample() -> Record {
    let conn = ConnFacts {
        spoofed: None,
        inbound: false,
        id: 7,
        direct_remote: at("172.17.0.9:40804"),
        remote: at("172.17.0.9:40804"),
        local: at("172.17.0.9:50051"),
        direct_local: at("172.17.0.9:15006"),
        server_name: Some("outbound_.50051_._.k8s-combat-service.default.svc.cluster.local".into()),
        listener: "virtualInbound".into(),
        chain: "0.0.0.0_50051".into(),
        start: clock::now(),
    };
    let mut record = Record::new(Rc::new(conn), clock::now(), Duration::from_millis(1_698_763_934_279));
    record.protocol = Some(Protocol::Http2);
    for (name, value) in [
        (":method", "POST"),
        (":path", "/helloworld.Greeter/SayHello"),
        (":authority", "k8s-combat-service:50051"),
        ("user-agent", "grpc-go/1.58.3"),
        ("x-request-id", "6d293d32-af96-9f87-a8e4-6665632f7236"),
        ("content-type", "application/grpc"),
    ] {
        assert!(record.request.append_received(name.as_bytes(), value.as_bytes()));
    }
    record.response.set_id(Id::EnvoyServiceTime, b"9");
    record.response_trailers.set_id(Id::GrpcStatus, b"0");
    record.status = 200;
    record.details = "via_upstream".into();
    record.bytes_received = 12;
    record.bytes_sent = 61;
    record.moments.request_received = Some(Duration::from_micros(1_500));
    record.moments.end = Some(Duration::from_micros(14_900));
    record.upstream.host = Some(at("172.17.0.9:50051"));
    record.upstream.local = Some(at("127.0.0.6:42051"));
    record.upstream.cluster = Some("inbound|50051||;".into());
    record.upstream.cluster_raw = Some("inbound|50051||".into());
    record.route = Some("default".into());
    record
}

fn shown(format: &str, record: &Record) -> String {
    let mut out = Vec::new();
    Format::parse(format).unwrap().render_record(record, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn istios_line_has_the_fields_of_the_recorded_one() {
    let line = shown(ISTIO, &sample());
    assert_eq!(
        line,
        concat!(
            "[2023-10-31T14:52:14.279Z] \"POST /helloworld.Greeter/SayHello HTTP/2\" 200 - via_upstream - \"-\" ",
            "12 61 14 9 \"-\" \"grpc-go/1.58.3\" \"6d293d32-af96-9f87-a8e4-6665632f7236\" ",
            "\"k8s-combat-service:50051\" \"172.17.0.9:50051\" inbound|50051|| 127.0.0.6:42051 172.17.0.9:50051 ",
            "172.17.0.9:40804 outbound_.50051_._.k8s-combat-service.default.svc.cluster.local default\n"
        )
    );
}

#[test]
fn the_recorded_lines_themselves() {
    let root = std::env::var("WEIR_CORPORA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora").to_owned());
    let Ok(text) = std::fs::read_to_string(format!("{root}/seeds/access-log-lines.txt")) else {
        eprintln!("SKIP weir-proxy/access-log-lines: no corpora at {root}; set WEIR_CORPORA");
        return;
    };
    let inbound = text.lines().find(|line| line.contains("inbound|")).unwrap();
    assert_eq!(shown(ISTIO, &sample()).trim_end(), inbound);
}

#[test]
fn envoys_default_line() {
    assert_eq!(
        shown(DEFAULT, &sample()),
        concat!(
            "[2023-10-31T14:52:14.279Z] \"POST /helloworld.Greeter/SayHello HTTP/2\" 200 - 12 61 14 9 \"-\" ",
            "\"grpc-go/1.58.3\" \"6d293d32-af96-9f87-a8e4-6665632f7236\" \"k8s-combat-service:50051\" ",
            "\"172.17.0.9:50051\"\n"
        )
    );
}

#[test]
fn operators() {
    let mut record = sample();
    record.flags.set(Flag::URX);
    record.flags.set(Flag::UF);
    record.request.set_id(Id::Path, b"/a?x=1&y=&x=2");
    record.request.set_id(Id::EnvoyOriginalPath, b"/orig?q");
    record.upstream.tried.push(at("10.0.0.1:80"));
    record.upstream.tried.push(at("[::1]:80"));
    for (format, want) in [
        ("100%%", "100%"),
        ("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "inbound|50051||; inbound|50051||"),
        (
            "%RESPONSE_FLAGS%|%RESPONSE_FLAGS_LONG%",
            "URX,UF|UpstreamRetryLimitExceeded,UpstreamConnectionFailure",
        ),
        ("%REQ(:METHOD):2%|%REQ(NOPE?:METHOD):99%", "PO|POST"),
        ("%REQ(NOPE)%|%RESP(nope)%|%TRAILER(grpc-status)%", "-|-|0"),
        ("%QUERY_PARAM(x)%|%QUERY_PARAM(y)%|%QUERY_PARAM(z)%", "1||-"),
        ("%PATH%|%PATH(NQ)%|%PATH(NQ:PATH)%|%PATH(WQ:ORIG)%", "/orig?q|/orig|/a|/orig?q"),
        ("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/orig"),
        ("%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS(NUMBER)%|%GRPC_STATUS_NUMBER%", "OK|OK|0|0"),
        ("%START_TIME(%s.%3f)%", "1698763934.279"),
        ("%START_TIME(%Y/%m/%d)%", "2023/10/31"),
        ("%DURATION%|%REQUEST_DURATION%|%RESPONSE_DURATION%", "14|1|-"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%|%COMMON_DURATION(DS_RX_END:DS_TX_END)%", "14900|13"),
        ("%COMMON_DURATION(DS_RX_BEG:mine:ns)%", "-"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_DIRECT_LOCAL_PORT%", "172.17.0.9|15006"),
        ("%UPSTREAM_REMOTE_PORT%|%UPSTREAM_LOCAL_PORT%", "50051|42051"),
        ("%UPSTREAM_HOSTS_ATTEMPTED%", "10.0.0.1:80,[::1]:80"),
        ("%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%", "10.0.0.1,::1"),
        ("%QUERY_PARAMS%|%ENVIRONMENT(WEIR_NO_SUCH_VARIABLE)%", "x=1&y=&x=2|-"),
        ("%BYTES_RETRANSMITTED%|%DOWNSTREAM_DETECTED_CLOSE_TYPE%|%CUSTOM_FLAGS%|", "0|Normal||"),
        ("%UPSTREAM_HOST_NAME%|%UPSTREAM_HOST_NAME_WITHOUT_PORT%", "172.17.0.9:50051|172.17.0.9"),
        ("%CONNECTION_ID%|%UPSTREAM_CONNECTION_ID%|%UPSTREAM_PROTOCOL%", "7|0|-"),
        ("%STREAM_ID%", "6d293d32-af96-9f87-a8e4-6665632f7236"),
        (
            "%LISTENER_NAME%|%FILTER_CHAIN_NAME%|%ACCESS_LOG_TYPE%",
            "virtualInbound|0.0.0.0_50051|DownstreamEnd",
        ),
        (
            "%DOWNSTREAM_PEER_URI_SAN%|%DOWNSTREAM_TLS_VERSION%|%TRACE_ID%|%FILTER_STATE(a:PLAIN):9%",
            "-|-|-|-",
        ),
        ("%DYNAMIC_METADATA(istio.mixer:status)%|%METADATA(ROUTE:a)%", "-|-"),
        ("%UPSTREAM_WIRE_BYTES_SENT%", "0"),
    ] {
        assert_eq!(shown(format, &record), want, "{format}");
    }
    let id = shown("%UNIQUE_ID%", &record);
    assert!(id.len() == 36 && id.get(14..15) == Some("4"), "{id}");
    assert_ne!(id, shown("%UNIQUE_ID%", &record));
    assert!(!shown("%HOSTNAME%", &record).is_empty());
}

#[test]
fn grpc_status_needs_a_grpc_request() {
    let mut record = sample();
    record.response_trailers = HeaderBlock::new();
    record.status = 503;
    assert_eq!(shown("%GRPC_STATUS%", &record), "Unavailable");
    record.response_trailers.set_id(Id::GrpcStatus, b"77");
    assert_eq!(shown("%GRPC_STATUS%", &record), "77");
    record.request.set_id(Id::ContentType, b"application/grpcx");
    assert_eq!(shown("%GRPC_STATUS%", &record), "-");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let error = Format::parse("ab %VIRTUAL_HOST_NAME%").unwrap_err();
    assert_eq!(error, FormatError::Unknown { name: "VIRTUAL_HOST_NAME".into(), at: 3 });
    assert!(error.to_string().starts_with("Not supported field in StreamInfo: VIRTUAL_HOST_NAME"));
    for bad in [
        "%",
        "x%y",
        "%REQ(a%",
        "%REQ%",
        "%REQ()%",
        "%REQ(a?b?c)%",
        "%REQ(a b)%",
        "%PROTOCOL(x)%",
        "%DURATION:5%",
        "%GRPC_STATUS(X)%",
        "%PATH(X)%",
        "%UPSTREAM_PEER_SERIAL%",
        "%REQUEST_TRAILER(a)%",
        "%COMMON_DURATION(a)%",
        "%COMMON_DURATION(a:b:h)%",
        "%REQ(a):x%",
        "%REQ(a):99999999999999999999999%",
        "%é%",
        "%UPSTREAM_HOST(x)%",
    ] {
        assert!(Format::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn json_lines() {
    let mut record = sample();
    record.request.append(&HeaderName::parse("x-q").unwrap(), b"a\"b\\\x01\xff");
    let format = json!({
        "status": "%RESPONSE_CODE%",
        "a": {"z": "%REQ(NOPE)%", "b": "%PROTOCOL% %REQ(NOPE)%", "list": ["%BYTES_SENT%", true, 1.5, null]},
        "flags": "%RESPONSE_FLAGS%",
        "q": "%REQ(X-Q)%",
        "port": "%UPSTREAM_REMOTE_PORT%",
        "fixed": "text"
    });
    let compiled = Format::parse_json(&format).unwrap();
    let mut out = Vec::new();
    compiled.render_record(&record, &mut out);
    assert_eq!(
        String::from_utf8(out.clone()).unwrap(),
        concat!(
            "{\"a\":{\"b\":\"HTTP/2 -\",\"list\":[61,true,1.5,null],\"z\":null},\"fixed\":\"text\",\"flags\":\"-\",",
            "\"port\":50051,\"q\":\"a\\\"b\\\\\\u0001\u{fffd}\",\"status\":200}\n"
        )
    );
    assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
    out.clear();
    compiled.omitting_empty(true).render_record(&record, &mut out);
    assert!(String::from_utf8(out).unwrap().starts_with("{\"a\":{\"b\":\"HTTP/2 \",\"list\""));
    assert_eq!(Format::parse_json(&json!("x")).unwrap_err(), FormatError::NotAnObject);
    assert!(Format::parse_json(&json!({"a": "%NOPE%"})).is_err());
}

#[test]
fn header_values_read_the_running_exchange() {
    let record = sample();
    let mut request = HeaderBlock::new();
    request.append(&HeaderName::parse("a").unwrap(), b"1");
    let format = Format::parse("%REQ(a)%%REQ(:METHOD)%%RESP(b)%%PROTOCOL%").unwrap();
    assert_eq!(&format.render_header(&Input::running(&record, &request, None))[..], b"1HTTP/2");
    assert_eq!(Format::parse("a%%b").unwrap().literal().unwrap(), b"a%b");
}
