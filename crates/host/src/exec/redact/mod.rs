//! Hiding secrets in output, while it flows.
//!
//! The unit is the line: a complete line is judged and released at once. Of an incomplete line at most
//! [`HOLD_MAX_BYTES`] are held back, and for at most [`HOLD_MAX`], so that a prompt appears. What was released
//! of a line is remembered (again [`HOLD_MAX_BYTES`]), so that a secret whose beginning had to be shown is
//! still recognised and the rest of it hidden. What is released here is what is shown, handed to listeners and
//! stored: there is no second, unredacted copy.
//!
//! It does not protect against a command that wants to get a secret out: that one can encode it.

mod pattern;
mod prefilter;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder};
use ringfence_api::ErrorCode;

use crate::Error;
use pattern::{Patterns, Span, Tail};

/// How much of an incomplete line is held back at most, in bytes.
pub const HOLD_MAX_BYTES: usize = 1024;
/// How long any byte is held back at most.
pub const HOLD_MAX: Duration = Duration::from_millis(50);
/// How many patterns of their own a user may add to one run.
pub const CUSTOM_PATTERNS_MAX: usize = 64;
/// How long one pattern of the user may be, in bytes.
pub const CUSTOM_PATTERN_MAX_BYTES: usize = 4096;
/// How much text after a `BEGIN … PRIVATE KEY` line is taken for the key when its END line does not come, in
/// bytes. An RSA key of 16384 bits has 13 KB.
pub const KEY_MAX_BYTES: usize = 64 * 1024;

/// What is to be hidden: the built-in patterns, patterns of the user, both or nothing. Cheap to clone.
///
/// Built in are tokens of GitHub, GitLab, Slack, Google, Stripe, npm and PyPI, AWS access keys, keys that
/// begin with `sk-`, JSON web tokens, private keys in PEM form, `Authorization` headers, passwords in URLs, and
/// values behind names such as `password=`, `api_key:` or `"token":`.
///
/// ```
/// use ringfence::exec::RedactionSet;
///
/// let set = RedactionSet::built_in().with_pattern("ACME-[0-9]+")?;
/// assert_eq!(set.redact_text("id ACME-17, password=hunter2"), "id [redacted:custom], password=[redacted:secret]");
/// assert_eq!(RedactionSet::none().redact_text("password=hunter2"), "password=hunter2");
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone)]
pub struct RedactionSet {
    built_in: bool,
    custom: Arc<[Regex]>,
}

impl RedactionSet {
    /// The built-in patterns: the default. Nothing is compiled until a line looks suspicious.
    #[must_use]
    pub fn built_in() -> Self {
        Self { built_in: true, custom: Arc::new([]) }
    }

    /// Nothing is hidden.
    #[must_use]
    pub fn none() -> Self {
        Self { built_in: false, custom: Arc::new([]) }
    }

    /// The same set and one more pattern: a regular expression as in the `regex` crate, matched within one
    /// line. Its matches become `[redacted:custom]`; empty matches are ignored.
    ///
    /// # Errors
    ///
    /// `usage` when it cannot be compiled (with the reason), is longer than [`CUSTOM_PATTERN_MAX_BYTES`], is
    /// too large when compiled (1 MiB), or is one more than [`CUSTOM_PATTERNS_MAX`].
    pub fn with_pattern(mut self, expression: &str) -> Result<Self, Error> {
        if self.custom.len() >= CUSTOM_PATTERNS_MAX {
            let message = format!("more than {CUSTOM_PATTERNS_MAX} redaction patterns");
            return Err(Error::new(ErrorCode::Usage, message).with_hint("join some of them with '|'"));
        }
        if expression.len() > CUSTOM_PATTERN_MAX_BYTES {
            let message = format!("a redaction pattern is longer than {CUSTOM_PATTERN_MAX_BYTES} bytes");
            return Err(Error::new(ErrorCode::Usage, message));
        }
        let built = RegexBuilder::new(expression).size_limit(pattern::COMPILED_MAX_BYTES).build();
        let regex = built.map_err(|e| {
            Error::new(
                ErrorCode::Usage,
                format!("the redaction pattern '{}' is not valid", expression.escape_debug()),
            )
            .with_hint("write a regular expression without look-around or back-references")
            .with_source(PatternError(e.to_string()))
        })?;
        self.custom = self.custom.iter().cloned().chain([regex]).collect();
        Ok(self)
    }

    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.built_in && self.custom.is_empty()
    }

    /// A whole text, such as a command line, with its secrets hidden.
    #[must_use]
    pub fn redact_text(&self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len());
        let mut redactor = Redactor::new(self.clone());
        redactor.feed_lines(text.as_bytes(), &mut out);
        redactor.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn suspicious(&self, line: &[u8]) -> Patterns {
        if !self.built_in {
            return 0;
        }
        let patterns = prefilter::patterns_in(line);
        // Addresses are common in logs, passwords in them are not: only an '@' makes one suspicious.
        if patterns & pattern::URL != 0 && !line.contains(&b'@') {
            patterns & !pattern::URL
        } else {
            patterns
        }
    }

    fn spans(&self, line: &[u8]) -> Vec<Span> {
        let patterns = self.suspicious(line);
        if patterns == 0 && self.custom.is_empty() {
            return Vec::new();
        }
        pattern::spans(line, patterns, &self.custom)
    }
}

impl Default for RedactionSet {
    fn default() -> Self {
        Self::built_in()
    }
}

impl fmt::Debug for RedactionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The patterns themselves may contain what they are to hide.
        let custom = self.custom.len();
        f.debug_struct("RedactionSet").field("built_in", &self.built_in).field("custom", &custom).finish()
    }
}

/// The reason why a pattern was refused, without the dependency's type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct PatternError(String);

/// Hides secrets in one stream. Each stream of a run has its own.
///
/// ```
/// use std::time::Instant;
/// use ringfence::exec::{RedactionSet, Redactor};
///
/// let (mut redactor, now, mut out) = (Redactor::new(RedactionSet::built_in()), Instant::now(), Vec::new());
/// redactor.feed(b"ok\npass", now, &mut out);
/// assert_eq!(out, b"ok\n"); // the rest may become a secret: held back
/// redactor.feed(b"word=hunter2\n", now, &mut out);
/// redactor.finish(&mut out);
/// assert_eq!(out, b"ok\npassword=[redacted:secret]\n");
/// ```
pub struct Redactor {
    set: RedactionSet,
    /// The end of the incomplete line: what was released of it, for context, and what is held back.
    line: Vec<u8>,
    /// How many bytes of `line` were released or hidden.
    sent: usize,
    /// When the oldest held byte must be released.
    deadline: Option<Instant>,
    /// The match whose marker was the last thing released, if it may still grow.
    open: Option<Open>,
    /// A match that was longer than the window goes on: these bytes are hidden.
    swallow: Option<Tail>,
    /// Inside a private key.
    key: Option<Key>,
}

/// A released match at the end of what was released.
#[derive(Clone, Copy)]
struct Open {
    start: usize,
    tail: Tail,
}

#[derive(Clone, Copy, Default)]
struct Key {
    hidden_bytes: usize,
    /// A line end was hidden with the key: it is shown behind the marker when the key ends without END.
    line_end_owed: bool,
}

impl Redactor {
    /// A redactor for one stream.
    #[must_use]
    pub fn new(set: RedactionSet) -> Self {
        Self { set, line: Vec::new(), sent: 0, deadline: None, open: None, swallow: None, key: None }
    }

    /// Whether it never changes or holds back anything: then the caller may skip it and save the copy.
    #[must_use]
    pub fn is_passthrough(&self) -> bool {
        self.set.is_empty()
    }

    /// Takes the next bytes of the stream and appends to `out` what may be shown now.
    pub fn feed(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        if self.is_passthrough() {
            out.extend_from_slice(bytes);
            return;
        }
        if self.feed_lines(bytes, out) {
            self.deadline = None;
        }
        if self.line.len() - self.sent > HOLD_MAX_BYTES {
            self.release(HOLD_MAX_BYTES, out);
        }
        if self.held_bytes() == 0 {
            self.deadline = None;
        } else if self.deadline.is_none() {
            self.deadline = now.checked_add(HOLD_MAX);
        }
    }

    /// When [`tick`](Self::tick) must be called; `None` while nothing is held back.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Releases what was held back for [`HOLD_MAX`]; does nothing before.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.release(0, out);
            self.deadline = None;
        }
    }

    /// The stream is over: releases the rest.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_line(out);
        if let Some(Key { line_end_owed: true, .. }) = self.key.take() {
            out.push(b'\n');
        }
        (self.deadline, self.swallow) = (None, None);
    }

    /// How many bytes are held back now; at most [`HOLD_MAX_BYTES`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.line.len() - self.sent
    }

    /// Judges all complete lines and keeps the rest. True when a line that had been begun was completed, or
    /// nothing was begun.
    fn feed_lines(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let mut rest = bytes;
        if let Some(tail) = self.swallow {
            let end = rest.iter().position(|&byte| byte == b'\n' || !tail.goes_on(byte));
            let Some(end) = end else { return true };
            self.swallow = None;
            rest = rest.get(end..).unwrap_or_default();
        }
        let Some(last) = rest.iter().rposition(|&byte| byte == b'\n') else {
            self.line.extend_from_slice(rest);
            return self.line.len() == rest.len();
        };
        let (lines, begun) = rest.split_at(last + 1);
        let mut lines = lines;
        if !self.line.is_empty() {
            let (first, others) = split_line(lines);
            self.line.extend_from_slice(first);
            self.end_line(out);
            lines = others;
        }
        self.whole_lines(lines, out);
        self.line.extend_from_slice(begun);
        true
    }

    /// Judges lines that are complete in the input, without copying those that are not suspicious.
    fn whole_lines(&mut self, mut lines: &[u8], out: &mut Vec<u8>) {
        while !lines.is_empty() {
            if self.key.is_none() && self.set.custom.is_empty() {
                let hit = if self.set.built_in { prefilter::find(lines) } else { None };
                let Some(hit) = hit else {
                    out.extend_from_slice(lines);
                    return;
                };
                let before = lines.get(..hit).unwrap_or_default();
                let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                let (plain, suspicious) = lines.split_at(start);
                out.extend_from_slice(plain);
                lines = suspicious;
            }
            let (line, others) = split_line(lines);
            self.judge(line, 0, line.len(), Line::Complete, out);
            self.open = None;
            lines = others;
        }
    }

    /// The line is complete (or the stream is over): releases all of it.
    fn end_line(&mut self, out: &mut Vec<u8>) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.judge(&line, self.sent, line.len(), Line::Complete, out);
            self.line = line;
            self.line.clear();
        }
        (self.sent, self.open) = (0, None);
    }

    /// Releases the incomplete line but for its last `keep` bytes, and forgets what is too old for context.
    fn release(&mut self, keep: usize, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        let limit = line.len().saturating_sub(keep).max(self.sent);
        self.sent = self.judge(&line, self.sent, limit, Line::Begun, out);
        self.line = line;
        let forget = self.sent.saturating_sub(HOLD_MAX_BYTES);
        if let Some(open) = &mut self.open {
            if open.start < forget {
                // The beginning of the match leaves the window: from here on only its kind is known.
                self.swallow = Some(open.tail);
                self.line.clear();
                (self.sent, self.open) = (0, None);
                return;
            }
            open.start -= forget;
        }
        self.line.drain(..forget);
        self.sent -= forget;
    }

    /// Appends to `out` what of `line[from..limit]` may be shown, with markers for secrets; a secret that
    /// crosses `limit` is hidden whole. Answers up to where the line is now released.
    fn judge(&mut self, line: &[u8], from: usize, limit: usize, end: Line, out: &mut Vec<u8>) -> usize {
        let (text, newline) = match line {
            [text @ .., b'\n'] if end == Line::Complete => (text, &b"\n"[..]),
            text => (text, &b""[..]),
        };
        let limit = limit.min(text.len());
        let Some(mut from) = self.inside_key(text, from, end, newline, out) else { return line.len() };
        let mut open = self.open.take();
        for span in self.set.spans(text) {
            if span.end <= from {
                continue;
            }
            if span.start >= limit && end == Line::Begun {
                break;
            }
            let continues = span.start < from && open.is_some();
            out.extend_from_slice(text.get(from..span.start.max(from)).unwrap_or_default());
            if !continues {
                out.extend_from_slice(b"[redacted:");
                out.extend_from_slice(span.name.as_bytes());
                out.push(b']');
            }
            from = span.end;
            open = Some(Open { start: span.start, tail: span.tail });
            if span.opens_key {
                self.key = Some(Key { hidden_bytes: 0, line_end_owed: !newline.is_empty() });
                return line.len();
            }
        }
        if from < limit {
            out.extend_from_slice(text.get(from..limit).unwrap_or_default());
            from = limit;
            open = None;
        }
        out.extend_from_slice(newline);
        self.open = open.filter(|_| end == Line::Begun && from == text.len());
        from
    }

    /// Hides what belongs to a private key. `None` when that is all of the line, else from where on the line
    /// is to be judged as usual.
    fn inside_key(
        &mut self,
        text: &[u8],
        from: usize,
        end: Line,
        newline: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let Some(key) = &mut self.key else { return Some(from) };
        if let Some(after) = pattern::key_end(text, from) {
            self.key = None;
            return Some(after);
        }
        let hidden = text.get(from..).unwrap_or_default();
        key.hidden_bytes = key.hidden_bytes.saturating_add(hidden.len() + newline.len());
        if key.hidden_bytes <= KEY_MAX_BYTES && pattern::is_key_body(hidden) {
            key.line_end_owed |= end == Line::Complete && !newline.is_empty();
            return None;
        }
        if key.line_end_owed {
            out.push(b'\n');
        }
        self.key = None;
        Some(from)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It ends with its line end, or the stream is over.
    Complete,
    /// More of it may come.
    Begun,
}

/// The first line with its end, and the rest.
fn split_line(lines: &[u8]) -> (&[u8], &[u8]) {
    let end = lines.iter().position(|&byte| byte == b'\n').map_or(lines.len(), |at| at + 1);
    lines.split_at(end)
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The held text may be a secret.
        f.debug_struct("Redactor").field("set", &self.set).field("held_bytes", &self.held_bytes()).finish()
    }
}

#[cfg(test)]
mod tests;
