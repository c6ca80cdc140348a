//! Lookups by hickory-resolver: the system's servers, search domains and hosts file, or servers of the cluster.

use super::{Answer, Resolve};
use crate::model::cluster::{Dns, DnsFamily};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

type Key = (u8, Box<[SocketAddr]>);

/// Most resolvers kept, one for each family and list of servers in use; all are made anew beyond it.
const MAX_RESOLVERS: usize = 64;

/// The resolver of the program.
#[derive(Default)]
pub struct Hickory {
    resolvers: RefCell<HashMap<Key, TokioResolver>>,
}

fn strategy(family: DnsFamily) -> LookupIpStrategy {
    match family {
        DnsFamily::Auto => LookupIpStrategy::Ipv6thenIpv4,
        DnsFamily::V4Only => LookupIpStrategy::Ipv4Only,
        DnsFamily::V6Only => LookupIpStrategy::Ipv6Only,
        DnsFamily::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
        DnsFamily::All => LookupIpStrategy::Ipv4AndIpv6,
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    config
}

impl Hickory {
    fn resolver(&self, dns: &Dns) -> Result<TokioResolver, String> {
        let key: Key = (dns.family as u8, dns.resolvers.clone());
        let mut resolvers = self.resolvers.borrow_mut();
        if let Some(resolver) = resolvers.get(&key) {
            return Ok(resolver.clone());
        }
        let mut builder = if dns.resolvers.is_empty() {
            TokioResolver::builder_tokio().map_err(|e| {
                format!("cannot read the system's resolver configuration (/etc/resolv.conf): {e}")
            })?
        } else {
            let servers = dns.resolvers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        // Every lookup is wanted fresh: the refresh interval is the cache.
        options.cache_size = 0;
        options.ip_strategy = strategy(dns.family);
        let resolver = builder.build().map_err(|e| e.to_string())?;
        if resolvers.len() >= MAX_RESOLVERS {
            resolvers.clear();
        }
        resolvers.insert(key, resolver.clone());
        Ok(resolver)
    }
}

impl Resolve for Hickory {
    async fn resolve(&self, name: &str, dns: &Dns) -> Result<Answer, String> {
        let resolver = self.resolver(dns)?;
        match resolver.lookup_ip(name).await {
            Ok(found) => Ok(Answer {
                addresses: found.iter().collect(),
                ttl: found.as_lookup().answers().iter().map(|r| Duration::from_secs(r.ttl.into())).min(),
            }),
            // As c-ares in Envoy: "no such name" and "no such records" are answers.
            Err(error) if error.is_nx_domain() || error.is_no_records_found() => Ok(Answer::default()),
            Err(error) => Err(error.to_string()),
        }
    }
}
