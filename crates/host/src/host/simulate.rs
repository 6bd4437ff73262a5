//! What another policy would have done: the recorded decisions, judged again.

mod limits;

pub use limits::LimitDifference;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ringfence_api::Permission;
use ringfence_policy::{
    Candidate, CanonicalPath, Effect, FileOp, PluginPolicy, Policy, PolicyReason, Request, Rule, RuleSet,
    Vars,
};
use serde::Serialize;
use serde_json::Value;

use super::Host;
use crate::Error;
use crate::exec::translate::vars_of_home;
use crate::lifecycle::POLICY_LAYER;
use crate::store::{AuditFilter, AuditRecord};

/// Records that are read at once.
const PAGE: usize = 1_000;
/// Different differences that are kept; more are counted.
const DIFFERENCES_MAX: usize = 10_000;
/// How far back denials count for a quarantine.
const WINDOW_MS: i64 = 3_600_000;
/// What a person or the host wanted to do with a plugin, and the policy refused, as the audit trail has it.
const REFUSED_ACTS: [&str; 6] = ["activate", "install", "rollback", "run", "start", "upgrade"];

/// One recorded decision that another policy would have made otherwise, or many alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// The plugin.
    pub plugin: String,
    /// What was decided: `install`, `upgrade`, `grant`, `start`, `call`, `denial` or `quarantine`; also `activate`, `rollback`
    /// and `run` where the policy refused them.
    pub event: String,
    /// What about: a digest, a permission, a tool, a file.
    pub object: String,
    /// What came of it: `allowed`, `denied` or `quarantined`.
    pub recorded: &'static str,
    /// What would come of it: `allowed`, `narrowed`, `denied` or `quarantined`.
    pub now: &'static str,
    /// Why, with the rule and its line.
    pub because: String,
    /// How often.
    pub count: u64,
    /// When first, in unix milliseconds.
    pub first_at_ms: i64,
    /// When last, in unix milliseconds.
    pub last_at_ms: i64,
}

/// What came of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Simulated {
    /// Records of the audit trail that were read.
    pub records: u64,
    /// Decisions among them that were judged again.
    pub decisions: u64,
    /// Those that come out otherwise, in the order in which they first happened.
    pub differences: Vec<Difference>,
    /// Further different ones, beyond 10,000.
    pub left_out: u64,
    /// Limits of what is installed that would be others; what was ended by a limit is not judged again.
    pub limits: Vec<LimitDifference>,
}

impl Host {
    /// Judges every recorded decision again, as if this policy had held, and gives those that come out otherwise; and the
    /// limits of what is installed that would be others.
    ///
    /// A policy takes away and never grants: what was denied for want of a grant stays denied.
    ///
    /// # Errors
    /// `io` and `busy` of the store; what makes paths impossible to judge.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn simulate_policy(&self, policy: Policy) -> Result<Simulated, Error> {
        let context = std::sync::Arc::clone(self.context());
        let store = context.store.clone();
        store
            .run(move |store| {
                let mut replay = Replay::new(&policy, vars_of_home(&context.home)?);
                store.flush(std::time::Duration::from_secs(2))?;
                replay.result.limits = limits::limits(&context, &policy)?;
                let mut after = None;
                loop {
                    let page = store.audit_list(&AuditFilter::default(), after, PAGE)?;
                    page.records.iter().for_each(|record| replay.record(record));
                    after = page.records.last().map(|record| record.seq);
                    if !page.more {
                        return Ok(replay.end());
                    }
                }
            })
            .await
    }
}

/// What is known of one plugin at a moment of the past.
#[derive(Default)]
struct Past {
    digest: String,
    granted: BTreeSet<String>,
    /// When how much was refused, within the last hour.
    denials: VecDeque<(i64, u64)>,
    quarantined: bool,
}

/// The plugin, the event, its object, what came of it, and what would.
type Kind = (String, String, String, &'static str, &'static str);

struct Replay<'p> {
    policy: &'p Policy,
    vars: Vars,
    compiled: HashMap<String, PluginPolicy>,
    past: HashMap<String, Past>,
    known: BTreeMap<Kind, usize>,
    result: Simulated,
}

/// A text of a record.
fn text<'r>(record: &'r AuditRecord, key: &str) -> &'r str {
    record.body.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts(record: &AuditRecord, key: &str) -> Vec<String> {
    let list = record.body.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn count(record: &AuditRecord) -> u64 {
    record.body.get("count").and_then(Value::as_u64).unwrap_or(1)
}

impl<'p> Replay<'p> {
    fn new(policy: &'p Policy, vars: Vars) -> Self {
        let (compiled, past, known) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        Self { policy, vars, compiled, past, known, result: Simulated::default() }
    }

    fn end(self) -> Simulated {
        self.result
    }

    fn record(&mut self, record: &AuditRecord) {
        self.result.records += 1;
        match record.event.as_str() {
            "install" => {
                *self.past(record) = Past::default();
                self.package(record, "install", text(record, "digest"));
            }
            "upgrade" if text(record, "step") != "abandoned" => {
                self.package(record, "upgrade", text(record, "digest"));
            }
            "start" => self.package(record, "start", text(record, "digest")),
            "consent" => self.consent(record),
            "revoke" => {
                let taken = texts(record, "permissions");
                self.past(record).granted.retain(|granted| !taken.contains(granted));
            }
            "call" => self.call(record, text(record, "tool"), 1),
            "call_summary" => self.call(record, text(record, "method"), count(record)),
            "denial" => self.denial(record),
            "quarantine" => self.quarantine(record),
            "release" => {
                let past = self.past(record);
                past.denials.clear();
                past.quarantined = false;
            }
            _ => {}
        }
    }

    fn past(&mut self, record: &AuditRecord) -> &mut Past {
        self.past.entry(record.plugin.clone()).or_default()
    }

    /// Why the policy refuses a package; `None` when it admits it.
    fn blocked(&self, record: &AuditRecord, digest: &str) -> Option<String> {
        let candidate = Candidate { name: &record.plugin, publisher: &record.publisher, digest };
        let blocked = self.policy.admit(&candidate).err()?;
        let line = blocked.place().map(|place| format!(" (line {})", place.line)).unwrap_or_default();
        Some(format!("{blocked}{line}"))
    }

    fn package(&mut self, record: &AuditRecord, event: &str, digest: &str) {
        self.result.decisions += 1;
        if event == "start" || text(record, "step") != "staged" {
            self.past(record).digest = digest.to_owned();
        }
        if let Some(why) = self.blocked(record, digest) {
            self.differs(record, event, digest, ("allowed", "denied"), why, 1);
        }
    }

    fn call(&mut self, record: &AuditRecord, tool: &str, count: u64) {
        self.result.decisions += count;
        let digest = self.past(record).digest.clone();
        if let Some(why) = self.blocked(record, &digest) {
            self.differs(record, "call", tool, ("allowed", "denied"), why, count);
        }
    }

    fn consent(&mut self, record: &AuditRecord) {
        let granted = texts(record, "granted");
        let adds = record.body.get("asked").and_then(Value::as_array).is_some_and(Vec::is_empty);
        let past = self.past(record);
        if !adds {
            past.granted.clear();
        }
        past.granted.extend(granted.iter().cloned());
        for permission in granted {
            self.result.decisions += 1;
            if let Some((now, why)) = self.judged(&record.plugin, &permission) {
                self.differs(record, "grant", &permission, ("allowed", now), why, 1);
            }
        }
    }

    /// What the policy takes of a grant; `None`: nothing, or the grant cannot be read any more.
    fn judged(&mut self, plugin: &str, permission: &str) -> Option<(&'static str, String)> {
        let grant = Rule::parse(Effect::Allow, permission, &self.vars, "a grant").ok()?;
        let judgement = self.compiled(plugin).judge(&grant);
        if judgement.is_whole() {
            return None;
        }
        let except: Vec<String> = judgement.except.iter().map(ToString::to_string).collect();
        let why = match &judgement.reason {
            Some(reason) => reason.to_string(),
            None => format!("the policy takes from it by {}", except.join(", ")),
        };
        Some((if judgement.is_refused() { "denied" } else { "narrowed" }, why))
    }

    fn compiled(&mut self, plugin: &str) -> &PluginPolicy {
        let policy = self.policy;
        self.compiled.entry(plugin.to_owned()).or_insert_with(|| policy.for_plugin(plugin))
    }

    fn denial(&mut self, record: &AuditRecord) {
        let (operation, object) = (text(record, "operation").to_owned(), text(record, "object").to_owned());
        self.result.decisions += count(record);
        let admitted = "the policy admits it".to_owned();
        if text(record, "layer") == POLICY_LAYER {
            if operation == "grant" {
                match self.judged(&record.plugin, &object) {
                    Some(("denied", _)) => {}
                    Some((now, why)) => {
                        self.differs(record, "grant", &object, ("denied", now), why, count(record))
                    }
                    None => {
                        let why = "the policy lets it be granted".to_owned();
                        self.differs(record, "grant", &object, ("denied", "allowed"), why, count(record));
                    }
                }
            } else if REFUSED_ACTS.contains(&operation.as_str()) && self.blocked(record, &object).is_none() {
                self.differs(record, &operation, &object, ("denied", "allowed"), admitted, count(record));
            }
            return;
        }
        self.weigh(record);
        // Older records have no `file:`.
        let op = match operation.strip_prefix("file:").unwrap_or(&operation) {
            "read" => FileOp::Read,
            "write" => FileOp::Write,
            "delete" => FileOp::Delete,
            _ => return,
        };
        // Only what no grant would have allowed was denied by a policy.
        let wants_grant = record.body.get("grant").is_some_and(Value::is_string);
        let Some(path) = CanonicalPath::new(&object).ok().filter(|_| !wants_grant) else { return };
        let request = Request::File { op, path };
        if self.opens(&record.plugin, &request) {
            let why = "a grant opens it, and the policy does not deny it".to_owned();
            self.differs(record, "denial", &object, ("denied", "allowed"), why, count(record));
        }
    }

    /// Whether what was granted then opens a request under this policy.
    fn opens(&mut self, plugin: &str, request: &Request) -> bool {
        if !matches!(
            self.compiled(plugin).decide(request).reason(),
            PolicyReason::Silent | PolicyReason::Allowed(_)
        ) {
            return false;
        }
        let granted = self.past.get(plugin).map(|past| &past.granted);
        let rules = granted.into_iter().flatten().filter_map(|text| {
            let permission: Permission = text.parse().ok()?;
            Rule::from_permission(Effect::Allow, &permission, &self.vars, "a grant").ok()
        });
        RuleSet::new(rules.collect()).decide(request).is_allowed()
    }

    /// Counts a denial towards the quarantine.
    fn weigh(&mut self, record: &AuditRecord) {
        let Some(limit) = self.policy.denials_per_hour.clone() else { return };
        let (at_ms, more) = (record.at_ms, count(record));
        let past = self.past(record);
        past.denials.push_back((at_ms, more));
        while past.denials.front().is_some_and(|(at, _)| at_ms.saturating_sub(*at) > WINDOW_MS) {
            past.denials.pop_front();
        }
        let refused: u64 = past.denials.iter().map(|(_, count)| count).sum();
        if refused >= limit.value && !past.quarantined {
            past.quarantined = true;
            let why = format!(
                "{refused} denials within an hour; the policy quarantines at {} (line {})",
                limit.value, limit.place.line
            );
            self.differs(record, "quarantine", "", ("allowed", "quarantined"), why, 1);
        }
    }

    fn quarantine(&mut self, record: &AuditRecord) {
        let by_denials = text(record, "reason").contains("denials within an hour");
        let past = self.past(record);
        let also = std::mem::replace(&mut past.quarantined, true);
        if also {
            // Both did it: what was noted as a difference is none.
            let kind = kind(record, "quarantine", "", ("allowed", "quarantined"));
            if let Some(noted) = self.known.get(&kind).and_then(|at| self.result.differences.get_mut(*at)) {
                noted.count = noted.count.saturating_sub(1);
            }
            self.result.differences.retain(|difference| difference.count > 0);
            self.known =
                self.result.differences.iter().enumerate().map(|(at, one)| (one.kind(), at)).collect();
        } else if by_denials {
            let why = "so many denials are no reason for this policy".to_owned();
            self.differs(record, "quarantine", "", ("quarantined", "allowed"), why, 1);
        }
    }

    fn differs(
        &mut self,
        record: &AuditRecord,
        event: &str,
        object: &str,
        (recorded, now): (&'static str, &'static str),
        because: String,
        count: u64,
    ) {
        let kind = kind(record, event, object, (recorded, now));
        if let Some(noted) = self.known.get(&kind).and_then(|at| self.result.differences.get_mut(*at)) {
            noted.count = noted.count.saturating_add(count);
            noted.last_at_ms = record.at_ms;
            return;
        }
        if self.result.differences.len() >= DIFFERENCES_MAX {
            self.result.left_out += 1;
            return;
        }
        self.known.insert(kind, self.result.differences.len());
        self.result.differences.push(Difference {
            plugin: record.plugin.clone(),
            event: event.to_owned(),
            object: object.to_owned(),
            recorded,
            now,
            because,
            count,
            first_at_ms: record.at_ms,
            last_at_ms: record.at_ms,
        });
    }
}

impl Difference {
    fn kind(&self) -> Kind {
        (self.plugin.clone(), self.event.clone(), self.object.clone(), self.recorded, self.now)
    }
}

fn kind(
    record: &AuditRecord,
    event: &str,
    object: &str,
    (recorded, now): (&'static str, &'static str),
) -> Kind {
    (record.plugin.clone(), event.to_owned(), object.to_owned(), recorded, now)
}
