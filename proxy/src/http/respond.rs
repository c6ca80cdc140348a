//! What is done to every response head before it goes down (spec 1.2, 1.4): hop-by-hop fields, date, server, via.

use super::exchange::{Chosen, Exchange};
use super::prepare;
use crate::base::clock;
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::ResponseHead;
use crate::failure::Flag;
use crate::model::http::ServerHeader;
use std::cell::RefCell;

thread_local! {
    /// Second of the cached date, and its text.
    static DATE: RefCell<(u64, [u8; 29])> = const { RefCell::new((u64::MAX, [b' '; 29])) };
}

/// The present date (RFC 9110 section 5.6.7), made once a second.
pub fn with_date<R>(use_it: impl FnOnce(&[u8]) -> R) -> R {
    let second = clock::wall().as_secs();
    DATE.with_borrow_mut(|(cached, text)| {
        if *cached != second {
            *text = imf_date(second);
            *cached = second;
        }
        use_it(text)
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; civil date from days by the usual era arithmetic.
fn imf_date(second: u64) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (day, rest) = (second / 86_400, second % 86_400);
    let z = day + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let y = yoe + era * 400 + u64::from(m <= 2);
    let (name, month) = (DAYS[(day % 7) as usize], MONTHS[(m as usize).saturating_sub(1) % 12]);
    let text = format!(
        "{name}, {d:02} {month} {y:04} {:02}:{:02}:{:02} GMT",
        rest / 3600,
        rest % 3600 / 60,
        rest % 60
    );
    let mut out = [b' '; 29];
    for (slot, byte) in out.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    out
}

/// Drops what belonged to the upstream's connection, before mutations: fields of that name which the configuration
/// adds go out (Envoy since 1.38).
pub fn strip_keep_alive(headers: &mut HeaderBlock) {
    headers.remove_ids(&[Id::KeepAlive, Id::ProxyConnection]);
}

/// Completes a response head. `local`: it is our own.
pub fn complete(x: &mut Exchange<'_>, head: &mut ResponseHead, local: bool) {
    let manager = &x.manager.config;
    let headers = &mut head.headers;
    let upgrade = head.status == 101 && is_upgrade(headers) && is_upgrade(&x.request.headers);
    if !upgrade {
        headers.remove_ids(&[Id::Connection, Id::Upgrade]);
    }
    headers.remove_ids(&[Id::TransferEncoding]);
    if local || !headers.has(Id::Date) {
        with_date(|date| headers.set_id(Id::Date, date));
    }
    match manager.server_header {
        ServerHeader::Overwrite => headers.set_id(Id::Server, manager.server_name.as_bytes()),
        ServerHeader::AppendIfAbsent if !headers.has(Id::Server) => {
            headers.append_id(Id::Server, manager.server_name.as_bytes());
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
    let echo = manager.request_ids.in_response || x.request.headers.has(Id::EnvoyForceTrace);
    if echo && let Some(id) = x.request.headers.get(Id::RequestId) {
        headers.set_id(Id::RequestId, id);
    }
    if let Some(via) = &manager.via {
        prepare::append_via(headers, via);
    }
    if manager.http1.proper_case {
        headers.proper_case();
    }
}

impl Exchange<'_> {
    /// Notes a flag and the details for the log.
    pub fn note(&mut self, (flag, details): (Flag, &'static str)) {
        self.record.flags.set(flag);
        self.record.details = details.into();
    }

    /// `x-envoy-attempt-count` of the response.
    pub fn attempt_count(&self, chosen: &Chosen<'_>, headers: &mut HeaderBlock) {
        if chosen.virtual_host.attempt_count_in_response && self.record.upstream.attempts > 0 {
            let count = itoa::Buffer::new().format(self.record.upstream.attempts).to_owned();
            headers.set_id(Id::EnvoyAttemptCount, count.as_bytes());
        }
    }

    /// Cookies made by the hash policy.
    pub fn add_cookies(&mut self, headers: &mut HeaderBlock) {
        for cookie in self.set_cookies.drain(..) {
            headers.append_id(Id::SetCookie, &cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(&imf_date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&imf_date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&imf_date(1_709_164_800), b"Thu, 29 Feb 2024 00:00:00 GMT");
    }
}
