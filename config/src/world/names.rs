//! Names of hosts.

/// The full name of a host as a resource of `namespace` means it: a name without dots is a service of that
/// namespace, `<name>.<namespace>.svc.<domain>`; a wildcard and a name with dots stand for themselves. In lower
/// case, for names are compared so (RFC 4343).
#[must_use]
pub fn resolve_host(host: &str, namespace: &str, domain: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.is_empty() || host.contains('.') || is_wildcard(&host) {
        host
    } else {
        format!("{host}.{namespace}.svc.{domain}")
    }
}

/// Whether a host stands for several: `*` or `*.suffix`.
#[must_use]
pub fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether `pattern` (exact, `*.suffix` or `*`) takes in all that `host` stands for. Both are full names in lower
/// case.
#[must_use]
pub fn host_covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        None => pattern == host,
        Some(suffix) => {
            let rest = host.strip_prefix('*').unwrap_or(host);
            rest.len() >= suffix.len()
                && rest.ends_with(suffix)
                && (is_wildcard(host) || rest.len() > suffix.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_as_istio_does() {
        let resolve = |host| resolve_host(host, "shop", "cluster.local");
        assert_eq!(resolve("cart"), "cart.shop.svc.cluster.local");
        assert_eq!(resolve("Cart"), "cart.shop.svc.cluster.local");
        assert_eq!(resolve("cart.other"), "cart.other");
        assert_eq!(resolve("*"), "*");
        assert_eq!(resolve("*.example.com"), "*.example.com");
    }

    #[test]
    fn wildcards_cover() {
        assert!(host_covers("*", "a.b"));
        assert!(host_covers("*", "*.b"));
        assert!(host_covers("*.b", "a.b"));
        assert!(host_covers("*.b", "*.b"));
        assert!(host_covers("*.b", "*.a.b"));
        assert!(!host_covers("*.a.b", "*.b"));
        assert!(!host_covers("*.b", ".b"));
        assert!(!host_covers("a.b", "*.b"));
        assert!(!host_covers("*.b", "b"));
    }
}
