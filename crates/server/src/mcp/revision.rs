//! Which revision of MCP a request speaks, and what that changes about its answer.
//!
//! The revisions since 2026-07-28 say it in `_meta` of every request; those before agree on one with `initialize`. Both are
//! served side by side: nothing that one request says is remembered for the next, but that a connection was initialised.

use serde_json::{Map, Value, json};

use super::message::{INVALID_PARAMS, ProtocolError, UNSUPPORTED_VERSION};

/// The revisions that are served, the newest first.
pub const REVISIONS: [&str; 3] = ["2026-07-28", "2025-11-25", "2025-06-18"];
/// The one that is offered to a client of `initialize` which asks for another.
const HANDSHAKE_DEFAULT: &str = "2025-11-25";

/// How long a client may keep the list of tools and what `server/discover` said, in milliseconds: it changes only with the
/// program or the token.
const TTL_MS: u64 = 300_000;

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// How a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// By `initialize`: 2025-11-25 and before.
    Handshake,
    /// Each request by itself: 2026-07-28.
    Stateless,
}

/// What a request says of its revision.
pub(super) fn named(params: &Map<String, Value>) -> Option<&Value> {
    params.get("_meta")?.get(VERSION_KEY)
}

/// The era of a request that must say everything itself.
///
/// # Errors
/// `-32602` when `_meta` lacks what it must have; `-32022` for a revision that is not served.
pub(super) fn of_meta(params: &Map<String, Value>) -> Result<Era, ProtocolError> {
    let meta = params.get("_meta").and_then(Value::as_object);
    let version = meta.and_then(|meta| meta.get(VERSION_KEY)).and_then(Value::as_str);
    let capabilities = meta.and_then(|meta| meta.get(CAPABILITIES_KEY)).is_some_and(Value::is_object);
    let mut missing = Vec::new();
    if version.is_none() {
        missing.push(VERSION_KEY);
    }
    // A revision that is not served is said first: what it would need is not ours to judge.
    if let Some(version) = version {
        known(version)?;
        if era(version) == Era::Handshake {
            return Ok(Era::Handshake);
        }
    }
    if !capabilities {
        missing.push(CAPABILITIES_KEY);
    }
    if !missing.is_empty() {
        let message = format!(
            "'_meta' lacks {}, or has something else there; a client of the revisions before 2026-07-28 sends \
             'initialize' first",
            missing.join(" and ")
        );
        return Err(ProtocolError::new(INVALID_PARAMS, message));
    }
    Ok(Era::Stateless)
}

/// Whether a revision is served.
///
/// # Errors
/// `-32022` with the revisions that are.
pub(super) fn known(version: &str) -> Result<(), ProtocolError> {
    if REVISIONS.contains(&version) {
        return Ok(());
    }
    let requested: String = version.chars().take(64).collect();
    Err(ProtocolError {
        code: UNSUPPORTED_VERSION,
        message: "unsupported protocol version".to_owned(),
        data: Some(Box::new(json!({"supported": REVISIONS, "requested": requested}))),
    })
}

/// The era of a revision that is served.
pub(super) fn era(version: &str) -> Era {
    if version >= "2026-07-28" { Era::Stateless } else { Era::Handshake }
}

/// The answer to `initialize`: the client's revision if it is one of those with a handshake, else the newest of them.
///
/// # Errors
/// `-32602` when the client names no revision.
pub(super) fn initialize(params: &Map<String, Value>) -> Result<Value, ProtocolError> {
    let Some(wanted) = params.get("protocolVersion").and_then(Value::as_str) else {
        return Err(ProtocolError::new(INVALID_PARAMS, "'protocolVersion' must be a text"));
    };
    let served = REVISIONS.iter().find(|known| **known == wanted && era(known) == Era::Handshake);
    Ok(json!({
        "protocolVersion": served.copied().unwrap_or(HANDSHAKE_DEFAULT),
        "capabilities": capabilities(),
        "serverInfo": server_info(),
        "instructions": super::INSTRUCTIONS,
    }))
}

/// The answer to `server/discover`.
pub(super) fn discover() -> Map<String, Value> {
    let mut result = Map::new();
    result.insert("supportedVersions".to_owned(), json!(REVISIONS));
    result.insert("capabilities".to_owned(), capabilities());
    result.insert("instructions".to_owned(), super::INSTRUCTIONS.into());
    cacheable(&mut result);
    result
}

/// Adds how long a result may be kept. For this caller alone: another token may see other tools.
pub(super) fn cacheable(result: &mut Map<String, Value>) {
    result.insert("ttlMs".to_owned(), TTL_MS.into());
    result.insert("cacheScope".to_owned(), "private".into());
}

/// A result as this era has it.
pub(super) fn finish(era: Era, mut result: Map<String, Value>) -> Value {
    match era {
        Era::Handshake => {
            result.remove("ttlMs");
            result.remove("cacheScope");
        }
        Era::Stateless => {
            result.insert("resultType".to_owned(), "complete".into());
            result.insert("_meta".to_owned(), json!({SERVER_KEY: server_info()}));
        }
    }
    Value::Object(result)
}

fn capabilities() -> Value {
    json!({"tools": {"listChanged": false}})
}

fn server_info() -> Value {
    json!({"name": "ringfence", "title": "Ringfence", "version": env!("CARGO_PKG_VERSION")})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn meta(version: &str) -> Map<String, Value> {
        params(json!({"_meta": {VERSION_KEY: version, CAPABILITIES_KEY: {}}}))
    }

    #[test]
    fn each_request_says_its_revision_or_is_refused() {
        assert_eq!(of_meta(&meta("2026-07-28")), Ok(Era::Stateless));
        assert_eq!(of_meta(&meta("2025-11-25")), Ok(Era::Handshake));
        let refused = of_meta(&meta("2031-01-01")).unwrap_err();
        assert_eq!(
            (refused.code, refused.data.unwrap()["supported"][0].clone()),
            (-32022, "2026-07-28".into())
        );
        for wrong in [
            json!({}),
            json!({"_meta": []}),
            json!({"_meta": {VERSION_KEY: 5, CAPABILITIES_KEY: {}}}),
            json!({"_meta": {VERSION_KEY: "2026-07-28"}}),
            json!({"_meta": {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: []}}),
        ] {
            assert_eq!(of_meta(&params(wrong.clone())).unwrap_err().code, INVALID_PARAMS, "{wrong}");
        }
    }

    #[test]
    fn the_handshake_agrees_on_a_revision_that_has_one() {
        for (wanted, agreed) in [
            ("2025-11-25", "2025-11-25"),
            ("2025-06-18", "2025-06-18"),
            ("2026-07-28", "2025-11-25"),
            ("2024-11-05", "2025-11-25"),
            ("x", "2025-11-25"),
        ] {
            let answer = initialize(&params(json!({"protocolVersion": wanted}))).unwrap();
            assert_eq!(answer["protocolVersion"], agreed, "{wanted}");
        }
        assert_eq!(initialize(&Map::new()).unwrap_err().code, INVALID_PARAMS);
    }

    #[test]
    fn only_stateless_results_have_a_type_and_a_time_to_live() {
        let old = finish(Era::Handshake, discover());
        assert!(old.get("resultType").is_none() && old.get("ttlMs").is_none() && old.get("_meta").is_none());
        let new = finish(Era::Stateless, discover());
        assert_eq!((&new["resultType"], &new["cacheScope"]), (&json!("complete"), &json!("private")));
        assert_eq!(new["_meta"][SERVER_KEY]["name"], "ringfence");
    }
}
