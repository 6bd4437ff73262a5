//! The flags that all measurements share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is printed for `--help` and after a wrong flag.
const HELP: &str = "\
usage: cargo bench -p ringfence-benches [--bench NAME] -- [FLAGS]

  --samples N        rounds in which each row has its turn (each measurement has its own default)
  --quick            few rounds: shows that it runs, not what it costs
  --json             one JSON document on stdout instead of Markdown
  --check            exit status 1 when a target is missed by more than 15 %, or could not be measured
  --ringfence PATH   the binary to measure [default: built from this checkout, release]
";

/// What the caller asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    samples: Option<usize>,
    /// Few rounds.
    pub quick: bool,
    /// JSON instead of Markdown.
    pub json: bool,
    /// Whether a missed target is a failure.
    pub check: bool,
    /// The `ringfence` binary to measure, if it was named.
    pub ringfence: Option<PathBuf>,
    /// Part of a measurement that this program started itself, as another user or with other memory.
    pub part: Option<String>,
}

/// Why nothing is measured.
#[derive(Debug)]
pub enum Refused {
    /// Help was asked for, or cargo runs the program as a test: nothing is wrong.
    NotAsked(String),
    /// A flag is wrong.
    Usage(String),
}

impl Refused {
    /// Says why, and gives the exit status: 0, or 2 for a usage error.
    #[must_use]
    pub fn tell(&self) -> ExitCode {
        match self {
            Self::NotAsked(text) => {
                crate::output::data(text);
                ExitCode::SUCCESS
            }
            Self::Usage(text) => {
                crate::output::talk(text);
                ExitCode::from(2)
            }
        }
    }
}

impl Options {
    /// Reads the flags of this process.
    ///
    /// # Errors
    /// [`Refused`] when nothing shall be measured.
    pub fn from_process() -> Result<Self, Refused> {
        Self::parse(std::env::args_os().skip(1))
    }

    fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, Refused> {
        let mut options = Self::default();
        let mut asked = false;
        let mut words = words.map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let mut value = |name: &str| {
                words.next().ok_or_else(|| Refused::Usage(format!("{name} needs a value\n\n{HELP}")))
            };
            match word.as_str() {
                // What `cargo bench` adds; `cargo test --all-targets` does not, and wants no minutes of measuring.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--check" => options.check = true,
                "--samples" => options.samples = Some(parse_samples(&value("--samples")?)?),
                "--ringfence" => options.ringfence = Some(value("--ringfence")?.into()),
                "--part" => options.part = Some(value("--part")?),
                "--help" | "-h" => return Err(Refused::NotAsked(HELP.to_owned())),
                _ => return Err(Refused::Usage(format!("unknown flag {word}\n\n{HELP}"))),
            }
            asked = true;
        }
        if asked {
            Ok(options)
        } else {
            Err(Refused::NotAsked(format!("nothing is measured without a flag\n\n{HELP}")))
        }
    }

    /// How many rounds: as asked, else the measurement's default.
    #[must_use]
    pub fn samples(&self, quick: usize, full: usize) -> usize {
        self.samples.unwrap_or(if self.quick { quick } else { full })
    }

    /// The flags for another run of this program that does `part`.
    #[must_use]
    pub fn for_part(&self, part: &str, ringfence: Option<&PathBuf>) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--part".into(), part.into()];
        for (flag, set) in [("--quick", self.quick), ("--json", self.json), ("--check", self.check)] {
            if set {
                words.push(flag.into());
            }
        }
        if let Some(samples) = self.samples {
            words.extend(["--samples".into(), samples.to_string().into()]);
        }
        if let Some(path) = ringfence {
            words.extend(["--ringfence".into(), path.into()]);
        }
        words
    }
}

fn parse_samples(text: &str) -> Result<usize, Refused> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err(Refused::Usage(format!("--samples needs a number from 1 on, not '{text}'\n\n{HELP}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Refused> {
        Options::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn without_a_flag_nothing_is_measured() {
        assert!(matches!(parse(&[]), Err(Refused::NotAsked(_))));
        assert!(parse(&["--bench"]).is_ok());
    }

    #[test]
    fn the_flags_reach_a_part() {
        let options = parse(&["--bench", "--samples", "7", "--json", "--check"]).unwrap();
        let words = options.for_part("user", Some(&PathBuf::from("/x/ringfence")));
        let again = Options::parse(words.into_iter()).unwrap();
        assert_eq!((again.samples(1, 100), again.json, again.check, again.quick), (7, true, true, false));
        assert_eq!(again.part.as_deref(), Some("user"));
        assert_eq!(again.ringfence, Some(PathBuf::from("/x/ringfence")));
    }

    #[test]
    fn wrong_flags_are_usage_errors() {
        for words in [&["--sample"][..], &["--samples"], &["--samples", "0"], &["--samples", "x"]] {
            assert!(matches!(parse(words), Err(Refused::Usage(_))), "{words:?}");
        }
    }
}
