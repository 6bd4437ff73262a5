//! Calls: judged, recorded, handed over, and answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_api::rpc::{RpcErrorCode, method};
use ringfence_api::{ErrorCode, Manifest, PluginName, PluginState};
use ringfence_policy::{CanonicalPath, Effect, FileOp, Request};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Host, plugin_name};
use crate::Error;
use crate::lifecycle::{Confinement, Instance, Target, Tool, not_active};
use crate::plugin::CallOptions;
use crate::rpc::{CallError, CallMeta, RpcError};
use crate::schema::CompiledSchema;
use crate::store::{Outcome, Refused};

/// Faults of a schema that one error names.
const FAULTS_SHOWN: usize = 5;
/// How long a call waits for room in the audit trail before it is refused.
const AUDIT_WAIT: Duration = Duration::from_secs(2);

/// How long a call whose time is over looks whether there is such a plugin at all.
const ROW_WAIT: Duration = Duration::from_millis(250);

impl Host {
    /// Calls a tool of an active plugin and waits for its result. A plugin that does not run is started.
    ///
    /// # Errors
    /// As for [`Host::call_with`].
    ///
    /// # Cancel safety
    /// As for [`Host::call_with`].
    pub async fn call(&self, name: &str, tool: &str, arguments: Value) -> Result<Value, Error> {
        let arguments = serde_json::value::to_raw_value(&arguments)
            .map_err(|error| Error::new(ErrorCode::Usage, "the arguments are no JSON").with_source(error))?;
        let result = self.call_with(name, tool, &arguments, &CallOptions::default()).await?;
        serde_json::from_str(result.get())
            .map_err(|error| Error::new(ErrorCode::PluginFailed, "the result is no JSON").with_source(error))
    }

    /// Calls a tool with its arguments and its result as JSON text, and with a limit of the caller's.
    ///
    /// What is judged by a schema is what is handed over: arguments and results are parsed only when the tool declares a
    /// schema for them.
    ///
    /// # Errors
    /// - `not_found`: no such plugin, or no such tool; the hint names the nearest.
    /// - `not_active`, `quarantined`, `consent_required`: it does not take calls now.
    /// - `permission_denied`, `not_active`, `quarantined`, `not_found`, `busy`: a grant was taken back, or the plugin was
    ///   deactivated, quarantined, uninstalled or replaced during the call, here or by another process of the home.
    /// - `policy_denied`: the administrator's policy does not let it run.
    /// - `schema_violation`: arguments or result break the tool's schema.
    /// - `timeout`: it took too long, a start included when there is a limit of the caller's; the plugin is told, and stopped when it does not give up the call within 3 s.
    /// - `plugin_failed`: it answered with an error, broke the protocol, or ended. The message is the plugin's own, escaped.
    /// - `permission_denied`: the host refused it something, and it passed the refusal on; the hint names the grant. A file that
    ///   does not exist for the plugin is `plugin_failed`, with the grant that would show it as the hint.
    /// - `busy`: too many calls wait, or the audit trail takes no more.
    /// - what a start says, when it was not running.
    ///
    /// # Cancel safety
    /// Dropped, the plugin is sent `$/cancel`, the answer is dropped when it comes, and the call stays in the audit trail.
    pub async fn call_with(
        &self,
        name: &str,
        tool: &str,
        arguments: &RawValue,
        options: &CallOptions,
    ) -> Result<Box<RawValue>, Error> {
        let begun = Instant::now();
        let instance = match self.running_instance(name) {
            Some(instance) => instance,
            None => self.started_instance(name, tool, arguments, options).await?,
        };
        let answer = self.call_instance(&instance, tool, arguments, options, begun).await;
        self.weigh_denials(&instance.target).await;
        answer
    }

    /// The same on a plugin that runs. The caller's time runs since `begun`, the plugin's own limit from now on.
    pub(crate) async fn call_instance(
        &self,
        instance: &Instance,
        tool: &str,
        arguments: &RawValue,
        options: &CallOptions,
        begun: Instant,
    ) -> Result<Box<RawValue>, Error> {
        let target = &instance.target;
        let known = tool_of(target, tool)?;
        let judged = judge_text(known.input.as_ref(), arguments, "the arguments")?;
        let arguments = judged.as_deref().unwrap_or(arguments);
        let now = Instant::now();
        let (limit, deadline) = limit(options.timeout, begun, target.limits.call_timeout, now);
        let correlation_id: Arc<str> = match &options.correlation_id {
            Some(id) => id.as_str().into(),
            None => self.correlation_id(),
        };
        let params = call_params(&known.name, arguments)?;
        let wait = AUDIT_WAIT.min(deadline.saturating_duration_since(now));
        let mut record = target.calls.act(&known.name, &correlation_id, wait, Outcome::Cancelled).await?;
        let meta = CallMeta { correlation_id: &correlation_id, deadline };
        let answered = instance.connection.request(method::CALL, &params, meta).await;
        let overtaken =
            instance.live.overtaken().filter(|_| matches!(&answered, Err(error) if has_no_answer(error)));
        if let Some(overtaken) = overtaken {
            record.outcome = Outcome::Cancelled;
            return Err(overtaken.error(&target.name));
        }
        record.outcome = outcome(&answered);
        match answered {
            Ok(result) => {
                let judged = judge_text(known.output.as_ref(), &result, "the result").inspect_err(|_| {
                    record.outcome = Outcome::Invalid;
                })?;
                Ok(judged.unwrap_or(result))
            }
            Err(error) => Err(self.call_error(instance, error, limit, &correlation_id).await),
        }
    }

    /// The plugin of that name, if it runs and is known to be as it is stored and as the policy has it: what most calls meet,
    /// so this waits for nothing and sets no timer.
    fn running_instance(&self, name: &str) -> Option<Arc<Instance>> {
        let instance = self.known_supervisor(name)?.up_to_date()?;
        self.is_under_policy(&instance).then_some(instance)
    }

    /// The same, started or judged anew if need be, for as long as the caller waits.
    async fn started_instance(
        &self,
        name: &str,
        tool: &str,
        arguments: &RawValue,
        options: &CallOptions,
    ) -> Result<Arc<Instance>, Error> {
        let starting = Box::pin(self.instance(name, tool, arguments));
        match options.timeout {
            None => starting.await,
            // A start that is given up goes on by itself, for whoever calls next.
            Some(timeout) => match tokio::time::timeout(timeout, starting).await {
                Ok(started) => started,
                Err(_elapsed) => {
                    // However little time there was: what is not installed is not being started. Whether it is, is not waited
                    // for either.
                    let row = tokio::time::timeout(ROW_WAIT, self.row(&plugin_name(name)?)).await;
                    match row {
                        Ok(Err(error)) if error.code() == ErrorCode::NotFound => Err(error),
                        _ => Err(not_started(name, timeout)),
                    }
                }
            },
        }
    }

    /// The running plugin of that name, started if it is active. A call that is wrong starts nothing.
    async fn instance(&self, name: &str, tool: &str, arguments: &RawValue) -> Result<Arc<Instance>, Error> {
        if let Some(supervisor) = self.known_supervisor(name)
            && let Some(instance) = supervisor.up_to_date()
            && let Some(instance) = self.under_policy(&supervisor, instance).await?
        {
            return Ok(instance);
        }
        let name = plugin_name(name)?;
        let context = Arc::clone(self.context());
        let (store, wanted) = (context.store.clone(), name.clone());
        let row = store.run(move |_| context.row(&wanted)).await?;
        match row.state {
            PluginState::Active | PluginState::Errored => {
                let manifest = self.context().completed(row.package.manifest()?);
                judge_call(&manifest, tool, arguments)?;
                self.start_under_policy(&name).await
            }
            PluginState::Quarantined => {
                Err(crate::lifecycle::quarantined(&name, row.state_reason.as_deref()))
            }
            PluginState::Installed | PluginState::Discovered => {
                Err(crate::lifecycle::consent_required(&name))
            }
            PluginState::Inactive => Err(not_active(&name)),
        }
    }

    async fn call_error(
        &self,
        instance: &Instance,
        error: CallError,
        limit: Duration,
        correlation_id: &Arc<str>,
    ) -> Error {
        let name = &instance.target.name;
        let log = format!("read its log: ringfence logs {name}");
        match error {
            CallError::Timeout => {
                let message = format!("{name} did not answer within {:.3} s", limit.as_secs_f64());
                Error::new(ErrorCode::Timeout, message).with_hint("raise the timeout if the work is right")
            }
            CallError::Plugin(error) => self.plugin_error(&instance.target, &error, correlation_id),
            CallError::Busy { .. } => Error::new(ErrorCode::Busy, format!("{name}: {error}")),
            CallError::TooLarge { .. } | CallError::TooDeep => {
                Error::new(ErrorCode::TooLarge, format!("{name}: {error}"))
            }
            CallError::Cancelled => Error::new(ErrorCode::Cancelled, format!("{name}: {error}")),
            CallError::Closed => {
                // Its end comes to be known a moment after its pipe has closed.
                let exit = tokio::time::timeout(Duration::from_millis(200), instance.watched.ended()).await;
                let why = exit.ok().flatten().map(|exit| format!(": {}", exit.reason())).unwrap_or_default();
                let violation = instance.watched.exit().and_then(|exit| exit.violation);
                let code = violation.map_or(ErrorCode::PluginFailed, ErrorCode::from_violation);
                Error::new(code, format!("{name} ended during the call{why}")).with_hint(log)
            }
            other => Error::new(ErrorCode::PluginFailed, format!("{name}: {other}")).with_hint(log),
        }
    }

    /// An error that the plugin has sent. One about a file is explained with the grant that would open it.
    fn plugin_error(&self, target: &Target, error: &RpcError, correlation_id: &Arc<str>) -> Error {
        let said = crate::consent::shown(&target.log.redacted(&error.message));
        let name = &target.name;
        let data: Option<Value> = error.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
        let text = |key: &str| data.as_ref().and_then(|data| data.get(key)).and_then(Value::as_str);
        // The runners name the refusal that an exception of the plugin's came from.
        let refused = error.known() == Some(RpcErrorCode::PluginFailed) && text("layer").is_some();
        match error.known() {
            known if refused || known == Some(RpcErrorCode::PermissionDenied) => {
                let made = Error::new(ErrorCode::PermissionDenied, format!("{name} was refused: {said}"));
                match text("grant") {
                    Some(grant) => made.with_hint(grant_hint(name.as_str(), &crate::consent::shown(grant))),
                    None => made,
                }
            }
            Some(RpcErrorCode::InvalidParams) => {
                Error::new(ErrorCode::SchemaViolation, format!("{name} does not take this call: {said}"))
            }
            Some(RpcErrorCode::Cancelled) => Error::new(ErrorCode::Cancelled, format!("{name}: {said}")),
            _ => {
                let made = Error::new(ErrorCode::PluginFailed, format!("{name} failed: {said}"));
                match text("operation").zip(text("object")).and_then(|(op, path)| file_request(op, path)) {
                    Some(request) => self.explained(made, target, &request, correlation_id),
                    None => made.with_hint(format!("read its log: ringfence logs {name}")),
                }
            }
        }
    }

    /// A file error that surfaced in the plugin: if no grant opens the file, that is why, and a denial like any other.
    fn explained(&self, made: Error, target: &Target, request: &Request, correlation_id: &Arc<str>) -> Error {
        let explanation = target.rules.explain(request);
        let rule = explanation.rule.as_ref().filter(|_| explanation.effect == Effect::Deny);
        if let (None, Some((_, rule, origin))) = (&explanation.grant, rule) {
            let denial = ringfence_api::Denial {
                object: request.object(),
                count: 1,
                ..ringfence_api::Denial::new("mount", operation(request))
            };
            self.refused_file(target, denial, correlation_id);
            return made
                .with_hint(format!("the policy denies it by '{rule}' ({origin}); no grant overrides that"));
        }
        let Some(grant) = explanation.grant else {
            let is_granted = explanation.effect == Effect::Allow;
            return made.with_hint(match request {
                Request::File { op: FileOp::Write, .. } if is_granted => format!(
                    "it is granted; a plugin makes new files by itself only below a directory that is granted as a whole \
                     (DIR/**), and else by `write_file`; its log may say more: ringfence logs {}",
                    target.name
                ),
                _ => format!("read its log: ringfence logs {}", target.name),
            });
        };
        let denial = ringfence_api::Denial {
            object: request.object(),
            grant: Some(grant.clone()),
            count: 1,
            ..ringfence_api::Denial::new("mount", operation(request))
        };
        self.refused_file(target, denial, correlation_id);
        made.with_hint(grant_hint(target.name.as_str(), &grant))
    }

    /// Whoever runs under observation has been seen at it.
    fn refused_file(&self, target: &Target, denial: ringfence_api::Denial, correlation_id: &Arc<str>) {
        if target.sandbox != Confinement::Observed {
            self.context().denied(target, Refused::within(denial, correlation_id));
        }
    }
}

/// How long a call may take as it is said to people, and when it has: the caller's time since the call `begun`, its start
/// included, or the plugin's own limit from `now` on, whichever ends first.
fn limit(asked: Option<Duration>, begun: Instant, own: Duration, now: Instant) -> (Duration, Instant) {
    let own = (own, now + own);
    let asked = asked.and_then(|asked| Some((asked, begun.checked_add(asked)?)));
    asked.filter(|(_, deadline)| *deadline < own.1).unwrap_or(own)
}

fn not_started(name: &str, limit: Duration) -> Error {
    let name = crate::consent::shown(name);
    let message = format!("{name} was still being started after {:.3} s", limit.as_secs_f64());
    Error::new(ErrorCode::Timeout, message)
        .with_hint("the start goes on; call again, or with a longer timeout")
}

fn operation(request: &Request) -> String {
    match request {
        Request::File { op, .. } => op.permission().to_string(),
        _ => "open".to_owned(),
    }
}

fn grant_hint(name: &str, grant: &str) -> String {
    format!("grant it, if that is right: ringfence grant {name} {}", ringfence_api::text::shell_word(grant))
}

/// The request that a file error in a runner is about.
fn file_request(operation: &str, path: &str) -> Option<Request> {
    let op = match operation {
        "read" | "open" | "list" | "stat" => FileOp::Read,
        "write" | "create" | "mkdir" | "chmod" => FileOp::Write,
        "delete" | "rename" | "rmdir" => FileOp::Delete,
        _ => return None,
    };
    Some(Request::File { op, path: CanonicalPath::new(path).ok()? })
}

/// Whether a call ended because the plugin did, or because nobody waits for it any more.
fn has_no_answer(error: &CallError) -> bool {
    matches!(error, CallError::Closed | CallError::Cancelled)
}

/// What the activity says of an answer.
pub(crate) fn outcome(answered: &Result<Box<RawValue>, CallError>) -> Outcome {
    match answered {
        Ok(_) => Outcome::Ok,
        Err(CallError::Timeout) => Outcome::Timeout,
        Err(CallError::Cancelled) => Outcome::Cancelled,
        Err(CallError::Closed) => Outcome::Crashed,
        Err(CallError::Busy { .. } | CallError::TooLarge { .. } | CallError::TooDeep) => Outcome::Refused,
        Err(_) => Outcome::Failed,
    }
}

fn tool_of<'t>(target: &'t Target, name: &str) -> Result<&'t Tool, Error> {
    let names = || target.tools.keys().map(String::as_str).collect();
    target.tools.get(name).ok_or_else(|| no_tool(&target.name, name, names()))
}

fn no_tool(plugin: &PluginName, tool: &str, mut names: Vec<&str>) -> Error {
    let message = format!("{plugin} has no tool '{}'", crate::consent::shown(tool));
    names.sort_unstable();
    let made = Error::new(ErrorCode::NotFound, message);
    match crate::near::nearest(tool, &names) {
        Some(near) => made.with_hint(format!("did you mean '{near}'?")),
        None if names.is_empty() => made.with_hint("its manifest declares no tools"),
        None => made.with_hint(format!("its tools are {}", names.join(", "))),
    }
}

/// Judges a call by the manifest of a plugin that does not run. The running one judges it again, by what was verified.
fn judge_call(manifest: &Manifest, tool: &str, arguments: &RawValue) -> Result<(), Error> {
    let declared = manifest.tools.iter().find(|declared| declared.name == tool);
    let names = || manifest.tools.iter().map(|declared| declared.name.as_str()).collect();
    let declared = declared.ok_or_else(|| no_tool(&manifest.name, tool, names()))?;
    let schema = declared.input_schema.as_ref().map(CompiledSchema::compile).transpose()?;
    judge_text(schema.as_ref(), arguments, "the arguments").map(drop)
}

/// `{"tool":…,"arguments":…}` with the arguments as they are.
fn call_params(tool: &str, arguments: &RawValue) -> Result<Box<RawValue>, Error> {
    if !arguments.get().starts_with('{') {
        return Err(Error::new(ErrorCode::Usage, "the arguments of a tool are a JSON object")
            .with_hint("write them as {\"name\": value, ...}"));
    }
    // Written and not read again: the arguments were read when they became a `RawValue`, and may be megabytes.
    serde_json::value::to_raw_value(&CallParams { tool, arguments })
        .map_err(|error| Error::new(ErrorCode::Usage, "the arguments are no JSON").with_source(error))
}

#[derive(serde::Serialize)]
struct CallParams<'a> {
    tool: &'a str,
    arguments: &'a RawValue,
}

/// Judges a text by its schema, if there is one. What comes back was judged and is handed on instead: of a member that
/// stands twice, both sides then see the same one.
fn judge_text(
    schema: Option<&CompiledSchema>,
    text: &RawValue,
    what: &str,
) -> Result<Option<Box<RawValue>>, Error> {
    if schema.is_none() {
        return Ok(None);
    }
    let value: Value = serde_json::from_str(text.get()).map_err(|error| {
        Error::new(ErrorCode::SchemaViolation, format!("{what} cannot be read")).with_source(error)
    })?;
    judge(schema, &value, what)?;
    serde_json::value::to_raw_value(&value)
        .map(Some)
        .map_err(|error| Error::new(ErrorCode::Internal, "a judged value").with_source(error))
}

/// Whether a value follows its schema.
///
/// # Errors
/// `schema_violation` with the first places that do not.
pub(crate) fn judge(schema: Option<&CompiledSchema>, value: &Value, what: &str) -> Result<(), Error> {
    let Some(Err(faults)) = schema.map(|schema| schema.validate(value)) else { return Ok(()) };
    let shown: Vec<String> = faults
        .iter()
        .take(FAULTS_SHOWN)
        .map(|fault| {
            if fault.pointer.is_empty() {
                format!("{} ({})", fault.message, fault.rule)
            } else {
                fault.to_string()
            }
        })
        .collect();
    let more = faults.len().saturating_sub(FAULTS_SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Error::new(
        ErrorCode::SchemaViolation,
        format!("schema violation in {what}: {}{more}", shown.join("; ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn arguments_are_an_object_and_go_out_as_they_came() {
        let params = call_params("add", &raw(r#"{"a": 1.0e2, "b":"\u00e9"}"#)).unwrap();
        assert_eq!(params.get(), r#"{"tool":"add","arguments":{"a": 1.0e2, "b":"\u00e9"}}"#);
        for wrong in ["[]", "null", "1", "\"text\""] {
            assert_eq!(call_params("add", &raw(wrong)).unwrap_err().code(), ErrorCode::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_fault_names_the_place_and_no_more_than_five_are_shown() {
        let schema = CompiledSchema::compile(&serde_json::json!({
            "type": "object", "additionalProperties": {"type": "integer"}
        }))
        .unwrap();
        let many: Value =
            (0..9).map(|n| (format!("k{n}"), Value::from("x"))).collect::<serde_json::Map<_, _>>().into();
        let error = judge(Some(&schema), &many, "the arguments").unwrap_err();
        assert_eq!(error.code(), ErrorCode::SchemaViolation);
        assert!(error.message().contains("/k0") && error.message().ends_with("; and 4 more"), "{error}");
        assert!(judge(Some(&schema), &serde_json::json!({"a": 1}), "x").is_ok());
        assert!(judge(None, &Value::Null, "x").is_ok());
    }

    #[test]
    fn the_callers_time_covers_the_start_and_the_plugins_own_does_not() {
        let now = Instant::now();
        let ago = now.checked_sub(Duration::from_secs(3)).unwrap();
        let (said, deadline) = limit(Some(Duration::from_secs(5)), ago, Duration::from_secs(30), now);
        assert_eq!((said, deadline), (Duration::from_secs(5), ago + Duration::from_secs(5)));
        let (said, deadline) = limit(Some(Duration::from_secs(60)), ago, Duration::from_secs(30), now);
        assert!(said == Duration::from_secs(30) && deadline == now + Duration::from_secs(30));
        assert_eq!(limit(None, ago, Duration::from_secs(30), now).0, Duration::from_secs(30));
        assert_eq!(limit(Some(Duration::MAX), ago, Duration::from_secs(30), now).0, Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_result_that_breaks_its_schema_is_recorded_as_that() {
        let directory = tempfile::tempdir().unwrap();
        let package = directory.path().join("p");
        std::fs::create_dir(&package).unwrap();
        let manifest = "name: p\nversion: 1.0.0\nruntime: python\nentry_point: p.py\ntools:\n  - {name: count, output_schema: {type: integer}}\n";
        std::fs::write(package.join("plugin.yaml"), manifest).unwrap();
        std::fs::write(package.join("p.py"), "def count(a):\n    return a.get('n')\n").unwrap();
        let home = crate::Home::at(directory.path().join("home"));
        let host = Host::builder().home(home).build().await.unwrap();
        host.install(&package, crate::plugin::Consent::Requested).await.unwrap();
        host.activate("p").await.unwrap();
        assert_eq!(host.call("p", "count", serde_json::json!({"n": 3})).await.unwrap(), 3);
        let error = host.call("p", "count", serde_json::json!({"n": "three"})).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::SchemaViolation);
        let store = host.context().store.clone();
        store.flush(Duration::from_secs(5)).unwrap();
        let rows = store.activity(&crate::metrics::ExecutionFilter::default(), 10).unwrap().executions;
        let outcomes: Vec<&str> = rows.iter().map(|row| row.outcome.as_str()).collect();
        assert_eq!(outcomes, ["invalid", "ok"], "newest first");
        host.shutdown().await;
    }

    #[test]
    fn file_errors_become_requests() {
        assert!(matches!(file_request("open", "/srv/a"), Some(Request::File { op: FileOp::Read, .. })));
        assert!(matches!(file_request("rename", "/srv/a"), Some(Request::File { op: FileOp::Delete, .. })));
        assert!(file_request("open", "relative").is_none() && file_request("fly", "/a").is_none());
    }
}
