//! What an application says of an event of its own: the form of its body, and which parts of it need a grant.

use ringfence_api::{Permission, PermissionName, ScopeKind};
use ringfence_policy::{Name, Request};
use serde_json::Value;

use crate::schema::{CompiledSchema, SchemaError};

/// Parts of one event that can be protected.
const PROTECTED_MAX: usize = 64;
/// The longest name of an event.
const EVENT_MAX_BYTES: usize = 128;

/// A named point in an application's pipeline, with what holds for its body. An event needs none: it is then any JSON.
///
/// ```
/// use ringfence::hooks::HookPoint;
/// use serde_json::json;
///
/// let point = HookPoint::new("onRequest")?
///     .schema(&json!({"type": "object", "required": ["messages"]}))?
///     .protect("/user/email", &"profile:read=email".parse()?)?;
/// assert_eq!(point.event(), "onRequest");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HookPoint {
    event: String,
    schema: Option<CompiledSchema>,
    protected: Vec<Protected>,
}

/// A part of the body.
#[derive(Clone, Debug)]
pub(crate) struct Protected {
    /// Where it is, as a JSON pointer.
    pub(crate) pointer: String,
    /// Which grant opens it.
    pub(crate) permission: Permission,
    name: Name,
}

impl Protected {
    /// What a handler must be allowed to see it. A sensitive field of a profile is opened by a grant of its name only, as in
    /// `get_user_profile`.
    pub(crate) fn request(&self, sensitive: &[String]) -> Request {
        let (permission, name) = (self.permission.name().clone(), self.name.clone());
        let field = self.permission.scope().unwrap_or_default();
        if permission == PermissionName::ProfileRead && sensitive.iter().any(|known| known == field) {
            Request::Protected { permission, name }
        } else {
            Request::Named { permission, name }
        }
    }
}

/// What a hook point cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    /// The name of the event is empty, too long, or not of letters, digits, `_`, `.`, `:` and `-`.
    #[error("'{0}' cannot be the name of an event: 1 to 128 letters, digits, '_', '.', ':' and '-'")]
    Event(String),
    /// The schema cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The pointer is none, or names the whole body.
    #[error("'{0}' is no JSON pointer to a part of the body: write it as /user/email")]
    Pointer(String),
    /// The permission has no single name as its scope.
    #[error(
        "'{0}' cannot protect a part of a body: take a permission over names with one name, such as profile:read=email"
    )]
    Permission(String),
    /// Too many parts.
    #[error("more than 64 parts of one event are protected")]
    TooMany,
}

impl HookPoint {
    /// A point whose body may be anything.
    ///
    /// # Errors
    /// [`PointError::Event`].
    pub fn new(event: impl Into<String>) -> Result<Self, PointError> {
        let event = event.into();
        if !is_event_name(&event) {
            return Err(PointError::Event(crate::consent::shown(&event)));
        }
        Ok(Self { event, schema: None, protected: Vec::new() })
    }

    /// The schema of the body, JSON Schema 2020-12. A body that breaks it is refused before the first handler; one that breaks
    /// it after a mutator is put back, and the mutator has failed.
    ///
    /// # Errors
    /// [`PointError::Schema`].
    pub fn schema(mut self, schema: &Value) -> Result<Self, PointError> {
        self.schema = Some(CompiledSchema::compile(schema)?);
        Ok(self)
    }

    /// A part of the body that only handlers with a grant see and change; for a sensitive field of a profile, such as `email`, a
    /// grant by its name and no wildcard. Others see a text in its place that names the
    /// grant, and what they put there is dropped.
    ///
    /// # Errors
    /// [`PointError::Pointer`], [`PointError::Permission`], [`PointError::TooMany`].
    pub fn protect(mut self, pointer: &str, permission: &Permission) -> Result<Self, PointError> {
        if pointer.len() < 2 || !pointer.starts_with('/') {
            return Err(PointError::Pointer(crate::consent::shown(pointer)));
        }
        if self.protected.len() >= PROTECTED_MAX {
            return Err(PointError::TooMany);
        }
        let refused = || PointError::Permission(permission.to_string());
        let named = permission.name().scope_kind() == ScopeKind::Name;
        let name = permission.scope().filter(|_| named).and_then(|scope| Name::new(scope).ok());
        let name = name.ok_or_else(refused)?;
        self.protected.push(Protected { pointer: pointer.to_owned(), permission: permission.clone(), name });
        Ok(self)
    }

    /// Its name.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.event
    }

    pub(crate) fn body_schema(&self) -> Option<&CompiledSchema> {
        self.schema.as_ref()
    }

    pub(crate) fn protected(&self) -> &[Protected] {
        &self.protected
    }
}

/// Whether a text can be the name of an event.
pub(crate) fn is_event_name(text: &str) -> bool {
    (1..=EVENT_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
}

/// The body as a handler sees it that may not see these parts; `None` when it holds none of them.
pub(super) fn hide(body: &Value, hidden: &[Protected]) -> Option<Value> {
    let there: Vec<&Protected> = hidden.iter().filter(|part| body.pointer(&part.pointer).is_some()).collect();
    if there.is_empty() {
        return None;
    }
    let mut shown = body.clone();
    for part in there {
        if let Some(place) = shown.pointer_mut(&part.pointer) {
            *place = Value::String(format!("[needs {}]", part.permission));
        }
    }
    Some(shown)
}

/// Puts the hidden parts back into what came of them.
///
/// # Errors
/// When there is no place for one any more.
pub(super) fn restore(after: &mut Value, before: &Value, hidden: &[Protected]) -> Result<(), String> {
    for part in hidden {
        let Some(value) = before.pointer(&part.pointer) else { continue };
        let Some(place) = after.pointer_mut(&part.pointer) else {
            return Err(format!("it removed {}, which it may not see", part.pointer));
        };
        *place = value.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hidden_part_is_neither_seen_nor_changed() {
        let point = HookPoint::new("onRequest")
            .unwrap()
            .protect("/user/email", &"profile:read=email".parse().unwrap())
            .unwrap();
        let body = json!({"user": {"email": "ada@example.com", "name": "Ada"}});
        let mut shown = hide(&body, point.protected()).unwrap();
        assert_eq!(shown, json!({"user": {"email": "[needs profile:read=email]", "name": "Ada"}}));
        shown["user"]["email"] = json!("mallory@example.com");
        shown["user"]["name"] = json!("Eve");
        restore(&mut shown, &body, point.protected()).unwrap();
        assert_eq!(shown, json!({"user": {"email": "ada@example.com", "name": "Eve"}}));
        assert!(restore(&mut json!({}), &body, point.protected()).is_err());
        assert_eq!(hide(&json!({"user": 1}), point.protected()), None);
    }

    #[test]
    fn what_cannot_be_a_point_is_refused() {
        for name in ["", "on request", "a/b", "ü", &"x".repeat(129)] {
            assert!(matches!(HookPoint::new(name), Err(PointError::Event(_))), "{name}");
        }
        let point = || HookPoint::new("e").unwrap();
        let email: Permission = "profile:read=email".parse().unwrap();
        assert!(matches!(point().protect("user", &email), Err(PointError::Pointer(_))));
        assert!(matches!(point().protect("/", &email), Err(PointError::Pointer(_))));
        for permission in ["profile:read", "file:read=/srv"] {
            let permission: Permission = permission.parse().unwrap();
            assert!(matches!(point().protect("/a", &permission), Err(PointError::Permission(_))));
        }
        assert!(matches!(point().schema(&json!({"type": 1})), Err(PointError::Schema(_))));
    }
}
