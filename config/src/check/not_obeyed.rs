//! Fields that are read, that Istio or Kubernetes know, and that nothing obeys yet.

use super::{Findings, Registry};
use crate::kinds::endpoint::AddressType;
use crate::world::World;
use crate::yaml::Span;

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    for rule in world.virtual_services.iter().flat_map(|service| &service.spec.http) {
        if let Some(code) = rule
            .fault
            .iter()
            .filter_map(|fault| fault.abort.as_ref())
            .find_map(|abort| abort.http2_error.as_ref())
        {
            say(
                "http2Error",
                "Istio does not implement it either; use httpStatus or grpcStatus",
                code.span,
                findings,
            );
        }
    }
    for part in
        world.virtual_services.iter().flat_map(|service| &service.spec.tcp).flat_map(|rule| &rule.matches)
    {
        if let Some(subnet) = &part.source_subnet {
            say(
                "sourceSubnet",
                "Istio does not implement it either; use sourceLabels",
                subnet.span,
                findings,
            );
        }
    }
    for server in world.gateways.iter().flat_map(|gateway| &gateway.spec.servers) {
        if let Some(endpoint) = &server.default_endpoint {
            say("defaultEndpoint", "route by a VirtualService", endpoint.span, findings);
        }
    }
    for service in &world.services {
        let spec = &service.spec;
        if let Some(policy) =
            spec.internal_traffic_policy.as_ref().filter(|policy| policy.as_str() == "Local")
        {
            say("internalTrafficPolicy", "endpoints of all nodes get traffic", policy.span, findings);
        }
        if let Some(distribution) = &spec.traffic_distribution {
            say(
                "trafficDistribution",
                "use localityLbSetting of a DestinationRule",
                distribution.span,
                findings,
            );
        }
        if let Some(address) = spec.external_ips.first() {
            say("externalIPs", "the service answers at its other addresses", address.span, findings);
        }
    }
    for slice in &world.endpoint_slices {
        if let Some(kind) = slice.spec.address_type.as_ref().filter(|kind| kind.value == AddressType::Fqdn) {
            say("an EndpointSlice of names", "use a ServiceEntry with resolution DNS", kind.span, findings);
        }
    }
}

fn say(what: &str, remedy: &str, span: Span, findings: &mut Findings<'_>) {
    findings.warning("field-not-obeyed", span, format!("{what} is not obeyed"), remedy);
}
