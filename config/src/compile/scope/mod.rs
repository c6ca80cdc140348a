//! What a proxy sees of the mesh: all that is exported to its namespace, or what a `Sidecar` resource imports of that.

mod chosen;
mod imports;
mod reached;
mod view;

pub(crate) use view::{Egress, Scope};
