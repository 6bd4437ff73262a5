//! PKG-01 to -08 on archives: every refusal has a twin that is the same archive without the one thing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use ringfence_api::ErrorCode;
use tar::{EntryType, Header};

use super::*;
use crate::Home;
use crate::store::Store;

/// An archive that is put together block by block, so that it can say anything.
#[derive(Clone, Debug, Default)]
struct Tape(Vec<u8>);

impl Tape {
    fn entry(mut self, name: &[u8], kind: EntryType, mode: u32, content: &[u8]) -> Self {
        self.header(name, kind, mode, content.len() as u64);
        self.content(content)
    }

    fn header(&mut self, name: &[u8], kind: EntryType, mode: u32, size: u64) {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name.as_bytes(), EntryType::Regular, 0o644, content)
    }

    fn directory(self, name: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Directory, 0o755, b"")
    }

    fn extended(self, records: &[(&str, &[u8])]) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let mut length = body.len() + 1;
            while length != body.len() + length.to_string().len() {
                length += 1;
            }
            text.extend_from_slice(length.to_string().as_bytes());
            text.extend_from_slice(&body);
        }
        self.entry(b"PaxHeaders/x", EntryType::XHeader, 0o644, &text)
    }

    fn link(mut self, name: &str, kind: EntryType, target: &str) -> Self {
        let mut header = Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_size(0);
        header.set_link_name_literal(target).unwrap();
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1_024]);
        self.0
    }
}

/// What every twin is: a package without anything to refuse.
fn good() -> Tape {
    Tape::default().file("plugin.json", b"{}").directory("src/").file("src/main.py", b"print()\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::at(dir.path().join("home"))).unwrap();
        Self { dir, store }
    }

    fn unpack(&self, archive: &[u8]) -> Result<crate::package::Unpacked, Error> {
        crate::package::unpack(archive, "p.tar".as_ref(), self.store.layout())
    }

    fn is_empty(&self) -> bool {
        let staging = fs::read_dir(self.store.layout().staging());
        staging.map_or(true, |mut left| left.next().is_none())
    }

    /// Everything below the home that is no part of the store, by path.
    fn outside(&self) -> Vec<String> {
        let all = fs::read_dir(self.dir.path()).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// The same archive plain and compressed, unpacked and only looked at: all four refuse it with the same words.
#[track_caller]
fn refused(tape: Tape, code: ErrorCode, word: &str) {
    refused_bytes(&tape.end(), code, word);
}

#[track_caller]
fn refused_bytes(archive: &[u8], code: ErrorCode, word: &str) {
    let place = Place::new();
    for bytes in [archive.to_vec(), gzip(archive)] {
        let error = place.unpack(&bytes).map(drop).expect_err(word);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(word), "{word}: {error}");
        assert!(!error.message().chars().any(char::is_control), "{error:?}");
        assert_eq!(look(bytes.as_slice()).expect_err(word).code(), code);
        assert!(place.is_empty(), "{word}: a refusal leaves nothing");
        assert_eq!(place.outside(), ["home"], "{word}");
    }
}

#[track_caller]
fn taken(tape: Tape) -> Contents {
    let place = Place::new();
    let archive = tape.end();
    let unpacked = place.unpack(&archive).unwrap();
    let (plain, compressed) = (look(archive.as_slice()).unwrap(), look(gzip(&archive).as_slice()).unwrap());
    assert_eq!(unpacked.contents(), &plain);
    assert_eq!(
        (plain.files, plain.directories, plain.bytes),
        (compressed.files, compressed.directories, compressed.bytes)
    );
    drop(unpacked);
    assert!(place.is_empty());
    plain
}

#[test]
fn what_is_packed_is_there_with_its_rights_and_nothing_else() {
    let place = Place::new();
    let tape = good().entry(b"./bin/run", EntryType::Regular, 0o755, b"#!/bin/sh\n").directory("./").entry(
        b"open/",
        EntryType::Directory,
        0o2777,
        b"",
    );
    let archive = tape.end();
    let unpacked = place.unpack(&gzip(&archive)).unwrap();
    let root = unpacked.path();
    assert_eq!(fs::read_to_string(root.join("src/main.py")).unwrap(), "print()\n");
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("bin/run"), mode("src/main.py"), mode("open"), mode("src")),
        (0o700, 0o600, 0o700, 0o700)
    );
    let outer = root.parent().unwrap();
    assert_eq!(fs::metadata(outer).unwrap().permissions().mode() & 0o7777, 0o700);
    let contents = unpacked.contents();
    assert_eq!((contents.files, contents.directories, contents.bytes), (3, 3, 20));
    assert_eq!(contents.sha256, crate::store::sha256_hex(&gzip(&archive)));
}

#[test]
fn pkg_02_a_path_that_leaves_is_refused() {
    for name in [
        "../x",
        "src/../../x",
        "src/..",
        "/etc/x",
        "//x",
        "a//b",
        "a/./b",
        ".",
        "..",
        "",
        "./",
        "././x",
        "x/",
        "a\\..\\b",
        "c:x",
        "C:/x",
    ] {
        refused(good().file(name, b"x"), ErrorCode::InvalidPackage, "");
    }
    for name in ["x", "./x", "..x", "x..", ".hidden", "src/a:b", "-rf"] {
        taken(good().file(name, b"x"));
    }
    refused(good().directory("../x/"), ErrorCode::InvalidPackage, "'..' in its path");
    refused(good().directory("/x/"), ErrorCode::InvalidPackage, "does not begin in the package");
    refused(good().directory("x//"), ErrorCode::InvalidPackage, "in its path");
}

#[test]
fn pkg_02_links_of_every_kind_are_refused_before_anything_goes_through_them() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let through = good().link("out", EntryType::Symlink, target).file("out/x", b"planted");
    refused(through, ErrorCode::InvalidPackage, "'out' is a link");
    let chain =
        good().link("a", EntryType::Symlink, "src").link("b", EntryType::Symlink, "a/..").file("b/x", b"");
    refused(chain, ErrorCode::InvalidPackage, "is a link");
    refused(good().link("h", EntryType::Link, "/etc/passwd"), ErrorCode::InvalidPackage, "is a hard link");
    refused(good().link("h", EntryType::Link, "plugin.json"), ErrorCode::InvalidPackage, "is a hard link");
    // A directory entry over a link changes the mode of what the link leads to, elsewhere.
    let over = good().link("d", EntryType::Symlink, target).directory("d/");
    refused(over, ErrorCode::InvalidPackage, "is a link");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    taken(good().file("out/x", b"planted"));
}

#[test]
fn pkg_03_devices_pipes_sparse_files_and_set_id_bits_are_refused() {
    for (kind, word) in [
        (EntryType::Char, "is a device"),
        (EntryType::Block, "is a device"),
        (EntryType::Fifo, "is a named pipe"),
        (EntryType::Continuous, "neither a file nor a directory"),
        (EntryType::GNUSparse, "is a sparse file"),
        (EntryType::GNULongLink, "neither a file nor a directory"),
        (EntryType::new(b'Z'), "neither a file nor a directory"),
    ] {
        refused(good().entry(b"x", kind, 0o644, b""), ErrorCode::InvalidPackage, word);
    }
    for mode in [0o4755, 0o2755, 0o6644] {
        refused(good().entry(b"x", EntryType::Regular, mode, b""), ErrorCode::InvalidPackage, "set-user-id");
    }
    taken(good().entry(b"x", EntryType::Regular, 0o1755, b""));
    refused(
        good().entry(b"x/", EntryType::Directory, 0o755, b"y"),
        ErrorCode::InvalidPackage,
        "with content",
    );
}

#[test]
fn pkg_03_attributes_lists_and_maps_of_holes_are_refused_and_dates_are_not() {
    for key in [
        "SCHILY.xattr.user.x",
        "SCHILY.acl.access",
        "LIBARCHIVE.xattr.x",
        "GNU.sparse.name",
        "GNU.sparse.major",
        "linkpath",
        "X",
    ] {
        let tape = good().extended(&[(key, b"v")]).file("x", b"x");
        refused(tape, ErrorCode::InvalidPackage, &format!("with '{key}'"));
    }
    taken(good().extended(&[("mtime", b"1.5"), ("uname", b"ada"), ("comment", b"=\n")]).file("x", b"x"));
}

#[test]
fn pkg_04_bombs_are_refused_before_they_are_unpacked() {
    // It says a terabyte and has nothing.
    let mut tape = good();
    tape.header(b"big", EntryType::Regular, 0o644, 1 << 40);
    refused(tape, ErrorCode::TooLarge, "1000000000 bytes");
    // Declared and actual size differ: what is cut off is no file.
    let mut tape = good();
    tape.header(b"short", EntryType::Regular, 0o644, 5_000);
    refused_bytes(&tape.content(b"not so many").0, ErrorCode::InvalidPackage, "is cut off");
    // A thousand to one.
    let zeros = good().file("zeros", &vec![0; 40_000_000]).end();
    let bomb = gzip(&zeros);
    assert!(bomb.len() * 500 < zeros.len());
    let place = Place::new();
    let error = place.unpack(&bomb).map(drop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge, "{error}");
    assert!(error.message().contains("200 times") && place.is_empty(), "{error}");
    // The same content, not hidden in a thousandth, is taken.
    assert_eq!(place.unpack(&zeros).unwrap().contents().bytes, 40_000_010);
    // A million entries.
    let mut tape = good();
    for number in 0..=ENTRIES_MAX {
        tape.header(format!("d{number}").as_bytes(), EntryType::Regular, 0o644, 0);
    }
    assert_eq!(look(tape.clone().end().as_slice()).unwrap_err().code(), ErrorCode::TooLarge);
    // Directories that no entry names count, too.
    let deep = |depth: usize| {
        good().extended(&[("path", format!("{}x", "d/".repeat(depth)).as_bytes())]).file("x", b"")
    };
    refused(deep(64), ErrorCode::InvalidPackage, "nested deeper");
    taken(deep(40));
    // What describes an entry is read into memory: it is bounded.
    let long = good().entry(b"x", EntryType::XHeader, 0o644, &vec![b'a'; 70_000]).file("x", b"");
    refused(long, ErrorCode::InvalidPackage, "more than 65536 bytes");
    let long = good().entry(b"x", EntryType::GNULongName, 0o644, &vec![b'a'; 70_000]).file("x", b"");
    refused(long, ErrorCode::InvalidPackage, "more than 65536 bytes");
}

#[test]
fn pkg_05_what_stands_twice_or_behind_the_end_is_refused() {
    for tape in [
        good().file("plugin.json", b"{\"other\": 1}"),
        good().file("./plugin.json", b""),
        good().file("src", b""),
        good().directory("plugin.json/"),
        good().directory("src/"),
        good().file("plugin.json/x", b""),
    ] {
        refused(tape, ErrorCode::InvalidPackage, "stands twice");
    }
    // A directory may be named after what is in it.
    taken(good().file("late/x", b"").directory("late/"));
    let twice = [good().end(), good().end()].concat();
    refused_bytes(&twice, ErrorCode::InvalidPackage, "behind its end");
    let appended = [good().end(), b"PK\x03\x04".to_vec()].concat();
    refused_bytes(&appended, ErrorCode::InvalidPackage, "behind its end");
    let padded = [good().end(), vec![0; 9_216]].concat();
    assert_eq!(look(padded.as_slice()).unwrap().files, 2);
    let prepended = [b"#!/bin/sh\n".to_vec(), good().end()].concat();
    refused_bytes(&prepended, ErrorCode::InvalidPackage, "is no tar archive");
    // Members of gzip one after another are one stream; what is none behind them is damage.
    let compressed = gzip(&good().end());
    assert!(look([compressed.clone(), gzip(&[0; 512])].concat().as_slice()).is_ok());
    for tail in [b"trailing".to_vec(), gzip(&good().end())] {
        let error = look([compressed.clone(), tail].concat().as_slice()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidPackage, "{error}");
    }
}

#[test]
fn pkg_07_headers_that_two_readers_take_for_two_things_are_refused() {
    let name = |path: &[u8]| good().extended(&[("path", path)]).file("innocent", b"x");
    refused(name(b"../x"), ErrorCode::InvalidPackage, "'..' in its path");
    refused(name(b"/x"), ErrorCode::InvalidPackage, "does not begin");
    refused(name(b"plugin.json"), ErrorCode::InvalidPackage, "stands twice");
    refused(name(b"a\nb"), ErrorCode::InvalidPackage, "U+000A");
    refused(name(b"a\0b"), ErrorCode::InvalidPackage, "U+0000");
    taken(name("src/\u{e9}t\u{e9}.py".as_bytes()));
    let size = |size: &[u8]| good().extended(&[("size", size)]).file("x", b"0123456789");
    refused(size(b"0"), ErrorCode::InvalidPackage, "two sizes");
    refused(size(b"-1"), ErrorCode::InvalidPackage, "no number");
    taken(size(b"10"));
    let twice = good().extended(&[("path", b"a")]).extended(&[("path", b"b")]).file("x", b"");
    refused(twice, ErrorCode::InvalidPackage, "describes an entry twice");
    let both =
        good().extended(&[("path", b"a")]).entry(b"L", EntryType::GNULongName, 0o644, b"b\0").file("x", b"");
    refused(both, ErrorCode::InvalidPackage, "describes an entry twice");
    let same = good().extended(&[("path", b"a"), ("path", b"b")]).file("x", b"");
    refused(same, ErrorCode::InvalidPackage, "says something twice");
    refused(good().extended(&[("path", b"a")]), ErrorCode::InvalidPackage, "is cut off");
    for text in [
        &b"8 path=a"[..],
        b"99 path=a\n",
        b"9 path=a\n\n9 path=b\n",
        b"+9 path=a\n",
        b"9path=aa\n",
        b"\n",
        b"a",
    ] {
        let tape = good().entry(b"x", EntryType::XHeader, 0o644, text).file("x", b"");
        refused(tape, ErrorCode::InvalidPackage, "is damaged");
    }
    // For all that follow: dates and comments, and nothing that would rename any of them.
    let global = |text: &[u8]| good().entry(b"g", EntryType::XGlobalHeader, 0o644, text).file("x", b"");
    refused(global(b"9 path=a\n"), ErrorCode::InvalidPackage, "'path'");
    taken(global(b"13 comment=a\n"));
    // A name that goes on behind its end, for those who count.
    let hidden = good().entry(b"shown\0/../../hidden", EntryType::Regular, 0o644, b"");
    taken(hidden);
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    taken(good().entry(b"L", EntryType::GNULongName, 0o644, format!("{long}\0").as_bytes()).file("d", b"x"));
    // A header that says its kind in a form that has no such kind.
    let mut old = Header::new_old();
    old.as_old_mut().name[..1].copy_from_slice(b"x");
    old.set_entry_type(EntryType::XHeader);
    old.set_mode(0o644);
    old.set_size(0);
    old.set_cksum();
    let mut tape = good();
    tape.0.extend_from_slice(old.as_bytes());
    refused(tape, ErrorCode::InvalidPackage, "neither a file nor a directory");
}

#[test]
fn pkg_08_names_that_are_alike_or_hide_something_are_refused() {
    for name in ["PLUGIN.json", "src/Main.py", "SRC/x", "src/m\u{430}in.py", "plugin.j\u{17f}on"] {
        refused(good().file(name, b""), ErrorCode::InvalidPackage, "too much like");
    }
    for name in ["a\u{1b}[2J", "a\u{202e}yp", "a\nb", "a\u{200b}"] {
        refused(good().file(name, b""), ErrorCode::InvalidPackage, "U+");
    }
    refused(
        good().entry(b"\xff\xfe", EntryType::Regular, 0o644, b""),
        ErrorCode::InvalidPackage,
        "not UTF-8",
    );
    let long = |length: usize| good().extended(&[("path", "n".repeat(length).as_bytes())]).file("x", b"");
    refused(long(256), ErrorCode::InvalidPackage, "longer than 255");
    refused(long(4_096), ErrorCode::InvalidPackage, "longer than 1024");
    taken(long(255));
}

#[test]
fn what_is_no_archive_or_only_a_part_of_one_is_refused() {
    refused_bytes(b"", ErrorCode::InvalidPackage, "is cut off");
    refused_bytes(b"PK\x03\x04 not a tar", ErrorCode::InvalidPackage, "is no tar archive");
    refused_bytes(&[7; 4_096], ErrorCode::InvalidPackage, "is no tar archive");
    let whole = good().end();
    for length in [1, 511, 513, 1_000, whole.len() - 1_024] {
        assert_eq!(look(&whole[..length]).unwrap_err().code(), ErrorCode::InvalidPackage, "{length}");
    }
    let compressed = gzip(&whole);
    for length in [1, 2, 9, compressed.len() / 2, compressed.len() - 1] {
        assert_eq!(look(&compressed[..length]).unwrap_err().code(), ErrorCode::InvalidPackage, "{length}");
    }
    let mut flipped = compressed.clone();
    let place = flipped.len() - 8;
    flipped[place] ^= 1;
    assert_eq!(
        look(flipped.as_slice()).unwrap_err().code(),
        ErrorCode::InvalidPackage,
        "the checksum counts"
    );
    assert!(look(compressed.as_slice()).is_ok());
}

#[test]
fn a_reader_that_fails_is_an_error_of_its_own_and_leaves_nothing() {
    struct Breaks(Cursor<Vec<u8>>);
    impl Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(std::io::Error::other("the line went dead")),
                count => Ok(count),
            }
        }
    }
    let place = Place::new();
    for archive in [good().end(), gzip(&good().end())] {
        let part = archive[..archive.len() / 2].to_vec();
        let error = crate::package::unpack(Breaks(Cursor::new(part)), "p.tar".as_ref(), place.store.layout())
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::Io, "{error}");
        assert!(error.chain().contains("the line went dead") && place.is_empty(), "{}", error.chain());
    }
}
