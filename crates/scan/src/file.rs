//! One file: what it is, how much of it is read, and who looks at it.

use std::borrow::Cow;
use std::io::{self, Read};
use std::time::Instant;

use crate::hits::{Hits, Source};
use crate::kind::{self, HEAD_BYTES, Kind};
use crate::limits::{BINARY_MAX_BYTES, Budget, SOURCE_MAX_BYTES};
use crate::tree::{self, Cut, Grammar};
use crate::{binary, disguise, installer, python, script, secret, shell};

/// What was seen of one file.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) hits: Hits,
    /// Why it was not read to its end, as the end of "it ...".
    pub(crate) not_read: Option<String>,
    pub(crate) bytes: u64,
}

/// Looks at a file of the package.
pub(crate) fn look(name: &str, path: &str, mut file: impl Read, size: u64, budget: &mut Budget) -> Seen {
    let mut seen = Seen { hits: Hits::new(path), not_read: None, bytes: 0 };
    installer::by_name(name, &mut seen.hits);
    if secret::is_secret_file(name) {
        seen.hits.whole("secret-file", &format!("'{name}'"));
    }
    let head = match begin(&mut file) {
        Ok(head) => head,
        Err(error) => {
            seen.unread(Kind::Text, format!("cannot be read: {error}"));
            return seen;
        }
    };
    let kind = judge(name, &head, &mut seen.hits);
    let most = match kind {
        Kind::Data | Kind::Opaque(_) => 0,
        Kind::Elf | Kind::Wasm => BINARY_MAX_BYTES,
        Kind::Code(_) | Kind::Text => SOURCE_MAX_BYTES,
    };
    match kind {
        Kind::Opaque(what) => {
            seen.hits.whole("opaque-code", &format!("'{name}', {what},"));
            seen.not_read = Some(format!("is {what}, which is not opened"));
        }
        Kind::Data if !head.is_empty() => {
            seen.not_read = Some("is data of a kind that is not read".to_owned())
        }
        Kind::Data => {}
        _ if size > most => seen.unread(kind, format!("is larger than {most} bytes")),
        _ if size > budget.bytes_left => {
            seen.unread(kind, "comes after the most that is read of a package".to_owned())
        }
        _ => match whole(head, file, most) {
            // It grew after its size was taken.
            Ok(bytes) if bytes.len() as u64 > most => {
                seen.unread(kind, format!("is larger than {most} bytes"))
            }
            Ok(bytes) => {
                seen.bytes = bytes.len() as u64;
                budget.bytes_left = budget.bytes_left.saturating_sub(seen.bytes);
                seen.content(kind, name, &bytes, budget.file_deadline());
            }
            Err(error) => seen.unread(kind, format!("cannot be read: {error}")),
        },
    }
    seen
}

impl Seen {
    /// Code that is not read is worth a finding; of other files it is only said.
    fn unread(&mut self, kind: Kind, why: String) {
        if kind != Kind::Text {
            self.hits.whole("not-read", &format!("this file {why}; it"));
        }
        self.not_read = Some(why);
    }

    fn content(&mut self, kind: Kind, name: &str, bytes: &[u8], deadline: Instant) {
        let damaged = match kind {
            Kind::Elf => binary::elf(bytes, &mut self.hits),
            Kind::Wasm => binary::wasm(bytes, &mut self.hits),
            _ => None,
        };
        if let Some(why) = damaged {
            self.unread(kind, why.to_owned());
        }
        if matches!(kind, Kind::Elf | Kind::Wasm) {
            secret::look_in_bytes(bytes, &mut self.hits);
            return;
        }
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, Cow::Owned(_)) {
            self.not_read = Some("has bytes that are no UTF-8; those were left out".to_owned());
        }
        let source = Source::new(&text);
        if let Kind::Code(grammar) = kind {
            if bytes.contains(&0) {
                self.hits.whole("disguised-file", &format!("'{name}', which has NUL bytes like no text,"));
            }
            if let Err(cut) = code(grammar, name, &source, deadline, &mut self.hits) {
                self.unread(kind, cut.why().to_owned());
            }
        }
        disguise::look(kind.language(), &source, &mut self.hits);
        secret::look(&source, &mut self.hits);
        installer::by_content(name, &source, &mut self.hits);
    }
}

/// Looks at code by its syntax.
pub(crate) fn code(
    grammar: Grammar,
    name: &str,
    source: &Source<'_>,
    deadline: Instant,
    hits: &mut Hits,
) -> Result<(), Cut> {
    let tree = tree::parse(grammar, source.text, deadline)?;
    match grammar {
        Grammar::Python => python::look(&tree, source, name == "setup.py", deadline, hits),
        Grammar::JavaScript | Grammar::TypeScript | Grammar::Tsx => {
            script::look(&tree, source, deadline, hits)
        }
        Grammar::Shell => shell::look(&tree, source, deadline, hits),
    }
}

/// What it is: what it begins with counts, and then its name.
fn judge(name: &str, head: &[u8], hits: &mut Hits) -> Kind {
    let (named, begins) = (kind::by_name(name), kind::by_head(head));
    if let Some(found @ (Kind::Elf | Kind::Wasm | Kind::Opaque(_))) = begins {
        if named.is_some_and(|named| named != found) {
            let what = match found {
                Kind::Elf => "a program",
                Kind::Wasm => "a wasm file",
                Kind::Opaque(what) => what,
                _ => "something else",
            };
            hits.whole("disguised-file", &format!("'{name}', {what},"));
        }
        return found;
    }
    match named.or(begins) {
        // Without its first bytes it is none.
        Some(Kind::Wasm) => Kind::Data,
        // Settings and documents have no NUL bytes; what has some is data with such a name.
        None | Some(Kind::Text) if head.contains(&0) => Kind::Data,
        Some(kind) => kind,
        None => Kind::Text,
    }
}

fn begin(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The whole file, or one byte more than `most`.
fn whole(mut head: Vec<u8>, file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let left = (most + 1).saturating_sub(head.len() as u64);
    file.take(left).read_to_end(&mut head)?;
    Ok(head)
}
