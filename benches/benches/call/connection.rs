//! The connection alone: a decision, a deadline, a call of a plugin that no host has started.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::rpc::{CallMeta, Connection, NoService, Options};
use ringfence_benches::turns::Row;
use ringfence_policy::{CanonicalPath, Effect, FileOp, Request, Rule, RuleSet, Vars};
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::{Builder, Runtime};

use super::{CALL_BYTES, CALLS, CALLS_EACH, IN_FLIGHT, LARGE_BYTES, LARGE_CALLS, Other, PART_PLUGIN};

const TIMEOUT: Duration = Duration::from_secs(300);
/// The envelope of a request with a correlation id and a deadline.
const ENVELOPE_BYTES: usize = 130;

struct Direct {
    runtime: Runtime,
    caller: Arc<Caller>,
    params: Box<RawValue>,
    // Last, so that its input has ended before it is waited for.
    _other: Other,
}

struct Caller {
    connection: Connection,
    rules: RuleSet,
    request: Request,
}

impl Caller {
    async fn call(&self, params: &RawValue) -> io::Result<usize> {
        if !self.rules.decide(&self.request).is_allowed() {
            return Err(io::Error::other("the rules deny it"));
        }
        let meta = CallMeta { correlation_id: "8c1f5e0d", deadline: Instant::now() + TIMEOUT };
        let answer = self.connection.request("call", params, meta).await;
        answer.map(|answer| answer.get().len()).map_err(io::Error::other)
    }
}

impl Direct {
    fn start(params_bytes: usize) -> io::Result<Self> {
        let mut other = Other::start(PART_PLUGIN)?;
        let (to, from) = other.pipes()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let open = async {
            let (connection, driver) =
                Connection::open(to.into(), from.into(), Options::default(), Arc::new(NoService))?;
            // It ends with the connection, at the latest with the runtime.
            drop(tokio::spawn(driver));
            Ok::<_, io::Error>(connection)
        };
        let connection = runtime.block_on(open)?;
        let vars = Vars::new(CanonicalPath::root());
        let rule = Rule::parse(Effect::Allow, "file:read=/srv/notes/**", &vars, "bench");
        let rules = RuleSet::new(vec![rule.map_err(io::Error::other)?]);
        let path = CanonicalPath::new("/srv/notes/a.txt").map_err(io::Error::other)?;
        let request = Request::File { op: FileOp::Read, path };
        let text = "x".repeat(params_bytes);
        let params = to_raw_value(&serde_json::json!({ "text": text }))?;
        Ok(Self { runtime, caller: Arc::new(Caller { connection, rules, request }), params, _other: other })
    }

    fn one_after_another(&self, count: usize) -> io::Result<f64> {
        let wanted = self.params.get().len();
        self.runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..count {
                if self.caller.call(&self.params).await? != wanted {
                    return Err(io::Error::other("the answer is not what was sent"));
                }
            }
            Ok(begun.elapsed().as_secs_f64())
        })
    }

    fn many(&self) -> io::Result<f64> {
        self.runtime.block_on(async {
            let begun = Instant::now();
            let callers: Vec<_> = (0..IN_FLIGHT)
                .map(|_| {
                    let (caller, params) = (Arc::clone(&self.caller), self.params.clone());
                    tokio::spawn(async move {
                        for _ in 0..CALLS_EACH {
                            caller.call(&params).await?;
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

pub(super) fn call_row(name: &str) -> io::Result<Row<'static>> {
    let direct = Direct::start(CALL_BYTES - ENVELOPE_BYTES)?;
    Ok(Row::new(name, move || Ok(direct.one_after_another(CALLS)? * 1e6 / CALLS as f64)))
}

pub(super) fn many_row(name: &str) -> io::Result<Row<'static>> {
    let direct = Direct::start(CALL_BYTES - ENVELOPE_BYTES)?;
    Ok(Row::new(name, move || direct.many()))
}

pub(super) fn large_row(name: &str) -> io::Result<Row<'static>> {
    let direct = Direct::start(LARGE_BYTES)?;
    Ok(Row::new(name, move || Ok(LARGE_CALLS as f64 / direct.one_after_another(LARGE_CALLS)?)))
}
