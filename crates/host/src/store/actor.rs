//! Who acts, and on behalf of which request.

use std::sync::Arc;

use super::Owner;
use super::audit::Subject;

/// Who does what is recorded, and the request that it belongs to. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    name: Arc<str>,
    correlation_id: Option<Arc<str>>,
}

impl Actor {
    /// Somebody, outside any request.
    pub(crate) fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), correlation_id: None }
    }

    /// The same within one request.
    pub(crate) fn within(self, correlation_id: Option<Arc<str>>) -> Self {
        Self { correlation_id, ..self }
    }

    /// Who, as the audit trail names it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same as a text of its own.
    pub(crate) fn text(&self) -> String {
        self.name.as_ref().to_owned()
    }

    /// The request that it acts for.
    pub(crate) fn correlation_id(&self) -> Option<&Arc<str>> {
        self.correlation_id.as_ref()
    }

    /// The subject of a record of what it does to a plugin.
    pub(crate) fn subject(&self, owner: &Owner) -> Subject {
        self.tie(owner.subject())
    }

    /// The subject, tied to its request.
    pub(crate) fn tie(&self, subject: Subject) -> Subject {
        match &self.correlation_id {
            Some(id) => subject.correlated(id),
            None => subject,
        }
    }
}

impl From<&str> for Actor {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Actor {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&Actor> for Actor {
    fn from(actor: &Actor) -> Self {
        actor.clone()
    }
}
