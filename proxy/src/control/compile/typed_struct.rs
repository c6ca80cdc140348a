//! `TypedStruct`: an extension's configuration in words. Istio sends its own filters so, for Envoys that lack them.

use super::{metadata, wkt};
use crate::base::ledger::At;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use weir_proto::google::protobuf::{Any, Struct};
use weir_proto::{ParseOptions, Pool, any, udpa, xds};

/// Most conversions kept: a control plane sends the same few in every listener and cluster, and the descriptors that
/// a conversion needs take some 30 ms to load.
const MAX_KEPT: usize = 1024;

thread_local! {
    static KEPT: RefCell<HashMap<Vec<u8>, Any, foldhash::fast::RandomState>> = RefCell::default();
}

/// The message itself: what a `TypedStruct` describes is turned into the message that it names.
pub fn open<'a>(at: &At<'_>, config: &'a Any) -> Option<Cow<'a, Any>> {
    let (type_url, value) = if wkt::is::<udpa::r#type::v1::TypedStruct>(config) {
        let message = wkt::unpack::<udpa::r#type::v1::TypedStruct>(at, config)?;
        (message.type_url, message.value)
    } else if wkt::is::<xds::r#type::v3::TypedStruct>(config) {
        let message = wkt::unpack::<xds::r#type::v3::TypedStruct>(at, config)?;
        (message.type_url, message.value)
    } else {
        return Some(Cow::Borrowed(config));
    };
    if let Some(found) = KEPT.with_borrow(|kept| kept.get(&config.value).cloned()) {
        return Some(Cow::Owned(found));
    }
    let found = convert(at, &type_url, value)?;
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(config.value.clone(), found.clone());
    });
    Some(Cow::Owned(found))
}

fn convert(at: &At<'_>, type_url: &str, value: Option<Struct>) -> Option<Any> {
    let serde_json::Value::Object(mut fields) = metadata::structure(&value.unwrap_or_default()) else {
        at.bad("value", "must be an object");
        return None;
    };
    let name = any::name_in_url(at.non_empty("type_url", type_url)?);
    let pool = Pool::load().map_err(|error| at.error(error.to_string())).ok()?;
    if !pool.knows(name) {
        at.unsupported(&format!("an extension of type '{name}'"));
        return None;
    }
    fields.insert("@type".into(), any::type_url(name).into());
    let options = ParseOptions::default();
    match pool.parse_value::<Any>(fields.into(), &options) {
        Ok(parsed) => Some(parsed.message),
        Err(error) => {
            for problem in error.problems {
                at.field("value").error(problem.to_string());
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ledger::Sink;
    use prost::Message;
    use weir_proto::envoy::tcp::metadataexchange::config::MetadataExchange;
    use weir_proto::google::protobuf::{Value, value::Kind};

    fn wrapped(type_url: &str, fields: &[(&str, Kind)]) -> Any {
        let fields = fields.iter().map(|(k, v)| ((*k).to_owned(), Value { kind: Some(v.clone()) })).collect();
        let message =
            udpa::r#type::v1::TypedStruct { type_url: type_url.into(), value: Some(Struct { fields }) };
        Any {
            type_url: "type.googleapis.com/udpa.type.v1.TypedStruct".into(),
            value: message.encode_to_vec(),
        }
    }

    #[test]
    fn words_become_the_message_and_mistakes_are_told() {
        let url = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange";
        let good = wrapped(
            url,
            &[("protocol", Kind::StringValue("p".into())), ("enable_discovery", Kind::BoolValue(true))],
        );
        for _ in 0..2 {
            let sink = Sink::new();
            let found = open(&sink.root("c"), &good).expect("a message");
            let message = any::unpack::<MetadataExchange>(&found).expect("of its type");
            assert_eq!((message.protocol.as_str(), message.enable_discovery), ("p", true));
        }
        for (config, want) in [
            (wrapped(url, &[("protocoll", Kind::StringValue("p".into()))]), "has no field"),
            (wrapped("type.googleapis.com/a.B", &[]), "an extension of type 'a.B' is not supported"),
            (wrapped("", &[]), "must not be empty"),
        ] {
            let sink = Sink::new();
            assert!(open(&sink.root("c"), &config).is_none());
            let errors = sink.into_errors();
            assert!(errors.iter().any(|e| e.to_string().contains(want)), "{errors:?}");
        }
    }
}
