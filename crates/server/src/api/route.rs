//! One route: method, path, role, bodies and handler in one place. The router and the OpenAPI document are made from it, so
//! a route without a role, or one that the document does not have, cannot be written.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use ringfence_api::{ErrorCode, PluginName, Role};
use schemars::{Schema, SchemaGenerator};

use super::Api;
use super::answer::Answer;
use super::asked::{Asked, Sent, Wanted};
use super::error::Failure;
use crate::Caller;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, without a token.
    Open,
    /// Whoever has this role.
    Role(Role),
}

/// What a token for one plugin may do with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its path names a plugin: that one must be the token's.
    Named,
    /// Its answer has only what is the plugin's.
    Filtered,
    /// Nothing: it is about the whole host.
    Whole,
}

type Handled = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;
type Handler = Arc<dyn Fn(Arc<Api>, Caller, Request<Body>) -> Handled + Send + Sync>;

/// One route.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Below `/api/v1`, with `{name}` for what a request fills in.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) reach: Reach,
    /// What it does, in one line.
    pub(crate) summary: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) answer: Described,
    pub(crate) body: Described,
    /// Other kinds of content that its body may have.
    pub(crate) binary: &'static [&'static str],
    pub(crate) query: fn(&mut SchemaGenerator) -> Option<Schema>,
    /// Headers of a request that mean something.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) handler: Handler,
}

/// A body, for the document.
pub(crate) struct Described {
    pub(crate) status: u16,
    /// `None`: there is none.
    pub(crate) media: Option<&'static str>,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Option<Schema>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Route {
    /// A route that looks, and whose work ends when its caller goes away.
    pub(crate) fn get<Q, A, F, R>(
        path: &'static str,
        access: Access,
        summary: &'static str,
        operation: &'static str,
        run: F,
    ) -> Self
    where
        Q: Wanted,
        A: Answer,
        F: Fn(Asked<Q, ()>) -> R + Copy + Send + Sync + 'static,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |api, caller, request| {
            Box::pin(async move {
                let asked = Asked::<Q, ()>::read(api, caller, request).await?;
                run(asked).await.map(Answer::answer)
            })
        });
        Self::of::<Q, (), A>(Method::GET, path, access, summary, operation, handler)
    }

    /// A route that changes something: what it has begun is carried to its end, whether or not its caller stays.
    pub(crate) fn act<Q, B, A, F, R>(
        method: Method,
        path: &'static str,
        access: Access,
        summary: &'static str,
        operation: &'static str,
        run: F,
    ) -> Self
    where
        Q: Wanted,
        B: Sent,
        A: Answer,
        F: Fn(Asked<Q, B>) -> R + Copy + Send + Sync + 'static,
        R: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |api, caller, request| {
            Box::pin(async move {
                let asked = Asked::<Q, B>::read(Arc::clone(&api), caller, request).await?;
                let done = api.finish(async move { run(asked).await.map(Answer::answer) }).await;
                done.unwrap_or_else(|_panicked| Err(Failure::new(ErrorCode::Internal, "the work broke off")))
            })
        });
        Self::of::<Q, B, A>(method, path, access, summary, operation, handler)
    }

    fn of<Q: Wanted, B: Sent, A: Answer>(
        method: Method,
        path: &'static str,
        access: Access,
        summary: &'static str,
        operation: &'static str,
        handler: Handler,
    ) -> Self {
        let reach = if path.contains("{name}") { Reach::Named } else { Reach::Whole };
        Self {
            method,
            path,
            access,
            reach,
            summary,
            operation,
            answer: Described { status: A::STATUS, media: A::MEDIA, schema: A::schema },
            body: Described { status: 0, media: B::MEDIA, schema: B::schema },
            binary: B::BINARY,
            query: Q::schema,
            headers: Vec::new(),
            handler,
        }
    }

    /// The same, for tokens of one plugin too, which see what is that plugin's.
    pub(crate) fn filtered(self) -> Self {
        Self { reach: Reach::Filtered, ..self }
    }

    /// The same, with a header that a request may have.
    pub(crate) fn header(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.headers.push((name, meaning));
        self
    }

    /// Whether a caller may use it.
    ///
    /// # Errors
    /// `forbidden`, naming the role that it takes; `not_found` for what cannot be the name of a plugin.
    pub(crate) fn admit(&self, caller: &Caller, path: &[(String, String)]) -> Result<(), Failure> {
        let Access::Role(role) = self.access else { return Ok(()) };
        if caller.role < role {
            let message = format!("this takes the role {role}, and the token has {}", caller.role);
            return Err(Failure::new(ErrorCode::Forbidden, message)
                .hint(format!("`ringfence token create --role {role}` makes one that has it")));
        }
        self.judge_plugin(caller, path)
    }

    /// What cannot be a plugin's name is no plugin's, before anything is looked up or remembered under it.
    fn judge_plugin(&self, caller: &Caller, path: &[(String, String)]) -> Result<(), Failure> {
        let named = path.iter().find(|(name, _)| name == "name").map(|(_, value)| value.as_str());
        let is_name = named.is_none_or(|named| named.parse::<PluginName>().is_ok());
        if !is_name && caller.plugin.is_none() {
            return Err(Failure::new(ErrorCode::NotFound, "no plugin has such a name")
                .hint("GET /api/v1/plugins has those that are installed"));
        }
        let Some(own) = &caller.plugin else { return Ok(()) };
        match self.reach {
            Reach::Filtered => Ok(()),
            Reach::Named if named == Some(own.as_str()) => Ok(()),
            Reach::Named | Reach::Whole => Err(only_for(own)),
        }
    }
}

/// Something is outside what the token is for.
pub(crate) fn only_for(own: &PluginName) -> Failure {
    Failure::new(ErrorCode::Forbidden, format!("the token is for the plugin {own} alone"))
        .hint("use a token without --plugin")
}
