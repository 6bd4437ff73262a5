//! What a form has sent: names and values, in order.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use ringfence_api::ErrorCode;

use crate::api::Failure;

/// Fields of one form at most.
const FIELDS_MAX: usize = 2_000;

/// The fields of a form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// # Errors
    /// `unsupported_media_type` and `usage` for what is no form.
    pub(super) fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Self, Failure> {
        let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Failure::new(ErrorCode::UnsupportedMediaType, "a page takes what its form sends"));
        }
        let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes)
            .map_err(|error| Failure::new(ErrorCode::Usage, format!("in the form: {error}")))?;
        if fields.len() > FIELDS_MAX {
            return Err(Failure::new(
                ErrorCode::TooLarge,
                format!("the form has more than {FIELDS_MAX} fields"),
            ));
        }
        Ok(Self { fields })
    }

    /// Fields that were read already.
    pub(super) const fn of(fields: Vec<(String, String)>) -> Self {
        Self { fields }
    }

    /// The first value of a field.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a field, such as the boxes that were ticked.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a box was ticked.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }
}
