//! Hosts that Envoy 1.40 chose (measured on its binary, one worker, hosts 127.0.0.1:18001-18005, hash policy: one
//! header) for the keys a-z and user-0 to user-13.

use super::bench::Bench;
use crate::live::host::Stat;
use crate::model::cluster::LbPolicy;
use xxhash_rust::xxh64::xxh64;

fn keys() -> Vec<String> {
    ('a'..='z').map(String::from).chain((0..14).map(|n| format!("user-{n}"))).collect()
}

fn ring(murmur: bool, balance_factor: u32) -> LbPolicy {
    LbPolicy::RingHash { min: 1024, max: 8_388_608, murmur, use_hostname: false, balance_factor }
}

fn maglev(balance_factor: u32) -> LbPolicy {
    LbPolicy::Maglev { table: 65537, use_hostname: false, balance_factor }
}

fn chosen(bench: &Bench, key: &str) -> usize {
    bench.pick(Some(xxh64(key.as_bytes(), 0))).unwrap() + 1
}

fn row(lb: LbPolicy, weights: &[u32]) -> String {
    let bench = Bench::new(lb, weights);
    keys().iter().map(|key| chosen(&bench, key).to_string()).collect()
}

#[test]
fn every_key_goes_where_envoy_sends_it() {
    const WEIGHTS: [u32; 5] = [1, 2, 5, 1, 3];
    assert_eq!(row(maglev(0), &[1, 1, 1]), "1223212331333322132232133322332233132123");
    assert_eq!(row(maglev(0), &WEIGHTS), "5225312331353322332532135352532354434523");
    assert_eq!(row(ring(false, 0), &WEIGHTS), "2353335333333335152315533323333352253433");
    assert_eq!(row(ring(true, 0), &[1, 1, 1]), "3321133132311231312333313113123233123221");
}

/// Fourteen requests with one key, all in flight at once.
fn crowd(lb: LbPolicy, weights: &[u32], key: &str) -> String {
    let bench = Bench::new(lb, weights);
    let one = |_| {
        let host = chosen(&bench, key);
        bench.host(host - 1).inc(Stat::RqActive);
        host.to_string()
    };
    (0..14).map(one).collect()
}

#[test]
fn a_crowd_of_one_key_spreads_as_in_envoy() {
    assert_eq!(crowd(ring(false, 150), &[1; 5], "a"), "11313313441341");
    assert_eq!(crowd(ring(false, 150), &[1; 5], "user-1"), "33434434113413");
    assert_eq!(crowd(maglev(120), &[1, 2, 1, 1, 1], "a"), "55331531145314");
    assert_eq!(crowd(maglev(120), &[1, 2, 1, 1, 1], "z"), "33222322553225");
}
