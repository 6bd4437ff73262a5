//! Who rows belong to.

use std::fmt;
use std::sync::Arc;

use ringfence_api::{Manifest, PluginName};

use super::audit::Subject;

/// A plugin by one publisher: the key of everything that is kept for it. Cheap to clone.
///
/// Until packages are signed the publisher is `unsigned:` and the author that the manifest claims, so a package that
/// claims another author inherits nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    inner: Arc<(PluginName, String)>,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({} by {:?})", self.name(), self.publisher())
    }
}

impl Owner {
    /// The plugin of this name by this publisher.
    pub(crate) fn new(name: PluginName, publisher: impl Into<String>) -> Self {
        Self { inner: Arc::new((name, publisher.into())) }
    }

    /// Whom an unsigned package with this manifest belongs to.
    pub(crate) fn unsigned(manifest: &Manifest) -> Self {
        let author = manifest.author.as_deref().unwrap_or_default();
        Self::new(manifest.name.clone(), format!("unsigned:{author}"))
    }

    /// The plugin.
    pub(crate) fn name(&self) -> &PluginName {
        &self.inner.0
    }

    /// The publisher.
    pub(crate) fn publisher(&self) -> &str {
        &self.inner.1
    }

    /// The same as the subject of an audit record.
    pub(crate) fn subject(&self) -> Subject {
        Subject::plugin(self.name(), self.publisher())
    }
}
