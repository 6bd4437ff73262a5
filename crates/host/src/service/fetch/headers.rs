//! Headers in both directions.

use std::collections::BTreeMap;

use hyper::Method;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE,
    USER_AGENT,
};

use super::invalid;
use crate::rpc::RpcError;

/// Headers that a plugin may send at most.
const COUNT_MAX: usize = 64;
/// All of them together, in bytes.
const TOTAL_MAX_BYTES: usize = 16 * 1024;

/// What the host decides, because it says where the request goes, where it ends, or what becomes of the connection.
const HOSTS_OWN: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
];

/// What goes with a redirect to another origin. Everything else could be a credential.
const HARMLESS: [HeaderName; 5] = [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_TYPE, USER_AGENT];

/// # Errors
/// `invalid_params` for what is none, or opens a tunnel or echoes headers.
pub(super) fn method(text: &str) -> Result<Method, RpcError> {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let found = KNOWN.into_iter().find(|known| known.as_str() == text);
    found.ok_or_else(|| invalid("the method is GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"))
}

/// The headers of the plugin, with ours where it has none.
///
/// # Errors
/// `invalid_params` for too many, for what is no header, and for what the host decides.
pub(super) fn from_plugin(given: BTreeMap<String, String>) -> Result<HeaderMap, RpcError> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if given.len() > COUNT_MAX || bytes > TOTAL_MAX_BYTES {
        return Err(invalid(&format!(
            "at most {COUNT_MAX} headers with {TOTAL_MAX_BYTES} bytes can be sent"
        )));
    }
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ringfence/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // What is not unpacked here is counted as it comes.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut seen = std::collections::HashSet::new();
    for (name, value) in given {
        let shown = crate::consent::shown(&name);
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(&format!("'{shown}' is not the name of a header")))?;
        if HOSTS_OWN.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
            return Err(invalid(&format!("the header '{name}' is the host's own; leave it out")));
        }
        let value = HeaderValue::from_str(&value).map_err(|_| {
            invalid(&format!("the value of the header '{name}' has characters that it cannot have"))
        })?;
        if !seen.insert(name.clone()) {
            return Err(invalid(&format!("the header '{name}' is given twice, in different case")));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Drops what another origin must not see.
pub(super) fn keep_harmless(headers: &mut HeaderMap) {
    let kept: HeaderMap = HARMLESS
        .into_iter()
        .filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)))
        .collect();
    *headers = kept;
}

/// The headers of an answer: names in lower case, several of one name joined with `, `, cookies with a line end, because their
/// dates have commas. Bytes beyond ASCII are read as Latin-1, which loses none.
pub(super) fn to_plugin(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let text: String = value.as_bytes().iter().copied().map(char::from).collect();
        found
            .entry(name.as_str().to_owned())
            .and_modify(|before| {
                before.push_str(if name == SET_COOKIE { "\n" } else { ", " });
                before.push_str(&text);
            })
            .or_insert(text);
    }
    found
}
