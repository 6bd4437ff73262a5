//! hashicorp/go-plugin, from the packages of Debian: `golang-go` and `golang-github-hashicorp-go-plugin-dev`.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ringfence_benches::peers;
use ringfence_benches::served::Served;
use ringfence_benches::turns::Row;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/go-plugin/main.go");
/// Where the packages put the sources of libraries.
const LIBRARIES: &str = "/usr/share/gocode";

/// The built host, or why there is none.
pub(super) struct Program(Result<PathBuf, String>);

impl Program {
    pub(super) fn build(directory: &Path) -> Self {
        Self(build(directory).map_err(|error| format!("go-plugin is not built: {error}")))
    }

    /// A row that has `word` measured.
    pub(super) fn row(&self, name: &str, word: &'static str) -> Row<'static> {
        Row::try_new(name, || {
            let program = self.0.as_ref().map_err(|reason| io::Error::other(reason.clone()))?;
            let served = RefCell::new(Served::start(peers::command(program))?);
            Ok(Row::new(name, move || served.borrow_mut().ask(word)))
        })
    }
}

fn build(directory: &Path) -> io::Result<PathBuf> {
    let program = directory.join("go-plugin-peer");
    let mut build = peers::command("go");
    build.args(["build", "-o"]).arg(&program).arg(SOURCE);
    build.env("GO111MODULE", "off").env("GOPATH", LIBRARIES).env("GOFLAGS", "");
    build.env("GOCACHE", directory.join("go-cache")).env("HOME", directory);
    let built = build.stdin(Stdio::null()).output()?;
    if built.status.success() {
        return Ok(program);
    }
    let told = String::from_utf8_lossy(&built.stderr);
    Err(io::Error::other(told.lines().next().unwrap_or("no reason given").to_owned()))
}
