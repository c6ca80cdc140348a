//! TLS settings, which are read and not obeyed yet.

use super::{Findings, Registry};
use crate::kinds::destination_rule::{ClientTls, ClientTlsMode, DestinationRule};
use crate::kinds::gateway::{ServerTls, ServerTlsMode};
use crate::world::World;

const REMEDY: &str = "nothing to do, if plain text is acceptable until TLS is in force";

pub(super) fn check(world: &World, _: &Registry<'_>, findings: &mut Findings<'_>) {
    for tls in world.destination_rules.iter().flat_map(|rule| client_settings(&rule.spec)) {
        let mode = tls.mode.as_ref().map_or(ClientTlsMode::Disable, |mode| mode.value);
        if mode != ClientTlsMode::Disable {
            let message = format!(
                "TLS towards the service (mode {}) is not obeyed yet: it is spoken to in plain text",
                mode.word()
            );
            findings.warning("tls-not-obeyed", tls.span, message, REMEDY);
        }
    }
    for server in world.gateways.iter().flat_map(|gateway| &gateway.spec.servers) {
        if let Some(tls) = server.tls.as_ref().filter(|tls| terminates(tls)) {
            let message =
                format!("TLS of a Gateway is not obeyed yet: port {} is not opened", server.port.number);
            findings.warning("tls-not-obeyed", tls.span, message, "serve the hosts over HTTP until then");
        }
    }
    for tls in world.ingresses.iter().flat_map(|ingress| &ingress.spec.tls) {
        let message = "TLS of an Ingress is not obeyed yet: its hosts are served over HTTP alone";
        findings.warning("tls-not-obeyed", tls.span, message, REMEDY);
    }
}

fn client_settings(rule: &DestinationRule) -> impl Iterator<Item = &ClientTls> {
    let subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    rule.traffic_policy.iter().chain(subsets).flat_map(|policy| {
        policy.tls.iter().chain(policy.port_level_settings.iter().filter_map(|port| port.tls.as_ref()))
    })
}

/// Whether TLS ends there: it neither passes through nor is there no more than a redirect from HTTP.
fn terminates(tls: &ServerTls) -> bool {
    match tls.mode.as_ref().map(|mode| mode.value) {
        Some(ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough) => return false,
        Some(_) => return true,
        None => {}
    }
    tls.credential_name.is_some() || tls.server_certificate.is_some() || !tls.credential_names.is_empty()
}
