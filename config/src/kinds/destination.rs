//! Where a rule leads to.

use crate::yaml::Spanned;

fields! {
    /// A service, and of it a subset and a port.
    pub struct Destination {
        /// Short or full name of a service.
        host: Spanned<String> = "host",
        /// A subset that a DestinationRule defines.
        subset: Option<Spanned<String>> = "subset",
        /// The port, if the service has several.
        port: Option<PortSelector> = "port",
    }

    /// A port by number.
    pub struct PortSelector {
        /// 1 to 65535.
        number: Option<Spanned<u32>> = "number",
    }
}

impl PortSelector {
    /// The number, if one was given.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.number.as_ref().map(|number| number.value)
    }
}
