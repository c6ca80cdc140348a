//! Lists of host names: what two of them have in common, and which name goes first.

use crate::world::{host_covers, is_wildcard};

/// Order of precedence: exact names before wildcards, longer wildcards before shorter ones.
pub(crate) fn by_specificity(a: &str, b: &str) -> std::cmp::Ordering {
    is_wildcard(a).cmp(&is_wildcard(b)).then_with(|| b.len().cmp(&a.len())).then_with(|| a.cmp(b))
}

/// The hosts that two lists have in common, each pair giving the narrower of its two names, in the order of
/// the first list and without duplicates.
pub(crate) fn intersection(servers: &[String], routes: &[String]) -> Vec<String> {
    let mut common: Vec<String> = Vec::new();
    for server in servers {
        for route in routes {
            let narrow = if host_covers(server, route) {
                route
            } else if host_covers(route, server) {
                server
            } else {
                continue;
            };
            if !common.contains(narrow) {
                common.push(narrow.clone());
            }
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_takes_the_narrower_name() {
        let servers = ["*.shop.example".to_owned(), "shop.example".to_owned()];
        let routes = ["a.shop.example".to_owned(), "*".to_owned()];
        assert_eq!(intersection(&servers, &routes), ["a.shop.example", "*.shop.example", "shop.example"]);
    }

    #[test]
    fn exact_names_come_before_wildcards() {
        let mut names = ["*", "*.example", "b.example", "*.a.example"];
        names.sort_by(|a, b| by_specificity(a, b));
        assert_eq!(names, ["b.example", "*.a.example", "*.example", "*"]);
    }
}
