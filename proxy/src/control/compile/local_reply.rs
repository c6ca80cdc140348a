//! `LocalReplyConfig`.

use super::{Cx, access_log, action_parts, format, header_ops, wkt};
use crate::base::ledger::At;
use crate::model::http::{LocalReplies, ReplyMapper};
use crate::model::mutation::HeaderOps;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3 as proto;

/// Largest body of a mapper (Envoy's limit of inline local reply bodies).
const MAX_BODY: usize = 4096;

/// The mappers and the default format.
pub fn config(cx: &Cx<'_>, at: &At<'_>, message: &Option<proto::LocalReplyConfig>) -> LocalReplies {
    let Some(message) = message else { return LocalReplies::default() };
    crate::ledger!(at, message => proto::LocalReplyConfig { mappers, body_format });
    let mappers = mappers.iter().enumerate();
    LocalReplies {
        mappers: mappers.filter_map(|(i, m)| mapper(cx, &at.item("mappers", i), m)).collect(),
        format: body_format.as_ref().and_then(|m| format::string(&at.field("body_format"), m)),
    }
}

fn mapper(cx: &Cx<'_>, at: &At<'_>, message: &proto::ResponseMapper) -> Option<ReplyMapper> {
    crate::ledger!(at, message => proto::ResponseMapper { filter, status_code, body, body_format_override,
        headers_to_add });
    let filter = at.required("filter", filter.as_ref())?;
    let when = access_log::reply_test(cx, &at.field("filter"), filter);
    let status = status_code.as_ref();
    let status =
        status.and_then(|_| u16::try_from(wkt::u32_in(at, "status_code", status_code, 200, 200, 599)).ok());
    let body = match body {
        None => None,
        Some(source) => {
            let bytes = action_parts::data(&at.field("body"), source, MAX_BODY)?;
            match String::from_utf8(bytes) {
                Ok(text) => Some(text.into()),
                Err(_) => {
                    at.bad("body", "is not UTF-8");
                    None
                }
            }
        }
    };
    Some(ReplyMapper {
        status,
        body,
        format: body_format_override
            .as_ref()
            .and_then(|m| format::string(&at.field("body_format_override"), m)),
        headers: HeaderOps {
            remove: Box::default(),
            add: header_ops::additions(at, "headers_to_add", headers_to_add),
        },
        when: when?,
    })
}
