//! The daemon's log: one line an event, as text or JSON, on standard error or in a file that never grows without bound.
//!
//! Spans are not shown: what belongs together has the same `correlation_id`. What comes from plugins or from the network is
//! escaped, so that nobody can write a line of this log but the daemon.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ringfence::config::LogLevel;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::file::LogFile;
use crate::text::one_line;
use crate::time::utc;

/// The longest line, in bytes; a longer one is cut.
const LINE_MAX_BYTES: usize = 16 * 1024;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogForm {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Where the lines go.
#[derive(Debug)]
pub(crate) enum LogPlace {
    /// Standard error.
    Stderr,
    /// A file.
    File(Mutex<LogFile>),
}

/// What can be changed while it is written.
#[derive(Clone, Debug)]
pub(crate) struct LogControl {
    level: Arc<AtomicU8>,
}

impl LogControl {
    /// Says from now on as much as this.
    pub(crate) fn set(&self, level: LogLevel) {
        self.level.store(rank(level), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Starts the log of this process. It can be started once.
pub(crate) fn start(form: LogForm, level: LogLevel, place: LogPlace) -> LogControl {
    let control = LogControl { level: Arc::new(AtomicU8::new(rank(level))) };
    let log = Log { form, place, control: control.clone() };
    // A second one is refused: the first goes on.
    let _first = tracing::subscriber::set_global_default(log);
    control
}

/// How much a level says, and what an event needs.
const fn rank(level: LogLevel) -> u8 {
    match level {
        LogLevel::Off => 0,
        LogLevel::Error => 1,
        LogLevel::Warn => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
        LogLevel::Trace => 5,
    }
}

fn needs(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        _ => 5,
    }
}

#[derive(Debug)]
struct Log {
    form: LogForm,
    place: LogPlace,
    control: LogControl,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && needs(*metadata.level()) <= self.control.level.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.control.level.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or_default();
        let line = line(self.form, now, *event.metadata().level(), event.metadata().target(), said);
        // A log that cannot be written is no reason to end, and there is nowhere to say so.
        match &self.place {
            LogPlace::Stderr => {
                let _nobody_listens = std::io::stderr().lock().write_all(line.as_bytes());
            }
            LogPlace::File(file) => {
                let _full_disk = file.lock().unwrap_or_else(PoisonError::into_inner).write(line.as_bytes());
            }
        }
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// What an event says.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn take(&mut self, field: &Field, value: impl Into<Value>) {
        let value = value.into();
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value);
    }
}

/// The whole line, with its end.
fn line(form: LogForm, at_ms: u64, level: Level, target: &str, said: Said) -> String {
    let at = format!("{}.{:03}Z", utc(at_ms).replacen(' ', "T", 1), at_ms % 1_000);
    let mut line = match form {
        LogForm::Text => text(&at, level, said),
        LogForm::Json => json(&at, level, target, said),
    };
    line.push('\n');
    line
}

fn text(at: &str, level: Level, said: Said) -> String {
    let mut line = format!("{at} {level:<5} {}", one_line(&said.message));
    for (name, value) in said.fields {
        let word = match value {
            Value::String(text) => one_line(&text),
            other => other.to_string(),
        };
        let quoted = word.is_empty() || word.contains([' ', '"', '=']);
        let written = if quoted {
            write!(line, " {name}=\"{}\"", word.replace('"', "\\\""))
        } else {
            write!(line, " {name}={word}")
        };
        debug_assert!(written.is_ok(), "writing to a string");
    }
    if line.len() > LINE_MAX_BYTES {
        line.truncate(line.floor_char_boundary(LINE_MAX_BYTES));
        line.push('…');
    }
    line
}

fn json(at: &str, level: Level, target: &str, said: Said) -> String {
    let cut = |text: String| {
        if text.len() <= LINE_MAX_BYTES {
            return text;
        }
        format!("{}…", &text.get(..text.floor_char_boundary(LINE_MAX_BYTES)).unwrap_or_default())
    };
    let mut object = Map::new();
    object.insert("at".to_owned(), at.into());
    object.insert("level".to_owned(), level.as_str().to_lowercase().into());
    object.insert("target".to_owned(), target.into());
    object.insert("message".to_owned(), cut(said.message).into());
    let fields = said.fields.into_iter().map(|(name, value)| match value {
        Value::String(text) => (name, cut(text).into()),
        other => (name, other),
    });
    object.insert("fields".to_owned(), Value::Object(fields.collect()));
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(message: &str, fields: Value) -> Said {
        let Value::Object(fields) = fields else { panic!("an object") };
        Said { message: message.to_owned(), fields }
    }

    #[test]
    fn nobody_but_the_daemon_writes_a_line() {
        let fields = json!({"plugin": "notes", "error": "a\nb \u{1b}[2J", "count": 3, "empty": ""});
        let text =
            line(LogForm::Text, 1_234, Level::WARN, "ringfence", said("gone\n2026 INFO", fields.clone()));
        assert_eq!(
            text,
            "1970-01-01T00:00:01.234Z WARN  gone\\n2026 INFO plugin=notes error=\"a\\nb \\u{1b}[2J\" count=3 empty=\"\"\n"
        );
        let json = line(LogForm::Json, 0, Level::INFO, "ringfence", said("gone\n", fields.clone()));
        assert_eq!(json.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&read["level"], &read["message"], &read["fields"]),
            (&json!("info"), &json!("gone\n"), &fields)
        );
    }

    #[test]
    fn a_line_has_an_end() {
        let long = "ü".repeat(LINE_MAX_BYTES);
        for form in [LogForm::Text, LogForm::Json] {
            let line = line(form, 0, Level::ERROR, "t", said(&long, json!({})));
            assert!(line.len() < LINE_MAX_BYTES + 200, "{}", line.len());
        }
    }

    #[test]
    fn a_level_says_itself_and_what_matters_more() {
        let log = |level| Log {
            form: LogForm::Text,
            place: LogPlace::Stderr,
            control: LogControl { level: Arc::new(AtomicU8::new(rank(level))) },
        };
        for (level, shown) in LogLevel::ALL.into_iter().zip(0..) {
            assert_eq!(rank(level), shown);
            let hint = log(level).max_level_hint().unwrap();
            for (event, need) in
                [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].into_iter().zip(1..)
            {
                assert_eq!(needs(event), need);
                assert_eq!(event <= hint, need <= shown, "{level:?} {event}");
            }
        }
    }
}
