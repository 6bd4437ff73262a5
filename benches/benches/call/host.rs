//! The whole product: a plugin that is installed with a manifest and grants and runs in its sandbox, a permission check, a
//! deadline, an audit record, the call.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::plugin::CallOptions;
use ringfence::{Config, Host};
use ringfence_benches::resident::{Resident, Script, chain};
use ringfence_benches::stage::Stage;
use ringfence_benches::turns::Row;
use ringfence_policy::{CanonicalPath, FileOp, Request};
use serde_json::value::{RawValue, to_raw_value};

use super::{CALL_BYTES, CALLS, CALLS_EACH, IN_FLIGHT, LARGE_BYTES, LARGE_CALLS};

const NATIVE: &str = "native-echo";
const PYTHON: &str = "python-echo";
const PYTHON_CODE: &str = "def echo(arguments):\n    return arguments\n";
/// The directory must be there for a grant to open it.
const GRANTS: &str = "permissions: ['file:read=/usr/share/**', 'env:read=LANG']\n";
const TIMEOUT: Duration = Duration::from_secs(60);
/// The envelope of a request with the name of the tool, a correlation id and a deadline.
const ENVELOPE_BYTES: usize = 165;

/// A host with both plugins active.
pub(super) struct Whole {
    resident: Resident,
    python: Result<(), String>,
    request: Request,
    options: CallOptions,
}

impl Whole {
    /// `place` keeps two of them apart in one stage.
    pub(super) fn start(stage: &Stage) -> io::Result<Self> {
        let mut config = Config::default();
        // By default a plugin has 80 % of one processor, which is what 64 calls in flight would then measure.
        config.plugins.cpu_percent = None;
        let resident = Resident::start(stage, "call", config)?;
        resident.install_native(NATIVE, GRANTS)?;
        resident.activate(NATIVE)?;
        let script = Script {
            name: PYTHON,
            runtime: "python",
            file: "main.py",
            code: PYTHON_CODE,
            tool: "echo",
            head: GRANTS,
        };
        let python = resident.install_script(&script).and_then(|()| resident.activate(PYTHON));
        let path = CanonicalPath::new("/usr/share/doc").map_err(io::Error::other)?;
        Ok(Self {
            resident,
            python: python.map_err(|error| error.to_string()),
            request: Request::File { op: FileOp::Read, path },
            options: CallOptions { timeout: Some(TIMEOUT), correlation_id: None },
        })
    }

    fn seconds(&self, plugin: &str, arguments: &RawValue, count: usize) -> io::Result<f64> {
        let host = self.resident.host()?;
        self.resident.runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..count {
                let answer = self.call(host, plugin, arguments).await?;
                if answer < arguments.get().len() {
                    return Err(io::Error::other("the answer is not what was sent"));
                }
            }
            Ok(begun.elapsed().as_secs_f64())
        })
    }

    async fn call(&self, host: &Host, plugin: &str, arguments: &RawValue) -> io::Result<usize> {
        call(host, plugin, arguments, &self.request, &self.options).await
    }

    fn many(&self, arguments: &RawValue) -> io::Result<f64> {
        let host = self.resident.host()?;
        let shared =
            Arc::new((host.clone(), self.request.clone(), self.options.clone(), arguments.to_owned()));
        self.resident.runtime.block_on(async {
            let begun = Instant::now();
            let callers: Vec<_> = (0..IN_FLIGHT)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let (host, request, options, arguments) = &*shared;
                        for _ in 0..CALLS_EACH {
                            call(host, NATIVE, arguments, request, options).await?;
                        }
                        Ok::<_, io::Error>(())
                    })
                })
                .collect();
            for caller in callers {
                caller.await.map_err(io::Error::other)??;
            }
            Ok((IN_FLIGHT * CALLS_EACH) as f64 / begun.elapsed().as_secs_f64())
        })
    }
}

async fn call(
    host: &Host,
    plugin: &str,
    arguments: &RawValue,
    request: &Request,
    options: &CallOptions,
) -> io::Result<usize> {
    if !host.is_permitted(plugin, request).await.map_err(chain)? {
        return Err(io::Error::other("the plugin is not permitted what it was granted"));
    }
    let answer = host.call_with(plugin, "echo", arguments, options).await;
    answer.map(|answer| answer.get().len()).map_err(chain)
}

fn text(bytes: usize) -> io::Result<Box<RawValue>> {
    to_raw_value(&serde_json::json!({ "text": "x".repeat(bytes) })).map_err(io::Error::other)
}

/// The host, or why there is none.
pub(super) type Started = Result<Whole, String>;

fn row<'a>(
    whole: &'a RefCell<Started>,
    name: &str,
    bytes: usize,
    measure: impl Fn(&Whole, &RawValue) -> io::Result<f64> + 'a,
) -> Row<'a> {
    Row::try_new(name, || {
        let arguments = text(bytes)?;
        Ok(Row::new(name, move || match &*whole.borrow() {
            Ok(whole) => measure(whole, &arguments),
            Err(reason) => Err(io::Error::other(reason.clone())),
        }))
    })
}

pub(super) fn call_row<'a>(whole: &'a RefCell<Started>, name: &str) -> Row<'a> {
    row(whole, name, CALL_BYTES - ENVELOPE_BYTES, |whole, arguments| {
        Ok(whole.seconds(NATIVE, arguments, CALLS)? * 1e6 / CALLS as f64)
    })
}

pub(super) fn many_row<'a>(whole: &'a RefCell<Started>, name: &str) -> Row<'a> {
    row(whole, name, CALL_BYTES - ENVELOPE_BYTES, Whole::many)
}

pub(super) fn large_row<'a>(whole: &'a RefCell<Started>, name: &str) -> Row<'a> {
    row(whole, name, LARGE_BYTES, |whole, arguments| {
        Ok(LARGE_CALLS as f64 / whole.seconds(NATIVE, arguments, LARGE_CALLS)?)
    })
}

pub(super) fn python_row<'a>(whole: &'a RefCell<Started>, name: &str) -> Row<'a> {
    row(whole, name, CALL_BYTES - ENVELOPE_BYTES, |whole, arguments| {
        if let Err(reason) = &whole.python {
            return Err(io::Error::other(reason.clone()));
        }
        Ok(whole.seconds(PYTHON, arguments, CALLS)? * 1e6 / CALLS as f64)
    })
}
