//! `/listeners`

use super::Endpoint;
use super::call::{Call, Reply};
use crate::base::addr::Address;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::fmt::Write;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/listeners",
    changes: false,
    help: "print listener info",
    params: &[("format", "File format to use; One of (text, json)")],
    answer,
};

/// An address as `envoy.config.core.v3.Address`.
pub(super) fn address_json(address: &Address) -> Value {
    match address {
        Address::Ip(at) => {
            json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
        }
        Address::Unix(path) => json!({"pipe": {"path": path.to_string_lossy()}}),
    }
}

fn answer(call: &Call<'_>) -> Reply {
    let listeners = call.state.listeners();
    match call.query.value("format") {
        None | Some("text") => {
            let mut out = String::new();
            for listener in &listeners {
                for address in &listener.addresses {
                    let _ = writeln!(out, "{}::{address}", listener.name);
                }
            }
            Reply::text(out)
        }
        Some("json") => {
            let shown = listeners.iter().map(|listener| {
                let mut one = json!({"name": listener.name});
                let mut addresses = listener.addresses.iter().map(address_json);
                if let (Some(fields), Some(first)) = (one.as_object_mut(), addresses.next()) {
                    fields.insert("local_address".into(), first);
                    let others: Vec<Value> = addresses.map(|a| json!({"local_address": a})).collect();
                    if !others.is_empty() {
                        fields.insert("additional_local_addresses".into(), others.into());
                    }
                }
                one
            });
            Reply::json(&json!({"listener_statuses": shown.collect::<Vec<_>>()}))
        }
        Some(_) => Reply::refused(StatusCode::BAD_REQUEST, "usage: /listeners?format=(text|json)\n"),
    }
}
