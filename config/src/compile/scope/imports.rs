//! `hosts` of an egress listener: what it imports, and from which namespaces.

use std::rc::Rc;

use super::super::registry::{Port, Service};
use super::super::virtual_service::VirtualService;
use crate::world::host_covers;
use crate::yaml::Spanned;

/// Any namespace.
const ANY: &str = "*";

/// Names to import, by namespace.
pub(super) struct Imports {
    names: Vec<(String, String)>,
}

impl Imports {
    /// Everything.
    pub(super) fn all() -> Self {
        Self { names: vec![(ANY.to_owned(), ANY.to_owned())] }
    }

    /// What `hosts` say to a proxy of a namespace. Those without a namespace are left out: the checks tell.
    pub(super) fn of(hosts: &[Spanned<String>], own: &str) -> Self {
        let split = |host: &Spanned<String>| {
            let (namespace, name) = host.split_once('/')?;
            let namespace = if namespace == "." { own } else { namespace };
            Some((namespace.to_owned(), name.to_ascii_lowercase()))
        };
        Self { names: hosts.iter().filter_map(split).collect() }
    }

    /// A service as it is imported: on one port alone if the listener has one, and by those names that are imported
    /// too. What is said of its namespace goes before what is said of any.
    pub(super) fn service(&self, service: &Rc<Service>, port: Option<u32>) -> Option<Rc<Service>> {
        [service.namespace.as_str(), ANY].into_iter().find_map(|namespace| {
            let imports =
                |host: &str| self.names.iter().any(|(of, name)| of == namespace && host_covers(name, host));
            let wanted = |one: &Port| port.is_none_or(|port| one.number == port);
            let there = imports(&service.hostname) && (port.is_none() || service.ports.iter().any(wanted));
            there.then(|| trimmed(service, wanted, imports))
        })
    }

    /// Whether a VirtualService is imported: by any host that has a name in common with an imported one.
    pub(super) fn takes(&self, one: &VirtualService<'_>) -> bool {
        let common =
            |name: &str| one.hosts.iter().any(|(host, _)| host_covers(name, host) || host_covers(host, name));
        self.names.iter().any(|(of, name)| (*of == one.namespace || of == ANY) && common(name))
    }
}

/// A service with some of its ports and aliases.
pub(super) fn trimmed(
    service: &Rc<Service>,
    port: impl Fn(&Port) -> bool,
    alias: impl Fn(&str) -> bool,
) -> Rc<Service> {
    if service.ports.iter().all(&port) && service.aliases.iter().all(|name| alias(name)) {
        return service.clone();
    }
    let mut less = Service::clone(service);
    less.ports.retain(&port);
    less.aliases.retain(|name| alias(name));
    Rc::new(less)
}
