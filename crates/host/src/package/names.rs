//! Which names a package may have, and which two are too much alike.

use unicode_normalization::UnicodeNormalization as _;

use crate::manifest::text::is_misleading;

/// Letters of other alphabets that look like a Latin one, in lower case. Two names of one directory that differ in nothing
/// else are refused; a name that has them is not.
const LOOKALIKES: &[(char, char)] = &[
    ('а', 'a'),
    ('в', 'b'),
    ('ь', 'b'),
    ('с', 'c'),
    ('ԁ', 'd'),
    ('е', 'e'),
    ('һ', 'h'),
    ('н', 'h'),
    ('і', 'i'),
    ('ј', 'j'),
    ('к', 'k'),
    ('ӏ', 'l'),
    ('м', 'm'),
    ('п', 'n'),
    ('о', 'o'),
    ('р', 'p'),
    ('ԛ', 'q'),
    ('г', 'r'),
    ('ѕ', 's'),
    ('т', 't'),
    ('ц', 'u'),
    ('ѵ', 'v'),
    ('ԝ', 'w'),
    ('х', 'x'),
    ('у', 'y'),
    ('α', 'a'),
    ('β', 'b'),
    ('ϲ', 'c'),
    ('ε', 'e'),
    ('η', 'n'),
    ('ι', 'i'),
    ('κ', 'k'),
    ('ν', 'v'),
    ('ο', 'o'),
    ('ρ', 'p'),
    ('σ', 'o'),
    ('τ', 't'),
    ('υ', 'u'),
    ('χ', 'x'),
    ('γ', 'y'),
    ('ω', 'w'),
    ('ı', 'i'),
    ('ɑ', 'a'),
    ('ɡ', 'g'),
    ('ɩ', 'i'),
    ('ʋ', 'v'),
    ('օ', 'o'),
    ('ս', 'u'),
    ('հ', 'h'),
    ('ո', 'n'),
];

/// Names that are left out at any depth.
pub(super) const LEFT_OUT: [&str; 2] = [".git", "__pycache__"];

/// Why a name is refused.
pub(super) fn judge(name: &str) -> Result<(), String> {
    match name.chars().find(|c| is_misleading(*c)) {
        Some(found) => {
            Err(format!("has U+{:04X} in its name, which hides or reorders text", u32::from(found)))
        }
        None => Ok(()),
    }
}

/// What two names of one directory must not share: their form without case, composition and look-alikes.
pub(super) fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    // Upper case first: it takes apart what lower case leaves alone, such as 'ß' and final sigma.
    name.nfkc()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkc()
        .map(|letter| LOOKALIKES.iter().find(|(from, _)| *from == letter).map_or(letter, |(_, to)| *to))
        .collect()
}

/// Whether this is a link of a virtual environment to the machine's interpreter, which the runner does not need.
pub(super) fn is_interpreter_link(path: &str) -> bool {
    let mut parts = path.split('/');
    let (Some(venv), Some(bin), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    matches!(venv, ".venv" | "venv")
        && bin == "bin"
        && version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_person_or_another_system_takes_for_one_another_fold_together() {
        for (one, two) in [
            ("README", "readme"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("m\u{430}in.py", "main.py"),
            ("M\u{410}IN.py", "main.py"),
            ("\u{ff4d}ain", "main"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{3c3}", "\u{3c2}"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
        ] {
            assert_eq!(fold(one), fold(two), "{one} {two}");
        }
        for (one, two) in [("a", "b"), ("cafe", "caf\u{e9}"), ("l", "1"), ("main.py", "main.pyc")] {
            assert_ne!(fold(one), fold(two), "{one} {two}");
        }
    }

    #[test]
    fn what_hides_is_refused_and_other_writing_is_not() {
        for name in ["a\nb", "\u{1b}[2J", "a\u{202e}yp.exe", "a\u{200b}", "\u{7f}", "a\u{85}"] {
            assert!(judge(name).is_err(), "{name:?}");
        }
        for name in
            ["main.py", "\u{43c}\u{438}\u{440}.txt", "e\u{301}", "\u{65e5}\u{672c}", "a b", "-rf", "$(id)"]
        {
            assert_eq!(judge(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn only_the_interpreter_of_a_virtual_environment_is_one() {
        for path in [".venv/bin/python", "venv/bin/python3.12", ".venv/bin/pypy3"] {
            assert!(is_interpreter_link(path), "{path}");
        }
        for path in
            ["bin/python", ".venv/bin/pip", ".venv/bin/python-config", "x/.venv/bin/python", ".venv/python"]
        {
            assert!(!is_interpreter_link(path), "{path}");
        }
    }
}
