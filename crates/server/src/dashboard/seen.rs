//! A request for a page, with who is signed in; and a form that they have sent.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use maud::{Markup, html};
use ringfence::Host;
use ringfence_api::{ErrorCode, Role};
use serde_json::Value;

use super::form::Form;
use super::multipart;
use super::session::{By, Held, Notice, NoticeKind, Opener, Sessions};
use super::view::{Next, correlation_of};
use super::{Dashboard, ROOT};
use crate::Caller;
use crate::api::{Api, Failure, Lease, Route, SessionLease};
use crate::listen::Peer;

/// The largest answer of a route that a page is made from, in bytes.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// What the script sends with a request that nobody has asked for.
const REFRESH_HEADER: &str = "x-ringfence-refresh";

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Entered {
    pub(super) caller: Caller,
    pub(super) lease: Lease,
    pub(super) held: Held,
}

impl Dashboard {
    /// The sessions that a request has keys to.
    pub(super) fn held(&self, parts: &Parts) -> Vec<Held> {
        let Some(peer) = parts.extensions.get::<Peer>().copied() else { return Vec::new() };
        let keys = self.cookie.keys(&parts.headers, peer);
        keys.into_iter().filter_map(|key| self.sessions.open(key, by(&parts.headers))).collect()
    }

    /// Who asks; `None` when nobody is signed in, or no longer, or somebody else as well: with the keys to two sessions it cannot
    /// be told who is there, and signing in anew ends both.
    ///
    /// # Errors
    /// What the store says; `rate_limited`.
    pub(super) async fn enter(&self, parts: &Parts) -> Result<Option<Entered>, Failure> {
        let mut all = self.held(parts);
        let Some(held) = all.pop().filter(|_| all.is_empty()) else { return Ok(None) };
        let correlation_id = correlation_of(&parts.extensions);
        let session = Some(SessionLease { number: held.number, ended: held.ended.clone() });
        let (caller, lease) = match &held.opener {
            Opener::Link { uid } => {
                let actor = format!("dashboard, uid {uid}");
                let caller = Caller { actor, role: Role::Admin, plugin: None, correlation_id };
                (caller, Lease { session, ..Lease::default() })
            }
            Opener::Token(id) => {
                let Some(known) = self.api.host().token(id).await? else {
                    self.sessions.end(held.id);
                    return Ok(None);
                };
                self.api.guard.count(id)?;
                let actor = format!("dashboard, token {id}");
                let caller = Caller { actor, role: known.role, plugin: known.plugin, correlation_id };
                (caller, Lease { token: Some(id.clone()), session, ..Lease::default() })
            }
        };
        Ok(Some(Entered { caller, lease, held }))
    }
}

/// Whether somebody is there: the script says so of what it asks for by itself.
fn by(headers: &HeaderMap) -> By {
    if headers.contains_key(REFRESH_HEADER) { By::Script } else { By::Person }
}

/// A request for a page.
pub(crate) struct Seen {
    dashboard: Arc<Dashboard>,
    entered: Entered,
    /// The host, acting for whoever asks.
    pub(crate) host: Host,
    parts: Parts,
    path: Vec<(String, String)>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").field("uri", &self.parts.uri.path()).finish_non_exhaustive()
    }
}

/// What a route of the API is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Question<'a> {
    /// Without the question mark.
    pub(crate) query: &'a str,
    /// The version that was read, for a change of it.
    pub(crate) version: Option<&'a str>,
    pub(crate) body: Option<&'a Value>,
}

/// What it has answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Null when it had nothing to say.
    pub(crate) document: Value,
    /// The version of the document, where it has one.
    pub(crate) version: Option<String>,
}

impl Seen {
    pub(super) fn new(
        dashboard: Arc<Dashboard>,
        entered: Entered,
        parts: Parts,
        path: Vec<(String, String)>,
    ) -> Self {
        let host = dashboard.api.host_for(&entered.caller);
        Self { dashboard, entered, host, parts, path }
    }

    pub(crate) fn api(&self) -> &Arc<Api> {
        &self.dashboard.api
    }

    pub(crate) const fn caller(&self) -> &Caller {
        &self.entered.caller
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.dashboard.sessions
    }

    pub(super) const fn held(&self) -> &Held {
        &self.entered.held
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The notice that the act before has left. It waits for a page that somebody opens: one that a script asks for, to look
    /// for what has changed, is not shown as a whole.
    pub(super) fn take_notice(&self) -> Option<Notice> {
        if by(self.headers()) == By::Script {
            return None;
        }
        self.dashboard.sessions.take_notice(self.held().id)
    }

    /// What stands in the place of `{name}`.
    pub(crate) fn name(&self) -> &str {
        self.part("name")
    }

    /// What stands in the place of `{part}`.
    pub(crate) fn part(&self, part: &str) -> &str {
        self.path.iter().find(|(name, _)| name == part).map_or("", |(_, value)| value)
    }

    /// A field of the query that is not empty.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let fields: Vec<(String, String)> =
            serde_urlencoded::from_str(self.parts.uri.query().unwrap_or_default()).unwrap_or_default();
        fields.into_iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// Whether whoever asks may use a route on what this page is about: what they may not is not offered.
    pub(crate) fn may(&self, operation: &str) -> bool {
        self.dashboard.route(operation).is_some_and(|route| self.admit(route).is_ok())
    }

    pub(super) fn admit(&self, route: &Route) -> Result<(), Failure> {
        route.admit(self.caller(), &self.path)
    }

    /// A form below `/dashboard`, with what tells it apart from those of strangers.
    pub(crate) fn form(&self, path: &str, fields: Markup) -> Markup {
        html! {
            form method="post" action={ (ROOT) (path) } {
                input type="hidden" name="csrf" value=(self.held().csrf.reveal());
                (fields)
            }
        }
    }

    /// A form below `/dashboard` that brings a file. What tells it apart goes ahead of the file.
    pub(crate) fn form_with_file(&self, path: &str, fields: Markup) -> Markup {
        html! {
            form method="post" action={ (ROOT) (path) } enctype=(multipart::MEDIA) {
                input type="hidden" name="csrf" value=(self.held().csrf.reveal());
                (fields)
            }
        }
    }

    /// Asks a route of the API in the name of whoever asks for the page, on what this page is about.
    ///
    /// # Errors
    /// What the route says, its refusal of the role included.
    pub(crate) async fn ask(&self, operation: &str, question: Question<'_>) -> Result<Reply, Failure> {
        reply(self.answer_of(operation, question).await?).await
    }

    /// The answer of the route of the API whose path this one mirrors, with the headers that mean something to it.
    pub(super) async fn pass(&self) -> Result<Response<Body>, Failure> {
        let path = self.parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
        let found = self
            .dashboard
            .routes
            .values()
            .find(|route| route.method == Method::GET && mirrors(route.path, path));
        let Some(route) = found else { return Err(super::failure::nothing()) };
        self.answer_of(
            route.operation,
            Question { query: self.parts.uri.query().unwrap_or_default(), ..Question::default() },
        )
        .await
    }

    async fn answer_of(&self, operation: &str, question: Question<'_>) -> Result<Response<Body>, Failure> {
        let (media, body) = match question.body {
            None => (None, Body::empty()),
            Some(body) => (Some("application/json"), Body::from(body.to_string())),
        };
        self.answer_to(operation, question, media, body).await
    }

    /// The answer of a route to a body of this kind of content.
    async fn answer_to(
        &self,
        operation: &str,
        question: Question<'_>,
        media: Option<&str>,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        let missing = || Failure::new(ErrorCode::Internal, format!("there is no operation {operation}"));
        let route = self.dashboard.route(operation).ok_or_else(missing)?;
        self.admit(route)?;
        let uri = format!("{}{}?{}", crate::api::PREFIX, route.path, question.query);
        let uri = uri.replace(['{', '}'], "");
        let mut request = Request::builder().method(route.method.clone()).uri(uri);
        if let Some(version) = question.version {
            request = request.header(IF_MATCH, version);
        }
        if let Some(last) = self.headers().get("last-event-id") {
            request = request.header("last-event-id", last);
        }
        if let Some(media) = media {
            request = request.header(CONTENT_TYPE, media);
        }
        let mut request = request
            .body(body)
            .map_err(|_| Failure::new(ErrorCode::Usage, "the version of this form cannot be one"))?;
        // What the router has taken out of the path goes along.
        *request.extensions_mut() = self.parts.extensions.clone();
        request.extensions_mut().insert(self.entered.lease.clone());
        (route.handler)(Arc::clone(self.api()), self.caller().clone(), request).await
    }
}

/// The document of an answer.
async fn reply(response: Response<Body>) -> Result<Reply, Failure> {
    let version = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let broken = || Failure::new(ErrorCode::Internal, "an answer of the API could not be read");
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await.map_err(|_| broken())?;
    let bytes = body.to_bytes();
    let document = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes).map_err(|_| broken())?,
    };
    Ok(Reply { document, version })
}

/// Whether a path is one of a route, whose parts in braces stand for anything.
fn mirrors(route: &str, path: &str) -> bool {
    let (mut ours, mut theirs) = (route.split('/'), path.split('/'));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return true,
            (Some(our), Some(their)) if our.starts_with('{') || our == their => {}
            _ => return false,
        }
    }
}

/// A form that was sent.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) seen: Arc<Seen>,
    pub(crate) form: Form,
    pub(super) operation: &'static str,
}

impl Act {
    /// Does what the route of this act does.
    ///
    /// # Errors
    /// What it says.
    pub(crate) async fn send(&self, question: Question<'_>) -> Result<Reply, Failure> {
        self.seen.ask(self.operation, question).await
    }

    /// Does what the route of this act does with the package that the form has brought.
    ///
    /// # Errors
    /// `usage` when no file was chosen; what the route says.
    pub(crate) async fn send_file(&self, query: &str, file: Option<Body>) -> Result<Reply, Failure> {
        let file = file.ok_or_else(|| {
            Failure::new(ErrorCode::Usage, "no file was chosen")
                .hint("choose a .tar.gz or .tar of the package")
        })?;
        let question = Question { query, ..Question::default() };
        // What it really is its first bytes say.
        reply(self.seen.answer_to(self.operation, question, Some("application/gzip"), file).await?).await
    }

    /// The version that the form was made from.
    pub(crate) fn version(&self) -> Option<&str> {
        self.form.text("version").filter(|version| !version.is_empty())
    }
}

/// It was done: another page, which says so.
pub(crate) fn done(to: impl Into<String>, text: impl Into<String>) -> Next {
    Next::Go { to: to.into(), notice: Notice { kind: NoticeKind::Done, text: text.into() } }
}

/// It was done, and something about it is to be looked at.
pub(crate) fn done_but(to: impl Into<String>, text: impl Into<String>) -> Next {
    Next::Go { to: to.into(), notice: Notice { kind: NoticeKind::Warning, text: text.into() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_mirrors_the_route_that_has_its_parts() {
        assert!(mirrors("/stream", "/stream"));
        assert!(mirrors("/runs/{id}/stream", "/runs/7/stream"));
        assert!(!mirrors("/runs/{id}/stream", "/runs/7"));
        assert!(!mirrors("/runs/{id}", "/runs/7/stream"));
    }
}
