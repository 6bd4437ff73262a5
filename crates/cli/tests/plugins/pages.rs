//! The pages: what they tell a person to type is typed here as it stands, from the top of a page to its end in one shell, and what
//! they show of an answer must be in the answer.
//!
//! Only names of the machine are others here: `/srv` is a directory of the test, and port 7700 a port that is free. Examples of the
//! clients are run by the tests of the SDKs, those of `docs/cli.md` are held against the grammar by `crates/cli/src/reference.rs`.

use std::collections::HashSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringfence_testkit::lacks;

use crate::daemon::{Daemon, alive, signal};
use crate::world::{World, ringfence};

/// What stands between the answers of two commands. No command prints it.
const MARK: char = '\u{1e}';
/// Pages whose commands this file runs. One that is not here has no block for a shell, or is in [`ELSEWHERE`].
const PAGES: [&str; 8] = [
    "README.md",
    "docs/administering.md",
    "docs/authoring.md",
    "docs/dashboard.md",
    "docs/explaining-denials.md",
    "docs/http-api.md",
    "docs/policy.md",
    "docs/scan.md",
];
/// Pages with such blocks that are held otherwise, and how.
const ELSEWHERE: [(&str, &str); 2] = [
    ("docs/cli.md", "made from the grammar, which parses every example: crates/cli/src/reference.rs"),
    (
        "docs/protocol.md",
        "its three plugins are quoted and driven over pipes: sdk/python/tests/test_examples.py",
    ),
];

/// What a reader types, and what the page shows of the answer.
#[derive(Debug)]
struct Typed {
    command: String,
    shown: Vec<String>,
}

/// A page and where its commands are typed.
struct Page {
    name: &'static str,
    /// Beginnings of commands that end otherwise than with 0, and how; with a line break at the end, the whole of one.
    ends: &'static [(&'static str, i32)],
    /// Beginnings of commands that are not typed, because this test is a part of what they start.
    left_out: &'static [&'static str],
    /// Beginnings of commands that have no end of their own, and get one here.
    endless: &'static [&'static str],
}

impl Page {
    const fn of(name: &'static str) -> Self {
        Self { name, ends: &[], left_out: &[], endless: &[] }
    }
}

/// Where a page is typed: a home, a user's directory, a working directory, and a `/srv`.
struct Place {
    world: World,
    port: u16,
}

impl Place {
    /// `None` where something of it is missing, which is said.
    fn new() -> Option<Self> {
        if lacks("curl") || lacks("jq") || lacks("git") {
            return None;
        }
        let world = World::new()?;
        for directory in ["person", "work", "srv", "home"] {
            std::fs::create_dir(world.path(directory)).unwrap();
        }
        std::fs::set_permissions(world.path("home"), PermissionsExt::from_mode(0o700)).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let place = Self { world, port };
        let packages = place.path("srv/packages");
        let config = format!("[server]\nlisten = [\"127.0.0.1:{port}\"]\ninstall_from = [{packages:?}]\n");
        std::fs::write(place.path("home/config.toml"), config).unwrap();
        Some(place)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.world.path(below)
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The words of a page, as they are to be typed here.
    fn here(&self, text: &str) -> String {
        let srv = format!("{}/", self.path("srv").display());
        let text =
            text.replace("/srv/", &srv).replace("\"/srv\"", &format!("\"{}\"", srv.trim_end_matches('/')));
        text.replace("127.0.0.1:7700", &format!("127.0.0.1:{}", self.port))
    }

    fn command(&self, program: &str) -> Command {
        let beside = Path::new(ringfence()).parent().unwrap().display();
        let mut command = Command::new(program);
        command
            .env("RINGFENCE_HOME", self.path("home"))
            .env("HOME", self.path("person"))
            .env("PATH", format!("{beside}:{}", std::env::var("PATH").unwrap()))
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the test's own, which must succeed.
    fn done(&self, words: &[&str]) {
        let (program, rest) = words.split_first().unwrap();
        let output = self.command(program).args(rest).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    /// Types a page, and judges each answer.
    fn type_in(&self, page: &Page) {
        let all = typed(&text_of(page.name));
        let mut unused: HashSet<&str> =
            page.ends.iter().map(|(command, _)| *command).chain(page.left_out.iter().copied()).collect();
        let mut script = String::from("exec 2>&1\n");
        let mut expected = Vec::new();
        for one in &all {
            if let Some(known) = page.left_out.iter().find(|known| one.command.starts_with(**known)) {
                unused.remove(known);
                continue;
            }
            let whole = format!("{}\n", one.command);
            let end = page.ends.iter().find(|(known, _)| whole.starts_with(known));
            unused.remove(end.map_or("", |(known, _)| known));
            let endless = page.endless.iter().any(|known| one.command.starts_with(known));
            let command = self.here(&one.command);
            script += &if endless { format!("timeout 3 {command}") } else { command };
            script += &format!("\nprintf '{MARK}%s{MARK}' $?\n");
            expected.push((one, if endless { 124 } else { end.map_or(0, |(_, status)| *status) }));
        }
        assert!(unused.is_empty(), "{}: nothing begins so any more: {unused:?}", page.name);
        assert!(!expected.is_empty(), "{} has no commands", page.name);
        let output = self.command("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut pieces = said.split(MARK);
        for (one, status) in expected {
            let (answer, ended) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
            let about = format!("{}: {}\nended with {ended}, said:\n{answer}", page.name, one.command);
            assert_eq!(ended, status.to_string(), "{about}");
            // curl ends with 0 whatever the daemon thinks of it.
            assert!(!answer.contains("{\"error\":{"), "{about}");
            let lines: Vec<String> = answer.lines().map(|line| self.plain(line)).collect();
            for shown in &one.shown {
                let is_there = lines.iter().any(|line| fits(&self.plain(shown), line));
                assert!(is_there, "the page shows: {shown}\n{about}");
            }
        }
        assert!(pieces.all(|rest| rest.is_empty()), "{}: {said}", page.name);
    }

    /// A line without what is different in each run and on each machine: numbers, columns, directories.
    fn plain(&self, line: &str) -> String {
        let home = self.path("person").display().to_string();
        let line = line.replace(&self.path("srv").display().to_string(), "/srv").replace(&home, "/home/ada");
        let mut plain = String::new();
        for character in line.trim_end().chars() {
            let character = if character.is_ascii_digit() { '0' } else { character };
            if !(matches!(character, '0' | ' ') && plain.ends_with(character)) {
                plain.push(character);
            }
        }
        plain
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whatever a page has started ends with it, also when the page is wrong.
        let holder = std::fs::read_to_string(self.path("home/daemon.lock")).unwrap_or_default();
        let Ok(pid) = holder.trim().parse::<u32>() else { return };
        if alive(pid) {
            signal(pid, "TERM");
            for _ in 0..1_000 {
                if !alive(pid) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

/// Whether a line is what a page shows of it, where `…` and `...` stand for anything.
fn fits(shown: &str, line: &str) -> bool {
    let shown = shown.replace("...", "…");
    let mut rest = line;
    for piece in shown.split('…') {
        let Some(at) = rest.find(piece.trim()) else { return false };
        rest = &rest[at + piece.trim().len()..];
    }
    true
}

fn text_of(page: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page)).unwrap()
}

/// The commands of a page, in order: all lines of its `sh` blocks, with a block without a language behind one as the answer; and what
/// stands behind `$ ` in its `console` blocks, with the answers between.
fn typed(page: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    let mut lines = page.lines();
    // Whether a block without a language would be the answer: only when no other one has been between.
    let mut follows = false;
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            // Prose between belongs to something else.
            follows &= line.is_empty();
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match language {
            "sh" => {
                all.extend(commands(&block).into_iter().map(|command| Typed { command, shown: Vec::new() }))
            }
            "console" => all.extend(console(&block)),
            "" if follows => {
                all.last_mut().unwrap().shown = block.iter().map(|line| (*line).to_owned()).collect()
            }
            _ => {}
        }
        follows = language == "sh";
    }
    all
}

/// Lines of a shell, put together where one command has several.
fn commands(block: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut lines = block.iter();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let mut command = (*line).to_owned();
        let ends_at = line.split("<<'").nth(1).and_then(|rest| rest.split('\'').next());
        while command.ends_with('\\') || ends_at.is_some_and(|word| command.lines().last() != Some(word)) {
            command += &format!("\n{}", lines.next().unwrap_or_else(|| panic!("it has no end: {command}")));
        }
        all.push(command);
    }
    all
}

fn console(block: &[&str]) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push(Typed { command: command.to_owned(), shown: Vec::new() }),
            (None, Some(last)) if last.shown.is_empty() && last.command.ends_with('\\') => {
                last.command += &format!("\n{line}");
            }
            (None, Some(last)) if !line.is_empty() => last.shown.push((*line).to_owned()),
            // What root types begins with `# `, and is for a machine that is the reader's own.
            (None, _) => {}
        }
    }
    all
}

#[test]
fn no_page_has_commands_that_nothing_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec!["README.md".to_owned()];
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        pages.push(format!("docs/{}", entry.unwrap().file_name().to_string_lossy()));
    }
    let with_commands: HashSet<String> = pages
        .into_iter()
        .filter(|page| page.ends_with(".md"))
        .filter(|page| {
            ["\n```sh\n", "\n```console\n", "\n```bash\n"].iter().any(|fence| text_of(page).contains(fence))
        })
        .collect();
    let known = PAGES.iter().chain(ELSEWHERE.iter().map(|(page, _)| page));
    assert_eq!(with_commands, known.map(|page| (*page).to_owned()).collect());
}

#[test]
fn what_is_shown_is_looked_for() {
    assert!(fits("id: 0 … end", "id: 0 and so on end"));
    assert!(fits("{\"status\":\"exited\", ...}", "{\"status\":\"exited\",\"x\":0}"));
    assert!(!fits("0 rules, no mistakes", "0 rules, 0 mistakes"));
    let page = "```sh\na <<'END'\nb\nEND\nc \\\n d\n```\n\n```\nanswer\n```\ntext\n```\nno answer\n```\n";
    let all = typed(page);
    let commands: Vec<&str> = all.iter().map(|one| one.command.as_str()).collect();
    assert_eq!(commands, ["a <<'END'\nb\nEND", "c \\\n d"]);
    assert_eq!(all[1].shown, ["answer"]);
    let all = typed("```console\n$ a \\\n  b\nsaid\n$ c\n```\n");
    assert_eq!(
        (all.len(), all[0].command.as_str(), &all[0].shown),
        (2, "a \\\n  b", &vec!["said".to_owned()])
    );
}

#[test]
fn the_readme_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    place.done(&["git", "init", "--quiet", "."]);
    place.type_in(&Page {
        ends: &[
            ("ringfence exec -- cat", 1),
            ("ringfence exec --explain -- cat", 1),
            ("ringfence call hello read path=\"$HOME/notes/today.txt\"\n", 5),
        ],
        // The build, the demo (tests/demo.rs) and the check of which this is a part.
        left_out: &["cargo run --release -- demo", "cargo xtask test", "cargo build --release"],
        endless: &["curl -sN"],
        ..Page::of("README.md")
    });
}

#[test]
fn the_page_for_administrators_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    place.done(&[ringfence(), "list"]);
    place.type_in(&Page::of("docs/administering.md"));
}

#[test]
fn the_page_for_authors_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    place.write("person/notes/today.txt", "buy bread\n");
    place.type_in(&Page {
        ends: &[("ringfence call jotter count path=\"$HOME/notes/today.txt\"\n", 5)],
        ..Page::of("docs/authoring.md")
    });
}

#[test]
fn the_page_of_the_dashboard_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    place.type_in(&Page::of("docs/dashboard.md"));
}

#[test]
fn the_page_about_denials_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    place.write("srv/notes/today.md", "buy bread\n");
    place.write("srv/in/words", "b\na\n");
    place.write("srv/out/old", "");
    place.type_in(&Page {
        ends: &[("ringfence exec --explain -- wc", 1)],
        ..Page::of("docs/explaining-denials.md")
    });
}

#[test]
fn the_page_of_the_scan_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    let manifest = "name: translator\nversion: 1.0.0\ndescription: Translates.\nlicense: MIT\nruntime: python\n\
                    entry_point: main.py\ntools: [{name: a, description: Translates.}]\n";
    place.write("work/translator/plugin.yaml", manifest);
    let code = "import subprocess\n\n\ndef a(arguments):\n    return subprocess.run(arguments)\n";
    place.write("work/translator/main.py", code);
    place.type_in(&Page::of("docs/scan.md"));
}

/// A plugin that looks for words in notes.
fn notes(place: &Place, below: &str, asks: &str) {
    let manifest = format!(
        "name: notes\nversion: 1.0.0\nauthor: Example Labs\nruntime: python\nentry_point: notes.py\npermissions:\n{asks}tools: [{{name: search}}]\n"
    );
    place.write(&format!("{below}/plugin.yaml"), &manifest);
    place.write(&format!("{below}/notes.py"), "def search(arguments):\n    return {\"found\": []}\n");
}

#[test]
fn the_page_of_the_http_api_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    let reads =
        format!("  - permission: file:read\n    scope: [\"{}/notes/**\"]\n", place.path("srv").display());
    notes(&place, "srv/packages/notes", &reads);
    place.write("srv/notes/today.md", "buy bread\n");
    let packages = place.path("srv/packages");
    place.done(&["tar", "-czf", "notes-1.0.0.tar.gz", "-C", packages.to_str().unwrap(), "notes"]);
    let daemon = Daemon::of(place.world.command(&["serve", "--json"]));
    place.type_in(&Page::of("docs/http-api.md"));
    assert_eq!(daemon.end("TERM").code, Some(0));
}

#[test]
fn the_page_of_the_policy_works_as_it_stands() {
    let Some(place) = Place::new() else { return };
    let page = text_of("docs/policy.md");
    let policy = page.split("\n```toml\n").nth(1).unwrap().split("\n```").next().unwrap();
    notes(&place, "work/notes", "  - permission: env:read\n    scope: [HOME]\n");
    place.write("srv/payroll/may.csv", "");
    place.write("work/policy.new", "default = \"allow\"\ndeny = [\"env:read\"]\n");
    place.write("home/policy.toml", &place.here(policy));
    // What the page's trail has recorded.
    place.done(&[ringfence(), "install", "./notes", "--grant", "env:read=HOME"]);
    place.type_in(&Page { ends: &[("ringfence install ./notes", 4)], ..Page::of("docs/policy.md") });
}

#[test]
fn the_configuration_of_the_page_is_one() {
    for page in ["docs/administering.md", "docs/databases.md", "docs/network.md", "docs/host-clients.md"] {
        let text = text_of(page);
        let blocks: Vec<&str> =
            text.split("\n```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
        assert!(!blocks.is_empty(), "{page}");
        for block in blocks {
            ringfence::Config::parse(block).unwrap_or_else(|error| panic!("{page}: {block}\n{error}"));
        }
    }
}
