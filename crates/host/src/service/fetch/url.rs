//! URLs, read strictly: what could be read in two ways is refused, because a server or a proxy would read it in the other.

use std::fmt;

use ringfence_policy::Host;

/// The longest URL in bytes.
pub(super) const URL_MAX_BYTES: usize = 8 * 1024;

/// An `http` or `https` URL without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) is_https: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Path and query as they go to the server; begins with a slash.
    pub(super) target: String,
}

impl Url {
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        let (scheme, rest) = text.split_once("://").ok_or("the URL must begin with http:// or https://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            other => return Err(format!("only http and https can be fetched, not {other}")),
        };
        Self::after_scheme(is_https, rest)
    }

    fn after_scheme(is_https: bool, rest: &str) -> Result<Self, String> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("a URL must not hold a user or a password; send them as a header".to_owned());
        }
        let (host, port) = split_port(authority)?;
        let host: Host = host.parse().map_err(|error: ringfence_policy::HostError| error.to_string())?;
        let port = match port {
            None => default_port(is_https),
            Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or("a port is 1 to 65535")?
            }
            Some(_) => return Err("a port is 1 to 65535".to_owned()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let target = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        Ok(Self { is_https, host, port, target })
    }

    /// Where a redirect leads.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        check(location)?;
        if let Some(rest) = location.strip_prefix("//") {
            return Self::after_scheme(self.is_https, rest);
        }
        let first = location.find(['/', '?', '#', ':']);
        if first.is_some_and(|at| location.as_bytes().get(at) == Some(&b':')) {
            return Self::parse(location);
        }
        let location = location.split('#').next().unwrap_or_default();
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.as_bytes().first() {
            None => self.target.clone(),
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            Some(_) => {
                let directory = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or("/");
                format!("{directory}{location}")
            }
        };
        Ok(Self { target: without_dots(&target), ..self.clone() })
    }

    /// Host and port, as they stand in a grant.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The value of the `Host` header.
    pub(super) fn host_header(&self) -> String {
        if self.port == default_port(self.is_https) { self.host.to_string() } else { self.authority() }
    }

    pub(super) fn is_same_origin(&self, other: &Self) -> bool {
        self.is_https == other.is_https && self.host == other.host && self.port == other.port
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host_header(), self.target)
    }
}

const fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

fn check(text: &str) -> Result<(), String> {
    if text.len() > URL_MAX_BYTES {
        return Err(format!("a URL has at most {URL_MAX_BYTES} bytes"));
    }
    match text.chars().find(|letter| {
        !letter.is_ascii_graphic() || matches!(letter, '\\' | '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}')
    }) {
        Some(letter) => Err(format!("a URL must not hold {letter:?}; write it with % and two digits")),
        None => Ok(()),
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or("an IPv6 address stands in brackets")?;
        let (host, rest) = authority.split_at_checked(end + 1).unwrap_or((authority, ""));
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("behind an address in brackets comes a port or nothing".to_owned()),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("an IPv6 address stands in brackets".to_owned()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

/// The path with `.` and `..` taken out as RFC 3986 has it; the query as it is.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
}
