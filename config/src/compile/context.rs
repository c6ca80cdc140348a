//! What every part of one compilation looks things up in, and reports to.

use std::cell::RefCell;
use std::collections::BTreeMap;

use weir_proto::envoy::config::core::v3::Metadata;

use super::node::{Interception, Node, NodeKind};
use super::place::{self, Says};
use super::policy::Rules;
use super::registry::{Registry, Resolution, Service};
use super::scope::{Egress, Scope};
use super::target::{Part, Target};
use super::virtual_service::VirtualService;
use super::virtual_services::VirtualServices;
use crate::diag::Diagnostic;
use crate::read::Reader;
use crate::world::{World, resolve_host};
use crate::yaml::Span;

/// What every part of one compilation looks things up in, and reports to.
pub(crate) struct Context<'w> {
    pub world: &'w World,
    pub node: &'w Node,
    pub target: Target,
    /// Are places wanted in the metadata ([`super::place`])?
    located: bool,
    pub registry: Registry,
    pub rules: Rules<'w>,
    pub virtual_services: VirtualServices<'w>,
    /// What the node sees of all that.
    pub scope: Scope<'w>,
    /// Host names that stand for services, and those of the services.
    aliases: BTreeMap<String, String>,
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'w> Context<'w> {
    pub(crate) fn new(world: &'w World, node: &'w Node, target: Target, located: bool) -> Self {
        let mut diagnostics = Vec::new();
        let mut reader = Reader::new(&world.sources, &mut diagnostics);
        let mut registry = Registry::of(world, &mut reader);
        if node.kind == NodeKind::Sidecar && !target.has(Part::Interception) {
            // What the client asked for is the proxy's own address: such a service would lead back to it.
            registry.retain(|service| {
                let leads_back = service.resolution == Resolution::Passthrough && !service.headless;
                if leads_back {
                    let message = format!(
                        "{} goes to the address that the client asks for, which is not known without interception: \
                         it is left out",
                        service.hostname
                    );
                    let remedy = "give the ServiceEntry endpoints, or `resolution: DNS`";
                    reader.report(Diagnostic::warning("no-interception", message).remedy(remedy), service.span);
                }
                !leads_back
            });
        }
        let rules = Rules::of(world);
        let virtual_services = VirtualServices::of(world, &mut reader);
        let aliases = registry.aliases();
        let full = |host: &str, namespace: &str| full_name(host, namespace, world, &aliases);
        let scope = Scope::of(world, node, &registry, &virtual_services, &full, &mut reader);
        Self {
            world,
            node,
            target,
            located,
            scope,
            aliases,
            registry,
            rules,
            virtual_services,
            diagnostics: RefCell::new(diagnostics),
        }
    }

    /// The services that the node sees, one per host name, in the order of names.
    pub(crate) fn services(&self) -> Vec<&Service> {
        self.scope.services().collect()
    }

    /// The service of a host name, if the node sees one.
    pub(crate) fn service(&self, host: &str) -> Option<&Service> {
        self.scope.service(host)
    }

    /// The VirtualServices that speak of what the pod calls through a listener.
    pub(crate) fn rules_of(&self, egress: &Egress<'w>) -> Vec<&VirtualService<'w>> {
        self.virtual_services.at(&egress.rules)
    }

    /// The full name of a host that a resource of a namespace names, where an alias stands for the service that
    /// it names.
    pub(crate) fn host(&self, host: &str, namespace: &str) -> String {
        full_name(host, namespace, self.world, &self.aliases)
    }

    /// How the node finds the addresses of a service. A gateway is not asked for an address that it could
    /// forward to, nor is a proxy without interception asked for one of a headless service.
    pub(crate) fn resolution(&self, service: &Service) -> Resolution {
        let asked = self.node.kind == NodeKind::Sidecar && self.target.has(Part::Interception);
        let headless = service.headless && !self.target.has(Part::Interception);
        match service.resolution {
            Resolution::Passthrough if !asked && (headless || self.node.kind == NodeKind::Router) => {
                Resolution::Endpoints
            }
            other => other,
        }
    }

    /// Whether connections of the node's pod are redirected to the node: then it knows where they were meant to go.
    pub(crate) fn is_redirected(&self) -> bool {
        self.node.kind == NodeKind::Sidecar
            && self.node.interception != Interception::None
            && self.target.has(Part::Interception)
    }

    /// Notes where it was written what a resource, or a part of one, says.
    pub(crate) fn locate(&self, metadata: &mut Option<Metadata>, what: Says, span: Span) {
        if self.located {
            place::note(metadata.get_or_insert_default(), what, span);
        }
    }

    /// Reports, at a place in the sources.
    pub(crate) fn report(&self, diagnostic: Diagnostic, span: Span) {
        self.diagnostics.borrow_mut().push(diagnostic.at(&self.world.sources, span));
    }

    /// Reports that a field is not obeyed by this release.
    pub(crate) fn not_yet(&self, what: &str, consequence: &str, span: Span) {
        let message = format!("{what} is not obeyed yet: {consequence}");
        self.report(Diagnostic::warning("field-not-obeyed", message), span);
    }

    /// Whether the target knows a part; if it does not, that is reported as a field that is not obeyed.
    pub(crate) fn has_or_says(&self, part: Part, what: &str, consequence: &str, span: Span) -> bool {
        let has = self.target.has(part);
        if !has {
            self.not_yet(what, consequence, span);
        }
        has
    }

    /// What there is to say so far.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics.borrow().clone();
        crate::diag::sort(&mut diagnostics);
        diagnostics
    }
}

fn full_name(host: &str, namespace: &str, world: &World, aliases: &BTreeMap<String, String>) -> String {
    let host = resolve_host(host, namespace, &world.mesh.domain);
    aliases.get(&host).cloned().unwrap_or(host)
}
