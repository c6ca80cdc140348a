//! The route that was chosen for a request, with what all its levels say.

use crate::model::mutation::Mutations;
use crate::model::route::{Route, RouteConfig, VirtualHost};
use crate::model::route_action::{Action, Mirror, WeightedEntry};

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
    pub cluster: Option<std::borrow::Cow<'r, str>>,
}

impl Chosen<'_> {
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
