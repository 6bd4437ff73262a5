//! What must hold for any bytes. The fuzz targets and an ordinary test call the same functions.

use std::sync::LazyLock;

use ringfence_api::Permission;
use ringfence_policy::{CanonicalPath, Effect, Host, HostPattern, PathPattern, Rule, Vars};

static VARS: LazyLock<Vars> = LazyLock::new(|| {
    let path = |text: &str| CanonicalPath::new(text).expect("a canonical path");
    Vars::new(path("/work")).with_home(path("/home/ada")).with_data(path("/rf/data")).with_state(path("/rf"))
});

/// A permission that is read has one spelling, and reading that spelling gives the same rule.
pub fn permission_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(permission) = text.parse::<Permission>() {
        assert_eq!(permission.to_string().parse(), Ok(permission));
    }
    for effect in [Effect::Allow, Effect::Deny] {
        match Rule::parse(effect, text, &VARS, "fuzz") {
            Ok(rule) => {
                let again = Rule::parse(effect, &rule.text(), &VARS, "fuzz").expect("its own spelling");
                assert_eq!(again, rule);
            }
            Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
        }
    }
}

/// A path pattern answers like the textbook table, and its facts fit its answers. The first line of the data
/// is the pattern, the rest the path.
pub fn path_match(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (pattern, path) = data.split_at(split);
    let Ok(text) = std::str::from_utf8(pattern) else { return };
    let Ok(pattern) = PathPattern::parse(text, &VARS) else { return };
    assert_eq!(PathPattern::parse(&pattern.to_string(), &VARS).as_ref(), Ok(&pattern));
    assert!(pattern.includes(&pattern) && PathPattern::everything().includes(&pattern));

    let Ok(path) = CanonicalPath::from_bytes(path.strip_prefix(b"\n").unwrap_or_default()) else { return };
    let exact = PathPattern::exact(&path);
    assert!(exact.matches(&path) && PathPattern::subtree(&path).matches(&path));
    let matches = pattern.matches(&path);
    assert_eq!(matches, table_match(&pattern.to_string(), &path), "{pattern} {path}");
    assert!(!matches || (pattern.touches(&path) && path.is_within(&pattern.literal_prefix())));
    // One path is included exactly when it is matched.
    assert_eq!(pattern.includes(&exact), matches, "{pattern} {path}");
}

/// A host that is read has one spelling, in plain characters; a pattern too.
pub fn host_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(host) = text.parse::<Host>() {
        assert_eq!(host.to_string().parse(), Ok(host.clone()));
        if let Some(name) = host.name() {
            assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')), "{name}");
            assert!(name.parse::<std::net::IpAddr>().is_err() && !name.ends_with('.'));
        }
        let exact = HostPattern::exact(&host, 443);
        assert!(exact.opens(&host, 443) && !exact.matches(&host, 444));
    }
    let Ok(pattern) = text.parse::<HostPattern>() else { return };
    assert_eq!(pattern.to_string().parse(), Ok(pattern.clone()));
    assert!(pattern.includes(&pattern), "{pattern}");
}

/// Matching by the textbook table over the text form, unescaped.
fn table_match(pattern: &str, path: &CanonicalPath) -> bool {
    let segments: Vec<&[u8]> = path.segments().collect();
    let mut row = vec![false; segments.len() + 1];
    row[0] = true;
    for symbol in pattern.split('/').filter(|symbol| !symbol.is_empty()) {
        let mut next = vec![false; segments.len() + 1];
        for place in 0..=segments.len() {
            next[place] = if symbol == "**" {
                row[place] || (place > 0 && next[place - 1])
            } else {
                place > 0 && row[place - 1] && table_glob(&symbols(symbol), segments[place - 1])
            };
        }
        row = next;
    }
    row[segments.len()]
}

/// `None` is a star.
fn symbols(text: &str) -> Vec<Option<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'*' => None,
            b'\\' => match bytes.next().expect("an escape has something behind it") {
                b'x' => {
                    let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                    Some(u8::from_str_radix(&digits, 16).expect("two digits"))
                }
                other => Some(other),
            },
            other => Some(other),
        });
    }
    out
}

fn table_glob(pattern: &[Option<u8>], text: &[u8]) -> bool {
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for symbol in pattern {
        let mut next = vec![false; text.len() + 1];
        for place in 0..=text.len() {
            next[place] = match symbol {
                None => row[place] || (place > 0 && next[place - 1]),
                Some(byte) => place > 0 && row[place - 1] && text[place - 1] == *byte,
            };
        }
        row = next;
    }
    row[text.len()]
}
