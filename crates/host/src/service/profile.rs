//! The user on whose behalf a plugin works, as far as the host application knows it and each field is granted.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use ringfence_api::rpc::RpcErrorCode;
use ringfence_api::{PermissionName, PluginName};
use ringfence_policy::{Name, Request};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Offers;
use super::asking::{Asking, answer, refused};
use crate::Error;
use crate::rpc::RpcError;

/// Fields that one request names at most.
pub const FIELDS_MAX: usize = 64;

/// Fields that a wildcard or the bare `profile:read` never opens, unless the provider names others: each asks for a grant by
/// its name, such as `profile:read=email`.
pub const SENSITIVE_FIELDS: [&str; 10] = [
    "address",
    "birth_date",
    "driver_license_number",
    "email",
    "id_number",
    "national_id",
    "passport_number",
    "phone",
    "social_security_number",
    "tax_id",
];

/// What a provider answers: the values of the fields, or why there are none.
pub type ProfileAnswer<'a> = Pin<Box<dyn Future<Output = Result<Map<String, Value>, Error>> + Send + 'a>>;

/// Knows the users of the host application. Registered with [`HostBuilder::profile`](crate::HostBuilder::profile).
///
/// ```
/// use ringfence::service::{ProfileAnswer, ProfileProvider, ProfileRequest};
/// use serde_json::{Map, json};
///
/// struct OneUser;
///
/// impl ProfileProvider for OneUser {
///     fn fields(&self) -> Vec<String> {
///         vec!["name".into(), "language".into(), "email".into()]
///     }
///     fn profile(&self, request: ProfileRequest) -> ProfileAnswer<'_> {
///         Box::pin(async move {
///             // Whose call `request.correlation_id` is, the application knows: it made it.
///             let all = [("name", "Ada"), ("language", "en"), ("email", "ada@example.com")];
///             let asked = all.into_iter().filter(|(field, _)| request.fields.iter().any(|wanted| wanted == field));
///             Ok(asked.map(|(field, value)| (field.to_owned(), json!(value))).collect::<Map<_, _>>())
///         })
///     }
/// }
/// let host = ringfence::Host::builder().profile(OneUser);
/// ```
pub trait ProfileProvider: Send + Sync + 'static {
    /// The fields that there are: what a plugin gets that names none, as far as they are granted.
    fn fields(&self) -> Vec<String>;

    /// The fields that only a grant by their name opens. Default: [`SENSITIVE_FIELDS`].
    fn sensitive(&self) -> Vec<String> {
        SENSITIVE_FIELDS.map(str::to_owned).to_vec()
    }

    /// The values of fields that the plugin may have. One that is left out has no value; what was not asked for is not passed
    /// on.
    ///
    /// # Errors
    /// The plugin hears of `quota`, `too_large`, `busy` and `permission_denied` with their text, and of anything else only that
    /// it failed.
    fn profile(&self, request: ProfileRequest) -> ProfileAnswer<'_>;
}

/// Which fields of whose profile a plugin asks for, and may have.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProfileRequest {
    /// Who asks.
    pub plugin: PluginName,
    /// The work for the sake of which it asks: that of the call in progress, as
    /// [`CallOptions`](crate::plugin::CallOptions) gave it, if `within_call`.
    pub correlation_id: String,
    /// Whether `correlation_id` is that of a call in progress. If not, the plugin asks by itself, on nobody's behalf.
    pub within_call: bool,
    /// The granted fields, each once.
    pub fields: Vec<String>,
    /// When nobody waits for the answer any more; the future is dropped then.
    pub deadline: Instant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileParams {
    #[serde(default)]
    fields: Option<Vec<String>>,
}

pub(super) async fn get(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let ProfileParams { fields } = asking.params()?;
    let provider = asking.context.offers.profile.as_deref();
    let sensitive = sensitive_fields(&asking.context.offers);
    let fields = match fields {
        Some(fields) => named(&asking, fields, &sensitive)?,
        None => all_granted(&asking, provider, &sensitive)?,
    };
    let Some(provider) = provider else {
        let message = "this host knows no users: its application has registered no profile";
        return Err(RpcError::new(RpcErrorCode::NotSupported, message));
    };
    let mut act = asking.begin(&fields.join(",")).await?;
    let request = ProfileRequest {
        plugin: asking.target.name.clone(),
        correlation_id: asking.call.correlation_id.clone(),
        within_call: asking.call.within_call,
        fields: fields.clone(),
        deadline: asking.call.deadline,
    };
    let mut profile = provider.profile(request).await.map_err(|error| {
        tracing::warn!(plugin = %asking.target.name, error = %error.chain(), "the application gave no profile");
        refused(&error)
    })?;
    // The provider may be generous; the grants are not.
    profile.retain(|field, _| fields.contains(field));
    act.done();
    answer(&profile)
}

/// The fields that only a grant by their name opens.
pub(crate) fn sensitive_fields(offers: &Offers) -> Vec<String> {
    let provider = offers.profile.as_deref();
    provider.map_or_else(|| SENSITIVE_FIELDS.map(str::to_owned).to_vec(), ProfileProvider::sensitive)
}

/// Fields that were asked for by name: each must be granted.
fn named(
    asking: &Asking<'_>,
    mut fields: Vec<String>,
    sensitive: &[String],
) -> Result<Vec<String>, RpcError> {
    if fields.is_empty() || fields.len() > FIELDS_MAX {
        let message = format!("fields names 1 to {FIELDS_MAX} fields; leave it out for all that are granted");
        return Err(RpcError::new(RpcErrorCode::InvalidParams, message));
    }
    fields.sort_unstable();
    fields.dedup();
    for field in &fields {
        asking.permit(&request(field, sensitive)?, field)?;
    }
    Ok(fields)
}

/// Every field that there is and that is granted.
fn all_granted(
    asking: &Asking<'_>,
    provider: Option<&dyn ProfileProvider>,
    sensitive: &[String],
) -> Result<Vec<String>, RpcError> {
    let rules = &asking.target.rules;
    let mut fields = provider.map(ProfileProvider::fields).unwrap_or_default();
    fields.sort_unstable();
    fields.dedup();
    fields.retain(|field| request(field, sensitive).is_ok_and(|request| rules.decide(&request).is_allowed()));
    let is_asked_of_nobody = provider.is_none()
        && rules.rules().iter().any(|rule| *rule.permission_name() == PermissionName::ProfileRead);
    if fields.is_empty() && !is_asked_of_nobody {
        let grant = PermissionName::ProfileRead.to_string();
        let why = format!(
            "denied: no field of the user's profile is granted; {grant} would open all but the sensitive ones, {grant}=FIELD opens one"
        );
        return Err(asking.deny("profile", Some(&grant), &why));
    }
    Ok(fields)
}

fn request(field: &str, sensitive: &[String]) -> Result<Request, RpcError> {
    let name = Name::new(field).map_err(|error| {
        let shown = crate::consent::shown(field);
        RpcError::new(RpcErrorCode::InvalidParams, format!("'{shown}' cannot be a field: {error}"))
    })?;
    let permission = PermissionName::ProfileRead;
    Ok(if sensitive.iter().any(|known| known == field) {
        Request::Protected { permission, name }
    } else {
        Request::Named { permission, name }
    })
}
