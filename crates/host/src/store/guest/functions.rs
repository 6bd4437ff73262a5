//! Which functions a plugin's SQL may call, and our own form of those whose time grows with the product of two lengths.
//!
//! The list has what computes from its arguments, in time and space that their lengths bound. Not on it: what reads files or
//! loads code, what full-text search passes pointers through, and `json_patch` and `unhex`, which take hours for two values of
//! the largest size.

use std::borrow::Cow;
use std::collections::HashSet;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, Result, ffi};

use super::VALUE_MAX_BYTES;

/// Sorted.
const ALLOWED: &[&str] = &[
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "ceil",
    "ceiling",
    "changes",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_insert_rowid",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "random",
    "randomblob",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "total_changes",
    "trim",
    "trunc",
    "typeof",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// Whether a plugin may call it. Names are as in SQL: the case of letters does not count.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.binary_search(&name.to_ascii_lowercase().as_str()).is_ok()
}

/// Puts our own form in the place of the slow ones.
pub(super) fn replace(connection: &Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("instr", 2, flags, instr)?;
    connection.create_scalar_function("replace", 3, flags, replaced)?;
    for (name, start, end) in [("trim", true, true), ("ltrim", true, false), ("rtrim", false, true)] {
        for arguments in [1, 2] {
            let trim = move |context: &Context<'_>| trimmed(context, start, end);
            connection.create_scalar_function(name, arguments, flags, trim)?;
        }
    }
    Ok(())
}

/// An argument as SQLite makes text of it; `None` for NULL. What is not UTF-8 is read as far as it is.
fn text(value: ValueRef<'_>) -> Option<Cow<'_, str>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Real(number) => Some(format!("{number:?}").into()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
    }
}

fn instr(context: &Context<'_>) -> Result<Option<i64>> {
    let (hay, needle) = (context.get_raw(0), context.get_raw(1));
    if let (ValueRef::Blob(hay), ValueRef::Blob(needle)) = (hay, needle) {
        let found = memchr::memmem::find(hay, needle);
        return Ok(Some(found.map_or(0, |at| i64::try_from(at + 1).unwrap_or(i64::MAX))));
    }
    let (Some(hay), Some(needle)) = (text(hay), text(needle)) else { return Ok(None) };
    let at = hay.find(needle.as_ref()).and_then(|at| hay.get(..at));
    Ok(Some(at.map_or(0, |before| i64::try_from(before.chars().count() + 1).unwrap_or(i64::MAX))))
}

fn replaced(context: &Context<'_>) -> Result<Value> {
    let (Some(whole), Some(old), Some(new)) =
        (text(context.get_raw(0)), text(context.get_raw(1)), text(context.get_raw(2)))
    else {
        return Ok(Value::Null);
    };
    if old.is_empty() {
        return Ok(Value::Text(whole.into_owned()));
    }
    let times = memchr::memmem::find_iter(whole.as_bytes(), old.as_bytes()).count();
    let bytes = whole.len() - times * old.len() + times.saturating_mul(new.len());
    if bytes > usize::try_from(VALUE_MAX_BYTES).unwrap_or(usize::MAX) {
        return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_TOOBIG), None));
    }
    Ok(Value::Text(whole.replace(old.as_ref(), &new)))
}

fn trimmed(context: &Context<'_>, start: bool, end: bool) -> Result<Option<String>> {
    let Some(whole) = text(context.get_raw(0)) else { return Ok(None) };
    let set: HashSet<char> = if context.len() == 2 {
        let Some(set) = text(context.get_raw(1)) else { return Ok(None) };
        set.chars().collect()
    } else {
        HashSet::from([' '])
    };
    let is_cut = |letter: char| set.contains(&letter);
    let mut rest = whole.as_ref();
    if start {
        rest = rest.trim_start_matches(is_cut);
    }
    if end {
        rest = rest.trim_end_matches(is_cut);
    }
    Ok(Some(rest.to_owned()))
}
