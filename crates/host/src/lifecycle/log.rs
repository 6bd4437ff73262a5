//! The log of one plugin: what it writes to stderr and what it sends as `log`, redacted, one JSON line each.
//!
//! Two files of half the limit each: the newer is written, the older is what was before it. Nothing here ever waits for the
//! plugin, and nothing a plugin writes can make a second line: control characters stand escaped in the JSON.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ringfence_api::PluginName;
use serde::{Deserialize, Serialize};

use super::secrets::Secrets;
use crate::exec::RedactionSet;
use crate::{Error, Home, private_file};

/// A longer line is cut into pieces of this size, in bytes.
pub const LOG_LINE_MAX_BYTES: usize = 16 * 1024;
/// So much is gathered before it is written, in bytes.
const PENDING_MAX_BYTES: usize = 8 * 1024;
/// How many of the last lines are kept in memory, for the reason of a quarantine: enough for a long traceback.
pub const LOG_TAIL_LINES: usize = 50;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The plugin's standard error.
    Stderr,
    /// A `log` message of the protocol.
    Log,
    /// Ringfence, about the plugin: starts, ends, faults.
    Host,
}

/// One line of a plugin's log.
///
/// ```
/// use ringfence::lifecycle::{LogLine, LogSource};
///
/// let line = LogLine { at_ms: 0, source: LogSource::Stderr, level: None, message: "hello".to_owned() };
/// assert_eq!(serde_json::to_string(&line)?, r#"{"at_ms":0,"source":"stderr","message":"hello"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogLine {
    /// When it came, in unix milliseconds.
    pub at_ms: i64,
    /// Where it came from.
    pub source: LogSource,
    /// The level of a `log` message: `debug`, `info`, `warning` or `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The text, redacted, without its line end.
    pub message: String,
}

/// The file of a plugin's log, and the one before it.
pub(crate) fn files(home: &Home, plugin: &PluginName) -> (PathBuf, PathBuf) {
    let directory = home.path().join("logs");
    (directory.join(format!("{plugin}.jsonl")), directory.join(format!("{plugin}.1.jsonl")))
}

/// The open log of one plugin. Cheap to clone; may be written from several threads.
#[derive(Clone, Debug)]
pub(crate) struct PluginLog {
    shared: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    newer: PathBuf,
    older: PathBuf,
    file: Option<File>,
    bytes: u64,
    half_bytes: u64,
    redaction: RedactionSet,
    secrets: Secrets,
    tail: VecDeque<LogLine>,
    /// What of stderr has no line end yet.
    partial: Vec<u8>,
    /// Lines that are not in the file yet; empty between two calls.
    pending: Vec<u8>,
    /// Pieces of the log that could not be written, since the disk said no.
    lost: u64,
}

impl PluginLog {
    /// Opens the log of `plugin`; a log that cannot be opened loses lines, it stops nobody.
    pub(crate) fn open(home: &Home, plugin: &PluginName, max_bytes: u64) -> Self {
        let (newer, older) = files(home, plugin);
        let writer = Writer {
            newer,
            older,
            file: None,
            bytes: 0,
            half_bytes: (max_bytes / 2).max(LOG_LINE_MAX_BYTES as u64),
            redaction: RedactionSet::built_in(),
            secrets: Secrets::default(),
            tail: VecDeque::with_capacity(LOG_TAIL_LINES),
            partial: Vec::new(),
            pending: Vec::new(),
            lost: 0,
        };
        Self { shared: Arc::new(Mutex::new(writer)) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Writer) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// These are hidden from now on, besides what looks like a secret by itself.
    pub(crate) fn hide(&self, secrets: Secrets) {
        self.with(|writer| writer.secrets = secrets);
    }

    /// A text of the plugin that goes elsewhere than to the log, without its secrets.
    pub(crate) fn redacted(&self, text: &str) -> String {
        self.with(|writer| writer.redacted(text))
    }

    /// Takes bytes of stderr, in whatever pieces they come. Returns the lines that they completed.
    pub(crate) fn stderr(&self, bytes: &[u8]) -> Vec<LogLine> {
        self.with(|writer| {
            let lines = writer.stderr(bytes);
            writer.flush();
            lines
        })
    }

    /// What is left of stderr when it has ended.
    pub(crate) fn stderr_ended(&self) {
        self.with(|writer| {
            writer.flush_partial();
            writer.flush();
        });
    }

    /// Takes one message.
    pub(crate) fn line(&self, source: LogSource, level: Option<&str>, message: &str) -> LogLine {
        self.with(|writer| {
            let line = writer.put(source, level, message);
            writer.flush();
            line
        })
    }

    /// The last lines, oldest first, at most [`LOG_TAIL_LINES`].
    pub(crate) fn tail(&self) -> Vec<LogLine> {
        self.with(|writer| writer.tail.iter().cloned().collect())
    }
}

impl Writer {
    fn stderr(&mut self, bytes: &[u8]) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for part in text.chunks(LOG_LINE_MAX_BYTES) {
                if self.partial.len() + part.len() > LOG_LINE_MAX_BYTES {
                    lines.extend(self.flush_partial());
                }
                self.partial.extend_from_slice(part);
            }
            if ended {
                lines.extend(self.flush_partial());
            }
        }
        lines
    }

    fn flush_partial(&mut self) -> Option<LogLine> {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(&bytes)).into_owned();
        (!text.is_empty()).then(|| self.put(LogSource::Stderr, None, &text))
    }

    fn redacted(&self, text: &str) -> String {
        self.redaction.redact_text(&self.secrets.hide(text))
    }

    fn put(&mut self, source: LogSource, level: Option<&str>, message: &str) -> LogLine {
        let mut end = message.len().min(LOG_LINE_MAX_BYTES);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let message = self.redacted(message.get(..end).unwrap_or_default());
        let line =
            LogLine { at_ms: crate::clock::now_ms(), source, level: level.map(str::to_owned), message };
        if self.tail.len() == LOG_TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        if serde_json::to_writer(&mut self.pending, &line).is_ok() {
            self.pending.push(b'\n');
        }
        if self.pending.len() >= PENDING_MAX_BYTES {
            self.flush();
        }
        line
    }

    /// Writes what waits, in one go: a plugin that floods costs one write for many lines.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.pending);
        if !text.is_empty() && self.write(&text).is_err() {
            self.file = None;
            self.lost += 1;
        }
        self.pending = text;
        self.pending.clear();
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let length = text.len() as u64;
        if self.file.is_some() && self.bytes + length > self.half_bytes {
            self.file = None;
            std::fs::rename(&self.newer, &self.older)?;
        }
        if self.file.is_none() {
            if let Some(directory) = self.newer.parent() {
                private_file::create_dir_all(directory)?;
            }
            let mut file = private_file::open_or_create(&self.newer)?;
            self.bytes = file.seek(SeekFrom::End(0))?;
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(text)?;
            self.bytes += length;
        }
        Ok(())
    }
}

/// Removes the log of a plugin.
///
/// # Errors
/// `io` when it is there and cannot be removed.
pub(crate) fn remove(home: &Home, plugin: &PluginName) -> Result<(), Error> {
    let (newer, older) = files(home, plugin);
    for path in [newer, older] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("remove the log", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::log_page::read;
    use super::*;

    fn log(max_bytes: u64) -> (tempfile::TempDir, Home, PluginName, PluginLog) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let plugin: PluginName = "p".parse().unwrap();
        let log = PluginLog::open(&home, &plugin, max_bytes);
        (dir, home, plugin, log)
    }

    fn messages(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.message.as_str()).collect()
    }

    #[test]
    fn stderr_in_any_pieces_gives_the_same_lines() {
        let text = b"one\ntwo\r\n\nthree \xff\nlast";
        for size in 1..text.len() {
            let (_dir, home, plugin, log) = log(1 << 20);
            for piece in text.chunks(size) {
                log.stderr(piece);
            }
            log.stderr_ended();
            let lines = read(&home, &plugin, 100).unwrap();
            assert_eq!(messages(&lines), ["one", "two", "three \u{fffd}", "last"], "{size}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut_and_a_secret_is_not_kept() {
        let (_dir, home, plugin, log) = log(1 << 20);
        log.stderr(&vec![b'x'; LOG_LINE_MAX_BYTES * 2 + 5]);
        log.stderr(b"\npassword=hunter2\n");
        let lines = read(&home, &plugin, 100).unwrap();
        assert_eq!(lines.iter().map(|line| line.message.len()).collect::<Vec<_>>()[..3], [16384, 16384, 5]);
        assert_eq!(lines[3].message, "password=[redacted:secret]");
    }

    #[test]
    fn what_a_plugin_writes_stays_one_line_of_the_file() {
        let (_dir, home, plugin, log) = log(1 << 20);
        log.line(LogSource::Log, Some("info"), "a\nb\u{1b}[31m\0");
        let (newer, _) = files(&home, &plugin);
        assert_eq!(std::fs::read_to_string(newer).unwrap().lines().count(), 1);
        assert_eq!(read(&home, &plugin, 10).unwrap()[0].message, "a\nb\u{1b}[31m\0");
    }

    #[test]
    fn old_lines_go_and_the_newest_stay() {
        let (_dir, home, plugin, log) = log(2 * LOG_LINE_MAX_BYTES as u64);
        for number in 0..2000 {
            log.line(LogSource::Stderr, None, &format!("line {number}"));
        }
        let (newer, older) = files(&home, &plugin);
        for file in [newer, older] {
            assert!(file.metadata().unwrap().len() <= LOG_LINE_MAX_BYTES as u64);
        }
        let lines = read(&home, &plugin, 3).unwrap();
        assert_eq!(messages(&lines), ["line 1997", "line 1998", "line 1999"]);
        assert_eq!(log.tail().len(), LOG_TAIL_LINES);
    }

    #[test]
    fn a_link_in_the_place_of_the_log_is_not_followed() {
        let (dir, home, plugin, log) = log(1 << 20);
        let (newer, _) = files(&home, &plugin);
        std::fs::create_dir(newer.parent().unwrap()).unwrap();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, &newer).unwrap();
        log.line(LogSource::Stderr, None, "lost");
        assert!(!target.exists());
        assert!(read(&home, &plugin, 1).is_err());
        assert_eq!(log.tail().len(), 1, "it is still told");
    }
}
