use super::*;
use crate::base::addr::Address;
use crate::model::cluster::{Assignment, DnsFamily, Endpoint, EndpointHealth, LbPolicy, LocalityEndpoints};
use std::collections::VecDeque;
use std::time::Instant;

fn dns() -> Dns {
    Dns {
        logical: false,
        refresh: Duration::from_millis(20),
        respect_ttl: false,
        jitter: Duration::ZERO,
        failure_refresh: None,
        family: DnsFamily::V4Only,
        resolvers: [].into(),
    }
}

fn cluster(name: &str, dns: Dns, targets: &[&str]) -> Arc<Cluster> {
    let endpoints = targets.iter().map(|target| Endpoint {
        target: EndpointTarget::Name((*target).into(), 80),
        weight: 1,
        health: EndpointHealth::Healthy,
        hostname: None,
        metadata: None,
        canary: false,
        hash_key: None,
    });
    let locality = LocalityEndpoints {
        locality: ["".into(), "".into(), "".into()],
        weight: 0,
        priority: 0,
        endpoints: endpoints.collect(),
    };
    let mut cluster = crate::upstream::lb::bench::cluster(name, LbPolicy::RoundRobin);
    cluster.discovery = Discovery::Dns(dns);
    cluster.assignment = Assignment { localities: [locality].into(), ..Assignment::default() };
    Arc::new(cluster)
}

type Script = HashMap<&'static str, VecDeque<Result<Vec<&'static str>, &'static str>>>;

/// Answers by script; the last answer of a name is repeated.
struct Scripted(RefCell<Script>);

impl Resolve for Scripted {
    async fn resolve(&self, name: &str, _: &Dns) -> Result<Answer, String> {
        let mut script = self.0.borrow_mut();
        let answers = script.get_mut(name).ok_or("not in the script")?;
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let addresses = answer.ok_or("no more answers")??;
        let ttl = Some(Duration::from_secs(3600));
        Ok(Answer { addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(), ttl })
    }
}

fn hosts_of(cluster: &Cluster) -> Option<Vec<String>> {
    let set = cluster.live.hosts()?;
    Some(set.members.hosts().map(|h| h.address.to_string()).collect())
}

#[track_caller]
fn until(cluster: &Cluster, want: &[&str]) {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if hosts_of(cluster).is_some_and(|hosts| hosts == want) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("{:?} instead of {want:?}", hosts_of(cluster));
}

type Lookup<'a> = Result<&'a [&'static str], &'static str>;

fn scripted(script: &[(&'static str, &[Lookup<'_>])]) -> Names {
    let script: Script = script
        .iter()
        .map(|(name, answers)| (*name, answers.iter().map(|a| a.map(<[_]>::to_vec)).collect()))
        .collect();
    Names::start_with(move || Scripted(RefCell::new(script))).unwrap()
}

#[test]
fn hosts_follow_the_answers() {
    let names = scripted(&[(
        "a.test",
        &[Ok(&["10.0.0.2", "10.0.0.1", "10.0.0.1"]), Err("server failure"), Ok(&["10.0.0.3"]), Ok(&[])],
    )]);
    let cluster = cluster("dns-follow", Dns { refresh: Duration::from_millis(200), ..dns() }, &["a.test"]);
    names.set([&cluster].into_iter());
    let mut seen = Vec::new();
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && seen.last() != Some(&Vec::<String>::new()) {
        if let Some(hosts) = hosts_of(&cluster).filter(|hosts| seen.last() != Some(hosts)) {
            seen.push(hosts);
        }
    }
    // The failure changed nothing; the empty answer emptied the cluster.
    assert_eq!(seen, [vec!["10.0.0.1:80", "10.0.0.2:80"], vec!["10.0.0.3:80"], vec![]]);
}

#[test]
fn ready_when_every_name_was_looked_up_even_in_vain() {
    let names =
        scripted(&[("a.test", &[Ok(&["10.0.0.1"])]), ("b.test", &[Err("refused"), Ok(&["10.0.0.9"])])]);
    let cluster = cluster("dns-ready", dns(), &["a.test", "b.test"]);
    assert_eq!(cluster.live.version(), 0);
    names.set([&cluster].into_iter());
    until(&cluster, &["10.0.0.1:80", "10.0.0.9:80"]);
}

#[test]
fn a_new_version_starts_with_what_is_known_and_a_dropped_one_is_given_up() {
    let names = scripted(&[("a.test", &[Ok(&["10.0.0.1"]), Ok(&["10.0.0.2"])])]);
    let slow = Dns { refresh: Duration::from_secs(3600), ..dns() };
    let first = cluster("dns-version", slow.clone(), &["a.test"]);
    names.set([&first].into_iter());
    until(&first, &["10.0.0.1:80"]);
    let version = first.live.version();
    let second = cluster("dns-version", dns(), &["a.test"]);
    names.set([&second].into_iter());
    until(&second, &["10.0.0.2:80"]);
    assert_eq!(second.live.version(), version + 1, "what is known was equal; the lookup was not");
    names.set([].into_iter());
    names.set([].into_iter());
}

#[test]
fn intervals() {
    let make = |dns: Dns| Watch {
        cluster: cluster("dns-intervals", dns.clone(), &[]),
        dns,
        known: Known::default(),
        names: BTreeSet::new(),
        resolver: Rc::new(Scripted(RefCell::default())),
        cells: Registry::default().cells(&stat::SCHEMA, "cluster.x."),
    };
    let answer = Answer { addresses: vec!["10.0.0.1".parse().unwrap()], ttl: Some(Duration::from_secs(60)) };
    assert_eq!(make(dns()).refresh(&answer), Duration::from_millis(20));
    let ttl = make(Dns { respect_ttl: true, ..dns() });
    assert_eq!(ttl.refresh(&answer), Duration::from_secs(60));
    assert_eq!(ttl.refresh(&Answer::default()), Duration::from_millis(20));
    let long = Answer { ttl: Some(Duration::from_secs(u32::MAX.into())), ..answer.clone() };
    assert_eq!(ttl.refresh(&long), MAX_REFRESH);
    let jitter = make(Dns { jitter: Duration::from_secs(1), ..dns() });
    assert!((0..100).all(|_| jitter.refresh(&answer) < Duration::from_millis(1020)));
    assert_eq!(make(dns()).back_off(3), Duration::from_millis(20));
    let rate = (Duration::from_millis(100), Duration::from_millis(300));
    let failing = make(Dns { failure_refresh: Some(rate), ..dns() });
    for (failures, most) in [(1, 100), (2, 200), (3, 300), (40, 300), (u32::MAX, 300)] {
        assert!((0..100).all(|_| failing.back_off(failures) < Duration::from_millis(most)));
    }
}

/// The real resolver on a name that needs no network.
#[test]
fn localhost_is_found() {
    let names = Names::start().unwrap();
    let cluster = cluster("dns-localhost", Dns { refresh: Duration::from_secs(5), ..dns() }, &["localhost"]);
    names.set([&cluster].into_iter());
    until(&cluster, &["127.0.0.1:80"]);
    let host = cluster.live.hosts().unwrap().members.hosts().next().unwrap().clone();
    assert_eq!(&*host.attributes().hostname, "localhost");
    assert_eq!(host.address, Address::Ip("127.0.0.1:80".parse().unwrap()));
}

#[test]
fn a_logical_host_stays_while_its_address_is_among_the_answers() {
    let (first, turned) = (["10.0.0.2", "10.0.0.1"], ["10.0.0.1", "10.0.0.2"]);
    let mut answers: Vec<Lookup<'_>> = vec![Ok(&first)];
    answers.extend([Ok(&turned[..]); 10]);
    answers.push(Ok(&["10.0.0.3", "10.0.0.4"]));
    let names = scripted(&[("one.test", &answers)]);
    let cluster = cluster("logical_dns", Dns { logical: true, ..dns() }, &["one.test"]);
    let mut seen = BTreeSet::new();
    names.set([&cluster].into_iter());
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && !seen.contains("10.0.0.3:80") {
        seen.extend(hosts_of(&cluster).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(Vec::from_iter(seen), ["10.0.0.2:80", "10.0.0.3:80"]);
}
