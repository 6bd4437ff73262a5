//! The `mcp` SDK from PyPI: its client and its server, both in Python, in a virtual environment of this measurement.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringfence_benches::peers::{self, PYTHON};
use ringfence_benches::served::Served;
use ringfence_benches::turns::Row;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/mcp/main.py");
/// The version that the promise was made beside.
const PACKAGE: &str = "mcp==2.3.0";
/// Names an interpreter that has the package already, instead of installing it.
const INTERPRETER: &str = "RINGFENCE_BENCH_MCP_PYTHON";

/// A row that measures one call.
pub(super) fn row(name: &str, directory: &Path) -> Row<'static> {
    Row::try_new(name, || {
        let interpreter = match std::env::var_os(INTERPRETER) {
            Some(path) => PathBuf::from(path),
            None => install(directory)?,
        };
        let mut client = peers::command(interpreter);
        client.arg(SOURCE);
        let served = RefCell::new(Served::start(client)?);
        Ok(Row::new(name, move || served.borrow_mut().ask("call")))
    })
}

fn install(directory: &Path) -> io::Result<PathBuf> {
    let environment = directory.join("mcp-environment");
    let mut make = peers::command(PYTHON);
    make.args(["-m", "venv"]).arg(&environment);
    run(make, "python3 -m venv")?;
    let interpreter = environment.join("bin/python");
    let mut install = peers::command(&interpreter);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
    run(install, "pip install mcp")?;
    Ok(interpreter)
}

fn run(mut command: Command, what: &str) -> io::Result<()> {
    let ended = command.stdin(Stdio::null()).output()?;
    if ended.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&ended.stderr);
    let why = told.lines().next_back().unwrap_or("no reason given");
    Err(io::Error::other(format!("{what} failed: {why}")))
}
