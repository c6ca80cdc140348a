//! Where rules are looked at.

use std::collections::BTreeMap;

use super::super::registry::Service;

/// Where rules are looked at.
pub(super) struct Place<'a> {
    /// `mesh`, or the gateway as `namespace/name`.
    pub gateway: &'a str,
    /// The listener's port.
    pub port: u32,
    /// Whether clients speak TLS there.
    pub tls: bool,
    /// The services that routes may lead to, by name.
    pub services: &'a BTreeMap<&'a str, &'a Service>,
}
