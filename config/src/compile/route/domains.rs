//! The names by which clients may ask for a service.

use super::super::context::Context;
use super::super::registry::{Origin, Resolution, Service};

/// The names of a service's virtual host: full, with the final dot, short ones where the node's domain allows,
/// virtual addresses. The first list is certain; names of the second give way where another virtual host has
/// them.
pub(super) fn of_service(ctx: &Context<'_>, service: &Service) -> Vec<String> {
    let mut domains = Vec::new();
    for name in std::iter::once(&service.hostname).chain(&service.aliases) {
        domains.push(name.clone());
        domains.push(format!("{name}."));
        domains.extend(short_names(name, &ctx.node.domain));
    }
    if service.resolution == Resolution::Passthrough && service.origin == Origin::Kubernetes {
        let below: Vec<String> = domains.iter().map(|name| format!("*.{name}")).collect();
        domains.extend(below);
    }
    for address in service.vips().filter(|address| *address != "0.0.0.0" && *address != "::") {
        domains.push(if address.contains(':') { format!("[{address}]") } else { address.to_owned() });
    }
    let mut unique: Vec<String> = Vec::new();
    for domain in domains {
        if !unique.contains(&domain) {
            unique.push(domain);
        }
    }
    unique
}

/// `web`, `web.shop.svc`, `web.shop` for a service of the node's own namespace, the last two for others.
fn short_names(hostname: &str, node_domain: &str) -> Vec<String> {
    let Some((own_namespace, cluster_domain)) = node_domain.split_once(".svc.") else {
        return Vec::new();
    };
    let Some((qualified, domain)) = hostname.split_once(".svc.") else {
        return Vec::new();
    };
    let Some((name, namespace)) = qualified.split_once('.') else {
        return Vec::new();
    };
    if domain != cluster_domain || name.is_empty() || namespace.is_empty() {
        return Vec::new();
    }
    let with_svc = format!("{qualified}.svc");
    if namespace == own_namespace {
        vec![name.to_owned(), with_svc, qualified.to_owned()]
    } else {
        vec![qualified.to_owned(), with_svc]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_depend_on_the_namespace() {
        let names = |host| short_names(host, "shop.svc.cluster.local");
        assert_eq!(names("web.shop.svc.cluster.local"), ["web", "web.shop.svc", "web.shop"]);
        assert_eq!(names("web.other.svc.cluster.local"), ["web.other", "web.other.svc"]);
        assert!(names("web.example").is_empty());
        assert!(names("web.shop.svc.other.domain").is_empty());
    }
}
