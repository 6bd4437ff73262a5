//! The scan of a package's code: where it runs, and what becomes of its findings.
//!
//! The rules and the parsers are in the crate `ringfence-scan`, whose public items are here too. Parsers of hostile bytes
//! belong in a sandbox, and a library has no program of its own to start in one: so a [`Scanner`] is told which program
//! calls [`answer`] (the `ringfence` command has a hidden verb for it). Without one it scans in this process, within the
//! limits of [`limits`], and the report says so ([`Report::ran`]). What a sandboxed scan answers is parsed as a stranger's
//! text, and judged here: severities, reasons and implied permissions do not come from it.
//!
//! Findings inform. Only rules that an administrator named ([`crate::host::HostBuilder::blocking_rules`]) refuse a package.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ringfence_api::{ErrorCode, Manifest};
use ringfence_sandbox::Resolved;
use ringfence_sandbox::tree::Dir;

use crate::config::{Config, LimitsBackend};
use crate::consent::shown_up_to;
use crate::exec::{Exec, RedactionSet};
use crate::{Error, Home};

pub(crate) mod kept;

pub(crate) use kept::Kept;
pub use ringfence_scan::{
    Finding, Language, Names, NotRead, Place, RULES, Ran, Raw, Report, Rule, Severity, Use, blocking, limits,
    rule, scan_file, unknown_rules,
};

/// What the sandbox may take beyond the scan's own limit of time.
const GRACE: Duration = Duration::from_secs(10);
/// The longest answer of a sandboxed scan, in bytes: a thousand findings with the longest names.
const ANSWER_MAX_BYTES: u64 = 16_000_000;
/// The longest line for a finding, in characters.
const LINE_MAX_CHARS: usize = 500;

/// How packages are scanned. The default scans in this process.
///
/// ```
/// use ringfence::scan::{Ran, Scanner};
///
/// let package = tempfile::tempdir()?;
/// std::fs::write(package.path().join("a.py"), "import os\nos.system('ls')\n")?;
/// let report = Scanner::default().scan(package.path(), None);
/// assert_eq!((report.findings.len(), report.ran), (1, Ran::InProcess));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    program: Option<Vec<OsString>>,
    home: Option<Home>,
    backend: LimitsBackend,
    otherwise_here: bool,
}

impl Scanner {
    /// Scans in a sandbox that may read the package, this program and nothing else. `words` are an absolute path and
    /// arguments; the directory of the package is added as the last one. The program must call [`answer`] with it.
    #[must_use]
    pub fn sandboxed(words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { program: Some(words.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// The same, with the limits' back-end of `config`, and `home` beyond the reach of every sandbox.
    #[must_use]
    pub fn for_home(mut self, home: &Home, config: &Config) -> Self {
        self.home = Some(home.clone());
        self.backend = config.limits_backend;
        self
    }

    /// Scans in this process where this machine can make no sandbox. For an author's own package: an installation is better
    /// told that nothing was scanned.
    #[must_use]
    pub fn or_in_process(mut self) -> Self {
        self.otherwise_here = true;
        self
    }

    /// Scans the package in a directory. Whatever goes wrong is in the report ([`Ran::NotRun`]). With a manifest, what it asks
    /// for is not told again. Blocks for as long as the scan may take: [`limits::TOTAL_TIME`] and ten seconds.
    #[must_use]
    pub fn scan(&self, package: &Path, manifest: Option<&Manifest>) -> Report {
        self.look(package).judged(manifest)
    }

    pub(crate) fn look(&self, package: &Path) -> Kept {
        let Some(words) = &self.program else { return in_process(package) };
        match self.in_sandbox(words, package) {
            Ok(raw) => Kept { ran: Ran::Sandboxed, raw },
            Err(error) if error.code() == ErrorCode::NotEnforceable && self.otherwise_here => {
                in_process(package)
            }
            Err(error) => {
                Kept { ran: Ran::NotRun(shown_up_to(&error.chain(), LINE_MAX_CHARS)), raw: Raw::default() }
            }
        }
    }

    fn in_sandbox(&self, words: &[OsString], package: &Path) -> Result<Raw, Error> {
        // The sandbox shows the directory by the name that it has without links, and by no other.
        let package = Resolved::find(package).map_err(|error| {
            Error::new(ErrorCode::PathNotFound, format!("the package cannot be found: {error}"))
        })?;
        let package = package.path();
        let program = words.first().map(Path::new).filter(|program| program.is_absolute());
        let program = program.ok_or_else(|| {
            Error::new(ErrorCode::Usage, "the program that scans is not named by an absolute path")
        })?;
        let mut exec = Exec::new(words.iter().cloned().chain([package.into()]));
        exec.directory("/").read_path(package).redaction(RedactionSet::none());
        // Every sandbox shows what is in /usr, by whatever name it is called.
        let found = Resolved::find(program)
            .map_err(|error| Error::new(ErrorCode::NotFound, format!("the program that scans: {error}")))?;
        if !found.path().starts_with("/usr") {
            exec.read_path(found.path());
        }
        exec.home = self.home.clone();
        exec.backend = self.backend;
        let bounds = exec.limits();
        bounds.timeout = Some(limits::TOTAL_TIME + GRACE);
        bounds.output_bytes = Some(ANSWER_MAX_BYTES);
        bounds.cpu_percent = None;
        let done = exec.run_captured();
        if let Some(body) = &done.report.error {
            return Err(Error::new(body.code, body.message.clone()));
        }
        if done.report.exit_code != Some(0) {
            let said = String::from_utf8_lossy(&done.stderr);
            let last = shown_up_to(said.lines().last().unwrap_or_default(), LINE_MAX_CHARS);
            let message = format!("the scan ended as {:?}: {last}", done.report.status);
            return Err(Error::new(ErrorCode::PluginFailed, message));
        }
        Raw::from_json(&done.stdout).map_err(|error| {
            Error::new(ErrorCode::PluginFailed, "the scan gave no answer").with_source(error)
        })
    }
}

fn in_process(package: &Path) -> Kept {
    match Dir::open(package) {
        Ok(root) => Kept { ran: Ran::InProcess, raw: ringfence_scan::scan(&root) },
        Err(error) => {
            Kept { ran: Ran::NotRun(format!("the package cannot be read: {error}")), raw: Raw::default() }
        }
    }
}

/// The other side of [`Scanner::sandboxed`]: scans a directory and writes what it saw, for a program that does nothing else.
///
/// # Errors
/// `io` when the directory cannot be opened or the answer not be written.
pub fn answer(package: &Path, out: &mut dyn Write) -> Result<(), Error> {
    let root = Dir::open(package).map_err(|error| Error::file("read the package", package, error))?;
    let answer = ringfence_scan::scan(&root).to_json();
    out.write_all(&answer)
        .and_then(|()| out.flush())
        .map_err(|error| Error::new(ErrorCode::Io, "cannot write the answer").with_source(error))
}

/// The findings of a report for people, one a line and escaped, warnings first and the package's own code before that of
/// others; at most `most`, and a line that counts the rest. Empty when there is nothing to say.
///
/// ```
/// let report = ringfence::scan::scan_file("a.py", b"eval(x)\n").judged(None);
/// assert!(ringfence::scan::lines(&report, 5)[0].starts_with("a.py:1 dynamic-code 'eval' executes text"));
/// ```
#[must_use]
pub fn lines(report: &Report, most: usize) -> Vec<String> {
    let mut findings: Vec<&Finding> = report.findings.iter().collect();
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.place != Place::Own));
    let mut lines: Vec<String> = Vec::new();
    if let Ran::NotRun(why) = &report.ran {
        lines.push(format!("the code was not scanned: {}", shown_up_to(why, LINE_MAX_CHARS)));
    }
    lines.extend(findings.iter().take(most).map(|finding| line(finding)));
    let more = u64::try_from(findings.len().saturating_sub(most))
        .unwrap_or(u64::MAX)
        .saturating_add(report.more_findings);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn line(finding: &Finding) -> String {
    let text = format!("{}:{} {} {}", finding.file, finding.line, finding.rule, finding.message);
    shown_up_to(&text, LINE_MAX_CHARS)
}

/// Refuses a package by the rules that the administrator named. With such rules, what could not be scanned is refused too.
///
/// # Errors
/// `policy_denied` with the findings.
pub(crate) fn judge(report: &Report, rule_ids: &[String]) -> Result<(), Error> {
    if rule_ids.is_empty() {
        return Ok(());
    }
    let denied = |message: String| {
        Err(Error::new(ErrorCode::PolicyDenied, message).with_hint(
            "ask whoever publishes the package to change it, or the administrator to take the rule back",
        ))
    };
    if let Ran::NotRun(why) = &report.ran {
        return denied(format!("rules of the scan block packages here, and the code was not scanned: {why}"));
    }
    let found = blocking(&report.findings, rule_ids);
    let Some(first) = found.first() else { return Ok(()) };
    let more = match found.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    denied(format!("the rule '{}' blocks packages here: {}{more}", first.rule, line(first)))
}
