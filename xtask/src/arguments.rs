//! Reads flags of one chore. Every flag is declared; an unknown one is an error that lists the known ones.

use std::collections::BTreeMap;

use crate::failure::Failure;

/// What a chore accepts.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Grammar {
    /// Flags without a value, with their dashes: `--quick`.
    pub(crate) switches: &'static [&'static str],
    /// Flags with a value, given as `--seed 7` or `--seed=7`.
    pub(crate) values: &'static [&'static str],
    /// How many plain words may stand among the flags.
    pub(crate) words: usize,
    /// Whether `-- PROGRAM ARG...` may follow.
    pub(crate) program: bool,
}

/// The flags that were given.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    switches: Vec<&'static str>,
    values: BTreeMap<&'static str, String>,
    /// Plain words, in order.
    pub(crate) words: Vec<String>,
    /// What stood behind `--`.
    pub(crate) program: Vec<String>,
}

impl Arguments {
    /// Reads `given` by `grammar`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for an unknown flag, a missing value, a value given to a switch, a flag with a value given
    /// twice, or too many words.
    pub(crate) fn parse(given: &[String], grammar: Grammar) -> Result<Self, Failure> {
        let mut found = Self::default();
        let mut rest = given.iter();
        while let Some(word) = rest.next() {
            if word == "--" && grammar.program {
                found.program = rest.cloned().collect();
                break;
            }
            if !word.starts_with('-') && found.words.len() < grammar.words {
                found.words.push(word.clone());
                continue;
            }
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            if let (Some(known), None) = (find(grammar.switches, flag), &inline) {
                found.switches.push(known);
            } else if let Some(known) = find(grammar.values, flag) {
                let value = inline.or_else(|| rest.next().cloned());
                let value = value.ok_or_else(|| Failure::Usage(format!("`{known}` needs a value")))?;
                if found.values.insert(known, value).is_some() {
                    return Err(Failure::Usage(format!("`{known}` is given twice")));
                }
            } else {
                return Err(unknown(word, grammar));
            }
        }
        Ok(found)
    }

    /// Whether the switch was given.
    pub(crate) fn has(&self, switch: &str) -> bool {
        self.switches.contains(&switch)
    }

    /// The value of a flag, if it was given.
    pub(crate) fn value(&self, flag: &str) -> Option<&str> {
        self.values.get(flag).map(String::as_str)
    }

    /// The value of a flag as a whole number, or `default`.
    ///
    /// # Errors
    /// [`Failure::Usage`] when it is not a number.
    pub(crate) fn number(&self, flag: &str, default: u64) -> Result<u64, Failure> {
        match self.value(flag) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| Failure::Usage(format!("`{flag} {text}`: a whole number is expected"))),
        }
    }
}

fn find(known: &'static [&'static str], flag: &str) -> Option<&'static str> {
    known.iter().find(|name| **name == flag).copied()
}

fn unknown(word: &str, grammar: Grammar) -> Failure {
    let mut known: Vec<String> = grammar.switches.iter().map(|name| (*name).to_owned()).collect();
    known.extend(grammar.values.iter().map(|name| format!("{name} VALUE")));
    if grammar.program {
        known.push("-- PROGRAM ARG...".to_owned());
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Failure::Usage(format!("`{word}` is not expected here; known flags: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar { switches: &["--quick"], values: &["--seed"], words: 1, program: true };

    fn parse(line: &str) -> Result<Arguments, String> {
        let given: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Arguments::parse(&given, GRAMMAR).map_err(|failure| failure.text().unwrap_or_default().to_owned())
    }

    #[test]
    fn flags_words_and_a_program_are_told_apart() {
        let found = parse("kill --quick --seed 7 -- ls --quick").unwrap();
        assert!(found.has("--quick"));
        assert_eq!(found.number("--seed", 1).unwrap(), 7);
        assert_eq!(found.words, ["kill"]);
        assert_eq!(found.program, ["ls", "--quick"]);
        assert_eq!(parse("--seed=9").unwrap().number("--seed", 1).unwrap(), 9);
        assert_eq!(parse("").unwrap().number("--seed", 1).unwrap(), 1);
    }

    #[test]
    fn mistakes_name_the_word_and_the_known_flags() {
        for (line, said) in [
            (
                "--quik",
                "`--quik` is not expected here; known flags: --quick, --seed VALUE, -- PROGRAM ARG...",
            ),
            ("--seed", "`--seed` needs a value"),
            ("--seed 1 --seed 2", "`--seed` is given twice"),
            ("--quick=yes", "`--quick=yes` is not expected here"),
            ("kill cycles", "`cycles` is not expected here"),
        ] {
            let text = parse(line).unwrap_err();
            assert!(text.starts_with(said), "{line}: {text}");
        }
        let found = parse("--seed many").unwrap();
        assert_eq!(found.number("--seed", 1).unwrap_err().status(), 2);
    }
}
