//! Pages and acts as values: method, path, the route of the API whose rights hold, and the function that does the work.
//!
//! What is common to all of them is here: who asks, whether a form is one of their session's, whether the route admits them.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::routing::{MethodFilter, MethodRouter};
use maud::Markup;
use ringfence_api::ErrorCode;

use super::form::Form;
use super::layout::Section;
use super::multipart::{self, Posted};
use super::seen::{Act, Seen};
use super::session::Notice;
use super::{Dashboard, ROOT, door, failure, layout};
use crate::api::{Correlation, Failure};

/// A page that was made.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// Which part of the dashboard it belongs to.
    pub(crate) section: Section,
    pub(crate) status: StatusCode,
    pub(crate) body: Markup,
    /// The stream, below `/dashboard`, whose events make a browser ask for the page again.
    pub(crate) stream: String,
}

impl Page {
    pub(crate) fn new(title: impl Into<String>, section: Section, body: Markup) -> Self {
        Self { title: title.into(), section, status: StatusCode::OK, body, stream: "/stream".to_owned() }
    }

    /// The same page as the answer to something that was refused.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same page, which changes with another stream than that of the plugins.
    pub(crate) fn following(self, stream: String) -> Self {
        Self { stream, ..self }
    }
}

/// What comes after an act.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another page, which says what was done.
    Go {
        /// Its path.
        to: String,
        /// What it says.
        notice: Notice,
    },
    /// This page, such as a form with what is wrong in it.
    Show(Page),
}

type Paged = Pin<Box<dyn Future<Output = Result<Page, Failure>> + Send>>;
type Acted = Pin<Box<dyn Future<Output = Result<Next, Failure>> + Send>>;
type Passed = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;

enum Work {
    Page(Box<dyn Fn(Arc<Seen>) -> Paged + Send + Sync>),
    Act(Box<dyn Fn(Act) -> Acted + Send + Sync>),
    /// An act whose form has a file.
    Upload(Box<dyn Fn(Act, Option<Body>) -> Acted + Send + Sync>),
    /// What the route of the API answers, as it is.
    Pass(fn(Arc<Seen>) -> Passed),
}

/// A page or an act.
pub(crate) struct View {
    method: Method,
    /// Below `/dashboard`, with `{name}` for what a request fills in.
    path: &'static str,
    /// The operation of the API whose role and reach hold for it, and which an act carries out.
    operation: &'static str,
    work: Work,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

impl View {
    /// A page that looks.
    pub(crate) fn page<F, R>(path: &'static str, operation: &'static str, run: F) -> Self
    where
        F: Fn(Arc<Seen>) -> R + Copy + Send + Sync + 'static,
        R: Future<Output = Result<Page, Failure>> + Send + 'static,
    {
        let work = Work::Page(Box::new(move |seen| Box::pin(run(seen))));
        Self { method: Method::GET, path, operation, work }
    }

    /// Something that a form does.
    pub(crate) fn act<F, R>(path: &'static str, operation: &'static str, run: F) -> Self
    where
        F: Fn(Act) -> R + Copy + Send + Sync + 'static,
        R: Future<Output = Result<Next, Failure>> + Send + 'static,
    {
        let work = Work::Act(Box::new(move |act| Box::pin(run(act))));
        Self { method: Method::POST, path, operation, work }
    }

    /// Something that a form with a file does. The file is read by the route, after the session and its rights have been judged.
    pub(crate) fn upload<F, R>(path: &'static str, operation: &'static str, run: F) -> Self
    where
        F: Fn(Act, Option<Body>) -> R + Copy + Send + Sync + 'static,
        R: Future<Output = Result<Next, Failure>> + Send + 'static,
    {
        let work = Work::Upload(Box::new(move |act, file| Box::pin(run(act, file))));
        Self { method: Method::POST, path, operation, work }
    }

    /// The answer of a GET route of the API under the same path, for whoever is signed in: a stream.
    pub(crate) fn stream(path: &'static str, operation: &'static str) -> Self {
        let pass = |seen: Arc<Seen>| -> Passed { Box::pin(async move { seen.pass().await }) };
        Self { method: Method::GET, path, operation, work: Work::Pass(pass) }
    }
}

/// The router of these views.
pub(super) fn router(dashboard: &Arc<Dashboard>, views: Vec<View>) -> Router {
    let mut router = Router::new();
    let mut paths: Vec<(&'static str, MethodRouter, Vec<&'static str>)> = Vec::new();
    for view in views {
        let (path, method) = (view.path, if view.method == Method::POST { "POST" } else { "GET, HEAD" });
        let added = serve(Arc::clone(dashboard), view);
        match paths.iter_mut().find(|(known, ..)| *known == path) {
            Some((_, methods, known)) => {
                *methods = std::mem::take(methods).merge(added);
                known.push(method);
            }
            None => paths.push((path, added, vec![method])),
        }
    }
    for (path, methods, known) in paths {
        let allowed = known.join(", ");
        let methods = methods.fallback(move |request: Request| {
            let failure = Failure::method(&allowed);
            async move { failure::refused(failure, &correlation_of(request.extensions())) }
        });
        router = router.route(&format!("{ROOT}{path}"), methods);
    }
    router
}

fn serve(dashboard: Arc<Dashboard>, view: View) -> MethodRouter {
    let filter = MethodFilter::try_from(view.method.clone()).unwrap_or(MethodFilter::GET);
    let view = Arc::new(view);
    axum::routing::on(filter, move |request: Request| {
        let (dashboard, view) = (Arc::clone(&dashboard), Arc::clone(&view));
        async move { handle(dashboard, &view, request).await }
    })
}

async fn handle(dashboard: Arc<Dashboard>, view: &View, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let correlation_id = correlation_of(&parts.extensions);
    let entered = match dashboard.enter(&parts).await {
        Ok(Some(entered)) => entered,
        Ok(None) if view.method == Method::GET => return door::outside(&parts),
        Ok(None) => return failure::refused(door::no_session(), &correlation_id),
        Err(failure) => return failure::refused(failure, &correlation_id),
    };
    let path = crate::api::path_of(&mut parts).await;
    let seen = Arc::new(Seen::new(Arc::clone(&dashboard), entered, parts, path));
    match work(&dashboard, view, &seen, body).await {
        Ok(response) => response,
        Err(failure) => failure::in_frame(&seen, failure),
    }
}

async fn work(
    dashboard: &Arc<Dashboard>,
    view: &View,
    seen: &Arc<Seen>,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let posted = match view.work {
        Work::Act(_) => Some(Posted::without_file(posted(dashboard, seen.headers(), body).await?)),
        Work::Upload(_) => {
            judge_site(seen.headers())?;
            Some(multipart::read(seen.headers(), body).await?)
        }
        Work::Page(_) | Work::Pass(_) => None,
    };
    let made_here =
        |posted: &Posted| posted.form.text("csrf").is_some_and(|given| seen.held().has_made(given));
    if posted.as_ref().is_some_and(|posted| !made_here(posted)) {
        return Err(foreign_form());
    }
    let route = dashboard.route(view.operation).ok_or_else(|| {
        Failure::new(ErrorCode::Internal, format!("there is no operation {}", view.operation))
    })?;
    if let Err(failure) = seen.admit(route) {
        if failure.error.code() == ErrorCode::Forbidden {
            dashboard.api.guard.note_refused(seen.caller(), route);
        }
        return Err(failure);
    }
    let Posted { form, file, rest } = posted.unwrap_or_default();
    let act = || Act { seen: Arc::clone(seen), form, operation: view.operation };
    let next = match &view.work {
        Work::Page(run) => return run(Arc::clone(seen)).await.map(|page| layout::respond(seen, page)),
        Work::Pass(run) => return run(Arc::clone(seen)).await,
        Work::Act(run) => run(act()).await?,
        Work::Upload(run) => {
            let done = run(act(), file).await;
            rest.drain().await;
            done?
        }
    };
    match next {
        Next::Show(page) => Ok(layout::respond(seen, page)),
        Next::Go { to, notice } => {
            dashboard.sessions.leave(seen.held().id, notice);
            Ok(door::go(&to))
        }
    }
}

/// The form of a request.
///
/// # Errors
/// `forbidden` for one that another page has sent; `unsupported_media_type`, `too_large`, `usage` for what is no form.
pub(super) async fn posted(dashboard: &Dashboard, headers: &HeaderMap, body: Body) -> Result<Form, Failure> {
    judge_site(headers)?;
    let bytes = crate::api::collect(body, headers, dashboard.api.body_max).await?;
    Form::read(headers, &bytes)
}

/// Browsers say where a request was begun; the guard has judged the Origin of those that say that.
fn judge_site(headers: &HeaderMap) -> Result<(), Failure> {
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if site.is_some_and(|site| site != "same-origin") { Err(foreign_form()) } else { Ok(()) }
}

fn foreign_form() -> Failure {
    Failure::new(ErrorCode::Forbidden, "this form is not one that your session has made")
        .hint("nothing was changed; open the page again and send it from there")
}

/// Under which id the records of a request stand.
pub(super) fn correlation_of(extensions: &axum::http::Extensions) -> String {
    extensions.get::<Correlation>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Whether a browser asks because a page of another site leads here.
pub(super) fn is_from_elsewhere(parts: &Parts) -> bool {
    parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site")
}
