//! PKG-03, PKG-08, PKG-09: what a package must not hold, and entry points that lead elsewhere. Nothing of a refused package
//! reaches the store, and a package that is only odd installs.

use crate::place::{Place, Wrongs};
use ringfence_testkit::users;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// A change of a good package, by its directory.
type Change = fn(&Place, &Path);

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path) {
    fs::write(path, "text").unwrap();
}

/// A program of the host, as root or as whoever runs the tests.
fn tool(place: &Place, words: &[&str]) {
    place.world.bare_program(words).run_as(*users().first().unwrap()).run().expect_code(0);
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What is refused, the words that say why, and how it comes about.
const REFUSED: &[(&str, &str, Change)] = &[
    ("absolute link", "'link' is a link that leads out", |_, dir| {
        symlink("/etc/passwd", dir.join("link")).unwrap()
    }),
    ("upward link", "'link' is a link that leads out", |_, dir| {
        symlink("../../data/secret", dir.join("link")).unwrap()
    }),
    ("link over a link", "'one' is a link that leads out", |_, dir| {
        symlink("two", dir.join("one")).unwrap();
        symlink("..", dir.join("two")).unwrap();
    }),
    ("link through a directory", "'link' is a link that leads out", |_, dir| {
        fs::create_dir(dir.join("sub")).unwrap();
        symlink("sub/../../out", dir.join("link")).unwrap();
    }),
    ("dangling upward link", "'link' is a link that leads out", |_, dir| {
        symlink("../no-such-file", dir.join("link")).unwrap()
    }),
    ("named pipe", "'pipe' is a named pipe", |place, dir| {
        tool(place, &["/usr/bin/mkfifo", &path(&dir.join("pipe"))])
    }),
    ("socket", "'s' is a socket", |_, dir| {
        drop(std::os::unix::net::UnixListener::bind(dir.join("s")).unwrap())
    }),
    ("set-uid file", "'program' has a set-user-id", |_, dir| {
        write(&dir.join("program"));
        mode(&dir.join("program"), 0o4755);
    }),
    ("set-gid file", "'program' has a set-user-id or set-group-id", |_, dir| {
        write(&dir.join("program"));
        mode(&dir.join("program"), 0o2755);
    }),
    ("hard link to a secret", "'hard' has another name outside", |place, dir| {
        fs::hard_link(place.world.path("data/secret/canary.txt"), dir.join("hard")).unwrap();
    }),
    ("newline in a name", "has U+000A in its name", |_, dir| write(&dir.join("a\nb"))),
    ("escape in a name", "has U+001B in its name", |_, dir| write(&dir.join("a\u{1b}[2Jb"))),
    ("text that turns around", "has U+202E in its name", |_, dir| write(&dir.join("a\u{202e}fdp.exe"))),
    ("zero width name", "has U+200B in its name", |_, dir| write(&dir.join("a\u{200b}b"))),
    ("invalid UTF-8", "has a name that is not UTF-8", |_, dir| {
        use std::os::unix::ffi::OsStrExt;
        write(&dir.join(std::ffi::OsStr::from_bytes(b"a\xffb")));
    }),
    ("names that differ in case", "'readme' is too much like 'README'", |_, dir| {
        write(&dir.join("readme"));
        write(&dir.join("README"));
    }),
    ("names that differ in composition", "is too much like", |_, dir| {
        write(&dir.join("caf\u{e9}"));
        write(&dir.join("cafe\u{301}"));
    }),
    ("names that look alike", "is too much like 'main'", |_, dir| {
        write(&dir.join("main"));
        write(&dir.join("m\u{430}in"));
    }),
    ("a path of more than a kilobyte", "longer than 1024 bytes", |_, dir| {
        let deep = (0..5).fold(dir.to_owned(), |at, _| at.join("d".repeat(220)));
        fs::create_dir_all(&deep).unwrap();
        write(&deep.join("file"));
    }),
    ("seventy directories deep", "deeper than 64 directories", |_, dir| {
        fs::create_dir_all((0..70).fold(dir.to_owned(), |at, _| at.join("d"))).unwrap()
    }),
    ("a file of two terabytes of nothing", "more than 1000000000 bytes", |_, dir| {
        let file = fs::File::create(dir.join("sparse")).unwrap();
        file.set_len(2 << 40).unwrap();
    }),
];

/// What is odd and allowed: the twins.
const ACCEPTED: &[(&str, Change)] = &[
    ("inner link", |_, dir| symlink("mode", dir.join("link")).unwrap()),
    ("link up and down again", |_, dir| {
        fs::create_dir(dir.join("sub")).unwrap();
        symlink("../mode", dir.join("sub/link")).unwrap();
    }),
    ("letters of other alphabets", |_, dir| write(&dir.join("Übergröße-данные-数据"))),
    ("a name of 255 bytes", |_, dir| write(&dir.join("n".repeat(255)))),
    ("two names of one file", |_, dir| fs::hard_link(dir.join("mode"), dir.join("again")).unwrap()),
    ("sixty directories deep", |_, dir| {
        fs::create_dir_all((0..60).fold(dir.to_owned(), |at, _| at.join("d"))).unwrap()
    }),
    // That is how directories are made that a group shares; the copy has no such bit.
    ("set-gid directory", |_, dir| {
        fs::create_dir(dir.join("sub")).unwrap();
        mode(&dir.join("sub"), 0o2755);
    }),
    ("world-writable file", |_, dir| {
        write(&dir.join("open"));
        mode(&dir.join("open"), 0o777);
    }),
];

/// Nothing was installed, and nothing of the package is in the home.
fn nothing_stored(place: &Place, wrongs: &mut Wrongs, label: &str) {
    let stored = ringfence_testkit::post::names(&place.home("store"));
    wrongs.note(stored.is_empty(), format!("{label}: the store holds {stored:?}"));
}

#[test]
fn pkg_03_08_what_a_package_must_not_hold_is_refused() {
    let Some(place) = Place::ordinary() else { return };
    let mut wrongs = Wrongs::default();
    let changes = REFUSED.iter().copied();
    let device: (&str, &str, Change) = ("device", "'null' is a device", |place, dir| {
        tool(place, &["/usr/bin/mknod", &path(&dir.join("null")), "c", "1", "3"])
    });
    let devices = (!ringfence_testkit::lacks("root")).then_some(device);
    for (number, (label, word, change)) in changes.chain(devices).enumerate() {
        let package = place.package(&format!("p{number}"), &place.manifest("hostile"), "good");
        change(&place, Path::new(&package));
        let run = place.run(&["install", &package, "--json"]);
        let document = crate::place::document(&run);
        let code = document["error"]["code"].as_str().unwrap_or_default();
        wrongs.note(run.code == Some(1), format!("{label}: {run}"));
        let expected = if label.starts_with("a file of two") { "too_large" } else { "invalid_package" };
        let message = document["error"]["message"].as_str().unwrap_or_default();
        wrongs.note(code == expected && message.contains(word), format!("{label}: {document}"));
        wrongs.note(!run.out().contains(&place.world.canary), format!("{label}: leaks"));
        nothing_stored(&place, &mut wrongs, label);
    }
    wrongs.none();
    assert_eq!(place.json(&["list"]), json!([]));
}

#[test]
fn pkg_03_08_what_is_only_odd_is_accepted() {
    let Some(place) = Place::ordinary() else { return };
    for (number, (label, change)) in ACCEPTED.iter().enumerate() {
        let name = format!("odd-{number}");
        let package = place.package(&name, &place.manifest(&name), "good");
        change(&place, Path::new(&package));
        let installed = place.json(&["install", &package]);
        assert_eq!(installed["changed"], true, "{label}: {installed}");
    }
    let writable = place
        .world
        .bare_program(&[
            "/usr/bin/find",
            "{home}/state/store",
            "-mindepth",
            "1",
            "-perm",
            "/6222",
            "!",
            "-type",
            "l",
        ])
        .run();
    assert_eq!(writable.out(), "", "nobody may write to what is stored");
    assert_eq!(place.json(&["list"]).as_array().unwrap().len(), ACCEPTED.len());
}

#[test]
fn pkg_09_an_entry_point_stays_in_its_package() {
    let Some(place) = Place::ordinary() else { return };
    let mut wrongs = Wrongs::default();
    let outside = place.world.path("out/touched");
    place.world.put_script("out/outside.py", "#!/usr/bin/python3\n");
    let shell = format!("touch {}", outside.display());
    for (number, (entry_point, word)) in [
        ("../../out/outside.py".to_owned(), "has '..'"),
        (place.world.path("out/outside.py").to_string_lossy().into_owned(), "is absolute"),
        ("/bin/sh".to_owned(), "is absolute"),
        ("sub/../../p7/x".to_owned(), "has '..'"),
        ("missing.py".to_owned(), "does not exist in the package"),
        ("sub".to_owned(), "is a directory"),
        ("mode".to_owned(), "has no execute permission"),
        ("link.py".to_owned(), "a link that leads out"),
        (String::new(), "entry_point is empty"),
        (".".to_owned(), "names no file"),
        (format!("$({shell})"), "has the character '$'"),
        (format!("x; {shell}"), "has the character ';'"),
        (format!("`{shell}`"), "has the character '`'"),
        (format!("{} && {shell}", place.entry_point()), "has the character ' '"),
        (format!("{}\n{shell}", place.entry_point()), "is one line"),
        ("-c".to_owned(), "begins with '-'"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut manifest = place.manifest("hostile");
        manifest["entry_point"] = entry_point.as_str().into();
        let package = place.package(&format!("e{number}"), &manifest, "good");
        place.world.mkdir(&format!("packages/e{number}/sub"));
        if entry_point == "link.py" {
            symlink("../../out/outside.py", Path::new(&package).join("link.py")).unwrap();
        }
        let run = place.run(&["install", &package, "--grant-requested", "--json"]);
        let error = crate::place::document(&run)["error"].to_string();
        wrongs.note(run.code == Some(1) && error.contains(word), format!("{entry_point:?}: {error}"));
        nothing_stored(&place, &mut wrongs, &entry_point);
    }
    wrongs.none();
    assert!(!outside.exists(), "a shell has read an entry point");
    // The twins: below a directory, and every sign that is allowed.
    for (name, entry_point) in [("below", "sub/inner.py"), ("odd", "a_b+c@1.x.py")] {
        let mut manifest = place.manifest(name);
        manifest["entry_point"] = entry_point.into();
        let package = place.package(name, &manifest, "good");
        place.world.mkdir(&format!("packages/{name}/sub"));
        fs::copy(Path::new(&package).join(place.entry_point()), Path::new(&package).join(entry_point))
            .unwrap();
        place.done(&["install", &package, "--grant-requested"]);
        place.done(&["activate", name]);
        assert_eq!(place.json(&["call", name, "ok"]), "ok", "{entry_point}");
    }
}
