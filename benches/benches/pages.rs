//! Pages of the dashboard of a daemon that has much: 10,000 plugins, a log of a million lines, a million records of the audit trail
//! and as many of what was asked; each page from the request to its last byte, without script.
//!
//! Some plugins are installed as anybody installs them. The others, the records and the lines are written into the home beside the
//! daemon, by Python: the figures are of reading, and to have it all really happen would take hours.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers::{PYTHON, command};
use ringfence_benches::stage::Stage;
use ringfence_benches::table::Table;
use ringfence_benches::turns::{Row, Turns, take_turns};
use serde_json::{Value, json};

/// Nothing that is waited for takes longer.
const LONGEST: Duration = Duration::from_secs(120);
/// The plugin whose pages are measured; most of what is recorded is of others.
const ONE: &str = "plugin-00007";
/// What is looked for and stands nowhere.
const NOTHING: &str = "no-such-text";

/// Pages, as paths below `/dashboard`.
const PAGES: [&str; 28] = [
    "",
    "?page=150",
    "?q=no-such-text",
    "?state=installed",
    "/install",
    "/hooks",
    "/activity",
    "/activity?q=no-such-text",
    "/activity?outcome=crashed",
    "/activity?request=no-such-text",
    "/runs",
    "/audit",
    "/audit?event=rollback",
    "/audit?plugin=no-such-text",
    "/audit?request=no-such-text",
    "/audit?since=2001-01-01",
    "/tokens",
    "/sessions",
    "/plugins/plugin-00007",
    "/plugins/plugin-00007/grants",
    "/plugins/plugin-00007/config",
    "/plugins/plugin-00007/resources",
    "/plugins/plugin-00007/denials",
    "/plugins/plugin-00007/activity",
    "/plugins/plugin-00007/logs",
    "/plugins/plugin-00007/logs?q=no-such-text",
    "/plugins/plugin-00007/upgrade",
    "/plugins/plugin-00007/uninstall",
];

/// Plugins that are installed; the first of them waits for consent, and is what the rows of all others are copied from.
const INSTALLED: usize = 20;

/// Rows of plugins that wait for consent, of the trail and of what was asked; the latter without seals: no page verifies them.
const RECORDS: &str = r#"
import hashlib, sqlite3, sys
c, installed, plugins, count = sqlite3.connect(sys.argv[1], timeout=60), *map(int, sys.argv[2:])
first = c.execute("SELECT digest FROM plugins WHERE name = 'plugin-00000'").fetchone()[0]
def copy(of, where, other):
    names = [row[1] for row in c.execute(f"PRAGMA table_info({of})")]
    row = dict(zip(names, c.execute(f"SELECT * FROM {of} WHERE {where}", (other.pop('of'),)).fetchone()))
    row.update(other)
    c.execute(f"INSERT INTO {of} VALUES ({','.join('?' * len(names))})", [row[name] for name in names])
for number in range(installed, plugins):
    name, digest = f"plugin-{number:05}", hashlib.sha256(str(number).encode()).hexdigest()
    copy("packages", "digest = ?", {"of": first, "digest": digest, "plugin": name})
    copy("plugins", "name = ?", {"of": "plugin-00000", "name": name, "digest": digest})
last = c.execute("SELECT coalesce(max(seq), 0) FROM audit").fetchone()[0]
def name(number): return f"plugin-{number % plugins:05}"
at = 1_700_000_000_000
c.executemany("INSERT INTO audit VALUES (?, ?, 'call', ?, '', ?, '{\"method\":\"call\",\"tool\":\"which\"}', x'', x'')",
    ((last + n, at + n, name(n), f"f0bb6982605c8a99-{n:x}") for n in range(1, count + 1)))
c.executemany("INSERT INTO activity (plugin, method, tool, outcome, count, duration_us, correlation_id, at_ms) "
    "VALUES (?, 'call', 'which', 'ok', 1, 900, ?, ?)",
    ((name(n), f"f0bb6982605c8a99-{n:x}", at + n) for n in range(count)))
c.commit()
"#;

fn main() -> ExitCode {
    match Options::from_process() {
        Ok(options) => measure(&options).unwrap_or_else(|error| {
            output::talk(&format!("pages: {error}"));
            ExitCode::FAILURE
        }),
        Err(refused) => refused.tell(),
    }
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let (plugins, count) = if options.quick { (50, 5_000) } else { (10_000, 1_000_000) };
    let stage = Stage::new(options)?;
    let daemon = Daemon::start(&stage)?;
    fill(&stage, &daemon, plugins, count)?;
    let cookie = daemon.sign_in()?;
    let (daemon, cookie) = (&daemon, cookie.as_str());
    let rows = PAGES.into_iter().map(|page| {
        Row::new(format!("/dashboard{page}"), move || daemon.page(&format!("/dashboard{page}"), cookie))
    });
    let table = Table {
        title: format!("Pages of the dashboard: {plugins} plugins, {count} lines, {count} records"),
        unit: "ms",
        rows: take_turns(rows.collect(), Turns::of_long_runs(1, options.samples(2, 10))),
        targets: Vec::new(),
    };
    Ok(output::finish(options, &[table], &OtherPart::default()))
}

fn fill(stage: &Stage, daemon: &Daemon, plugins: usize, count: usize) -> io::Result<()> {
    let begun = Instant::now();
    let package = stage.directory().join("package");
    fs::create_dir(&package)?;
    fs::write(package.join("main.py"), "def which(a):\n    return 1\n")?;
    for number in 0..INSTALLED.min(plugins) {
        let manifest = format!(
            "name: plugin-{number:05}\nversion: 1.0.0\nruntime: python\nentry_point: main.py\n\
             description: The plugin of the number {number}.\npermissions: ['env:read=LANG']\ntools: [{{name: which}}]\n"
        );
        fs::write(package.join("plugin.yaml"), manifest)?;
        daemon.ask("POST", "/plugins", &json!({"path": package, "grant_requested": number != 0}))?;
    }
    let mut python = command(PYTHON);
    python.args(["-c", RECORDS]).arg(daemon.home.join("state.db"));
    python.args([INSTALLED, plugins, count].map(|number| number.to_string()));
    if !python.status()?.success() {
        return Err(io::Error::other("the records cannot be written"));
    }
    let logs = daemon.home.join("logs");
    fs::create_dir_all(&logs)?;
    fs::set_permissions(&logs, Permissions::from_mode(0o700))?;
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(logs.join(format!("{ONE}.jsonl")))?;
    let mut file = io::BufWriter::new(file);
    for number in 0..count {
        let line = json!({
            "at_ms": 1_700_000_000_000_i64 + i64::try_from(number).map_err(io::Error::other)?, "source": "stderr",
            "message": format!("request {number} was answered in 17 ms with 200 bytes, and nothing was left to do")
        });
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    output::talk(&format!("pages: all is there after {:.0?}", begun.elapsed()));
    Ok(())
}

/// The daemon that is looked at. Dropping it ends it.
struct Daemon {
    child: Child,
    home: PathBuf,
    address: String,
}

impl Daemon {
    fn start(stage: &Stage) -> io::Result<Self> {
        let home = stage.directory().join("pages-home");
        let mut serve = command(stage.ringfence()?);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--json"]).env("RINGFENCE_HOME", &home);
        let mut child = serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let address = ready.pointer("/addresses/0").and_then(Value::as_str).unwrap_or_default();
        let daemon = Self { child, home, address: address.trim_start_matches("http://").to_owned() };
        if daemon.address.is_empty() { Err(io::Error::other("the daemon is not ready")) } else { Ok(daemon) }
    }

    /// Asks the API at the socket, where its own user needs no token.
    fn ask(&self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = UnixStream::connect(self.home.join("daemon.sock"))?;
        stream.set_read_timeout(Some(LONGEST))?;
        let answer = exchange(stream, &(head + &body))?;
        if !answer.starts_with("HTTP/1.1 2") {
            return Err(io::Error::other(answer));
        }
        let (begin, end) = (answer.find("\r\n\r\n").unwrap_or_default(), answer.len());
        Ok(serde_json::from_str(answer.get(begin..end).unwrap_or_default()).unwrap_or_default())
    }

    fn get(&self, path: &str, cookie: &str) -> io::Result<String> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(LONGEST))?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n",
            self.address
        );
        exchange(stream, &head)
    }

    /// Opens a one-time link; the cookie of the session.
    fn sign_in(&self) -> io::Result<String> {
        let link = self.ask("POST", "/dashboard/links", &Value::Null)?;
        let url = link.get("url").and_then(Value::as_str).unwrap_or_default();
        let path = url.split(&self.address).nth(1).unwrap_or_default();
        let answer = self.get(path, "")?;
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.and_then(|line| line.split(';').next()).map(str::to_owned);
        cookie.ok_or_else(|| io::Error::other(format!("the link opens nothing: {answer}")))
    }

    /// How long a page takes, in milliseconds.
    fn page(&self, path: &str, cookie: &str) -> io::Result<f64> {
        let begun = Instant::now();
        let answer = self.get(path, cookie)?;
        let taken = begun.elapsed();
        let is_whole = answer.starts_with("HTTP/1.1 200") && answer.ends_with("</html>");
        // A search without a hit says so; all else has something of what is there.
        let is_right = is_whole && (path.contains(NOTHING) || answer.contains("<h1>"));
        if is_right { Ok(taken.as_secs_f64() * 1e3) } else { Err(io::Error::other(answer)) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has nothing to end in order.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            output::talk(&format!("pages: the daemon does not end: {error}"));
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
