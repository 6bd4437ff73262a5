//! The dashboard: pages for people, made on the server, over the same routes as the API.
//!
//! A page looks and an act does what a route of the API does: each names that route, is admitted by it, and an act goes through
//! its handler ([`view`]). People are known by sessions ([`session`]), which they open with a token or a one-time link
//! ([`door`]). What a stranger wrote is shown through [`text`] alone. Pages work without script; [`asset`] has the one there is,
//! which fetches a page again when something has happened.
//!
//! To add a page or an act: a line in [`table`], a function beside those of its kind, a case in `tests/dashboard`.

mod activity;
mod asset;
mod attention;
mod audit;
mod door;
mod failure;
mod form;
mod header;
mod hooks;
mod install;
mod layout;
mod link;
mod multipart;
mod part;
mod plugin;
mod plugins;
mod record;
mod runs;
mod seen;
mod session;
mod sessions;
mod table;
mod text;
mod tokens;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get, post};

use crate::api::{Api, Route};
use crate::listen::Bound;
use header::Cookie;
use session::Sessions;

pub(crate) use failure::{not_found, refused};
pub(crate) use header::protect;
pub(crate) use link::Links;

/// Where the pages stand.
pub(crate) const ROOT: &str = "/dashboard";
/// Where people sign in.
pub(crate) const LOGIN_PATH: &str = "/dashboard/login";
/// Where they sign out.
pub(crate) const LOGOUT_PATH: &str = "/dashboard/logout";
/// What a one-time link opens.
pub(crate) const LINK_PATH: &str = "/dashboard/open";

/// How often sessions are looked at that nobody uses: a stream of one outlives it by this at most.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// Whether an address is one of a page.
pub(crate) fn owns(path: &str) -> bool {
    path == "/" || path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What all pages share.
pub(crate) struct Dashboard {
    api: Arc<Api>,
    sessions: Sessions,
    cookie: Cookie,
    /// Routes of the API by their operation.
    routes: HashMap<&'static str, Arc<Route>>,
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").finish_non_exhaustive()
    }
}

impl Dashboard {
    /// The dashboard of a server that listens there.
    pub(crate) fn new(api: Arc<Api>, places: &[Bound]) -> Self {
        let port = places.iter().find_map(Bound::address).map_or(0, |address| address.port());
        let routes = crate::api::routes().into_iter().map(|route| (route.operation, Arc::new(route)));
        Self { api, sessions: Sessions::default(), cookie: Cookie::new(port), routes: routes.collect() }
    }

    /// Ends sessions that have gone on for too long, with their streams, for as long as it is polled.
    pub(crate) async fn watch_sessions(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.sessions.sweep();
        }
    }

    fn route(&self, operation: &str) -> Option<&Arc<Route>> {
        self.routes.get(operation)
    }
}

/// The router of the pages. Whoever serves it puts the guard of the API around it.
pub(crate) fn router(dashboard: &Arc<Dashboard>) -> Router {
    let own = |of: &Arc<Dashboard>| Arc::clone(of);
    let (login, sign_in, sign_out, open) = (own(dashboard), own(dashboard), own(dashboard), own(dashboard));
    view::router(dashboard, table::views())
        .route("/", any(|| async { door::go(ROOT) }))
        .route(
            LOGIN_PATH,
            get(move |request| door::page(login, request))
                .post(move |request| door::sign_in(sign_in, request)),
        )
        .route(LOGOUT_PATH, post(move |request| door::sign_out(sign_out, request)))
        .route(LINK_PATH, get(move |request| door::open(open, request)))
        .route("/dashboard/static/{file}", get(asset::serve))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_below_one_address() {
        for ours in ["/", "/dashboard", "/dashboard/", "/dashboard/plugins/x"] {
            assert!(owns(ours), "{ours}");
        }
        for theirs in ["/dashboards", "/api/v1/plugins", "/mcp/admin", "//dashboard"] {
            assert!(!owns(theirs), "{theirs}");
        }
    }
}
