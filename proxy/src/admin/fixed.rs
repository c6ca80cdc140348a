//! Endpoints of a line each: `/certs`, `/hot_restart_version`, `/init_dump`, `/quitquitquit`.

use super::Endpoint;
use super::call::Reply;

pub(super) const CERTS: Endpoint = Endpoint {
    path: "/certs",
    changes: false,
    help: "print certs on machine",
    params: &[],
    answer: |call| Reply::json(&call.state.certificates()),
};

pub(super) const HOT_RESTART_VERSION: Endpoint = Endpoint {
    path: "/hot_restart_version",
    changes: false,
    help: "print the hot restart compatibility version",
    params: &[],
    answer: |call| Reply::text(call.state.server_info().hot_restart_version),
};

pub(super) const INIT_DUMP: Endpoint = Endpoint {
    path: "/init_dump",
    changes: false,
    help: "print what initialization still waits for",
    params: &[],
    answer: |call| Reply::json(&call.state.unready()),
};

pub(super) const QUITQUITQUIT: Endpoint = Endpoint {
    path: "/quitquitquit",
    changes: true,
    help: "exit the server",
    params: &[],
    answer: |call| {
        let state = call.state.clone();
        Reply { after: Some(Box::new(move || state.quit())), ..Reply::ok() }
    },
};
