//! Real programs: what `learn --minimise` says is enough, and each line of it is needed.

use ringfence_testkit::lacks;

use super::{World, panic_with, texts};

/// A program at work.
struct Case {
    name: &'static str,
    /// What the machine must have.
    need: &'static str,
    files: &'static [(&'static str, &'static str)],
    command: &'static [&'static str],
    /// What is done before, outside, in the directory.
    before: &'static [&'static str],
    /// Permissions that the list must have, by their names, in its order and each once.
    permissions: &'static [&'static str],
}

const fn case(
    name: &'static str,
    need: &'static str,
    files: &'static [(&'static str, &'static str)],
    command: &'static [&'static str],
    permissions: &'static [&'static str],
) -> Case {
    Case { name, need, files, command, before: &[], permissions }
}

const READ: &str = "file:read";
const WRITE: &str = "file:write";
const DELETE: &str = "file:delete";
const START: &str = "subprocess:execute";

const CASES: &[Case] = &[
    case("cat", "cat", &[("a", "x\n")], &["cat", "a"], &[READ]),
    case("grep -r", "grep", &[("d/a", "x\n"), ("d/b", "y\n")], &["grep", "-r", "x", "d"], &[READ]),
    case("ripgrep", "rg", &[("d/a", "x\n"), ("d/b", "y\n")], &["rg", "--sort=path", "x", "d"], &[READ]),
    case("find", "find", &[("d/a", "x\n"), ("d/e/b", "y\n")], &["find", "d", "-name", "b"], &[READ]),
    case("wc", "wc", &[("a", "x\n"), ("b", "y z\n")], &["wc", "a", "b"], &[READ]),
    case("diff", "diff", &[("a", "x\n"), ("b", "x\n")], &["diff", "a", "b"], &[READ]),
    case("awk", "awk", &[("a", "1 2\n3 4\n")], &["awk", "{s+=$2} END {print s}", "a"], &[READ]),
    case("perl", "perl", &[("a", "abc\n")], &["perl", "-ne", "print scalar reverse", "a"], &[READ]),
    case("jq", "jq", &[("a.json", "{\"a\": 7}\n")], &["jq", ".a", "a.json"], &[READ]),
    case("sha256sum", "sha256sum", &[("a", "abc\n")], &["sha256sum", "a"], &[READ]),
    case("bc", "bc", &[("sum", "1+2\nquit\n")], &["bc", "-q", "sum"], &[READ]),
    case("sed -i", "sed", &[("a", "x\n")], &["sed", "-i", "s/x/y/", "a"], &[READ, WRITE, DELETE]),
    case("sort -o", "sort", &[("a", "b\na\n")], &["sort", "-o", "out", "a"], &[READ, WRITE]),
    case("tee", "tee", &[], &["tee", "out"], &[WRITE]),
    case("cp -r", "cp", &[("d/a", "x\n"), ("d/e/b", "y\n")], &["cp", "-r", "d", "copy"], &[READ, WRITE]),
    case("mv", "mv", &[("a", "x\n")], &["mv", "a", "b"], &[WRITE, DELETE]),
    case("rm", "rm", &[("a", "x\n")], &["rm", "a"], &[DELETE]),
    case("mkdir -p", "mkdir", &[], &["mkdir", "-p", "a/b/c"], &[WRITE]),
    case("gzip", "gzip", &[("a", "x\n")], &["gzip", "a"], &[READ, WRITE, DELETE]),
    case("xz -k", "xz", &[("a", "x\n")], &["xz", "-k", "a"], &[READ, WRITE]),
    case("tar", "tar", &[("d/a", "x\n"), ("d/b", "y\n")], &["tar", "-cf", "d.tar", "d"], &[READ, WRITE]),
    case("openssl", "openssl", &[("a", "x\n")], &["openssl", "dgst", "-sha256", "a"], &[READ]),
    case(
        "ssh-keygen",
        "ssh-keygen",
        &[],
        &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"],
        &[WRITE],
    ),
    case(
        "sqlite3",
        "sqlite3",
        &[],
        &["sqlite3", "a.db", "create table t (x); insert into t values (7); select x from t;"],
        &[READ, WRITE, DELETE],
    ),
    case(
        "a script of sh",
        "sh",
        &[("run", "#!/bin/sh\ncat data | tr a-z A-Z\n"), ("data", "x\n")],
        &["./run"],
        &[READ, START],
    ),
    case(
        "node",
        "node",
        &[("main.js", "const m = require('./part'); console.log(m.x);\n"), ("part.js", "exports.x = 7;\n")],
        &["node", "main.js"],
        &[READ],
    ),
    case(
        "python3",
        "python3",
        &[("main.py", "import part\nprint(part.x)\n"), ("part.py", "x = 7\n")],
        &["/usr/bin/python3", "-B", "main.py"],
        &[READ],
    ),
    case(
        "gcc",
        "gcc",
        &[("a.c", "#include <stdio.h>\nint main(void) { puts(\"x\"); return 0; }\n")],
        &["gcc", "-o", "a.out", "a.c"],
        &[READ, WRITE, START],
    ),
    case(
        "make",
        "make",
        &[("Makefile", "out: in\n\tcp in out\n"), ("in", "x\n")],
        &["make"],
        &[READ, WRITE, START],
    ),
    Case {
        name: "git status",
        need: "git",
        files: &[("a", "x\n")],
        command: &["git", "status", "--short"],
        before: &["git init --quiet ."],
        permissions: &[READ],
    },
    Case {
        name: "git log",
        need: "git",
        files: &[("a", "x\n")],
        command: &["git", "log", "--format=%s"],
        before: &[
            "git init --quiet .",
            "git add a",
            "GIT_AUTHOR_DATE=2001-01-01T00:00:00Z GIT_COMMITTER_DATE=2001-01-01T00:00:00Z git -c user.name=a -c user.email=a@b commit --quiet -m first",
        ],
        permissions: &[READ],
    },
    Case {
        name: "python3 with a venv",
        need: "python3",
        files: &[("main.py", "import helper\nprint(helper.x)\n")],
        command: &["venv/bin/python", "-B", "main.py"],
        before: &[
            "/usr/bin/python3 -m venv --without-pip venv",
            "sh -c \"echo 'x = 7' > $(echo venv/lib/python3*/site-packages)/helper.py\"",
        ],
        permissions: &[READ],
    },
];

fn prepare(world: &World, case: &Case) {
    world.reset(case.files);
    for line in case.before {
        let words: &[&str] = &["-c", line];
        let done =
            std::process::Command::new("/bin/sh").args(words).current_dir(world.place()).output().unwrap();
        if !done.status.success() {
            panic_with(line, &done);
        }
    }
}

/// How the command ends with these grants, and what it prints.
fn run(world: &World, case: &Case, grants: &[String], cwd: Option<&str>) -> (Option<i32>, Vec<u8>, Vec<u8>) {
    prepare(world, case);
    let mut words = vec!["exec"];
    for grant in grants {
        words.extend(["--grant", grant.as_str()]);
    }
    if let Some(cwd) = cwd {
        words.extend(["--cwd", cwd]);
    }
    words.push("--");
    words.extend(case.command);
    let output = world.ringfence(&words);
    (output.status.code(), output.stdout, output.stderr)
}

fn check(case: &Case) {
    if lacks(case.need) {
        return;
    }
    let name = case.name;
    let world = World::new();
    prepare(&world, case);
    let before = world.content();
    let (learned, status) = world.learn(&["--minimise"], case.command);
    assert_eq!(status, Some(0), "{name}: {learned:#}");
    assert_eq!(world.content(), before, "{name}: learning changes nothing");
    let grants = texts(&learned["grants"]);
    let mut permissions: Vec<&str> =
        grants.iter().map(|grant| grant.split('=').next().unwrap_or_default()).collect();
    permissions.dedup();
    assert_eq!(permissions, case.permissions, "{name}: {grants:#?}");
    let cwd = learned["working_directory"].as_str();
    let (status, printed, errors) = run(&world, case, &grants, cwd);
    assert_eq!(status, Some(0), "{name} with {grants:#?}: {}", String::from_utf8_lossy(&errors));
    // What was used, before anything is tried without: it may be more, and is enough as well.
    prepare(&world, case);
    let (used, status) = world.learn(&[], case.command);
    assert_eq!(status, Some(0), "{name}: {used:#}");
    let used_grants = texts(&used["grants"]);
    assert!(used_grants.len() >= grants.len(), "{name}: {used_grants:#?}");
    let (status, used_printed, errors) = run(&world, case, &used_grants, used["working_directory"].as_str());
    assert_eq!(
        (status, used_printed),
        (Some(0), printed.clone()),
        "{name} with {used_grants:#?}: {}",
        String::from_utf8_lossy(&errors)
    );
    for left_out in 0..grants.len() {
        let mut fewer = grants.clone();
        let line = fewer.remove(left_out);
        let (status, fewer_printed, _) = run(&world, case, &fewer, cwd);
        assert!(status != Some(0) || fewer_printed != printed, "{name} works without {line}");
    }
}

/// Each program is a case of its own, several at a time.
macro_rules! quarter {
    ($($name:ident $part:literal)*) => {
        $(
            #[test]
            fn $name() {
                CASES.iter().skip($part).step_by(4).for_each(check);
            }
        )*
    };
}

quarter! {
    the_list_is_enough_and_each_line_is_needed_1 0
    the_list_is_enough_and_each_line_is_needed_2 1
    the_list_is_enough_and_each_line_is_needed_3 2
    the_list_is_enough_and_each_line_is_needed_4 3
}
