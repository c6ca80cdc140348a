//! Choice of the filter chain (spec 4.1): level after level, without turning back.

use crate::model::listener::{ChainMatch, FilterChain, Listener, SourceType};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// What a connection is chosen by; kept as long as it lives, so that the choice can be repeated.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Destination address, after original destination; none on Unix sockets.
    pub destination: Option<(IpAddr, u16)>,
    /// Source address, after PROXY protocol.
    pub source: Option<(IpAddr, u16)>,
    /// Source address of the socket.
    pub direct_source: Option<IpAddr>,
    /// SNI, lower-case.
    pub server_name: Option<Box<str>>,
    /// `raw_buffer` or `tls`.
    pub transport: &'static str,
    /// ALPN or sniffed protocols.
    pub protocols: Vec<Box<str>>,
}

/// How well a chain fits on one level; none when it does not.
type Fit = fn(&ChainMatch, &Inputs) -> Option<usize>;

/// The levels in Envoy's order; on each the best fit stays, and the choice is never taken back.
const LEVELS: &[Fit] =
    &[port, destination, server_name, transport, protocol, direct_source, source_type, source, source_port];

/// The chain for a connection; none when neither one fits nor a default exists.
pub fn choose<'l>(listener: &'l Listener, inputs: &Inputs) -> Option<&'l Arc<FilterChain>> {
    if let [only] = &*listener.chains
        && is_empty(&only.matcher)
    {
        return Some(only);
    }
    let mut left: Vec<&Arc<FilterChain>> = listener.chains.iter().collect();
    for fit in LEVELS {
        let best = left.iter().filter_map(|chain| fit(&chain.matcher, inputs)).max();
        left.retain(|chain| best.is_some() && fit(&chain.matcher, inputs) == best);
    }
    left.first().copied().or(listener.default_chain.as_ref())
}

fn is_empty(m: &ChainMatch) -> bool {
    m.destination_port.is_none()
        && m.prefixes.is_empty()
        && m.server_names.is_empty()
        && m.transport_protocol.is_none()
        && m.application_protocols.is_empty()
        && m.direct_source.is_empty()
        && m.source_type == SourceType::Any
        && m.source.is_empty()
        && m.source_ports.is_empty()
}

fn port(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    match m.destination_port {
        None => Some(0),
        Some(port) => (i.destination.map(|d| d.1) == Some(port)).then_some(1),
    }
}

fn longest(networks: &[IpNet], ip: Option<IpAddr>) -> Option<usize> {
    if networks.is_empty() {
        return Some(0);
    }
    let ip = ip?;
    networks.iter().filter(|net| net.contains(&ip)).map(|net| usize::from(net.prefix_len()) + 1).max()
}

fn destination(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    longest(&m.prefixes, i.destination.map(|d| d.0))
}

fn server_name(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    if m.server_names.is_empty() {
        return Some(0);
    }
    let name = i.server_name.as_deref()?;
    let fits = m.server_names.iter().filter_map(|want| {
        if &**want == name {
            Some(usize::MAX)
        } else if want.starts_with('.') && name.ends_with(&**want) {
            Some(want.len())
        } else {
            None
        }
    });
    fits.max()
}

fn transport(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    match &m.transport_protocol {
        None => Some(0),
        Some(want) => (&**want == i.transport).then_some(1),
    }
}

fn protocol(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    if m.application_protocols.is_empty() {
        return Some(0);
    }
    let count = i.protocols.len();
    let at = i.protocols.iter().position(|p| m.application_protocols.contains(p))?;
    Some(count - at)
}

fn direct_source(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    longest(&m.direct_source, i.direct_source)
}

fn source_type(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    let local = match (i.source, i.destination) {
        (Some((from, _)), to) => from.is_loopback() || to.is_some_and(|(to, _)| to == from),
        (None, _) => true,
    };
    match m.source_type {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => local.then_some(1),
        SourceType::External => (!local).then_some(1),
    }
}

fn source(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    longest(&m.source, i.source.map(|s| s.0))
}

fn source_port(m: &ChainMatch, i: &Inputs) -> Option<usize> {
    if m.source_ports.is_empty() {
        return Some(0);
    }
    i.source.is_some_and(|s| m.source_ports.contains(&s.1)).then_some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> Inputs {
        Inputs {
            destination: Some(([10, 0, 0, 1].into(), 80)),
            source: Some(([10, 9, 9, 9].into(), 5555)),
            direct_source: Some([10, 9, 9, 9].into()),
            server_name: Some("a.b.test".into()),
            transport: "raw_buffer",
            protocols: vec!["h2".into(), "http/1.1".into()],
        }
    }

    #[test]
    fn each_level_fits_by_its_own_rule() {
        let m = ChainMatch {
            destination_port: Some(80),
            prefixes: ["10.0.0.0/8".parse().unwrap(), "10.0.0.0/24".parse().unwrap()].into(),
            server_names: [".test".into(), ".b.test".into()].into(),
            application_protocols: ["http/1.1".into()].into(),
            source_type: SourceType::External,
            source_ports: [5555].into(),
            ..ChainMatch::default()
        };
        let fits: Vec<Option<usize>> = LEVELS.iter().map(|fit| fit(&m, &inputs())).collect();
        assert_eq!(fits, [Some(1), Some(25), Some(7), Some(0), Some(1), Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(
            port(&ChainMatch { destination_port: Some(81), ..ChainMatch::default() }, &inputs()),
            None
        );
        assert!(is_empty(&ChainMatch::default()) && !is_empty(&m));
    }
}
