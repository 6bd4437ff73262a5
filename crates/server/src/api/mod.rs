//! The HTTP API: `route.rs` says what a route is, `table.rs` has them all, `guard.rs` decides who comes in.

mod answer;
mod asked;
mod audit;
mod calls;
mod error;
mod exec;
mod guard;
mod health;
mod idempotency;
mod lease;
mod links;
mod metrics;
mod openapi;
mod plugins;
mod rate;
mod route;
mod runs;
mod settings;
mod stream;
mod table;
mod tokens;
mod upload;
mod version;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response};
use axum::routing::{MethodFilter, MethodRouter};
use ringfence::Host;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;

pub use error::{ErrorDetail, ErrorDocument};
pub use openapi::document;

use crate::{Caller, ServerOptions, dashboard};
use guard::Guard;

pub(crate) use asked::{collect, path_of};
pub(crate) use error::{Failure, Told};
pub(crate) use guard::Correlation;
pub(crate) use lease::{Lease, SessionLease};
pub(crate) use links::DashboardLink;
pub(crate) use route::Route;
pub(crate) use runs::{blocking, run_id};
pub(crate) use table::routes;

/// Below which all routes stand.
pub const PREFIX: &str = "/api/v1";
/// Server-sent streams at once; further ones are refused.
pub const STREAMS_MAX: usize = 12_288;
/// Those of one token: a twelfth, so that no token takes all of them from the others.
pub const STREAMS_PER_TOKEN_MAX: usize = 1_024;
/// Those of one session of the dashboard. A page that somebody looks at has one.
pub const STREAMS_PER_SESSION_MAX: usize = 32;
/// Verifications of the audit trail and scans of the plugin directories at once; further ones are refused.
pub const LONG_LOOKS_MAX: usize = 2;
/// Commands that `POST /exec` runs at once; further ones are refused.
pub const EXECS_MAX: usize = 64;

/// Packages that are uploaded at once; further ones are refused.
pub const UPLOADS_MAX: usize = 4;

/// What all requests share.
pub(crate) struct Api {
    host: Host,
    pub(crate) guard: Guard,
    pub(crate) body_max: usize,
    pub(crate) install_from: Vec<PathBuf>,
    pub(crate) streams: stream::Streams,
    pub(crate) runs: exec::Live,
    pub(crate) keys: idempotency::Keys,
    /// Streams of tokens that may end.
    pub(crate) leases: lease::Leases,
    /// Looks through the whole audit trail or all packages, a few at once.
    pub(crate) long_looks: Semaphore,
    pub(crate) told_strangers: health::ToldStrangers,
    /// Packages that are coming in.
    pub(crate) uploads: Semaphore,
    /// What was begun and is not done yet.
    acts: watch::Sender<usize>,
    /// Changes of one plugin's settings, one after another, so that a version that was judged is still the one that is changed.
    pub(crate) versions: version::Turns,
    /// Told when the server stops: streams end then.
    pub(crate) stop: watch::Receiver<bool>,
    document: std::sync::OnceLock<String>,
    /// One-time links to the dashboard.
    pub(crate) links: dashboard::Links,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    pub(crate) fn new(
        host: Host,
        options: &ServerOptions,
        names: Vec<String>,
        origin: Option<String>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            guard: Guard::new(host.clone(), names, options.requests_per_second),
            keys: idempotency::Keys::kept_by(host.clone()),
            host,
            body_max: options.body_max,
            install_from: options.install_from.clone(),
            streams: stream::Streams::new(options.limits),
            runs: exec::Live::new(options.limits.execs),
            leases: lease::Leases::default(),
            long_looks: Semaphore::new(options.limits.long_looks),
            told_strangers: health::ToldStrangers::default(),
            uploads: Semaphore::new(options.limits.uploads),
            acts: watch::Sender::new(0),
            versions: version::Turns::default(),
            stop,
            document: std::sync::OnceLock::new(),
            links: dashboard::Links::new(origin),
        }
    }

    /// The host, acting for nobody in particular.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// The host, acting for a caller.
    pub(crate) fn host_for(&self, caller: &Caller) -> Host {
        self.host.acting_as(caller.actor.as_str(), Some(caller.correlation_id.clone()))
    }

    /// Carries work to its end, also when nobody waits for it any more.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        self.begin(work).await
    }

    /// Begins work that the end of the server waits for.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let act = Act::begin(&self.acts);
        tokio::spawn(async move {
            let done = work.await;
            drop(act);
            done
        })
    }

    /// Waits until everything that was begun is done. Cancel safe.
    pub(crate) async fn settle(&self) {
        let mut acts = self.acts.subscribe();
        // Its sender is ours: it does not end before us.
        let _none = acts.wait_for(|acts| *acts == 0).await.is_ok();
    }

    /// Ends the streams of tokens that hold no more, for as long as it is polled.
    pub(crate) async fn watch_leases(&self) {
        self.leases.watch(&self.host).await;
    }

    /// One of the few looks that take long.
    ///
    /// # Errors
    /// `busy` when others are at it.
    pub(crate) fn long_look(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.long_looks.try_acquire().map_err(|_| {
            let message = "too many requests of this kind are under way already";
            Failure::new(ringfence_api::ErrorCode::Busy, message).hint("try again when they are answered")
        })
    }

    /// The OpenAPI document as text.
    pub(crate) fn document(&self) -> String {
        self.document.get_or_init(|| serde_json::to_string(&document()).unwrap_or_default()).clone()
    }
}

/// One thing that was begun, counted as long as it lives.
struct Act {
    acts: watch::Sender<usize>,
}

impl Act {
    fn begin(acts: &watch::Sender<usize>) -> Self {
        acts.send_modify(|acts| *acts += 1);
        Self { acts: acts.clone() }
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        self.acts.send_modify(|acts| *acts = acts.saturating_sub(1));
    }
}

/// The router of the API. What comes to it has passed the guard: see [`respond`].
pub(crate) fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    let mut paths: Vec<(&'static str, MethodRouter, Vec<Method>)> = Vec::new();
    for route in table::routes() {
        let method = route.method.clone();
        let path = route.path;
        let added = serve(Arc::clone(api), route);
        match paths.iter_mut().find(|(known, ..)| *known == path) {
            Some((_, methods, known)) => {
                *methods = std::mem::take(methods).merge(added);
                known.push(method);
            }
            None => paths.push((path, added, vec![method])),
        }
    }
    for (path, methods, known) in paths {
        let allowed = allowed(&known);
        let methods = methods.fallback(move |request: Request| refuse_method(request, allowed.clone()));
        router = router.route(&format!("{PREFIX}{path}"), methods);
    }
    router
}

fn serve(api: Arc<Api>, route: Route) -> MethodRouter {
    let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
    let route = Arc::new(route);
    axum::routing::on(filter, move |request: Request| {
        let (api, route) = (Arc::clone(&api), Arc::clone(&route));
        async move { handle(api, &route, request).await }
    })
}

async fn handle(api: Arc<Api>, route: &Route, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let Some(caller) = parts.extensions.remove::<Caller>() else {
        return guard::unauthenticated().answer("");
    };
    let path = asked::path_of(&mut parts).await;
    let correlation_id = caller.correlation_id.clone();
    if let Err(failure) = route.admit(&caller, &path) {
        if failure.error.code() == ringfence_api::ErrorCode::Forbidden {
            api.guard.note_refused(&caller, route);
        }
        return failure.answer(&correlation_id);
    }
    let answered = (route.handler)(api, caller, Request::from_parts(parts, body)).await;
    answered.unwrap_or_else(|failure| failure.answer(&correlation_id))
}

fn correlation_of(request: &Request) -> String {
    request.extensions().get::<Caller>().map(|caller| caller.correlation_id.clone()).unwrap_or_default()
}

async fn refuse_method(request: Request, allowed: String) -> Response<Body> {
    Failure::method(&allowed).answer(&correlation_of(&request))
}

pub(crate) async fn not_found(request: Request) -> Response<Body> {
    if dashboard::owns(request.uri().path()) {
        return dashboard::not_found(&request);
    }
    Failure::new(ringfence_api::ErrorCode::NotFound, "there is nothing at this address")
        .hint(format!("GET {PREFIX}/openapi.json has all addresses"))
        .answer(&correlation_of(&request))
}

fn allowed(methods: &[Method]) -> String {
    let mut all: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        all.push("HEAD");
    }
    all.sort_unstable();
    all.join(", ")
}

/// Answers one request: the guard stands before everything that is served, what is not found included. It is called here and is no
/// layer of the router, which would put each route into boxes of its own and copy them for each request.
pub(crate) async fn respond(api: &Api, router: Router, request: Request) -> Response<Body> {
    api.guard.pass(request, router).await
}
