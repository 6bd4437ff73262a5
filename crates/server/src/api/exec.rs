//! One command in a sandbox: begun by a request, recorded as every run, and followed by its number.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringfence::config::ExecLimits;
use ringfence::exec::{Event, Exec, Listeners, RunId};
use ringfence_api::{ErrorCode, RunReport, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::answer::Made;
use super::asked::{Asked, Json};
use super::error::Failure;

/// Words of a command, and bytes of all of them.
const WORDS_MAX: usize = 4_096;
const COMMAND_MAX_BYTES: usize = 128 * 1024;
/// How long a run may take until it is recorded: its sandbox is built before.
const RECORD_WAIT: Duration = Duration::from_secs(35);

/// A command and what it may do. What is left out is as for `ringfence exec`: nothing is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecBody {
    /// The program and its arguments.
    #[schemars(length(min = 1, max = 4_096))]
    pub command: Vec<String>,
    /// Absolute paths that it may read.
    #[serde(default)]
    pub read: Vec<String>,
    /// Absolute paths that it may read, write and delete.
    #[serde(default)]
    pub write: Vec<String>,
    /// Permissions, as `NAME` or `NAME=SCOPE`.
    #[serde(default)]
    pub grant: Vec<String>,
    /// Permissions that it does not have, whatever is granted.
    #[serde(default)]
    pub deny: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where it starts; must be granted. `/tmp` of its own if not given.
    #[serde(default)]
    pub working_directory: Option<String>,
    /// Limits that differ from those of the configuration.
    #[serde(default)]
    pub limits: ExecLimitsBody,
    /// Whether a sampler is not enough for the limits.
    #[serde(default)]
    pub strict: bool,
    /// Watches every path that it names, so that the report's denials also name what was out of reach; each watched path costs
    /// about 30 µs. Without it a file that is not shown in the sandbox does not exist there, and nobody knows that it was tried.
    #[serde(default)]
    pub explain: bool,
    /// Waits for the end, and answers with the report and the output.
    #[serde(default)]
    pub wait: bool,
}

/// Limits of one command. What is left out is as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecLimitsBody {
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub timeout_ms: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub memory_bytes: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub cpu_percent: Option<u32>,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub processes: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub output_bytes: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub file_size_bytes: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub open_files: Option<u64>,
}

/// A command that was begun, or with `wait` one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ExecAnswer {
    /// Its number: `GET /runs/{id}` has its report, `GET /runs/{id}/stream` its output. `None`: it was not recorded.
    pub id: Option<RunId>,
    /// Its report, when it was waited for.
    pub report: Option<RunReport>,
    /// What it wrote to stdout, when it was waited for; what is no UTF-8 is replaced.
    pub stdout: Option<String>,
    /// The same of stderr.
    pub stderr: Option<String>,
}

type Runs = Arc<Mutex<Going>>;

/// A run that goes on.
#[derive(Debug)]
struct GoingOn {
    /// Its number, once it is recorded.
    id: Option<RunId>,
    /// Dropping it cancels the run; taken out when somebody has.
    cancel: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Going {
    all: HashMap<u64, GoingOn>,
    /// Never used twice: the end of one run is not that of a later one.
    next: u64,
    /// The server stops: nothing is begun any more.
    closed: bool,
}

/// Runs that this server has begun and that go on.
#[derive(Debug)]
pub(crate) struct Live {
    all: Runs,
    most: usize,
}

impl Live {
    /// Nothing goes on yet, and at most so many will at once.
    pub(super) fn new(most: usize) -> Self {
        Self { all: Runs::default(), most }
    }

    /// Asks a run to end. Gives whether it is one of ours that goes on.
    pub(super) fn cancel(&self, id: RunId) -> bool {
        let mut going = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let found = going.all.values_mut().find(|run| run.id == Some(id));
        found.map(|run| run.cancel = None).is_some()
    }

    /// Ends all of them and begins no more, for a server that stops.
    pub(crate) fn close(&self) {
        let mut going = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        going.closed = true;
        for run in going.all.values_mut() {
            run.cancel = None;
        }
    }

    fn begin(&self) -> Result<(u64, oneshot::Receiver<()>), Failure> {
        let mut going = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if going.closed {
            return Err(Failure::new(ErrorCode::Busy, "the server stops, and begins nothing any more"));
        }
        if going.all.len() >= self.most {
            let message = format!("{} commands run already", self.most);
            return Err(Failure::new(ErrorCode::Busy, message).hint("try again when one has ended"));
        }
        let key = going.next;
        going.next = key.wrapping_add(1);
        let (cancel, cancelled) = oneshot::channel();
        going.all.insert(key, GoingOn { id: None, cancel: Some(cancel) });
        Ok((key, cancelled))
    }

    fn name(&self, key: u64, id: RunId) {
        if let Some(run) = self.all.lock().unwrap_or_else(PoisonError::into_inner).all.get_mut(&key) {
            run.id = Some(id);
        }
    }
}

/// Takes a run out of the list when it is over, however that came.
struct Listed {
    all: Runs,
    key: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.key);
    }
}

pub(super) async fn begin(asked: Asked<(), Json<ExecBody>>) -> Result<Made<ExecAnswer>, Failure> {
    let body = asked.body.0;
    let exec = request(&body, &asked.host.exec_limits())?;
    let (key, mut cancelled) = asked.api.runs.begin()?;
    let listed = Listed { all: Arc::clone(&asked.api.runs.all), key };
    let listeners = Listeners::new();
    let told = listeners.subscribe(4);
    let mut run = asked.host.exec_with(&exec, listeners)?;
    let (ended, end) = oneshot::channel();
    asked.api.begin(async move {
        let captured = tokio::select! {
            captured = &mut run => captured,
            _dropped = &mut cancelled => {
                run.cancel();
                run.await
            }
        };
        drop(listed);
        // Whoever began it may not wait for its end.
        let _nobody = ended.send(captured);
    });
    // A thread of the pool: what tells it blocks.
    let stored = tokio::task::spawn_blocking(move || match told.recv_timeout(RECORD_WAIT) {
        Some(Event::Stored { id }) => Some(id),
        _ => None,
    });
    let id = stored.await.ok().flatten();
    if let Some(id) = id {
        asked.api.runs.name(key, id);
    }
    tracing::info!(actor = %asked.caller.actor, run = ?id, program = ?body.command.first(), "exec");
    if id.is_some() && !body.wait {
        return Ok(Made(ExecAnswer { id, report: None, stdout: None, stderr: None }));
    }
    // Not recorded: it was refused, or its record could not be made; its report says which.
    let captured = end.await.map_err(|_| Failure::new(ErrorCode::Internal, "the run was lost"))?;
    refused(&captured.report)?;
    let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
    let (stdout, stderr) = (text(&captured.stdout), text(&captured.stderr));
    Ok(Made(ExecAnswer { id, report: Some(captured.report), stdout, stderr }))
}

/// What was never started is a failure of the request.
fn refused(report: &RunReport) -> Result<(), Failure> {
    match (&report.error, report.status) {
        (Some(error), RunStatus::NotStarted) => {
            let failure = Failure::new(error.code, error.message.clone());
            Err(match &error.hint {
                Some(hint) => failure.hint(hint.clone()),
                None => failure,
            })
        }
        _ => Ok(()),
    }
}

fn request(body: &ExecBody, defaults: &ExecLimits) -> Result<Exec, Failure> {
    let bytes: usize = body.command.iter().map(String::len).sum();
    if body.command.is_empty() || body.command.len() > WORDS_MAX || bytes > COMMAND_MAX_BYTES {
        let message = format!("`command` has 1 to {WORDS_MAX} words and {COMMAND_MAX_BYTES} bytes at most");
        return Err(Failure::new(ErrorCode::Usage, message));
    }
    let mut exec = Exec::new(&body.command);
    // Relative to nothing: the server's own directory is no business of a request.
    exec.directory("/").strict(body.strict).explain(body.explain);
    for path in &body.read {
        exec.read_path(absolute("read", path)?);
    }
    for path in &body.write {
        exec.write_path(absolute("write", path)?);
    }
    for permission in &body.grant {
        exec.grant(permission.as_str());
    }
    for permission in &body.deny {
        exec.deny(permission.as_str());
    }
    for (name, value) in &body.environment {
        let is_name = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        if !is_name {
            return Err(Failure::new(ErrorCode::Usage, "a variable has a name without '=', and no NUL"));
        }
        exec.variable(name, value);
    }
    if let Some(directory) = &body.working_directory {
        exec.working_directory(absolute("working_directory", directory)?);
    }
    *exec.limits() = limits(body.limits, defaults)?;
    Ok(exec)
}

fn absolute<'a>(field: &str, path: &'a str) -> Result<&'a str, Failure> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(path);
    }
    Err(Failure::new(ErrorCode::Usage, format!("the paths of `{field}` are absolute")))
}

fn limits(given: ExecLimitsBody, defaults: &ExecLimits) -> Result<ExecLimits, Failure> {
    let numbers = [
        given.timeout_ms,
        given.memory_bytes,
        given.cpu_percent.map(u64::from),
        given.processes,
        given.output_bytes,
        given.file_size_bytes,
        given.open_files,
    ];
    if numbers.contains(&Some(0)) {
        return Err(Failure::new(ErrorCode::LimitInvalid, "a limit is at least 1"));
    }
    Ok(ExecLimits {
        timeout: given.timeout_ms.map(Duration::from_millis).or(defaults.timeout),
        memory_bytes: given.memory_bytes.or(defaults.memory_bytes),
        cpu_percent: given.cpu_percent.or(defaults.cpu_percent),
        processes: given.processes.or(defaults.processes),
        output_bytes: given.output_bytes.or(defaults.output_bytes),
        file_size_bytes: given.file_size_bytes.or(defaults.file_size_bytes),
        open_files: given.open_files.or(defaults.open_files),
    })
}
