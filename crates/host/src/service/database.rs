//! `query_database` and `execute_database`: one statement in a database that the host offers.
//!
//! A grant names a database, `database:read=crm`, and is then about all its tables, or one table of it,
//! `database:read=crm.customers`. A statement that changes rows needs `database:write` for the tables that it changes, and
//! `database:read` for those whose values it looks at, in a condition for example: how many rows were changed would tell them.
//! Whether a database exists is told only to who has a grant for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use ringfence_api::PermissionName;
use ringfence_api::rpc::{MESSAGE_MAX_BYTES, RpcErrorCode};
use ringfence_policy::{Effect, Name, Reason, Request, Rule};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::asking::{Asking, answer};
use crate::database::{Access, Answered, Fault, Parameters, Permits, SqlValue, Statement};
use crate::lifecycle::Target;
use crate::rpc::RpcError;

/// What is left of the deadline for ending the statement and writing the answer.
const ENDING: Duration = Duration::from_millis(50);
/// What an answer has beside its rows, in bytes.
const ENVELOPE_BYTES: usize = 4 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseParams {
    database: String,
    sql: String,
    #[serde(default)]
    parameters: Value,
}

pub(super) async fn query(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    run(asking, Access::Read).await
}

pub(super) async fn execute(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    run(asking, Access::Write).await
}

async fn run(asking: Asking<'_>, access: Access) -> Result<Box<RawValue>, RpcError> {
    let DatabaseParams { database: name, sql, parameters } = asking.params()?;
    let parameters = bound(parameters)?;
    let permits = Grants { target: Arc::clone(asking.target), database: name.clone() };
    if !permits.any(access) {
        asking.permit_named(permission(access), &name)?;
    }
    let Some(database) = asking.context.offers.databases.find(&name) else { return Err(unknown(&name)) };
    if access == Access::Write && database.is_read_only() {
        let why = format!("the database '{name}' is offered for reading only; no grant changes that");
        return Err(asking.deny(&name, None, &why));
    }
    let mut act = asking.begin(&name).await?;
    let within = asking.call.deadline.checked_sub(ENDING).unwrap_or(asking.call.deadline);
    let turns = asking.context.offers.databases.turns(&asking.target.name);
    let turn = tokio::time::timeout_at(within.into(), turns.acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(RpcError::new(RpcErrorCode::Busy, "other statements of this plugin take all the time"));
    };
    let statement = Statement {
        access,
        sql,
        parameters,
        permits: Arc::new(permits),
        deadline: within.min(Instant::now() + database.time_limit()),
        answer_max_bytes: MESSAGE_MAX_BYTES - ENVELOPE_BYTES,
        turn,
    };
    let answered = database.run(statement).await.map_err(|fault| refused(&asking, &name, fault))?;
    act.done();
    match answered {
        Answered::Affected(rows) => answer(&json!({ "rows_affected": rows })),
        Answered::Rows(rows) => RawValue::from_string(format!("{{\"rows\":{rows}}}"))
            .map_err(|error| RpcError::new(RpcErrorCode::Internal, error.to_string())),
    }
}

fn permission(access: Access) -> PermissionName {
    match access {
        Access::Read => PermissionName::DatabaseRead,
        Access::Write => PermissionName::DatabaseWrite,
    }
}

/// The same for each name that nobody offers; who has no grant for it has been refused before.
fn unknown(name: &str) -> RpcError {
    let message = format!("the host offers no database '{}'", crate::consent::shown(name));
    let made = RpcError::new(RpcErrorCode::InvalidParams, &message);
    match serde_json::value::to_raw_value(&json!({ "code": "not_found", "message": message })) {
        Ok(data) => made.with_data(data),
        Err(_) => made,
    }
}

fn refused(asking: &Asking<'_>, database: &str, fault: Fault) -> RpcError {
    match fault {
        Fault::NotGranted { access, table } => {
            let object = format!("{database}.{table}");
            match asking.permit_named(permission(access), &object) {
                Err(denied) => denied,
                // The table is granted, and the whole database denied.
                Ok(()) => asking.permit_named(permission(access), database).err().unwrap_or_else(|| {
                    asking.deny(&object, None, "the table was denied while the statement was run")
                }),
            }
        }
        Fault::NotOffered { table } => {
            let object = format!("{database}.{table}");
            let shown = crate::consent::shown(&object);
            asking.deny(&object, None, &format!("'{shown}' is not offered to plugins; no grant changes that"))
        }
        Fault::Statement(why) => RpcError::new(RpcErrorCode::InvalidParams, why),
        Fault::TooLarge(why) => RpcError::new(RpcErrorCode::TooLarge, why),
        Fault::Busy => RpcError::new(
            RpcErrorCode::Busy,
            "somebody else is writing to the database; nothing was changed, so it is safe to try again",
        ),
        Fault::Timeout => {
            RpcError::new(RpcErrorCode::Timeout, "the statement took too long; nothing was changed")
        }
        Fault::Unusable => RpcError::new(
            RpcErrorCode::Internal,
            format!("the database '{database}' cannot be used; the host's log says why"),
        ),
    }
}

/// What a plugin was granted in one database.
struct Grants {
    target: Arc<Target>,
    database: String,
}

impl Grants {
    /// Whether some grant is about this database or a table of it.
    fn any(&self, access: Access) -> bool {
        let permission = permission(access);
        let rules = self.target.rules.rules().iter();
        rules
            .filter(|rule| rule.effect() == Effect::Allow && *rule.permission_name() == permission)
            .any(|rule| may_concern(rule, &self.database))
    }

    fn reason(&self, access: Access, name: &str) -> Verdict {
        let Ok(name) = Name::new(name) else { return Verdict::Denied };
        let request = Request::Named { permission: permission(access), name };
        match self.target.rules.decide(&request).reason() {
            Reason::Allowed(_) => Verdict::Allowed,
            Reason::Denied(_) => Verdict::Denied,
            Reason::Floor(_) | Reason::NoRule => Verdict::Nothing,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allowed,
    Denied,
    Nothing,
}

impl Permits for Grants {
    fn table(&self, access: Access, table: &str) -> bool {
        let whole = self.reason(access, &self.database);
        match self.reason(access, &format!("{}.{table}", self.database)) {
            Verdict::Denied => false,
            Verdict::Allowed => whole != Verdict::Denied,
            Verdict::Nothing => whole == Verdict::Allowed,
        }
    }

    fn all(&self) -> bool {
        let denies = |rule: &Rule| {
            rule.effect() == Effect::Deny && *rule.permission_name() == PermissionName::DatabaseRead
        };
        self.reason(Access::Read, &self.database) == Verdict::Allowed
            && !self.target.rules.rules().iter().any(denies)
    }
}

/// Whether a rule can match the name of the database, or that of a table of it. Where it has wildcards the answer may be yes
/// where no such name exists: then its owner learns which names of his pattern are those of databases.
fn may_concern(rule: &Rule, database: &str) -> bool {
    let Some(pattern) = rule.name_pattern() else { return false };
    let tables = format!("{database}.");
    match pattern.as_exact() {
        Some(exact) => exact == database.as_bytes() || exact.starts_with(tables.as_bytes()),
        None => {
            let text = pattern.to_string();
            let start = text.split(['*', '\\']).next().unwrap_or_default();
            tables.starts_with(start) || start.starts_with(&tables)
        }
    }
}

/// The parameters as values of SQL.
fn bound(parameters: Value) -> Result<Parameters, RpcError> {
    match parameters {
        Value::Null => Ok(Parameters::Positional(Vec::new())),
        Value::Array(values) => {
            Ok(Parameters::Positional(values.into_iter().map(value).collect::<Result<_, _>>()?))
        }
        Value::Object(values) => {
            let named = values.into_iter().map(|(name, given)| Ok((name, value(given)?)));
            Ok(Parameters::Named(named.collect::<Result<_, RpcError>>()?))
        }
        _ => Err(invalid("the parameters are a list, or an object of names and values")),
    }
}

fn value(given: Value) -> Result<SqlValue, RpcError> {
    Ok(match given {
        Value::Null => SqlValue::Null,
        Value::Bool(yes) => SqlValue::Integer(i64::from(yes)),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => SqlValue::Integer(number),
            (None, None, Some(number)) => SqlValue::Real(number),
            _ => return Err(invalid("a whole number is between -2^63 and 2^63 - 1")),
        },
        Value::String(text) => SqlValue::Text(text),
        Value::Object(tagged) => tagged_value(&tagged)?,
        Value::Array(_) => return Err(invalid("a list is no value of SQL")),
    })
}

/// `{"base64": ...}`, `{"integer": ...}` or `{"real": ...}`.
fn tagged_value(tagged: &Map<String, Value>) -> Result<SqlValue, RpcError> {
    let mut members = tagged.iter();
    let (Some((tag, Value::String(text))), None) = (members.next(), members.next()) else {
        return Err(invalid("an object is {\"base64\": …}, {\"integer\": …} or {\"real\": …}"));
    };
    match (tag.as_str(), text.as_str()) {
        ("base64", text) => BASE64
            .decode(text.as_bytes())
            .map(SqlValue::Blob)
            .map_err(|_| invalid("base64 has no line ends, and '=' at the end where it needs them")),
        ("integer", text) => text
            .parse()
            .map(SqlValue::Integer)
            .map_err(|_| invalid("a whole number is between -2^63 and 2^63 - 1")),
        ("real", "inf") => Ok(SqlValue::Real(f64::INFINITY)),
        ("real", "-inf") => Ok(SqlValue::Real(f64::NEG_INFINITY)),
        _ => Err(invalid("an object is {\"base64\": …}, {\"integer\": …} or {\"real\": \"inf\"}")),
    }
}

fn invalid(why: &str) -> RpcError {
    RpcError::new(RpcErrorCode::InvalidParams, why)
}
