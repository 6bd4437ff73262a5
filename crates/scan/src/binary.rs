//! ELF and wasm files: what they import, and the texts in them.

use object::{Object as _, ObjectSymbol as _};
use wasmparser::{Parser, Payload};

use crate::hits::Hits;
use crate::rule::{Language, Use, by_name};

/// The most imports of one file.
const IMPORTS_MAX: usize = 100_000;
/// The most parts of a wasm file that are looked at.
const PARTS_MAX: usize = 100_000;
/// What a packer leaves in what it packed.
const PACKERS: &[&[u8]] = &[b"UPX!", b"MPRESS"];
/// Shells that a program without imports may start.
const SHELLS: &[&[u8]] = &[b"/bin/sh\0", b"/bin/bash\0", b"/dev/tcp/"];

/// Looks at a program or library. Says why it could not be read to its end.
pub(crate) fn elf(bytes: &[u8], hits: &mut Hits) -> Option<&'static str> {
    for packer in PACKERS {
        if contains(bytes, packer) {
            hits.whole("opaque-code", "this program, which was packed,");
        }
    }
    let Ok(file) = object::File::parse(bytes) else { return Some("is a damaged ELF file") };
    // What is looked up when it is loaded; of what is not linked yet, what it leaves open.
    let symbols = file.dynamic_symbols().chain(file.symbols()).take(IMPORTS_MAX);
    let undefined = symbols.filter(|symbol| symbol.is_undefined());
    let mut names: Vec<&[u8]> = undefined.filter_map(|symbol| symbol.name_bytes().ok()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        hits.whole("opaque-code", "this program, which imports nothing and does its system calls itself,");
    }
    for name in &names {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        // `__libc_system`, `unlink64` and `connect@GLIBC_2.2.5` are the same functions.
        let plain =
            name.split('@').next().unwrap_or_default().trim_start_matches("__libc_").trim_start_matches("__");
        symbol(Language::Elf, plain.strip_suffix("64").unwrap_or(plain), hits);
    }
    for shell in SHELLS.iter().filter(|shell| contains(bytes, shell)) {
        let shell = String::from_utf8_lossy(shell);
        hits.whole(
            "runs-programs",
            &format!("this program, which holds the text '{}',", shell.trim_end_matches('\0')),
        );
    }
    None
}

/// Looks at a module or component, and at those inside of it. Says why it could not be read to its end.
pub(crate) fn wasm(bytes: &[u8], hits: &mut Hits) -> Option<&'static str> {
    const DAMAGED: Option<&str> = Some("is a damaged wasm file");
    for (count, payload) in Parser::new(0).parse_all(bytes).enumerate() {
        if count >= PARTS_MAX {
            return Some("has more parts than are looked at");
        }
        match payload {
            Ok(Payload::ImportSection(section)) => {
                for import in section.into_imports().take(IMPORTS_MAX) {
                    let Ok(import) = import else { return DAMAGED };
                    symbol(Language::Wasm, &format!("{}.{}", import.module, import.name), hits);
                }
            }
            Ok(Payload::ComponentImportSection(section)) => {
                for import in section.into_iter().take(IMPORTS_MAX) {
                    let Ok(import) = import else { return DAMAGED };
                    symbol(Language::Wasm, import.name.name, hits);
                }
            }
            Ok(_) => {}
            Err(_) => return DAMAGED,
        }
    }
    None
}

fn symbol(language: Language, name: &str, hits: &mut Hits) {
    if let Some(rule) = by_name(language, Use::Symbol, name) {
        hits.whole(rule.id, &format!("the import '{name}'"));
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(bytes, what).is_some()
}
