//! What a plugin does wrong on the wire: kinds, samples and counts. None of it is fatal here; the owner decides.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest piece of a bad line that is kept, in bytes, before it is escaped.
const SAMPLE_MAX_BYTES: usize = 200;

/// Defines the kinds from one table, so that a kind without a text cannot exist.
macro_rules! fault_kinds {
    ($($variant:ident $group:ident $text:literal;)+) => {
        /// What is wrong with a line.
        ///
        /// ```
        /// use ringfence::rpc::FaultKind;
        ///
        /// assert_eq!(FaultKind::Batch.to_string(), "a batch: this protocol has one message a line");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FaultKind { $(#[doc = $text] $variant,)+ }

        impl fmt::Display for FaultKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text,)+ })
            }
        }

        impl FaultKind {
            /// Whether the line is no JSON at all, and not only no message.
            pub(crate) fn is_syntax(self) -> bool {
                matches!(
                    self,
                    Self::NotUtf8
                        | Self::ByteOrderMark
                        | Self::Nul
                        | Self::NotJson
                        | Self::HeaderFraming
                        | Self::TooDeep
                        | Self::LoneSurrogate
                        | Self::TooLong
                )
            }

            fn group(self) -> Group {
                match self { $(Self::$variant => Group::$group,)+ }
            }
        }
    };
}

fault_kinds! {
    Blank Blank "an empty line";
    NotUtf8 Malformed "not UTF-8";
    ByteOrderMark Malformed "a byte order mark before the message";
    Nul Malformed "a NUL in the line: is it UTF-16?";
    NotJson Malformed "no JSON: was something printed to stdout?";
    HeaderFraming Malformed "a Content-Length header: this protocol has one message a line and no headers";
    TooDeep Malformed "nested deeper than 64 levels";
    LoneSurrogate Malformed "half of a surrogate pair";
    TooLong TooLong "longer than a message may be; skipped up to its end";
    Partial Partial "the last line has no end";
    Batch Malformed "a batch: this protocol has one message a line";
    NotAnObject Malformed "JSON, but no object";
    DuplicateMember Malformed "a member of the envelope stands there twice";
    Version Malformed "`jsonrpc` is not \"2.0\"";
    Id Malformed "the id of a request is an integer, or a text of at most 128 bytes";
    Method Malformed "`method` is a text of 1 to 128 bytes without control characters";
    Params Malformed "`params` is an object or an array";
    Meta Malformed "`_meta` is an object with a text `correlation_id` and a number `deadline_ms`";
    RequestAndAnswer Malformed "both a request and an answer";
    NoMethodAndNoId Malformed "neither a request nor an answer";
    ResultAndError Malformed "both a result and an error";
    NoResultAndNoError Malformed "neither a result nor an error";
    ErrorObject Malformed "`error` is an object with an integer `code` and a text `message`";
    LateAnswer Late "the answer comes after the call was given up";
    DuplicateAnswer Duplicate "the call was answered before";
    UnknownAnswer Unknown "the answer is to no call of the host";
    DuplicateRequest Malformed "a request with this id is still being served";
    UnknownProgress Unknown "progress of no call that is running";
}

/// How faults are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Blank,
    Malformed,
    TooLong,
    Partial,
    Late,
    Duplicate,
    Unknown,
}

/// A line that was dropped, and why.
///
/// ```
/// use ringfence::rpc::{Fault, FaultKind};
///
/// let fault = Fault::new(FaultKind::NotJson, b"Loading\x1b[31m model");
/// assert_eq!(fault.sample, "Loading\\u{1b}[31m model");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong with it.
    pub kind: FaultKind,
    /// How it begins: at most 200 bytes, with what a terminal would obey escaped.
    pub sample: String,
}

impl Fault {
    /// A fault of `line`.
    #[must_use]
    pub fn new(kind: FaultKind, line: &[u8]) -> Self {
        let start = line.get(..SAMPLE_MAX_BYTES).unwrap_or(line);
        Self { kind, sample: escape_controls(&String::from_utf8_lossy(start)) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.kind, self.sample)
    }
}

/// The text with control characters, and those that turn the direction of writing, escaped.
pub(crate) fn escape_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || ringfence_api::text::is_hidden(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// What has happened on a connection so far.
///
/// ```
/// use ringfence::rpc::Counters;
///
/// let counters = Counters { late_answers: 2, malformed_lines: 1, ..Counters::default() };
/// assert_eq!(counters.faults(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests written to the plugin.
    pub calls: u64,
    /// Answers handed to their callers.
    pub answers: u64,
    /// Calls whose deadline passed.
    pub timeouts: u64,
    /// Calls given up by their callers.
    pub cancelled: u64,
    /// Requests of the plugin.
    pub requests: u64,
    /// Notifications of the plugin.
    pub notifications: u64,
    /// Empty lines.
    pub blank_lines: u64,
    /// Lines that are no messages.
    pub malformed_lines: u64,
    /// Lines longer than a message may be.
    pub too_long_lines: u64,
    /// A last line without its end: 0 or 1.
    pub partial_lines: u64,
    /// Answers after the deadline or the cancellation.
    pub late_answers: u64,
    /// Second answers.
    pub duplicate_answers: u64,
    /// Answers to, and progress of, what the host has not asked.
    pub unknown_answers: u64,
    /// How often reading was put off because the plugin sent too much.
    pub pauses: u64,
    /// Bytes from the plugin.
    pub read_bytes: u64,
    /// Bytes to the plugin.
    pub written_bytes: u64,
}

impl Counters {
    /// How many lines broke the rules; empty ones do not.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.malformed_lines
            + self.too_long_lines
            + self.partial_lines
            + self.late_answers
            + self.duplicate_answers
            + self.unknown_answers
    }
}

/// The counts while they grow: written by whoever sees the event, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: Count,
    pub(crate) answers: Count,
    pub(crate) timeouts: Count,
    pub(crate) cancelled: Count,
    pub(crate) requests: Count,
    pub(crate) notifications: Count,
    pub(crate) pauses: Count,
    pub(crate) read_bytes: Count,
    pub(crate) written_bytes: Count,
    blank: Count,
    malformed: Count,
    too_long: Count,
    partial: Count,
    late: Count,
    duplicate: Count,
    unknown: Count,
}

/// One number. Nothing is ordered by it.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    pub(crate) fn fault(&self, kind: FaultKind) {
        let count = match kind.group() {
            Group::Blank => &self.blank,
            Group::Malformed => &self.malformed,
            Group::TooLong => &self.too_long,
            Group::Partial => &self.partial,
            Group::Late => &self.late,
            Group::Duplicate => &self.duplicate,
            Group::Unknown => &self.unknown,
        };
        count.add(1);
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            calls: self.calls.get(),
            answers: self.answers.get(),
            timeouts: self.timeouts.get(),
            cancelled: self.cancelled.get(),
            requests: self.requests.get(),
            notifications: self.notifications.get(),
            blank_lines: self.blank.get(),
            malformed_lines: self.malformed.get(),
            too_long_lines: self.too_long.get(),
            partial_lines: self.partial.get(),
            late_answers: self.late.get(),
            duplicate_answers: self.duplicate.get(),
            unknown_answers: self.unknown.get(),
            pauses: self.pauses.get(),
            read_bytes: self.read_bytes.get(),
            written_bytes: self.written_bytes.get(),
        }
    }
}
