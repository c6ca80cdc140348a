//! The module tree of generated messages: `envoy-types`', with ours merged in where a package is shared.

#![allow(missing_docs, clippy::all)]

pub use envoy_types::pb::{cel, google, opentelemetry, ratelimit};

pub mod envoy {
    pub use envoy_types::pb::envoy::*;

    pub mod extensions {
        pub use envoy_types::pb::envoy::extensions::*;

        pub mod network_filters {
            pub mod peer_metadata {
                include!(concat!(env!("OUT_DIR"), "/envoy.extensions.network_filters.peer_metadata.rs"));
            }
        }
    }

    pub mod tcp {
        pub mod metadataexchange {
            pub mod config {
                include!(concat!(env!("OUT_DIR"), "/envoy.tcp.metadataexchange.config.rs"));
            }
        }
    }
}

pub mod io {
    pub use envoy_types::pb::io::*;

    pub mod istio {
        pub mod http {
            pub mod peer_metadata {
                include!(concat!(env!("OUT_DIR"), "/io.istio.http.peer_metadata.rs"));
            }
        }
    }
}

pub mod istio {
    pub mod envoy {
        pub mod config {
            pub mod filter {
                pub mod http {
                    pub mod alpn {
                        pub mod v2alpha1 {
                            include!(concat!(
                                env!("OUT_DIR"),
                                "/istio.envoy.config.filter.http.alpn.v2alpha1.rs"
                            ));
                        }
                    }
                }
            }
        }
    }

    pub mod workload {
        include!(concat!(env!("OUT_DIR"), "/istio.workload.rs"));
    }
}

pub mod stats {
    include!(concat!(env!("OUT_DIR"), "/stats.rs"));
}

pub mod udpa {
    pub use envoy_types::pb::udpa::*;

    pub mod r#type {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/udpa.r#type.v1.rs"));
        }
    }
}

pub mod xds {
    pub use envoy_types::pb::xds::*;

    pub mod data {
        pub mod orca {
            pub mod v3 {
                include!(concat!(env!("OUT_DIR"), "/xds.data.orca.v3.rs"));
            }
        }
    }

    pub mod r#type {
        pub mod matcher {
            pub mod v3 {
                pub use envoy_types::pb::xds::r#type::matcher::v3::*;
                include!(concat!(env!("OUT_DIR"), "/xds.r#type.matcher.v3.rs"));
            }
        }

        pub mod v3 {
            pub use envoy_types::pb::xds::r#type::v3::*;
            include!(concat!(env!("OUT_DIR"), "/xds.r#type.v3.rs"));
        }
    }
}
