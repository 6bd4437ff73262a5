//! Values between JSON and SQL: what is bound, and what a row becomes.

use std::fmt::Write as _;

use data_encoding::BASE64;
use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::database::{Fault, Parameters, ROWS_MAX, SqlValue};

/// The largest whole number that every language reads from JSON as it is: 2^53 - 1.
const SAFE_INTEGER: i64 = 9_007_199_254_740_991;

impl rusqlite::ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Binds every parameter of the statement, and every value that was given.
pub(super) fn bind(statement: &mut Statement<'_>, parameters: &Parameters) -> Result<(), Fault> {
    let wanted = statement.parameter_count();
    let wrong = |text: String| Err(Fault::Statement(text));
    match parameters {
        Parameters::Positional(values) => {
            if values.len() != wanted {
                let given = values.len();
                return wrong(format!(
                    "the statement has {wanted} parameter(s), and {given} value(s) are given"
                ));
            }
            for (place, value) in values.iter().enumerate() {
                bound(statement.raw_bind_parameter(place + 1, value))?;
            }
        }
        Parameters::Named(values) => {
            let mut used = 0;
            for place in 1..=wanted {
                let name = statement.parameter_name(place).and_then(|name| name.get(1..)).map(str::to_owned);
                let Some(name) = name.filter(|name| !name.is_empty()) else {
                    return wrong("a parameter without a name takes its value from a list".to_owned());
                };
                let Some((_, value)) = values.iter().find(|(given, _)| *given == name) else {
                    return wrong(format!("the parameter '{}' has no value", crate::consent::shown(&name)));
                };
                used += 1;
                bound(statement.raw_bind_parameter(place, value))?;
            }
            if used < values.len() {
                return wrong("a value is given whose name the statement does not have".to_owned());
            }
        }
    }
    Ok(())
}

fn bound(done: rusqlite::Result<()>) -> Result<(), Fault> {
    done.map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::TooBig) => {
            Fault::TooLarge(format!("a value has at most {} bytes", super::VALUE_MAX_BYTES))
        }
        _ => Fault::Statement(error.to_string()),
    })
}

/// All rows as a JSON array of objects.
pub(super) fn rows(
    statement: &mut Statement<'_>,
    max_bytes: usize,
    fault: impl Fn(&rusqlite::Error) -> Fault,
) -> Result<String, Fault> {
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    for (place, name) in names.iter().enumerate() {
        if names.iter().take(place).any(|before| before == name) {
            let name = crate::consent::shown(name);
            return Err(Fault::Statement(format!(
                "two columns of the result have the name '{name}'; tell them apart with AS"
            )));
        }
    }
    let keys: Vec<String> = names.iter().map(|name| format!("{}:", json_text(name))).collect();
    let mut found = String::from("[");
    let mut rows = statement.raw_query();
    let mut count = 0;
    while let Some(row) = rows.next().map_err(|error| fault(&error))? {
        count += 1;
        if count > ROWS_MAX {
            return Err(Fault::TooLarge(format!("the result has more than {ROWS_MAX} rows; ask with LIMIT")));
        }
        found.push_str(if count == 1 { "{" } else { ",{" });
        for (place, key) in keys.iter().enumerate() {
            if place > 0 {
                found.push(',');
            }
            found.push_str(key);
            append(&mut found, row.get_ref(place).map_err(|error| fault(&error))?);
            if found.len() > max_bytes {
                return Err(Fault::TooLarge(format!(
                    "the result is longer than {max_bytes} bytes of JSON; ask for fewer rows or columns"
                )));
            }
        }
        found.push('}');
    }
    found.push(']');
    Ok(found)
}

/// One value: what JSON has no exact form for is an object with one member.
fn append(to: &mut String, value: ValueRef<'_>) {
    // Writing to a String cannot fail.
    let _written = match value {
        ValueRef::Null => write!(to, "null"),
        ValueRef::Integer(number) if (-SAFE_INTEGER..=SAFE_INTEGER).contains(&number) => {
            write!(to, "{number}")
        }
        ValueRef::Integer(number) => write!(to, "{{\"integer\":\"{number}\"}}"),
        ValueRef::Real(number) if number.is_finite() => write!(to, "{number:?}"),
        // SQLite has no NaN: it is NULL there.
        ValueRef::Real(number) => {
            write!(to, "{{\"real\":\"{}\"}}", if number > 0.0 { "inf" } else { "-inf" })
        }
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => write!(to, "{}", json_text(text)),
            Err(_) => write!(to, "{{\"base64\":\"{}\"}}", BASE64.encode(bytes)),
        },
        ValueRef::Blob(bytes) => write!(to, "{{\"base64\":\"{}\"}}", BASE64.encode(bytes)),
    };
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
