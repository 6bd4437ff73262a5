//! A plugin's configuration as a form that its JSON Schema describes ([`tree`]), and as JSON where a form is too little.
//!
//! What was typed comes back with what is wrong beside it ([`draw`], [`read`]); a secret is never shown again.

mod draw;
mod read;
mod tree;

use std::sync::Arc;

use axum::http::StatusCode;
use maud::{Markup, html};
use ringfence::plugin::PluginDetails;
use ringfence::schema::CompiledSchema;
use ringfence_api::ErrorCode;
use serde_json::{Map, Value};

use super::super::seen::{Act, Question, Seen, done};
use super::super::view::{Next, Page};
use super::super::{ROOT, failure, part};
use super::Tab;
use crate::api::Failure;
use draw::{Filled, draw_form, draw_json};
use read::Wrong;
use tree::Field;

/// The field of the whole configuration as JSON.
const WHOLE: &str = "whole";

/// What is told above a form that was not taken.
struct Told {
    /// Somebody else was faster.
    is_stale: bool,
    status: StatusCode,
    notice: Markup,
}

impl Told {
    fn of(failure: Failure, seen: &Seen) -> Self {
        let is_stale = failure.error.code() == ErrorCode::Conflict;
        let (status, notice) = failure::inside(failure, seen);
        Self { is_stale, status, notice }
    }
}

/// A configuration as it is stored, with its version.
struct Stored {
    config: Value,
    version: String,
}

async fn stored(seen: &Seen) -> Result<Stored, Failure> {
    let reply = seen.ask("getConfig", Question::default()).await?;
    Ok(Stored { config: reply.document, version: reply.version.unwrap_or_default() })
}

fn fields(details: &PluginDetails) -> Option<Vec<Field>> {
    details.manifest.config_schema.as_ref().and_then(tree::fields)
}

pub(crate) async fn page(seen: Arc<Seen>) -> Result<Page, Failure> {
    let stored = stored(&seen).await?;
    let details = seen.host.show(seen.name()).await?;
    let as_json = seen.query("as").is_some_and(|form| form == "json");
    let fields = fields(&details);
    let body = match (&fields, as_json) {
        (Some(fields), false) => {
            draw_form(&seen, &details, &Filled::stored(fields, &stored.config, &stored.version))
        }
        _ if details.manifest.config_schema.is_none() && is_empty(&stored.config) && !as_json => {
            none(&details)
        }
        _ => draw_json(&seen, &details, &draw::json_text(&stored.config), &stored.version, fields.is_some()),
    };
    Ok(super::page(&seen, &details, Tab::Configuration, &body))
}

fn is_empty(config: &Value) -> bool {
    config.as_object().is_none_or(Map::is_empty)
}

fn none(details: &PluginDetails) -> Markup {
    part::empty(
        "This plugin has nothing to configure.",
        &html! {
            p.faint { "Its manifest describes no settings. "
                a href={ (ROOT) "/plugins/" (details.name) "/config?as=json" } { "Write some as JSON" } }
        },
    )
}

/// Replaces the configuration.
pub(crate) async fn set(act: Act) -> Result<Next, Failure> {
    let seen = &act.seen;
    let before = stored(seen).await?;
    let details = seen.host.show(seen.name()).await?;
    if let Some(text) = act.form.text(WHOLE) {
        return set_json(&act, &details, text, &before).await;
    }
    let Some(fields) = fields(&details) else {
        return Err(Failure::new(ErrorCode::Conflict, "the settings of this plugin are others by now")
            .hint("open its configuration again"));
    };
    let mut wrong = Wrong::new();
    let config = read::configuration(&fields, &act.form, &before.config, &mut wrong);
    if wrong.is_empty() {
        wrong = faults(&details, &config);
    }
    let told = if wrong.is_empty() { send(&act, &config).await? } else { Some(mistakes(&wrong)) };
    let Some(Told { is_stale, status, notice }) = told else { return Ok(saved(seen)) };
    // After a conflict: what is stored now, so that sending it again is meant.
    let now = stored(seen).await?;
    let version = if is_stale { &now.version } else { act.version().unwrap_or(&now.version) };
    let filled = Filled::typed(&fields, &act.form, &config, &now.config, version, &wrong, is_stale);
    let body = html! { (notice) (draw_form(seen, &details, &filled)) };
    Ok(Next::Show(super::page(seen, &details, Tab::Configuration, &body).with_status(status)))
}

async fn set_json(act: &Act, details: &PluginDetails, text: &str, before: &Stored) -> Result<Next, Failure> {
    let told = match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(config) => send(act, &Value::Object(config)).await?,
        Err(error) => {
            let failure = Failure::new(ErrorCode::Usage, format!("this is no JSON object: {error}"));
            Some(Told::of(failure, &act.seen))
        }
    };
    let Some(Told { is_stale, status, notice }) = told else { return Ok(saved(&act.seen)) };
    let version = if is_stale { before.version.as_str() } else { act.version().unwrap_or_default() };
    let body = html! {
        (notice)
        @if is_stale { section.card { h2 { "Stored now" } pre { code { (draw::json_text(&before.config)) } } } }
        (draw_json(&act.seen, details, text, version, fields(details).is_some()))
    };
    Ok(Next::Show(super::page(&act.seen, details, Tab::Configuration, &body).with_status(status)))
}

fn saved(seen: &Seen) -> Next {
    let name = seen.name();
    done(format!("{ROOT}/plugins/{name}/config"), format!("The configuration of {name} is saved."))
}

/// Gives the configuration to the host; `None` when it is stored, else what is to be told above the form.
async fn send(act: &Act, config: &Value) -> Result<Option<Told>, Failure> {
    let question = Question { version: act.version(), body: Some(config), ..Question::default() };
    match act.send(question).await {
        Ok(_) => Ok(None),
        Err(failure) => match failure.error.code() {
            ErrorCode::Conflict | ErrorCode::SchemaViolation | ErrorCode::Usage => {
                Ok(Some(Told::of(failure, &act.seen)))
            }
            _ => Err(failure),
        },
    }
}

/// What the schema says, each beside its field. The host judges again, with the secrets that stay.
fn faults(details: &PluginDetails, config: &Value) -> Wrong {
    let mut wrong = Wrong::new();
    let Some(schema) = &details.manifest.config_schema else { return wrong };
    let Ok(schema) = CompiledSchema::compile(schema) else { return wrong };
    let secrets = schema.secret_paths();
    for fault in schema.validate(config).err().unwrap_or_default() {
        if !read::about_secrets(&fault.pointer, &secrets, config) {
            wrong.entry(fault.pointer.clone()).or_default().push(fault.to_string());
        }
    }
    wrong
}

fn mistakes(wrong: &Wrong) -> Told {
    let count: usize = wrong.values().map(Vec::len).sum();
    let notice = html! {
        div.notice.failed role="alert" {
            p { "Not saved: " @if count == 1 { "one setting is" } @else { (count) " settings are" } " not as the plugin needs it. Nothing that you typed is lost, but for secrets." }
        }
    };
    let status = StatusCode::from_u16(ErrorCode::SchemaViolation.http_status());
    Told { is_stale: false, status: status.unwrap_or(StatusCode::BAD_REQUEST), notice }
}
