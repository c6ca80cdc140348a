//! The route that was chosen for a request, with what all its levels say.

use crate::base::headers::HeaderBlock;
use crate::base::names::HeaderName;
use crate::model::mutation::Mutations;
use crate::model::route::{Route, RouteConfig, VirtualHost};
use crate::model::route_action::{
    Action, ClusterChoice, Forward, Mirror, Weighted, WeightedCluster, WeightedEntry,
};
use crate::observe::record::Record;
use crate::upstream::hash;
use std::borrow::Cow;

/// The route that was chosen, and the cluster.
pub struct Chosen<'r> {
    /// Route configuration.
    pub config: &'r RouteConfig,
    /// Virtual host.
    pub virtual_host: &'r VirtualHost,
    /// Route.
    pub route: &'r Route,
    /// The drawn weighted cluster.
    pub entry: Option<&'r WeightedEntry>,
    /// Cluster, when the route names one.
    pub cluster: Option<Cow<'r, str>>,
}

impl<'r> Chosen<'r> {
    /// Names the cluster of a route that forwards; a weighted one is drawn with `random` unless the request decides.
    pub(super) fn choose_cluster(
        &mut self,
        forward: &'r Forward,
        headers: &HeaderBlock,
        record: &Record,
        random: u64,
    ) {
        let named = |name: &HeaderName| {
            headers.find(name).and_then(|v| std::str::from_utf8(v).ok()).map(|v| v.to_owned().into())
        };
        match &forward.cluster {
            ClusterChoice::Fixed(name) => self.cluster = Some(Cow::Borrowed(name)),
            ClusterChoice::Header(name) => self.cluster = named(name),
            ClusterChoice::Weighted(weighted) => {
                let number = point(weighted, forward, headers, record).unwrap_or(random);
                let mut point = number.checked_rem(weighted.total).unwrap_or(0);
                for entry in &weighted.entries {
                    if point < u64::from(entry.weight) {
                        self.entry = Some(entry);
                        self.cluster = match &entry.cluster {
                            WeightedCluster::Fixed(name) => Some(Cow::Borrowed(name)),
                            WeightedCluster::Header(name) => named(name),
                        };
                        return;
                    }
                    point = point.saturating_sub(u64::from(entry.weight));
                }
            }
        }
    }

    /// Every level's mutations, in the order they are applied.
    pub fn each_level(&self, mut apply: impl FnMut(&Mutations)) {
        if let Some(entry) = self.entry {
            apply(&entry.mutations);
        }
        let levels = [&self.route.mutations, &self.virtual_host.mutations, &self.config.mutations];
        if self.config.most_specific_wins {
            levels.into_iter().rev().for_each(apply);
        } else {
            levels.into_iter().for_each(apply);
        }
    }

    /// Mirrors: the route's, else the virtual host's, else the configuration's.
    pub fn mirrors(&self) -> &[Mirror] {
        let own: &[Mirror] = match &self.route.action {
            Action::Forward(forward) => &forward.mirrors,
            _ => &[],
        };
        [own, &self.virtual_host.mirrors, &self.config.mirrors]
            .into_iter()
            .find(|m| !m.is_empty())
            .unwrap_or_default()
    }
}

/// The number that the request itself gives for the draw among weighted clusters: that of a header, or its hash.
fn point(weighted: &Weighted, forward: &Forward, headers: &HeaderBlock, record: &Record) -> Option<u64> {
    if weighted.use_hash_policy {
        // A cookie that is made here is made again, and then sent, when the request is forwarded.
        return hash::combine(&forward.hash, &hash::Inputs::of(headers, record), &mut Vec::new());
    }
    let value = headers.find(weighted.header.as_ref()?)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}
