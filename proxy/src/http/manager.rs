//! A worker's cell of a connection manager, and of the route configuration it uses.

use crate::model::http::{ConnectionManager, RouteSource};
use crate::model::route::RouteConfig;
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::{http as stat, listener_http};
use crate::upstream::Worker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// A connection manager on one worker.
#[derive(Debug)]
pub struct ManagerCell {
    /// The configuration.
    pub config: Arc<ConnectionManager>,
    /// `http.<prefix>.`
    pub stats: Cells,
    /// `listener.<listener's prefix>.http.<prefix>.`
    on_listener: Cells,
    /// No `x-envoy-*` headers of the router's own.
    pub suppress_envoy_headers: bool,
    /// Are there HTTP filters besides the router?
    pub has_filters: bool,
    routes: RefCell<(u64, Option<Rc<Arc<RouteConfig>>>)>,
}

thread_local! {
    /// Cells by address of their configuration, which each of them keeps alive.
    static CELLS: RefCell<HashMap<usize, Weak<ManagerCell>>> = RefCell::new(HashMap::new());
}

impl ManagerCell {
    /// The worker's cell of a configuration, made at first use.
    pub fn of(config: &Arc<ConnectionManager>) -> Rc<ManagerCell> {
        let key = Arc::as_ptr(config).addr();
        if let Some(cell) = CELLS.with_borrow(|cells| cells.get(&key).and_then(Weak::upgrade)) {
            return cell;
        }
        let cell = Rc::new(ManagerCell {
            config: config.clone(),
            stats: Registry::global().cells(&stat::SCHEMA, &format!("http.{}.", config.stat_prefix)),
            on_listener: Registry::global().cells(
                &listener_http::SCHEMA,
                &format!("listener.{}.http.{}.", config.listener, config.stat_prefix),
            ),
            suppress_envoy_headers: config.suppress_envoy_headers,
            has_filters: config.filters.len() != 1,
            routes: RefCell::new((0, None)),
        });
        if let Some(worker) = Worker::current() {
            // Taken now, for a first request may come when the listener is gone.
            cell.routes(&worker);
        }
        CELLS.with_borrow_mut(|cells| {
            cells.retain(|_, cell| cell.strong_count() > 0);
            cells.insert(key, Rc::downgrade(&cell));
        });
        cell
    }

    /// Counts a response, for the manager and for the manager on its listener.
    pub fn response_code(&self, status: u16) {
        self.stats.response_code(status);
        self.on_listener.response_code(status);
    }

    /// The route configuration in force; none while a named one has not arrived. One that is gone stays for the
    /// connections of a listener that drains.
    pub fn routes(&self, worker: &Worker) -> Option<Rc<Arc<RouteConfig>>> {
        let version = worker.version();
        if self.routes.borrow().0 != version || self.routes.borrow().1.is_none() {
            let found = match &self.config.routes {
                RouteSource::Inline(routes) => Some(routes.clone()),
                RouteSource::Named(pushed) => worker.with_snapshot(|s| s.routes.get(&pushed.name).cloned()),
            };
            let mut cached = self.routes.borrow_mut();
            cached.0 = version;
            if let Some(new) = found
                && !cached.1.as_ref().is_some_and(|old| Arc::ptr_eq(old, &new))
            {
                cached.1 = Some(Rc::new(new));
            }
        }
        self.routes.borrow().1.clone()
    }
}
