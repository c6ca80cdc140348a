use super::*;
use crate::base::Name;
use crate::model::route_action::Action;
use crate::route::index;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    text.into()
}

fn plain_route(at: usize, path: PathMatch, case_sensitive: bool) -> Arc<Route> {
    Arc::new(Route {
        name: name(&at.to_string()),
        matcher: RouteMatch {
            path,
            case_sensitive,
            runtime_fraction: None,
            grpc: false,
            headers: Box::default(),
            query: Box::default(),
            cookies: Box::default(),
        },
        action: Action::NonForwarding,
        mutations: Default::default(),
        filters: Default::default(),
        retry_buffer_limit: None,
        metadata: None,
    })
}

fn host(routes: Vec<Arc<Route>>) -> VirtualHost {
    VirtualHost {
        name: name("v"),
        routes: routes.into(),
        index: None,
        require_tls: crate::model::route::RequireTls::No,
        mutations: Default::default(),
        retry: None,
        filters: Default::default(),
        attempt_count_in_request: false,
        attempt_count_in_response: false,
        retry_buffer_limit: None,
        mirrors: Box::default(),
    }
}

fn config(domains: &[&[&str]]) -> RouteConfig {
    let hosts = index::hosts(domains.iter().map(|list| list.iter().copied())).unwrap();
    let virtual_hosts = domains.iter().map(|_| Arc::new(host(Vec::new()))).collect();
    RouteConfig {
        name: name(""),
        virtual_hosts,
        hosts,
        ignore_port_in_host: false,
        ignore_path_parameters: false,
        mutations: Default::default(),
        most_specific_wins: false,
        internal_only_headers: Box::default(),
        filters: Default::default(),
        max_direct_response_body: 4096,
        mirrors: Box::default(),
    }
}

fn found(config: &RouteConfig, authority: &str) -> Option<usize> {
    let host = virtual_host(config, authority.as_bytes())?;
    config.virtual_hosts.iter().position(|other| Arc::ptr_eq(other, host))
}

#[test]
fn virtual_hosts_are_found_as_envoy_does() {
    let domains: &[&[&str]] = &[
        &["foo.bar.com", "foo.bar.com:8080"],
        &["*.bar.com"],
        &["*-x.bar.com"],
        &["foo.*"],
        &["foo.bar.*"],
        &["*"],
    ];
    let mut config = config(domains);
    for (authority, want) in [
        ("foo.bar.com", 0),
        ("FOO.bar.com", 0),
        ("foo.bar.com:8080", 0),
        ("foo.bar.com:9", 4),
        ("b.bar.com", 1),
        ("a-x.bar.com", 2),
        (".bar.com", 5),
        ("foo.", 5),
        ("foo.x", 3),
        ("other", 5),
        ("", 5),
    ] {
        assert_eq!(found(&config, authority), Some(want), "{authority}");
    }
    config.ignore_port_in_host = true;
    assert_eq!(found(&config, "foo.bar.com:9"), Some(0));
    assert_eq!(without_port(b"[::1]:80"), b"[::1]");
    assert_eq!(without_port(b"[::1]"), b"[::1]");
    assert_eq!(without_port(b"a:b"), b"a");
    assert_eq!(without_port(b"a"), b"a");
}

#[test]
fn a_repeated_domain_is_an_error() {
    let error = index::hosts([vec!["a.b"], vec!["x", "A.b"]].into_iter()).unwrap_err();
    assert_eq!((error.virtual_host, error.at), (1, 1));
}

fn request(path: &str) -> HeaderBlock {
    let mut block = HeaderBlock::new();
    block.append_id(Id::Path, path.as_bytes());
    block
}

fn chosen(host: &VirtualHost, path: &str) -> Option<String> {
    let config = config(&[&["*"]]);
    route(&config, host, &request(path), 0).map(|route| route.name.to_string())
}

#[test]
fn path_kinds_match_as_envoy_does() {
    let bytes = |text: &str| -> Box<[u8]> { text.as_bytes().into() };
    for (path, wanted, yes, no) in [
        (PathMatch::Exact(bytes("/exact")), "/exact", vec!["/exact", "/exact?x"], vec!["/exact/", "/EXACT"]),
        (PathMatch::Prefix(bytes("/p")), "/p", vec!["/p", "/pa", "/p?x"], vec!["/", "/P"]),
        (
            PathMatch::PathSeparatedPrefix(bytes("/psp")),
            "/psp",
            vec!["/psp", "/psp/a", "/psp?x"],
            vec!["/pspa"],
        ),
    ] {
        let host = host(vec![plain_route(0, path, true)]);
        yes.iter().for_each(|p| assert!(chosen(&host, p).is_some(), "{wanted} {p}"));
        no.iter().for_each(|p| assert!(chosen(&host, p).is_none(), "{wanted} {p}"));
    }
    let any_case = host(vec![plain_route(0, PathMatch::Exact(bytes("/exact")), false)]);
    assert!(chosen(&any_case, "/EXACT?q").is_some());
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("A"), Just("/"), Just("?")], 0..7)
        .prop_map(|parts| format!("/{}", parts.concat()))
}

fn any_match() -> impl Strategy<Value = (PathMatch, bool)> {
    (any_path(), 0..4u8, any::<bool>()).prop_map(|(path, kind, case)| {
        let bytes: Box<[u8]> = path.as_bytes().into();
        let found = match kind {
            0 => PathMatch::Exact(bytes),
            1 => PathMatch::Prefix(bytes),
            2 => PathMatch::PathSeparatedPrefix(bytes),
            _ => PathMatch::Regex(regex::bytes::Regex::new(r"\A/[ab]*\z").unwrap()),
        };
        (found, case)
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_the_walk_finds(
        matches in proptest::collection::vec(any_match(), 0..40),
        paths in proptest::collection::vec(any_path(), 1..20),
    ) {
        let routes: Vec<_> =
            matches.into_iter().enumerate().map(|(at, (path, case))| plain_route(at, path, case)).collect();
        let walked = host(routes.clone());
        let indexed = index::indexed(host(routes));
        for path in &paths {
            prop_assert_eq!(chosen(&walked, path), chosen(&indexed, path), "{}", path);
        }
    }
}
