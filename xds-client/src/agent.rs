//! Who the client says it is.

use weir_proto::envoy::config::core::v3::node::UserAgentVersionType;
use weir_proto::envoy::config::core::v3::{BuildVersion, Node};
use weir_proto::envoy::r#type::v3::SemanticVersion;
use weir_proto::google::protobuf::{Struct, Value, value::Kind};

/// What the client can do, in the words of Envoy's `client_features`. (Envoy's other two would be untrue here:
/// overprovisioning is supported, and load reports are not sent.)
pub const CLIENT_FEATURES: [&str; 2] = ["xds.config.supports-resource-ttl", "xds.config.resource-in-sotw"];

/// The release of Envoy whose behaviour this client has: control planes choose by it what they send.
const BEHAVES_AS: (u32, u32, u32) = (1, 40, 0);

/// The bootstrap's node as it is sent: user agent, its version and features are filled in where it says nothing. The
/// user agent is Envoy's, for control planes test that name before they send anything; the build's metadata says
/// which program it is.
pub fn agent(mut node: Node, program: &str, version: &str) -> Node {
    if node.user_agent_name.is_empty() {
        node.user_agent_name = "envoy".into();
    }
    if node.user_agent_version_type.is_none() {
        let (major_number, minor_number, patch) = BEHAVES_AS;
        let text = Value { kind: Some(Kind::StringValue(version.to_owned())) };
        node.user_agent_version_type = Some(UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
            version: Some(SemanticVersion { major_number, minor_number, patch }),
            metadata: Some(Struct { fields: [(program.to_owned(), text)].into() }),
        }));
    }
    for feature in CLIENT_FEATURES {
        if !node.client_features.iter().any(|known| known == feature) {
            node.client_features.push(feature.to_owned());
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bootstrap_says_stays() {
        let node = Node { id: "a".into(), user_agent_name: "mine".into(), ..Node::default() };
        let sent = agent(node, "weir", "1");
        assert_eq!((sent.id.as_str(), sent.user_agent_name.as_str()), ("a", "mine"));
        assert!(sent.user_agent_version_type.is_some());
        assert_eq!(agent(Node::default(), "weir", "1").user_agent_name, "envoy");
        assert_eq!(sent.client_features, agent(sent.clone(), "weir", "1").client_features);
    }
}
