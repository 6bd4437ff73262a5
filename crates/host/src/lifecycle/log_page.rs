//! The log of one plugin, read from its end: a page costs what it shows, however long the log is.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::str::FromStr;

use ringfence_api::{ErrorCode, PluginName};

use super::log::{LogLine, files};
use crate::{Error, Home, private_file};

/// The most lines of one page.
pub const LOG_PAGE_MAX: usize = 1_000;
/// So much of a log is searched for one page, in bytes: more than a log of the default size has.
pub const LOG_SEARCH_MAX_BYTES: u64 = 8 << 20;
/// So much is read at once, in bytes.
const BLOCK_BYTES: u64 = 64 * 1024;
/// What has no line end for so long is no line of ours, in bytes: the longest, all of it escaped, is much shorter.
const NO_LINE_BYTES: usize = 1 << 20;

/// A place in the log of a plugin: lines before it are older. It means nothing once these lines have made room for new ones.
///
/// ```
/// use ringfence::lifecycle::LogPlace;
///
/// let place: LogPlace = "12-345".parse()?;
/// assert_eq!(place.to_string(), "12-345");
/// assert!("12".parse::<LogPlace>().is_err());
/// # Ok::<(), ringfence::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The number of the file, which it keeps when it becomes the older one.
    file: u64,
    offset: u64,
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.file, self.offset)
    }
}

impl FromStr for LogPlace {
    type Err = Error;

    /// # Errors
    /// `usage`: it is not one that a [`LogPage`] has given.
    fn from_str(text: &str) -> Result<Self, Error> {
        let place = text
            .split_once('-')
            .and_then(|(file, offset)| Some(Self { file: file.parse().ok()?, offset: offset.parse().ok()? }));
        place.ok_or_else(|| Error::new(ErrorCode::Usage, "this is no place in a log"))
    }
}

/// Which lines of a log are wanted. By default all, from the end.
///
/// ```
/// use ringfence::lifecycle::LogFilter;
///
/// let filter = LogFilter { text: "refused".to_owned(), ..LogFilter::default() };
/// assert!(filter.before.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Only lines in which this stands, whatever its capitals; empty: all.
    pub text: String,
    /// Only what is older than this place: what the page before gave.
    pub before: Option<LogPlace>,
}

/// Some lines of a log, the newest first.
///
/// ```no_run
/// # async fn example(host: ringfence::Host) -> Result<(), ringfence::Error> {
/// use ringfence::lifecycle::LogFilter;
///
/// let newest = host.log_page("notes", LogFilter::default(), 50).await?;
/// if newest.before.is_some() {
///     let older = LogFilter { before: newest.before, ..LogFilter::default() };
///     println!("{:?}", host.log_page("notes", older, 50).await?.lines);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Where older ones are; `None`: there are none. A search stops after [`LOG_SEARCH_MAX_BYTES`], so that there may be few
    /// lines or none on a page that is not the last.
    pub before: Option<LogPlace>,
}

/// The last `limit` lines of a plugin's log, oldest first. A log that does not exist is empty.
///
/// # Errors
/// `io` when a file is there and cannot be read.
pub(crate) fn read(home: &Home, plugin: &PluginName, limit: usize) -> Result<Vec<LogLine>, Error> {
    let mut lines = walk(home, plugin, &LogFilter::default(), limit, u64::MAX)?.lines;
    lines.reverse();
    Ok(lines)
}

/// A page of a plugin's log.
///
/// # Errors
/// `io` when a file is there and cannot be read.
pub(crate) fn page(
    home: &Home,
    plugin: &PluginName,
    filter: &LogFilter,
    limit: usize,
) -> Result<LogPage, Error> {
    walk(home, plugin, filter, limit.clamp(1, LOG_PAGE_MAX), LOG_SEARCH_MAX_BYTES)
}

fn walk(
    home: &Home,
    plugin: &PluginName,
    filter: &LogFilter,
    limit: usize,
    most_bytes: u64,
) -> Result<LogPage, Error> {
    let failed = |error| Error::file("read the log of", Path::new(plugin.as_str()), error);
    let files = opened(home, plugin)?;
    let from = match filter.before {
        None => 0,
        Some(place) => files.iter().position(|file| file.number == place.file).unwrap_or(files.len()),
    };
    let text = filter.text.to_lowercase();
    let (mut lines, mut left) = (Vec::new(), most_bytes);
    let mut end = filter.before.map(|place| place.offset);
    for (index, file) in files.iter().enumerate().skip(from) {
        let mut backwards = Backwards::new(file, end.take());
        while let Some((start, bytes)) = backwards.next().map_err(failed)? {
            left = left.saturating_sub(bytes.len() as u64);
            // A line that was cut by a crash is no line.
            if let Ok(line) = serde_json::from_slice::<LogLine>(&bytes)
                && (text.is_empty() || line.message.to_lowercase().contains(&text))
            {
                lines.push(line);
            }
            let is_last = start == 0 && index + 1 == files.len();
            if (lines.len() >= limit || left == 0) && !is_last {
                return Ok(LogPage { lines, before: Some(LogPlace { file: file.number, offset: start }) });
            }
        }
    }
    Ok(LogPage { lines, before: None })
}

struct Opened {
    number: u64,
    length: u64,
    file: File,
}

/// The files of a log, the newest first. What is open stays what it is, whatever is renamed meanwhile.
fn opened(home: &Home, plugin: &PluginName) -> Result<Vec<Opened>, Error> {
    let (newer, older) = files(home, plugin);
    let mut all: Vec<Opened> = Vec::new();
    for path in [newer, older] {
        let file = match private_file::open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::file("read the log", &path, error)),
        };
        let known = file.metadata().map_err(|error| Error::file("read the log", &path, error))?;
        // The newer one may have become the older one between the two.
        if all.iter().all(|one| one.number != known.ino()) {
            all.push(Opened { number: known.ino(), length: known.len(), file });
        }
    }
    Ok(all)
}

/// Lines of a file from its end to its beginning, each with the place where it begins.
struct Backwards<'a> {
    file: &'a File,
    /// Where `buffer` begins in the file.
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Backwards<'a> {
    fn new(opened: &'a Opened, end: Option<u64>) -> Self {
        let end = end.map_or(opened.length, |end| end.min(opened.length));
        Self { file: &opened.file, start: end, buffer: Vec::new() }
    }

    fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let body = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
            if let Some(at) = body.iter().rposition(|byte| *byte == b'\n') {
                let line = self.buffer.split_off(at + 1);
                return Ok(Some((self.start + at as u64 + 1, line)));
            }
            if self.start == 0 || self.buffer.len() > NO_LINE_BYTES {
                let line = std::mem::take(&mut self.buffer);
                return Ok((!line.is_empty()).then_some((self.start, line)));
            }
            let size = BLOCK_BYTES.min(self.start);
            let mut block = vec![0; usize::try_from(size).unwrap_or(0)];
            self.file.read_exact_at(&mut block, self.start - size)?;
            self.start -= size;
            block.append(&mut self.buffer);
            self.buffer = block;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::{LOG_LINE_MAX_BYTES, LogSource, PluginLog};
    use super::*;

    fn written(max_bytes: u64, lines: usize) -> (tempfile::TempDir, Home, PluginName, PluginLog) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let plugin: PluginName = "p".parse().unwrap();
        let log = PluginLog::open(&home, &plugin, max_bytes);
        for number in 0..lines {
            log.line(LogSource::Stderr, None, &format!("line {number}"));
        }
        (dir, home, plugin, log)
    }

    /// All messages, page by page.
    fn all(home: &Home, plugin: &PluginName, text: &str, limit: usize) -> Vec<String> {
        let mut filter = LogFilter { text: text.to_owned(), before: None };
        let mut found = Vec::new();
        loop {
            let page = page(home, plugin, &filter, limit).unwrap();
            found.extend(page.lines.into_iter().map(|line| line.message));
            match page.before {
                None => return found,
                before => filter.before = before,
            }
        }
    }

    #[test]
    fn pages_of_any_size_give_each_line_once_over_both_files() {
        let (_dir, home, plugin, _log) = written(4 * LOG_LINE_MAX_BYTES as u64, 700);
        let (newer, older) = files(&home, &plugin);
        assert!(newer.is_file() && older.is_file(), "it is about two files");
        let whole = all(&home, &plugin, "", 1_000);
        assert_eq!((whole.len() > 300, whole[0].as_str()), (true, "line 699"));
        for limit in [1, 7, 64, whole.len() - 1, whole.len()] {
            assert_eq!(all(&home, &plugin, "", limit), whole, "{limit}");
        }
        let wanted: Vec<String> = whole.iter().filter(|line| line.contains("69")).cloned().collect();
        assert_eq!(
            all(&home, &plugin, "LINE 69", 2),
            wanted.iter().filter(|l| l.starts_with("line 69")).cloned().collect::<Vec<_>>()
        );
        assert!(all(&home, &plugin, "nothing", 2).is_empty());
    }

    #[test]
    fn a_place_holds_while_lines_come_and_files_change_and_is_empty_when_its_lines_have_gone() {
        let (_dir, home, plugin, log) = written(2 * LOG_LINE_MAX_BYTES as u64, 100);
        let first = page(&home, &plugin, &LogFilter::default(), 10).unwrap();
        let next = || {
            page(&home, &plugin, &LogFilter { before: first.before, ..LogFilter::default() }, 1)
                .unwrap()
                .lines
        };
        assert_eq!(next()[0].message, "line 89");
        let (newer, older) = files(&home, &plugin);
        let mut number = 100;
        while !older.is_file() {
            log.line(LogSource::Stderr, None, &format!("line {number}"));
            number += 1;
        }
        assert_eq!(next()[0].message, "line 89", "the file has another name now");
        std::fs::remove_file(older).unwrap();
        assert!(next().is_empty());
        assert!(newer.is_file());
    }

    #[test]
    fn what_is_no_line_is_passed_over_and_a_line_may_be_longer_than_what_is_read_at_once() {
        let (_dir, home, plugin, log) = written(10 << 20, 1);
        log.line(LogSource::Log, Some("info"), &"\u{1}".repeat(LOG_LINE_MAX_BYTES));
        let (newer, _) = files(&home, &plugin);
        let mut bytes = std::fs::read(&newer).unwrap();
        bytes.extend_from_slice(b"{half\n\n");
        bytes.extend(vec![b'x'; 3 << 20]);
        std::fs::write(&newer, bytes).unwrap();
        let found = all(&home, &plugin, "", 10);
        assert_eq!((found.len(), found[0].len(), found[1].as_str()), (2, LOG_LINE_MAX_BYTES, "line 0"));
    }
}
