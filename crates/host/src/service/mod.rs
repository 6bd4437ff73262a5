//! What a plugin may ask of its host: the plugin's end of the protocol, served.
//!
//! One file for each kind of thing that is asked for. Each method asks one permission (its own data and configuration need
//! none), stands in the audit trail before it is done, and works within the deadline of the request and the size of a
//! message. A body that is read piece by piece is judged and recorded when it is fetched, and recorded once more when it ends. Start
//! reading at `asking.rs`: how a method judges, records and answers.

mod asking;
mod config;
mod data;
mod database;
mod fetch;
mod files;
mod hooks;
mod offers;
mod own_method;
mod process;
mod profile;

use std::sync::Arc;
use std::time::Duration;

use ringfence_api::rpc::{RpcErrorCode, method};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::EventKind;
use crate::lifecycle::{Context, LogSource, Target};
use crate::rpc::{Fault, IncomingNotification, IncomingRequest, Reply, RpcError, Service};
use asking::{Asking, Room};

pub use data::LIST_MAX;
pub use files::{FILE_MAX_BYTES, LISTED_MAX};
pub use own_method::{METHOD_NAME_MAX_BYTES, Method, MethodCall, MethodHandler};
pub use process::{OUTPUT_MAX_BYTES, PROCESSES_MAX};
pub use profile::{FIELDS_MAX, ProfileAnswer, ProfileProvider, ProfileRequest, SENSITIVE_FIELDS};

pub(crate) use fetch::Network;
pub(crate) use offers::{Databases, Offers};
pub(crate) use profile::sensitive_fields;

/// How long programs of a plugin may outlive it: SIGTERM, 3 s, SIGKILL, and the kernel's own time.
const PROGRAMS_WAIT: Duration = ringfence_sandbox::TERM_GRACE.saturating_add(Duration::from_secs(2));
/// The levels of a log message.
const LEVELS: [&str; 4] = ["debug", "info", "warning", "error"];

/// Answers one plugin.
#[derive(Debug)]
pub(crate) struct PluginService {
    context: Arc<Context>,
    target: Arc<Target>,
    room: Arc<Room>,
}

impl PluginService {
    pub(crate) fn new(context: Arc<Context>, target: Arc<Target>) -> Self {
        Self { context, target, room: Arc::default() }
    }

    /// The turns of programs that run beside the plugin: fewer than [`PROCESSES_MAX`] are left while one does.
    pub(crate) fn programs(&self) -> Arc<tokio::sync::Semaphore> {
        Arc::clone(&self.room.processes)
    }

    /// Kills what runs beside the plugin and closes what it reads from servers, and waits until nothing is left. Its requests must
    /// have ended: each has told its program to.
    ///
    /// Cancel safe.
    pub(crate) async fn emptied_soon(&self, target: &Target) {
        self.room.ended.send_replace(true);
        self.room.streams.end().await;
        let all = u32::try_from(process::PROCESSES_MAX).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let emptied = self.room.processes.acquire_many(all);
        if tokio::time::timeout(PROGRAMS_WAIT, emptied).await.is_err() {
            tracing::error!(plugin = %target.name, "a program of a plugin did not end after SIGKILL");
        }
    }
}

#[derive(Deserialize)]
struct LogParams {
    #[serde(default)]
    level: Option<String>,
    message: String,
    #[serde(default)]
    fields: Option<Value>,
}

#[derive(Deserialize)]
struct ProgressParams {
    progress: f64,
    #[serde(default)]
    total: Option<f64>,
    #[serde(default)]
    message: Option<String>,
}

impl Service for PluginService {
    fn request(&self, call: IncomingRequest) -> Reply {
        let (context, target) = (Arc::clone(&self.context), Arc::clone(&self.target));
        let room = Arc::clone(&self.room);
        Box::pin(async move {
            serve(Asking { context: &context, target: &target, room: &room, call: &call }).await
        })
    }

    fn notify(&self, note: IncomingNotification<'_>) {
        let Some(params) = note.params else { return };
        match note.method {
            method::LOG => {
                if let Ok(params) = serde_json::from_str::<LogParams>(params.get()) {
                    self.log(&params);
                }
            }
            method::PROGRESS => {
                if let (Ok(params), Some(id)) =
                    (serde_json::from_str::<ProgressParams>(params.get()), note.correlation_id)
                {
                    let message = params.message.as_deref();
                    let message = message.map(|text| crate::consent::shown(&self.target.log.redacted(text)));
                    let kind = EventKind::Progress {
                        correlation_id: id.to_owned(),
                        progress: params.progress,
                        total: params.total,
                        message,
                    };
                    self.context.events.tell(&self.target.name, kind);
                }
            }
            // An unknown notification is ignored, as JSON-RPC has it.
            _ => {}
        }
    }

    fn fault(&self, fault: Fault) {
        let text = format!("dropped a line: {}: {}", fault.kind, fault.sample);
        self.target.log.line(LogSource::Host, Some("warning"), &text);
    }
}

impl PluginService {
    fn log(&self, params: &LogParams) {
        let level = params.level.as_deref().filter(|level| LEVELS.contains(level)).unwrap_or("info");
        let text = match &params.fields {
            Some(fields) => format!("{} {fields}", params.message),
            None => params.message.clone(),
        };
        let line = self.target.log.line(LogSource::Log, Some(level), &text);
        self.context.events.tell(&self.target.name, EventKind::Log { line });
    }
}

/// Makes the list of what is served and the function that serves it from one table, so that neither can say what the other
/// does not do.
macro_rules! served {
    ($($method:ident => $serve:path,)+) => {
        /// The requests that are answered; the others of the protocol are `not_supported`.
        pub(crate) const SERVED: &[&str] = &[$(method::$method,)+];

        async fn serve(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
            match asking.call.method.as_str() {
                $(method::$method => $serve(asking).await,)+
                own if asking.context.offers.methods.contains_key(own) => own_method::call(asking).await,
                other => Err(not_served(other)),
            }
        }
    };
}

served! {
    STORE_PLUGIN_DATA => data::store,
    LOAD_PLUGIN_DATA => data::load,
    DELETE_PLUGIN_DATA => data::delete,
    LIST_PLUGIN_DATA => data::list,
    GET_CONFIG => config::get,
    SET_CONFIG => config::set,
    POST_EVENT => hooks::post,
    REGISTER_HOOK => hooks::register,
    HTTP_FETCH => fetch::fetch,
    HTTP_FETCH_READ => fetch::read,
    HTTP_FETCH_CLOSE => fetch::close,
    QUERY_DATABASE => database::query,
    EXECUTE_DATABASE => database::execute,
    READ_FILE => files::read,
    WRITE_FILE => files::write,
    DELETE_FILE => files::delete,
    LIST_FILES => files::list,
    RUN_PROCESS => process::run,
    GET_USER_PROFILE => profile::get,
}

fn not_served(method: &str) -> RpcError {
    match method {
        known if method::HOST_REQUESTS.contains(&known) => RpcError::new(
            RpcErrorCode::NotSupported,
            format!("{known} is not served by this version of Ringfence"),
        ),
        unknown => {
            let message = format!("there is no method '{}'", crate::consent::shown(unknown));
            RpcError::new(RpcErrorCode::MethodNotFound, message)
        }
    }
}
