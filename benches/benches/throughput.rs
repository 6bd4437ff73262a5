//! Bytes a second through `ringfence exec`, beside a plain pipe.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use ringfence_benches::machine;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers;
use ringfence_benches::stage::Stage;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};

const FULL_BYTES: u64 = 1_000_000_000;
const QUICK_BYTES: u64 = 250_000_000;
const READ_BYTES: usize = 64 * 1024;
const CAT: &str = "/usr/bin/cat";
/// Lines of a log: text with ends of lines, as most output is.
const LINE: &[u8] =
    b"2026-01-01T00:00:00Z info request served method=GET path=/v1/items status=200 duration_ms=12\n";

fn main() -> ExitCode {
    match Options::from_process() {
        Ok(options) => measure(&options).unwrap_or_else(|error| {
            output::talk(&format!("throughput: {error}"));
            ExitCode::FAILURE
        }),
        Err(refused) => refused.tell(),
    }
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let stage = Stage::new(options)?;
    let bytes = if options.quick { QUICK_BYTES } else { FULL_BYTES };
    let content = Content::new(stage.directory(), bytes)?;
    let home = stage.home(machine::user_id()?)?;
    let samples = options.samples(3, 7);
    let tables = [Reader::Null, Reader::Pipe].map(|reader| table(&stage, &home, &content, reader, samples));
    Ok(output::finish(options, &tables, &OtherPart::default()))
}

fn table(stage: &Stage, home: &Path, content: &Content, reader: Reader, samples: usize) -> Table {
    const PIPE: &str = "cat FILE | cat";
    const EXEC: &str = "ringfence exec --redact none -- cat FILE";
    let rows = vec![
        Row::new(PIPE, || content.through(reader, |to| content.cat_cat(to))),
        Row::try_new(EXEC, || {
            let binary = stage.ringfence()?;
            Ok(Row::new(EXEC, || content.through(reader, |to| content.exec(binary, home, &["none"], to))))
        }),
        Row::try_new("ringfence exec, redacting", || {
            let binary = stage.ringfence()?;
            Ok(Row::new("ringfence exec, redacting", || {
                content.through(reader, |to| content.exec(binary, home, &[], to))
            }))
        }),
        Row::new("bubblewrap, cat FILE | cat", || content.through(reader, |to| content.bubblewrap_cat(to))),
    ];
    Table {
        title: format!("{} MB to {}, {}", content.bytes / 1_000_000, reader.name(), machine::user_name()),
        unit: "MB/s",
        rows: take_turns(rows, Turns::of_long_runs(1, samples)),
        targets: vec![Target { row: EXEC, base: PIPE, bound: Bound::AtLeast(0.8) }],
    }
}

/// Who takes the bytes at the end.
#[derive(Debug, Clone, Copy)]
enum Reader {
    Null,
    Pipe,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Null => "/dev/null",
            Self::Pipe => "a reader behind a pipe",
        }
    }

    fn stdio(self) -> Stdio {
        match self {
            Self::Null => Stdio::null(),
            Self::Pipe => Stdio::piped(),
        }
    }
}

/// The file, written out to its disk and still in the page cache. It goes with the stage.
struct Content {
    path: PathBuf,
    bytes: u64,
}

impl Content {
    fn new(directory: &Path, bytes: u64) -> io::Result<Self> {
        let content = Self { path: directory.join("content"), bytes };
        let mut file = File::create_new(&content.path)?;
        let block = LINE.repeat(READ_BYTES / LINE.len());
        let mut left = bytes;
        while left > 0 {
            let piece =
                block.get(..usize::try_from(left).unwrap_or(usize::MAX).min(block.len())).unwrap_or_default();
            file.write_all(piece)?;
            left -= piece.len() as u64;
        }
        // Else the disk would be written while the first rows run.
        file.sync_all()?;
        Ok(content)
    }

    /// Megabytes a second from the start of the first process to the end of the last. What `start` gives is waited for;
    /// the last of them holds the pipe, if there is one.
    fn through(
        &self,
        reader: Reader,
        start: impl FnOnce(Stdio) -> io::Result<Vec<Child>>,
    ) -> io::Result<f64> {
        let begun = Instant::now();
        let mut children = start(reader.stdio())?;
        let mut seen = 0;
        if let Some(mut pipe) = children.last_mut().and_then(|last| last.stdout.take()) {
            let mut buffer = vec![0; READ_BYTES];
            loop {
                match pipe.read(&mut buffer)? {
                    0 => break,
                    count => seen += count as u64,
                }
            }
        }
        for mut child in children {
            let status = child.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("a process ended with {status}")));
            }
        }
        let taken = begun.elapsed();
        if matches!(reader, Reader::Pipe) && seen != self.bytes {
            return Err(io::Error::other(format!("{seen} bytes came out of {}", self.bytes)));
        }
        Ok(self.bytes as f64 / 1e6 / taken.as_secs_f64())
    }

    fn cat_cat(&self, to: Stdio) -> io::Result<Vec<Child>> {
        let mut first = peers::bare(CAT, &[]);
        first.arg(&self.path);
        piped_to_cat(first, to)
    }

    fn bubblewrap_cat(&self, to: Stdio) -> io::Result<Vec<Child>> {
        let mut wrapped = peers::command("/usr/bin/bwrap");
        wrapped
            .args(["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--", CAT])
            .arg(&self.path);
        piped_to_cat(wrapped, to)
    }

    fn exec(&self, binary: &Path, home: &Path, redact: &[&str], to: Stdio) -> io::Result<Vec<Child>> {
        let mut run = peers::command(binary);
        run.arg("exec").args(redact.iter().flat_map(|word| ["--redact", word]));
        run.args(["--max-output", "none", "--cpu", "none", "--timeout", "none", "--ro"]).arg(&self.path);
        run.args(["--", CAT]).arg(&self.path).env_clear().env("RINGFENCE_HOME", home);
        Ok(vec![run.stdin(Stdio::null()).stdout(to).spawn()?])
    }
}

/// The two processes of `FIRST | cat`.
fn piped_to_cat(mut first: Command, to: Stdio) -> io::Result<Vec<Child>> {
    let mut first = first.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pipe = first.stdout.take().ok_or_else(|| io::Error::other("cat has no pipe"))?;
    let second = peers::bare(CAT, &[]).stdin(pipe).stdout(to).spawn()?;
    Ok(vec![first, second])
}
