//! What every compile function may ask: the node, the runtime layers, which clusters exist; and what it lends to
//! plug-ins ([`Compile`]).

use super::{matcher, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::live::cluster::ClusterLive;
use crate::model::matcher::{Fraction, HeaderMatch, StringMatch};
use crate::model::mutation::HeaderAdd;
use crate::model::plugin::Compile;
use crate::model::pushed::Discovered;
use prost::Message;
use regex::bytes::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use weir_proto::envoy::config::core::v3::{HeaderValueOption, RuntimeFeatureFlag, RuntimeFractionalPercent};
use weir_proto::envoy::config::route::v3::HeaderMatcher;
use weir_proto::envoy::r#type::matcher::v3::StringMatcher;
use weir_proto::google::protobuf::Any;
use weir_proto::re2::{self, Re2Error};
use xxhash_rust::xxh64::xxh64;

pub use crate::model::plugin::Node;
pub use crate::model::runtime::Runtime;

/// Context of one compilation.
pub struct Cx<'a> {
    /// This proxy.
    pub node: &'a Node,
    runtime: &'a Runtime,
    /// Hashes of the runtime keys that were looked up; none: no source brings a layer.
    asked: Option<Rc<RefCell<Vec<u64>>>>,
    /// Does a cluster of this name exist? (For routes that must name known ones.)
    pub known_cluster: &'a dyn Fn(&str) -> bool,
    /// The live part of a cluster name, made at its first mention.
    pub live: &'a dyn Fn(&Name) -> Arc<ClusterLive>,
    /// Bind configuration of all clusters without one of their own (`cluster_manager.upstream_bind_config`).
    pub default_source: Option<crate::model::cluster::LocalAddresses>,
    /// DNS resolvers of clusters without their own.
    pub resolvers: &'a [std::net::SocketAddr],
    /// A filter's configuration that a source has brought (ECDS).
    pub extension: &'a dyn Fn(&str) -> Option<Arc<Any>>,
    /// Does the bootstrap have a secret of this name?
    pub known_secret: &'a dyn Fn(&str) -> bool,
    /// The one of them that is being judged.
    pub trial: Option<&'a str>,
    /// Filters whose configurations a source brings, as they are met.
    pub discovered: RefCell<Vec<Discovered>>,
    regexes: RefCell<HashMap<String, Regex>>,
}

impl<'a> Cx<'a> {
    /// A context.
    pub fn new(
        node: &'a Node,
        runtime: &'a Runtime,
        known_cluster: &'a dyn Fn(&str) -> bool,
        live: &'a dyn Fn(&Name) -> Arc<ClusterLive>,
    ) -> Self {
        Cx {
            node,
            runtime,
            asked: runtime.is_pushed().then(Rc::default),
            known_cluster,
            live,
            default_source: None,
            resolvers: &[],
            extension: &|_| None,
            known_secret: &|_| false,
            trial: None,
            discovered: RefCell::default(),
            regexes: RefCell::default(),
        }
    }

    /// The same where clusters need not exist.
    pub fn unchecked(&self) -> Cx<'a> {
        let asked = self.asked.clone();
        Cx { asked, ..Cx::new(self.node, self.runtime, &|_| true, self.live) }
    }

    /// Compiles an expression (whole match); equal ones of one configuration share their program.
    pub fn full_regex(&self, at: &At<'_>, pattern: &str) -> Option<Regex> {
        self.cached(at, pattern, re2::full)
    }

    /// Compiles an expression that is searched for (substitutions).
    pub fn search_regex(&self, at: &At<'_>, pattern: &str) -> Option<Regex> {
        regex_error(at, re2::partial(pattern))
    }

    fn cached(
        &self,
        at: &At<'_>,
        pattern: &str,
        compile: impl Fn(&str) -> Result<Regex, Re2Error>,
    ) -> Option<Regex> {
        if let Some(found) = self.regexes.borrow().get(pattern) {
            return Some(found.clone());
        }
        let regex = regex_error(at, compile(pattern))?;
        self.regexes.borrow_mut().insert(pattern.to_owned(), regex.clone());
        Some(regex)
    }

    /// The value of a runtime key.
    pub fn runtime(&self, key: &str) -> Option<&'a str> {
        if let Some(asked) = &self.asked {
            asked.borrow_mut().push(key_hash(key));
        }
        self.runtime.get(key)
    }

    /// Can no runtime key have a value?
    pub fn runtime_is_void(&self) -> bool {
        self.runtime.is_void()
    }

    /// Hashes of the runtime keys that were looked up, when a source may change them.
    pub fn asked(&self) -> Box<[u64]> {
        self.asked.as_ref().map(|asked| asked.take().into()).unwrap_or_default()
    }

    /// A runtime key as a number.
    pub fn runtime_u64(&self, key: &str) -> Option<u64> {
        self.runtime(key).and_then(|text| text.parse().ok())
    }
}

/// What is kept of a runtime key that was looked up.
pub fn key_hash(key: &str) -> u64 {
    xxh64(key.as_bytes(), 0)
}

fn regex_error(at: &At<'_>, result: Result<Regex, Re2Error>) -> Option<Regex> {
    match result {
        Ok(regex) => Some(regex),
        Err(error) => {
            at.error(format!("invalid regular expression: {error}"));
            None
        }
    }
}

impl Compile for Cx<'_> {
    fn node(&self) -> &Node {
        self.node
    }

    fn string_match(&self, at: &At<'_>, message: &[u8]) -> Option<StringMatch> {
        matcher::string(self, at, &decoded::<StringMatcher>(at, message)?)
    }

    fn header_match(&self, at: &At<'_>, message: &[u8]) -> Option<HeaderMatch> {
        matcher::header(self, at, &decoded::<HeaderMatcher>(at, message)?)
    }

    fn header_additions(&self, at: &At<'_>, field: &str, messages: &[Vec<u8>]) -> Box<[HeaderAdd]> {
        let one = |(i, m): (usize, &Vec<u8>)| decoded::<HeaderValueOption>(&at.item(field, i), m);
        let options: Vec<HeaderValueOption> = messages.iter().enumerate().filter_map(one).collect();
        super::header_ops::additions(at, field, &options)
    }

    fn runtime_fraction(&self, at: &At<'_>, message: &[u8]) -> Option<Fraction> {
        wkt::runtime_fraction(self, at, &decoded::<RuntimeFractionalPercent>(at, message)?)
    }

    fn runtime_flag(&self, at: &At<'_>, message: &[u8]) -> Option<bool> {
        wkt::runtime_flag(self, at, &decoded::<RuntimeFeatureFlag>(at, message)?)
    }
}

/// Decodes a message.
fn decoded<M: Message + Default>(at: &At<'_>, message: &[u8]) -> Option<M> {
    match M::decode(message) {
        Ok(message) => Some(message),
        Err(error) => {
            at.error(format!("cannot be decoded: {error}"));
            None
        }
    }
}
