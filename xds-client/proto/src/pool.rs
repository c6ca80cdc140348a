//! The descriptors of every message type, loaded on demand.

use prost_reflect::{DescriptorPool, ExtensionDescriptor, MessageDescriptor};

/// Written by build.rs: `envoy-types`' protos and ours, with their options.
static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Descriptors of every message type of this crate: what reading, checking and writing text takes.
///
/// It holds about 15 MB and takes some 30 ms to load, so load it, use it for the task in hand, and drop it; the messages
/// it yields do not refer to it.
#[derive(Debug, Clone)]
pub struct Pool {
    pub(crate) descriptors: DescriptorPool,
    pub(crate) options: Options,
}

/// The options of protos that this crate acts on.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `udpa.annotations.sensitive` of fields.
    pub sensitive: Option<ExtensionDescriptor>,
    /// `validate.rules` of fields.
    pub rules: Option<ExtensionDescriptor>,
    /// `validate.required` of oneofs.
    pub oneof_required: Option<ExtensionDescriptor>,
    /// `envoy.annotations.disallowed_by_default` of fields.
    pub disallowed: Option<ExtensionDescriptor>,
    /// `envoy.annotations.disallowed_by_default_enum` of enum values.
    pub disallowed_enum: Option<ExtensionDescriptor>,
}

/// The descriptors that were built in are not usable, or do not know a type.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PoolError {
    /// The descriptor set of this binary does not decode: the build is broken.
    #[error("the descriptor set built into this binary is broken: {0}")]
    Broken(String),
    /// No message type has this full name.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
}

impl Pool {
    /// Loads the descriptors.
    ///
    /// # Errors
    /// [`PoolError::Broken`], if the build went wrong.
    pub fn load() -> Result<Self, PoolError> {
        let descriptors =
            DescriptorPool::decode(DESCRIPTORS).map_err(|error| PoolError::Broken(error.to_string()))?;
        let extension = |name: &str| descriptors.get_extension_by_name(name);
        let options = Options {
            sensitive: extension("udpa.annotations.sensitive"),
            rules: extension("validate.rules"),
            oneof_required: extension("validate.required"),
            disallowed: extension("envoy.annotations.disallowed_by_default"),
            disallowed_enum: extension("envoy.annotations.disallowed_by_default_enum"),
        };
        Ok(Self { options, descriptors })
    }

    /// Whether a message type of this full name is known.
    pub fn knows(&self, type_name: &str) -> bool {
        self.descriptors.get_message_by_name(type_name).is_some()
    }

    pub(crate) fn message(&self, type_name: &str) -> Result<MessageDescriptor, PoolError> {
        let found = self.descriptors.get_message_by_name(type_name);
        found.ok_or_else(|| PoolError::UnknownType(type_name.to_owned()))
    }
}
