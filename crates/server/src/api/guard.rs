//! Who comes in: the names and origins that are ours, the token, and how often.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use ringfence::Host;
use ringfence::token::TokenId;
use ringfence_api::{ErrorCode, Role};

use super::error::Failure;
use super::lease::Lease;
use super::rate::Buckets;
use super::route::Route;
use super::{PREFIX, health};
use crate::Caller;
use crate::dashboard;
use crate::listen::Peer;

/// Under which header an answer says its correlation id, and a request may bring one.
pub(crate) const CORRELATION_HEADER: HeaderName = HeaderName::from_static("x-correlation-id");
/// The longest correlation id that a request may bring.
const CORRELATION_MAX_BYTES: usize = 64;
/// Wrong tokens from one place: so many at once, and so many a second after that. A right token is never counted, and never
/// refused for what others have tried.
const WRONG_TOKENS: (f64, f64) = (1_000.0, 10.0);

/// In the audit trail: a token was used more often than it may be.
const TOO_MANY_REQUESTS: &str = "too many requests of the token";
/// The same for whoever has none that holds.
const TOO_MANY_WRONG: &str = "too many requests without a valid token";

/// The correlation id of a request that no token comes with.
#[derive(Clone, Debug)]
pub(crate) struct Correlation(pub(crate) String);

pub(crate) struct Guard {
    host: Host,
    /// Names of hosts that are ours.
    names: Vec<String>,
    wrong: Buckets<IpAddr>,
    /// Requests of one token.
    requests: Option<Buckets<String>>,
    seed: u64,
    count: AtomicU64,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(host: Host, names: Vec<String>, requests_per_second: Option<u32>) -> Self {
        Self {
            host,
            names,
            wrong: Buckets::new(WRONG_TOKENS.0, WRONG_TOKENS.1),
            requests: requests_per_second.map(|rate| Buckets::new(f64::from(rate) * 2.0, f64::from(rate))),
            seed: RandomState::new().hash_one(0),
            count: AtomicU64::new(0),
        }
    }

    /// Lets a request through to the router, with its [`Caller`], or answers it.
    pub(super) async fn pass(&self, mut request: Request, router: Router) -> Response<Body> {
        let correlation_id = self.correlation_id(request.headers());
        let is_page = dashboard::owns(request.uri().path());
        let mut response = match self.admit(&mut request, &correlation_id).await {
            Ok(()) => routed(router, request).await,
            Err(failure) if is_page => dashboard::refused(failure, &correlation_id),
            Err(failure) => failure.answer(&correlation_id),
        };
        let headers = response.headers_mut();
        dashboard::protect(headers, is_page);
        if let Ok(value) = HeaderValue::from_str(&correlation_id) {
            headers.insert(CORRELATION_HEADER, value);
        }
        headers
            .entry(axum::http::header::CACHE_CONTROL)
            .or_insert_with(|| HeaderValue::from_static("no-store"));
        response
    }

    async fn admit(&self, request: &mut Request, correlation_id: &str) -> Result<(), Failure> {
        let peer = request.extensions().get::<Peer>().copied().ok_or_else(unauthenticated)?;
        if let Peer::Tcp { .. } = peer {
            self.judge_host(request)?;
        }
        self.judge_origin(request)?;
        if dashboard::owns(request.uri().path()) {
            // Pages know people by their sessions, and no token is taken from a header there.
            request.extensions_mut().insert(Correlation(correlation_id.to_owned()));
            return Ok(());
        }
        let given = bearer(request.headers())?.map(str::to_owned);
        let is_open = is_open(request);
        let (caller, lease) = self.caller(peer, given, is_open, correlation_id).await?;
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(lease);
        Ok(())
    }

    /// A page that has made its name stand for our address is not talking to us by our name.
    fn judge_host(&self, request: &Request) -> Result<(), Failure> {
        let mut given = request.headers().get_all(HOST).iter();
        let named = match (request.uri().authority(), given.next(), given.next()) {
            (_, Some(_), Some(_)) => None,
            (Some(authority), ..) => Some(authority.clone()),
            (None, Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
            (None, None, _) => None,
        };
        match named {
            Some(authority) if self.is_ours(authority.host()) => Ok(()),
            _ => Err(Failure::new(ErrorCode::Forbidden, "the Host header does not name this server")
                .hint("use the address that the server has printed, or add the name to `names` under `[server]` of config.toml")),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// A browser says from which page a request comes; only our own may.
    fn judge_origin(&self, request: &Request) -> Result<(), Failure> {
        let mut all = request.headers().get_all(ORIGIN).iter();
        let Some(origin) = all.next() else { return Ok(()) };
        let text = origin.to_str().unwrap_or_default();
        let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let authority = authority.and_then(|rest| rest.parse::<Authority>().ok());
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let same = authority.is_some_and(|authority| {
            self.is_ours(authority.host()) && host.is_some_and(|host| host == authority.as_str())
        });
        if same && all.next().is_none() {
            return Ok(());
        }
        Err(Failure::new(ErrorCode::Forbidden, "requests from other pages are not taken"))
    }

    async fn caller(
        &self,
        peer: Peer,
        given: Option<String>,
        is_open: bool,
        correlation_id: &str,
    ) -> Result<(Caller, Lease), Failure> {
        let caller = |actor: String, role, plugin, token| {
            let correlation_id = correlation_id.to_owned();
            (Caller { actor, role, plugin, correlation_id }, Lease::of(token))
        };
        let address = match (peer, &given) {
            (Peer::Unix { uid, trusted: true }, None) => {
                let (caller, lease) = caller(format!("socket, uid {uid}"), Role::Admin, None, None);
                return Ok((caller, Lease { owner: Some(uid), ..lease }));
            }
            (Peer::Tcp { address, .. }, _) => Some(address.ip()),
            (Peer::Unix { .. }, _) => None,
        };
        let Some(token) = given else {
            return match is_open {
                true => Ok(caller(String::new(), Role::Viewer, None, None)),
                false => Err(self.wrong(address, "no token")),
            };
        };
        match self.host.check_token(&token).await? {
            Some(known) => {
                self.count(&known.id)?;
                Ok(caller(format!("token {}", known.id), known.role, known.plugin, Some(known.id)))
            }
            None => Err(self.wrong(address, "a wrong token")),
        }
    }

    /// Counts a request of a token.
    ///
    /// # Errors
    /// `rate_limited` when there are too many.
    pub(crate) fn count(&self, token: &TokenId) -> Result<(), Failure> {
        if self.requests.as_ref().is_some_and(|all| !all.take(token.as_str())) {
            // Counted with others of its kind: a flood is a few records.
            self.host.acting_as(format!("token {token}"), None).access_denied(TOO_MANY_REQUESTS, "");
            return Err(Failure::new(ErrorCode::RateLimited, "this token sends too many requests"));
        }
        Ok(())
    }

    /// Somebody without a token that holds: all are told the same.
    pub(crate) fn wrong(&self, address: Option<IpAddr>, what: &'static str) -> Failure {
        let within = address.is_none_or(|address| self.wrong.take(&address));
        if within {
            self.host.access_denied(what, "");
            return unauthenticated();
        }
        self.host.access_denied(TOO_MANY_WRONG, "");
        Failure::new(ErrorCode::RateLimited, "too many requests without a valid token came from there")
            .hint("a valid token is taken at any time")
    }

    /// Somebody known wanted more than the token is for.
    pub(crate) fn note_refused(&self, caller: &Caller, route: &Route) {
        tracing::info!(actor = %caller.actor, method = %route.method, route = route.path, "access denied");
        let host = self.host.acting_as(caller.actor.as_str(), Some(caller.correlation_id.clone()));
        host.access_denied("the role or plugin of the token", route.path);
    }

    fn correlation_id(&self, headers: &HeaderMap) -> String {
        let given = headers.get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
        let is_plain = |text: &&str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            (1..=CORRELATION_MAX_BYTES).contains(&text.len()) && text.bytes().all(plain)
        };
        given.filter(is_plain).map_or_else(
            || format!("{:016x}-{:x}", self.seed, self.count.fetch_add(1, Ordering::Relaxed)),
            str::to_owned,
        )
    }
}

async fn routed(mut router: Router, request: Request) -> Response<Body> {
    use axum::response::IntoResponse as _;
    use tower::Service as _;
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => never.into_response(),
    }
}

/// The one answer to whoever has no token that holds: it does not say what is wrong with it.
pub(super) fn unauthenticated() -> Failure {
    Failure::new(ErrorCode::Unauthenticated, "a valid token is needed")
        .hint("send `Authorization: Bearer TOKEN`; `ringfence token create` makes one")
}

fn is_open(request: &Request) -> bool {
    let is_health = request.uri().path().strip_prefix(PREFIX) == Some(health::PATH);
    is_health && matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The token of a request.
///
/// # Errors
/// `unauthenticated` for a header of another kind, or two of them.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let text = first.to_str().ok().filter(|_| all.next().is_none()).ok_or_else(unauthenticated)?;
    let (scheme, token) = text.split_once(' ').ok_or_else(unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(unauthenticated()) }
}
