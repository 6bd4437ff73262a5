//! A measurement in another process of this program: one with much memory, or in a mount namespace of its own.
//!
//! The process keeps what it has prepared, measures when a word comes in on stdin, and answers the value. So rows of several
//! processes take turns like any others, and none of them pays for the asking.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

/// The asking side. Dropping it ends the process.
#[derive(Debug)]
pub struct Served {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Served {
    /// Starts `command`, which must call [`serve`], and waits until it is prepared.
    ///
    /// # Errors
    /// When it does not start, or says why it cannot measure.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || io::Error::other("the process has no pipes");
        let to = process.stdin.take();
        let from = BufReader::new(process.stdout.take().ok_or_else(missing)?);
        let mut served = Self { process, to, from };
        served.answer()?;
        Ok(served)
    }

    /// Has `word` measured.
    ///
    /// # Errors
    /// What the other process says.
    pub fn ask(&mut self, word: &str) -> io::Result<f64> {
        let to = self.to.as_mut().ok_or_else(|| io::Error::other("the process has ended"))?;
        writeln!(to, "{word}")?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<f64> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let line = line.trim();
        line.parse().map_err(|_| {
            io::Error::other(if line.is_empty() { "the measuring process has ended" } else { line })
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.to = None;
        // It ends at the end of its input; a failure to wait leaves nothing to do.
        drop(self.process.wait());
    }
}

/// The answering side: prepares, then measures one word after another until the input ends.
#[must_use]
pub fn serve<T>(
    prepare: impl FnOnce() -> io::Result<T>,
    mut measure: impl FnMut(&mut T, &str) -> io::Result<f64>,
) -> ExitCode {
    let mut prepared = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            crate::output::data(&one_line(&error));
            return ExitCode::FAILURE;
        }
    };
    crate::output::data("0");
    for line in io::stdin().lines() {
        let Ok(word) = line else { break };
        match measure(&mut prepared, &word) {
            Ok(value) => crate::output::data(&value.to_string()),
            Err(error) => crate::output::data(&one_line(&error)),
        }
    }
    ExitCode::SUCCESS
}

fn one_line(error: &io::Error) -> String {
    format!("failed: {}", error.to_string().replace('\n', " "))
}
