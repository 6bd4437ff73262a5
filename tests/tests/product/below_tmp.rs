//! Grants below /tmp. The sandbox has a private /tmp of its own in which all is allowed, so what is granted there must be held
//! apart from it: each of these acts ends as it does elsewhere.

use ringfence_testkit::{World, users};

/// An act, the grants with which it is refused, and those with which it is done.
struct Row {
    act: &'static [&'static str],
    refused: &'static [&'static str],
    done: &'static [&'static str],
}

const READ: &str = "file:read={tree}/**";
const WRITE: &str = "file:write={tree}/**";
const DELETE: &str = "file:delete={tree}/**";

const ROWS: [Row; 17] = [
    Row {
        act: &["read", "{tree}/file"],
        refused: &["--grant", READ, "--grant", WRITE, "--deny", "file:read={tree}/file"],
        done: &["--grant", READ, "--grant", WRITE],
    },
    Row {
        act: &["read", "{tree}/sub/inner"],
        refused: &["--grant", READ, "--grant", WRITE, "--deny", "file:read={tree}/sub/**"],
        done: &["--grant", READ, "--grant", WRITE],
    },
    Row {
        act: &["write", "{tree}/file"],
        refused: &["--grant", READ, "--grant", WRITE, "--deny", "file:write={tree}/file"],
        done: &["--grant", READ, "--grant", WRITE],
    },
    Row {
        act: &["write", "{tree}/sub/inner"],
        refused: &["--grant", READ, "--grant", WRITE, "--deny", "file:write={tree}/sub/**"],
        done: &["--grant", READ, "--grant", WRITE],
    },
    Row {
        act: &["unlink", "{tree}/file"],
        refused: &["--grant", READ, "--grant", WRITE],
        done: &["--grant", READ, "--grant", WRITE, "--grant", DELETE],
    },
    // What may only be written lies in what may only be read.
    Row {
        act: &["unlink", "{tree}/sub/inner"],
        refused: &["--grant", READ, "--grant", "file:write={tree}/sub/**"],
        done: &[
            "--grant",
            READ,
            "--grant",
            "file:write={tree}/sub/**",
            "--grant",
            "file:delete={tree}/sub/**",
        ],
    },
    Row {
        act: &["write", "{tree}/file"],
        refused: &["--grant", READ, "--grant", "file:write={tree}/sub/**"],
        done: &["--grant", READ, "--grant", "file:write={tree}/file"],
    },
    // What may be read lies in what may only be written.
    Row {
        act: &["read", "{tree}/sub/inner"],
        refused: &["--grant", WRITE, "--grant", "file:read={tree}/file"],
        done: &["--grant", WRITE, "--grant", "file:read={tree}/sub/**"],
    },
    Row {
        act: &["read", "{tree}/file"],
        refused: &["--grant", WRITE, "--grant", "file:read={tree}/sub/**"],
        done: &["--grant", WRITE, "--grant", "file:read={tree}/file"],
    },
    Row {
        act: &["unlink", "{tree}/sub/inner"],
        refused: &["--grant", WRITE, "--grant", "file:read={tree}/sub/**"],
        done: &["--grant", WRITE, "--grant", "file:read={tree}/sub/**", "--grant", DELETE],
    },
    Row {
        act: &["create", "{tree}/sub/new"],
        refused: &["--grant", "file:write={tree}/sub/deep/**", "--grant", READ],
        done: &["--grant", "file:write={tree}/sub/**", "--grant", READ],
    },
    // Names are read as well as contents are.
    Row {
        act: &["list", "{tree}/sub"],
        refused: &["--grant", WRITE],
        done: &["--grant", WRITE, "--grant", READ],
    },
    Row {
        act: &["list", "{tree}/sub"],
        refused: &["--grant", DELETE],
        done: &["--grant", DELETE, "--grant", READ],
    },
    // What may not be read keeps its name: under another one it could be read at the next start.
    Row {
        act: &["rename", "{tree}/sub", "{tree}/moved"],
        refused: &["--rw", "{tree}", "--deny", "file:read={tree}/sub/deep/**"],
        done: &["--rw", "{tree}"],
    },
    // A directory that a wildcard denies, with what is in it.
    Row {
        act: &["read", "{tree}/sub/inner"],
        refused: &["--ro", "{tree}", "--deny", "file:read={tree}/s*"],
        done: &["--ro", "{tree}", "--deny", "file:read={tree}/x*"],
    },
    // One denial in another.
    Row {
        act: &["read", "{tree}/sub/inner"],
        refused: &[
            "--rw",
            "{tree}",
            "--deny",
            "file:read={tree}/sub/**",
            "--deny",
            "file:read={tree}/sub/deep/**",
        ],
        done: &["--rw", "{tree}", "--deny", "file:read={tree}/sub/deep/**"],
    },
    Row {
        act: &["list", "{tree}/sub/deep"],
        refused: &[
            "--rw",
            "{tree}",
            "--deny",
            "file:read={tree}/sub/**",
            "--deny",
            "file:read={tree}/sub/deep/**",
        ],
        done: &["--rw", "{tree}", "--deny", "file:read={tree}/sub/inner"],
    },
];

#[test]
fn what_is_not_granted_or_denied_below_tmp_is_refused_there_as_elsewhere() {
    for who in users() {
        for place in ["/tmp", "/var/tmp"] {
            for Row { act, refused, done } in &ROWS {
                let world = World::new(who);
                let (dir, tree) = tree(&world, place);
                let set = |words: &[&str]| -> Vec<String> {
                    words.iter().map(|word| word.replace("{tree}", &tree)).collect()
                };
                let (act, refused, done) = (set(act), set(refused), set(done));
                let run = |flags: &[String]| {
                    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                    world.probe(&flags, &act.iter().map(String::as_str).collect::<Vec<_>>()).run()
                };
                let no = run(&refused);
                assert!(!no.act().ok, "{act:?} with {refused:?} as {who:?}\n{no}");
                let yes = run(&done);
                assert!(yes.act().ok, "the twin: {act:?} with {done:?} as {who:?}\n{yes}");
                drop(dir);
            }
        }
    }
}

/// A directory of whoever starts the sandbox, with a file, and one in a directory.
fn tree(world: &World, place: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::Builder::new().prefix("rf").tempdir_in(place).unwrap();
    let tree = dir.path().join("tree");
    for made in ["", "sub", "sub/deep"] {
        std::fs::create_dir(tree.join(made)).unwrap();
        world.own(&tree.join(made));
    }
    for made in ["file", "sub/inner"] {
        std::fs::write(tree.join(made), "host").unwrap();
        world.own(&tree.join(made));
    }
    world.own(dir.path());
    (dir, tree.to_str().unwrap().to_owned())
}
