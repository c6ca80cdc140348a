//! Load balancing: `lb_policy` with its old settings, and `load_balancing_policy` with its extensions.

use super::wkt;
use crate::base::ledger::At;
use crate::model::cluster::{LbPolicy, SlowStart};
use weir_proto::any;
use weir_proto::envoy::config::cluster::v3 as proto;
use weir_proto::envoy::config::cluster::v3::cluster as inner;
use weir_proto::envoy::config::cluster::v3::cluster::LbConfig;
use weir_proto::envoy::config::cluster::v3::load_balancing_policy::Policy;
use weir_proto::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use weir_proto::envoy::extensions::load_balancing_policies as lb;
use weir_proto::envoy::extensions::load_balancing_policies::common::v3 as common;
use weir_proto::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config as locality;
use weir_proto::envoy::r#type::v3::Percent;
use weir_proto::google::protobuf::{Any, Duration, UInt32Value, UInt64Value};

/// Largest ring and largest Maglev table that Envoy takes; the ring's default sizes.
const RING_LIMIT: u64 = 8_388_608;
const RING_MIN: u64 = 1024;
const MAGLEV_TABLE: u64 = 65_537;
const MAGLEV_LIMIT: u64 = 5_000_011;
/// Envoy's default of a slow start's `min_weight_percent`.
const LEAST_PERCENT: f64 = 10.0;

/// What the policy says, with the parts of `common_lb_config` that its newer form carries itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Balancing {
    /// The policy.
    pub policy: LbPolicy,
    /// Locality weights count.
    pub locality_weighted: bool,
    /// No traffic in panic.
    pub fail_traffic_on_panic: bool,
    /// New hosts start slowly.
    pub slow_start: Option<SlowStart>,
}

impl From<LbPolicy> for Balancing {
    fn from(policy: LbPolicy) -> Self {
        Balancing { policy, locality_weighted: false, fail_traffic_on_panic: false, slow_start: None }
    }
}

/// The consistent-hashing part of `common_lb_config`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hashing {
    /// Hash host names.
    pub use_hostname: bool,
    /// Bounded load in percent, 0: off.
    pub balance_factor: u32,
}

/// The old form.
pub fn old(at: &At<'_>, policy: i32, config: Option<&LbConfig>, hashing: Hashing) -> Option<Balancing> {
    use inner::LbPolicy as P;
    let policy = wkt::enumeration::<P>(at, "lb_policy", policy)?;
    let mut slow = None;
    match (policy, config) {
        (P::RoundRobin, Some(LbConfig::RoundRobinLbConfig(message))) => {
            let here = at.field("round_robin_lb_config");
            crate::ledger!(here, message => inner::RoundRobinLbConfig { slow_start_config });
            slow = old_slow_start(&here, slow_start_config.as_ref());
            Some(LbPolicy::RoundRobin)
        }
        (P::RoundRobin, _) => Some(LbPolicy::RoundRobin),
        (P::Random, _) => Some(LbPolicy::Random),
        (P::LeastRequest, Some(LbConfig::LeastRequestLbConfig(message))) => {
            let here = at.field("least_request_lb_config");
            crate::ledger!(here, message => inner::LeastRequestLbConfig { choice_count, active_request_bias,
                slow_start_config });
            slow = old_slow_start(&here, slow_start_config.as_ref());
            Some(least_request(&here, choice_count, active_request_bias.as_ref(), false))
        }
        (P::LeastRequest, _) => Some(least_request(at, &None, None, false)),
        (P::RingHash, Some(LbConfig::RingHashLbConfig(message))) => {
            let here = at.field("ring_hash_lb_config");
            crate::ledger!(here, message => inner::RingHashLbConfig { minimum_ring_size, hash_function, maximum_ring_size });
            let murmur = *hash_function == inner::ring_hash_lb_config::HashFunction::MurmurHash2 as i32;
            Some(ring(&here, minimum_ring_size, maximum_ring_size, murmur, hashing))
        }
        (P::RingHash, _) => Some(ring(at, &None, &None, false, hashing)),
        (P::Maglev, Some(LbConfig::MaglevLbConfig(message))) => {
            let here = at.field("maglev_lb_config");
            crate::ledger!(here, message => inner::MaglevLbConfig { table_size });
            Some(maglev(&here, table_size, hashing))
        }
        (P::Maglev, _) => Some(maglev(at, &None, hashing)),
        (P::ClusterProvided, _) => Some(LbPolicy::ClusterProvided),
        (P::LoadBalancingPolicyConfig, _) => {
            at.bad("load_balancing_policy", "must be set with lb_policy LOAD_BALANCING_POLICY_CONFIG");
            None
        }
    }
    .map(|policy| Balancing { slow_start: slow, ..policy.into() })
}

fn least_request(
    at: &At<'_>,
    choices: &Option<UInt32Value>,
    bias: Option<&RuntimeDouble>,
    full_scan: bool,
) -> LbPolicy {
    let bias = bias.map_or(1.0, |RuntimeDouble { default_value, runtime_key: _ }| *default_value);
    if !(bias >= 0.0 && bias.is_finite()) {
        at.bad("active_request_bias", format!("is {bias}, must not be negative"));
    }
    LbPolicy::LeastRequest {
        choices: wkt::u32_in(at, "choice_count", choices, 2, 2, u32::MAX),
        bias,
        full_scan,
    }
}

fn ring(
    at: &At<'_>,
    min: &Option<UInt64Value>,
    max: &Option<UInt64Value>,
    murmur: bool,
    hashing: Hashing,
) -> LbPolicy {
    let min = wkt::u64_in(at, "minimum_ring_size", min, RING_MIN, 1, RING_LIMIT);
    let max = wkt::u64_in(at, "maximum_ring_size", max, RING_LIMIT, 1, RING_LIMIT);
    if min > max {
        at.bad(
            "minimum_ring_size",
            format!("ring hash: minimum_ring_size ({min}) > maximum_ring_size ({max})"),
        );
    }
    LbPolicy::RingHash {
        min,
        max,
        murmur,
        use_hostname: hashing.use_hostname,
        balance_factor: hashing.balance_factor,
    }
}

fn maglev(at: &At<'_>, table: &Option<UInt64Value>, hashing: Hashing) -> LbPolicy {
    let table = wkt::u64_in(at, "table_size", table, MAGLEV_TABLE, 2, MAGLEV_LIMIT);
    if !is_prime(table) {
        at.bad("table_size", format!("The table size of maglev must be prime number, {table} is not"));
    }
    LbPolicy::Maglev { table, use_hostname: hashing.use_hostname, balance_factor: hashing.balance_factor }
}

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|d: &u64| d.saturating_mul(*d) <= n).all(|d| !n.is_multiple_of(d))
}

/// The newer form: the first policy that this release knows.
pub fn new(at: &At<'_>, message: &proto::LoadBalancingPolicy) -> Option<Balancing> {
    crate::ledger!(at, message => proto::LoadBalancingPolicy { policies });
    let mut unknown = Vec::new();
    for (i, policy) in policies.iter().enumerate() {
        let here = at.item("policies", i);
        crate::ledger!(here, policy => Policy { typed_extension_config });
        let extension = here.required("typed_extension_config", typed_extension_config.as_ref())?;
        let here = here.field("typed_extension_config");
        crate::ledger!(here, extension => TypedExtensionConfig { name, typed_config });
        here.non_empty("name", name);
        let config = here.required("typed_config", typed_config.as_ref())?;
        let here = here.field("typed_config");
        if let Some((_, compile)) = POLICIES.iter().find(|(kind, _)| *kind == any::type_name(config)) {
            return compile(&here, config);
        }
        unknown.push(any::type_name(config).to_owned());
    }
    if unknown.is_empty() {
        at.bad("policies", "must have at least one entry");
    } else {
        at.field("policies")
            .unsupported(&format!("none of the load balancing policies ({})", unknown.join(", ")));
    }
    None
}

type PolicyFn = fn(&At<'_>, &Any) -> Option<Balancing>;

/// The policies of this release by type.
const POLICIES: &[(&str, PolicyFn)] = &[
    ("envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin", new_round_robin),
    ("envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest", new_least_request),
    ("envoy.extensions.load_balancing_policies.random.v3.Random", new_random),
    ("envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash", new_ring),
    ("envoy.extensions.load_balancing_policies.maglev.v3.Maglev", new_maglev),
    ("envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided", new_provided),
];

fn new_round_robin(at: &At<'_>, config: &Any) -> Option<Balancing> {
    let message = &wkt::unpack::<lb::round_robin::v3::RoundRobin>(at, config)?;
    crate::ledger!(at, message => lb::round_robin::v3::RoundRobin { locality_lb_config, slow_start_config });
    let slow = new_slow_start(at, slow_start_config.as_ref());
    Some(Balancing { slow_start: slow, ..with_locality(at, LbPolicy::RoundRobin, locality_lb_config) })
}

fn new_random(at: &At<'_>, config: &Any) -> Option<Balancing> {
    let message = &wkt::unpack::<lb::random::v3::Random>(at, config)?;
    crate::ledger!(at, message => lb::random::v3::Random { locality_lb_config });
    Some(with_locality(at, LbPolicy::Random, locality_lb_config))
}

fn new_least_request(at: &At<'_>, config: &Any) -> Option<Balancing> {
    use lb::least_request::v3::{LeastRequest, least_request::SelectionMethod};
    let message = &wkt::unpack::<LeastRequest>(at, config)?;
    crate::ledger!(at, message => LeastRequest { choice_count, active_request_bias, locality_lb_config,
        enable_full_scan, selection_method, slow_start_config });
    let full = wkt::flag(enable_full_scan, false) || *selection_method == SelectionMethod::FullScan as i32;
    let policy = least_request(at, choice_count, active_request_bias.as_ref(), full);
    let slow = new_slow_start(at, slow_start_config.as_ref());
    Some(Balancing { slow_start: slow, ..with_locality(at, policy, locality_lb_config) })
}

fn old_slow_start(at: &At<'_>, message: Option<&inner::SlowStartConfig>) -> Option<SlowStart> {
    let message = message?;
    let at = &at.field("slow_start_config");
    crate::ledger!(at, message => inner::SlowStartConfig { slow_start_window, aggression, min_weight_percent });
    slow_start(at, slow_start_window, aggression.as_ref(), min_weight_percent)
}

fn new_slow_start(at: &At<'_>, message: Option<&common::SlowStartConfig>) -> Option<SlowStart> {
    let message = message?;
    let at = &at.field("slow_start_config");
    crate::ledger!(at, message => common::SlowStartConfig { slow_start_window, aggression, min_weight_percent });
    slow_start(at, slow_start_window, aggression.as_ref(), min_weight_percent)
}

/// Without a window there is no slow start, as in Envoy.
fn slow_start(
    at: &At<'_>,
    window: &Option<Duration>,
    aggression: Option<&RuntimeDouble>,
    least: &Option<Percent>,
) -> Option<SlowStart> {
    let aggression = aggression.map_or(1.0, |RuntimeDouble { default_value, runtime_key: _ }| *default_value);
    if !(aggression > 0.0 && aggression.is_finite()) {
        at.bad("aggression", format!("is {aggression}, must be greater than 0"));
    }
    let least = wkt::percent(at, "min_weight_percent", least).unwrap_or(LEAST_PERCENT) / 100.0;
    wkt::timeout(at, "slow_start_window", window, None).map(|window| SlowStart { window, aggression, least })
}

fn new_ring(at: &At<'_>, config: &Any) -> Option<Balancing> {
    use lb::ring_hash::v3::{RingHash, ring_hash::HashFunction};
    let message = &wkt::unpack::<RingHash>(at, config)?;
    crate::ledger!(at, message => RingHash { hash_function, minimum_ring_size, maximum_ring_size,
        use_hostname_for_hashing, hash_balance_factor, consistent_hashing_lb_config, locality_weighted_lb_config });
    let old = Hashing {
        use_hostname: *use_hostname_for_hashing,
        balance_factor: factor(at, "hash_balance_factor", hash_balance_factor),
    };
    let hashing = consistent(at, consistent_hashing_lb_config).unwrap_or(old);
    let murmur = *hash_function == HashFunction::MurmurHash2 as i32;
    let policy = ring(at, minimum_ring_size, maximum_ring_size, murmur, hashing);
    Some(Balancing { locality_weighted: locality_weighted_lb_config.is_some(), ..policy.into() })
}

fn new_maglev(at: &At<'_>, config: &Any) -> Option<Balancing> {
    let message = &wkt::unpack::<lb::maglev::v3::Maglev>(at, config)?;
    crate::ledger!(at, message => lb::maglev::v3::Maglev { table_size, consistent_hashing_lb_config,
        locality_weighted_lb_config });
    let hashing = consistent(at, consistent_hashing_lb_config).unwrap_or_default();
    let policy = maglev(at, table_size, hashing);
    Some(Balancing { locality_weighted: locality_weighted_lb_config.is_some(), ..policy.into() })
}

fn new_provided(_: &At<'_>, _: &Any) -> Option<Balancing> {
    Some(LbPolicy::ClusterProvided.into())
}

fn consistent(at: &At<'_>, message: &Option<common::ConsistentHashingLbConfig>) -> Option<Hashing> {
    let message = message.as_ref()?;
    let at = &at.field("consistent_hashing_lb_config");
    crate::ledger!(at, message => common::ConsistentHashingLbConfig { use_hostname_for_hashing, hash_balance_factor }
        refuse { hash_policy });
    Some(Hashing {
        use_hostname: *use_hostname_for_hashing,
        balance_factor: factor(at, "hash_balance_factor", hash_balance_factor),
    })
}

/// A bounded-load factor: at least 100 percent, or off.
pub fn factor(at: &At<'_>, field: &str, value: &Option<UInt32Value>) -> u32 {
    wkt::u32_opt(value).map_or(0, |_| wkt::u32_in(at, field, value, 0, 100, u32::MAX))
}

fn with_locality(at: &At<'_>, policy: LbPolicy, message: &Option<common::LocalityLbConfig>) -> Balancing {
    use locality::{LocalityConfigSpecifier, ZoneAwareLbConfig};
    let mut found = Balancing::from(policy);
    let Some(common::LocalityLbConfig { locality_config_specifier }) = message else { return found };
    let at = &at.field("locality_lb_config");
    match locality_config_specifier {
        None => {}
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => found.locality_weighted = true,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(message)) => {
            let here = at.field("zone_aware_lb_config");
            crate::ledger!(here, message => ZoneAwareLbConfig { fail_traffic_on_panic, routing_enabled }
                refuse { force_locality_direct_routing, force_local_zone }
                ignore { min_cluster_size, locality_basis });
            zone_aware(&here, routing_enabled);
            found.fail_traffic_on_panic = *fail_traffic_on_panic;
        }
    }
    found
}

/// Zone-aware routing needs a local cluster, which this release refuses; only switching it off makes sense.
pub fn zone_aware(at: &At<'_>, enabled: &Option<Percent>) {
    if wkt::percent(at, "routing_enabled", enabled).is_some_and(|p| p > 0.0) {
        at.field("routing_enabled").unsupported("zone-aware routing");
    }
}
