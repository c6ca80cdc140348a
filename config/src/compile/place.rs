//! Where it was written what a compiled resource says: places in its metadata, where they are asked for, and the way
//! from a field of the resource back to them.

use weir_proto::envoy::config::core::v3::Metadata;
use weir_proto::google::protobuf as pb;

use super::{Compiled, wire};
use crate::diag::Diagnostic;
use crate::world::World;
use crate::yaml::Span;

/// Key of the places among a resource's metadata.
const KEY: &str = "weir.places";

/// What says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// The rule: of a VirtualService, a DestinationRule, a Gateway, a Sidecar.
    Rule,
    /// One of its conditions.
    Match,
    /// What requests are hashed by, which a DestinationRule says to the routes that lead there.
    Hash,
    /// The service.
    Service,
}

impl Says {
    fn word(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Match => "match",
            Self::Hash => "hash",
            Self::Service => "service",
        }
    }
}

/// Type of a compiled resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A cluster.
    Cluster,
    /// The endpoints of a cluster.
    Endpoints,
    /// A listener.
    Listener,
    /// A route configuration.
    Route,
}

/// A field of a resource, as far as its sources are known.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'p> {
    /// Where it was written what is there.
    span: Option<Span>,
    /// The field below the part that was written there.
    pub field: &'p str,
}

impl Placed<'_> {
    /// `Kind namespace/name` of the resource that says it.
    #[must_use]
    pub fn title(&self, world: &World) -> Option<String> {
        let span = self.span?;
        world.metas().find(|meta| meta.span.encloses(span)).map(crate::kinds::Meta::title)
    }

    /// A diagnostic at this place.
    #[must_use]
    pub fn at(&self, world: &World, diagnostic: Diagnostic) -> Diagnostic {
        match self.span {
            Some(span) => diagnostic.at(&world.sources, span),
            None => diagnostic,
        }
    }
}

pub(super) fn note(metadata: &mut Metadata, what: Says, span: Span) {
    let numbers = [span.file, span.line, span.column, span.end_line, span.end_column];
    let numbers =
        numbers.map(|number| pb::Value { kind: Some(pb::value::Kind::NumberValue(f64::from(number))) });
    let places = metadata.filter_metadata.entry(KEY.to_owned()).or_default();
    places.fields.insert(what.word().to_owned(), wire::list(numbers.to_vec()));
}

fn noted(metadata: Option<&Metadata>, what: Says) -> Option<Span> {
    let value = metadata?.filter_metadata.get(KEY)?.fields.get(what.word())?;
    let Some(pb::value::Kind::ListValue(list)) = &value.kind else { return None };
    let mut numbers = list.values.iter().map(|value| match value.kind {
        // Exact: it was a `u32`.
        Some(pb::value::Kind::NumberValue(number)) => number as u32,
        _ => 0,
    });
    let mut next = || numbers.next();
    let (file, line, column) = (next()?, next()?, next()?);
    Some(Span { file, line, column, end_line: next()?, end_column: next()? })
}

/// Where it was written what a field of a resource says. `path` is the engine's: `virtual_hosts[0].routes[2].match`.
#[must_use]
pub fn placed<'p>(compiled: &Compiled, kind: Kind, name: &str, path: &'p str) -> Placed<'p> {
    let found = match kind {
        Kind::Cluster => of_cluster(compiled, name, path),
        Kind::Endpoints => of_cluster(compiled, name, "load_assignment").map(|(span, _)| (span, path)),
        Kind::Listener => of_listener(compiled, name, path),
        Kind::Route => of_route(compiled, name, path),
    };
    found.map_or(Placed { span: None, field: path }, |(span, field)| Placed { span: Some(span), field })
}

fn of_cluster<'p>(compiled: &Compiled, name: &str, path: &'p str) -> Option<(Span, &'p str)> {
    let one = compiled.clusters.iter().find(|one| one.name == name)?;
    let (rule, service) =
        (noted(one.metadata.as_ref(), Says::Rule), noted(one.metadata.as_ref(), Says::Service));
    let span = if path.starts_with("load_assignment") { service.or(rule) } else { rule.or(service) };
    Some((span?, path))
}

fn of_listener<'p>(compiled: &Compiled, name: &str, path: &'p str) -> Option<(Span, &'p str)> {
    let one = compiled.listeners.iter().find(|one| one.name == name)?;
    let of_chain = || {
        let (index, field) = item(path, "filter_chains")?;
        Some((noted(one.filter_chains.get(index)?.metadata.as_ref(), Says::Rule)?, field))
    };
    of_chain().or_else(|| Some((noted(one.metadata.as_ref(), Says::Rule)?, path)))
}

fn of_route<'p>(compiled: &Compiled, name: &str, path: &'p str) -> Option<(Span, &'p str)> {
    let one = compiled.routes.iter().find(|one| one.name == name)?;
    let (host, below) = item(path, "virtual_hosts")?;
    let routes = &one.virtual_hosts.get(host)?.routes;
    let (route, field) = match item(below, "routes") {
        Some((index, field)) => (routes.get(index)?, field),
        // What is wrong with the virtual host itself comes from whoever speaks of it.
        None => (routes.first()?, below),
    };
    let metadata = route.metadata.as_ref();
    let within = |part: &str, what: Says| noted(metadata, what).filter(|_| field.starts_with(part));
    let part = within("match", Says::Match).or_else(|| within("route.hash_policy", Says::Hash));
    Some((part.or_else(|| noted(metadata, Says::Rule))?, field))
}

/// `name[index].rest` as index and rest.
fn item<'p>(path: &'p str, name: &str) -> Option<(usize, &'p str)> {
    let (index, rest) = path.strip_prefix(name)?.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Node, Target, compile, compile_located};

    const MESH: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - match:
    - {uri: {prefix: /a}}
    - {uri: {prefix: /b}}
    route: [{destination: {host: web}}]
";

    #[test]
    fn a_field_leads_to_its_line() {
        let (world, found) = World::read(&[("mesh.yaml".to_owned(), MESH.to_owned())]);
        assert!(found.is_empty(), "{found:?}");
        let node = Node::parse("sidecar~10.1.1.1~a.shop~shop.svc.cluster.local").unwrap();
        let compiled = compile_located(&world, &node, Target::Weir);
        let line = |kind, name, path| {
            let placed = placed(&compiled, kind, name, path);
            (placed.span.map_or(0, |span| span.line), placed.field)
        };
        let cluster = "outbound|80||web.shop.svc.cluster.local";
        assert_eq!(line(Kind::Cluster, cluster, "lb_policy"), (11, "lb_policy"));
        assert_eq!(line(Kind::Cluster, cluster, "load_assignment.x"), (3, "load_assignment.x"));
        assert_eq!(line(Kind::Endpoints, cluster, "endpoints[0]"), (3, "endpoints[0]"));
        assert_eq!(line(Kind::Route, "80", "virtual_hosts[0].routes[1].match.prefix"), (21, "match.prefix"));
        assert_eq!(line(Kind::Route, "80", "virtual_hosts[0].routes[1].route.x"), (19, "route.x"));
        assert_eq!(line(Kind::Route, "80", "virtual_hosts[0].domains[0]"), (19, "domains[0]"));
        assert_eq!(line(Kind::Route, "80", "virtual_hosts[9].routes[1]").0, 0);
        assert_eq!(line(Kind::Listener, "127.0.0.1_80", "filter_chains[0].filters[0]").0, 3);
        let title = placed(&compiled, Kind::Route, "80", "virtual_hosts[0].routes[0]").title(&world);
        assert_eq!(title.as_deref(), Some("VirtualService shop/web"));
    }

    #[test]
    fn what_is_put_in_force_holds_no_places() {
        let (world, _) = World::read(&[("mesh.yaml".to_owned(), MESH.to_owned())]);
        let node = Node::parse("sidecar~10.1.1.1~a.shop~shop.svc.cluster.local").unwrap();
        let text = format!("{:?}", compile(&world, &node, Target::Weir));
        assert!(!text.contains(KEY));
    }
}
