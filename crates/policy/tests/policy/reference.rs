//! The tiny evaluator: slow, recursive, on plain text, obviously right. It shares no code with the crate.

/// One rule as text pieces.
#[derive(Clone, Debug)]
pub(crate) struct RefRule {
    pub(crate) allow: bool,
    pub(crate) permission: &'static str,
    /// `None` is a bare name.
    pub(crate) scope: Option<String>,
}

impl RefRule {
    pub(crate) fn text(&self) -> String {
        match &self.scope {
            Some(scope) => format!("{}={scope}", self.permission),
            None => self.permission.to_owned(),
        }
    }
}

/// The floor that the random cases use, as state directories.
pub(crate) const FLOOR: [&str; 2] = ["/a/b", "/b"];

pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => glob(rest, text) || (!text.is_empty() && glob(pattern, &text[1..])),
        ([first, rest @ ..], [byte, behind @ ..]) => first == byte && glob(rest, behind),
        _ => false,
    }
}

pub(crate) fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

pub(crate) fn path(pattern: &[&str], text: &[&str]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (["**", rest @ ..], _) => path(rest, text) || (!text.is_empty() && path(pattern, &text[1..])),
        ([first, rest @ ..], [segment, behind @ ..]) => {
            glob(first.as_bytes(), segment.as_bytes()) && path(rest, behind)
        }
        _ => false,
    }
}

/// Whether the pattern has the path, a directory above it or something below it.
pub(crate) fn touches(pattern: &[&str], text: &[&str]) -> bool {
    match (pattern, text) {
        (_, []) | ([], _) => true,
        (["**", rest @ ..], _) => touches(rest, text) || touches(pattern, &text[1..]),
        ([first, rest @ ..], [segment, behind @ ..]) => {
            glob(first.as_bytes(), segment.as_bytes()) && touches(rest, behind)
        }
    }
}

fn within(path: &str, above: &str) -> bool {
    path == above || path.starts_with(&format!("{above}/"))
}

/// Whether an allow rule for this path scope opens a path that it matches.
fn names_the_floor(scope: Option<&str>, request: &str) -> bool {
    FLOOR.iter().filter(|floor| within(request, floor)).all(|floor| {
        let Some(scope) = scope else { return false };
        let directory = scope.trim_end_matches("/**");
        !directory.contains('*') && within(directory, floor)
    })
}

fn number(address: &str) -> u32 {
    address.split('.').fold(0, |sum, part| sum * 256 + part.parse::<u32>().unwrap())
}

fn in_range(address: u32, first: &str, len: u32) -> bool {
    len == 0 || (address ^ number(first)) >> (32 - len) == 0
}

const FLOOR_RANGES: [(&str, u32); 3] = [("127.0.0.0", 8), ("10.0.0.0", 8), ("169.254.0.0", 16)];
const METADATA: &str = "169.254.169.254";

fn is_address(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether a host scope matches, and whether it opens the host.
fn host(scope: Option<&str>, wanted: &str, port: u16) -> (bool, bool) {
    let scope = scope.filter(|scope| *scope != "*").unwrap_or("*:*");
    let (pattern, ports) = scope.rsplit_once(':').unwrap();
    let port_fits = ports == "*" || ports == port.to_string();
    if !is_address(wanted) {
        let domain = pattern.strip_prefix('*').filter(|rest| !rest.is_empty());
        let fits =
            pattern == "*" || pattern == wanted || domain.is_some_and(|domain| wanted.ends_with(domain));
        return (fits && port_fits, fits && port_fits && (wanted != "localhost" || pattern == wanted));
    }
    let address = number(wanted);
    let (first, len) = match pattern.split_once('/') {
        Some((first, len)) => (first, len.parse().unwrap()),
        None if is_address(pattern) => (pattern, 32),
        None => return (pattern == "*" && port_fits, pattern == "*" && port_fits && !on_floor(address)),
    };
    let fits = in_range(address, first, len) && port_fits;
    let inside = FLOOR_RANGES
        .iter()
        .filter(|(floor, floor_len)| in_range(address, floor, *floor_len))
        .all(|(floor, floor_len)| len >= *floor_len && in_range(number(first), floor, *floor_len));
    let metadata = wanted != METADATA || len == 32;
    (fits, fits && inside && metadata)
}

fn on_floor(address: u32) -> bool {
    FLOOR_RANGES.iter().any(|(floor, len)| in_range(address, floor, *len))
}

/// What is asked, as text.
#[derive(Clone, Debug)]
pub(crate) enum RefRequest {
    File(String),
    Host(String, u16),
    Name(String),
}

/// Whether it is allowed, and the number of the rule that says so.
pub(crate) fn decide(rules: &[RefRule], request: &RefRequest) -> (bool, Option<usize>) {
    let judge = |rule: &RefRule| -> (bool, bool) {
        let scope = rule.scope.as_deref();
        match request {
            RefRequest::File(wanted) if rule.permission == "file:read" => {
                let pattern = scope.unwrap_or("/**");
                let fits = path(&segments(pattern), &segments(wanted));
                (fits, fits && names_the_floor(scope, wanted))
            }
            RefRequest::Host(wanted, port) if rule.permission == "network:request" => {
                host(scope, wanted, *port)
            }
            RefRequest::Name(wanted) if rule.permission == "env:read" => {
                let fits = glob(scope.unwrap_or("*").as_bytes(), wanted.as_bytes());
                (fits, fits)
            }
            _ => (false, false),
        }
    };
    let first = |wanted: &dyn Fn(&RefRule) -> bool| rules.iter().position(wanted);
    if let Some(rule) = first(&|rule| !rule.allow && judge(rule).0) {
        return (false, Some(rule));
    }
    if let Some(rule) = first(&|rule| rule.allow && judge(rule).1) {
        return (true, Some(rule));
    }
    (false, first(&|rule| rule.allow && judge(rule).0))
}
