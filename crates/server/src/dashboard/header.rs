//! What each answer says to browsers, and the cookie that is the key to a session.

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::listen::Peer;

/// Nothing from elsewhere, nothing inline, nothing that turns text into script, in nobody's frame.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// An answer of the API is no page: whoever opens one as a page gets text that loads nothing, runs nothing and sends nothing.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// What every answer of the API says. What else a page says is about what a page does.
const DATA: [(HeaderName, &str); 5] = [
    (HeaderName::from_static("content-security-policy"), DATA_POLICY),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("referrer-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What every answer of the dashboard says, whatever it is an answer to.
///
/// `same-origin` and not `no-referrer`: with the latter browsers say `Origin: null` in the forms that we send ourselves, and
/// whoever takes that takes it from everybody. To other sites both tell nothing.
const PAGE: [(HeaderName, &str); 7] = [
    (HeaderName::from_static("content-security-policy"), PAGE_POLICY),
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("referrer-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Adds what is not said more strictly already, to an answer of the dashboard or of the API.
pub(crate) fn protect(headers: &mut HeaderMap, is_page: bool) {
    let all: &[(HeaderName, &str)] = if is_page { &PAGE } else { &DATA };
    // All of them at once, and a few more: a map that grows is made anew each time.
    headers.reserve(all.len() + 4);
    for (name, value) in all {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// How the cookie of a server is named: cookies are shared by all ports of a host, so that one server must not take another's.
#[derive(Debug)]
pub(crate) struct Cookie {
    port: u16,
}

impl Cookie {
    pub(crate) const fn new(port: u16) -> Self {
        Self { port }
    }

    fn name(&self, peer: Peer) -> String {
        let prefix = if is_secure(peer) { "__Host-" } else { "" };
        format!("{prefix}ringfence-{}", self.port)
    }

    /// The keys that a request brings. There is one, unless somebody else on this host has set another beside it: which of them is
    /// ours the sessions tell.
    pub(crate) fn keys<'a>(&self, headers: &'a HeaderMap, peer: Peer) -> Vec<&'a str> {
        let name = self.name(peer);
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut keys: Vec<&str> = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Hands a key out: no script reads it, and no other site sends it.
    pub(crate) fn set(&self, headers: &mut HeaderMap, peer: Peer, key: &str) {
        self.write(headers, peer, key, "");
    }

    /// Takes it back.
    pub(crate) fn clear(&self, headers: &mut HeaderMap, peer: Peer) {
        self.write(headers, peer, "", "; Max-Age=0");
    }

    fn write(&self, headers: &mut HeaderMap, peer: Peer, value: &str, life: &str) {
        let secure = if is_secure(peer) { "; Secure" } else { "" };
        let name = self.name(peer);
        let line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{life}");
        if let Ok(line) = HeaderValue::from_str(&line) {
            headers.append(SET_COOKIE, line);
        }
    }
}

const fn is_secure(peer: Peer) -> bool {
    matches!(peer, Peer::Tcp { secure: true, .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(secure: bool) -> Peer {
        Peer::Tcp { address: ([127, 0, 0, 1], 5).into(), secure }
    }

    fn set(secure: bool) -> String {
        let mut headers = HeaderMap::new();
        Cookie::new(7700).set(&mut headers, peer(secure), "k");
        headers.get(SET_COOKIE).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_cookie_is_for_this_server_alone_and_under_tls_for_tls_alone() {
        assert_eq!(set(false), "ringfence-7700=k; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(set(true), "__Host-ringfence-7700=k; Path=/; HttpOnly; SameSite=Strict; Secure");
    }

    #[test]
    fn all_keys_are_found_once_and_of_this_server_alone() {
        let cookie = Cookie::new(7700);
        let read = |line: &str, secure| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(line).unwrap());
            cookie.keys(&headers, peer(secure)).join(" ")
        };
        assert_eq!(read("a=b; ringfence-7700=k", false), "k");
        assert_eq!(read("ringfence-7700=l; ringfence-7700=k; ringfence-7700=l", false), "k l");
        assert_eq!(read("ringfence-7701=k", false), "");
        // What was set without TLS is no key where there is TLS.
        assert_eq!(read("ringfence-7700=k", true), "");
        assert_eq!(read("__Host-ringfence-7700=k", true), "k");
    }
}
