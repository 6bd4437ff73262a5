//! The API beside what it stands on: a call over HTTP and over the socket beside the library's own, `/health` under wrk beside a bare
//! handler of the same HTTP library, and the memory of streams that nobody says anything on.

use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ringfence::token::NewToken;
use ringfence::{Config, Home, Host};
use ringfence_api::Role;
use ringfence_benches::native;
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers;
use ringfence_benches::resident::{Resident, chain};
use ringfence_benches::stage::Stage;
use ringfence_benches::table::{Bound, Table, Target};
use ringfence_benches::turns::{Row, Turns, take_turns};
use ringfence_server::{Listen, Server, ServerOptions};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

const LIBRARY: &str = "the library";
const SOCKET: &str = "over the socket";
const TCP: &str = "over HTTP";
const BARE: &str = "a bare handler";
const HEALTH: &str = "GET /health";
const STREAM: &str = "an idle stream";
/// Calls of one measurement.
const CALLS: usize = 2_000;
/// What wrk is told: connections, and how long.
const CONNECTIONS: &str = "16";
const SECONDS: &str = "2s";
const STREAMS: usize = 10_000;
const QUICK_STREAMS: usize = 1_000;
/// Fewer than one token may have open.
const STREAMS_EACH: usize = 1_000;
const PART_SERVER: &str = "server";
const ANSWER_WAIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if std::env::args().any(|word| word == PART_SERVER) {
        return match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output::talk(&format!("http: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    native::main("http", measure)
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let stage = Stage::without_ringfence()?;
    let turns = Turns::of_long_runs(1, options.samples(3, 10));
    let tables = [calls(&stage, turns)?, health(&stage, turns)?, memory(&stage, options)];
    Ok(output::finish(options, &tables, &OtherPart::default()))
}

/// One call at a time, of the same plugin of the same host.
fn calls(stage: &Stage, turns: Turns) -> io::Result<Table> {
    let mut config = Config::default();
    config.plugins.cpu_percent = None;
    let resident = Resident::start_on(threads()?, stage, "http", config)?;
    resident.install_native("echo", "")?;
    resident.activate("echo")?;
    let host = resident.host()?.clone();
    let socket = stage.directory().join("calls.sock");
    let served = Served::begin(&resident.runtime, host.clone(), socket, None)?;
    let body = json!({"tool": "echo", "arguments": {"text": "x".repeat(40)}}).to_string();
    let request = |token: Option<&str>| {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        format!(
            "POST /api/v1/plugins/echo/call HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             {token}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let per_call = |begun: Instant| begun.elapsed().as_secs_f64() * 1e6 / CALLS as f64;
    let rows = vec![
        Row::new(LIBRARY, || {
            let arguments = json!({"text": "x".repeat(40)});
            resident.runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..CALLS {
                    host.call("echo", "echo", arguments.clone()).await.map_err(chain)?;
                }
                Ok(per_call(begun))
            })
        }),
        Row::new(SOCKET, || {
            let mut stream = UnixStream::connect(&served.socket)?;
            stream.set_read_timeout(Some(ANSWER_WAIT))?;
            many(&mut stream, &request(None)).map(per_call)
        }),
        Row::new(TCP, || {
            let mut stream = TcpStream::connect(served.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_WAIT))?;
            many(&mut stream, &request(Some(&served.token))).map(per_call)
        }),
    ];
    Ok(Table {
        title: "One call of about 200 B at a time".to_owned(),
        unit: "us",
        rows: take_turns(rows, turns),
        targets: Vec::new(),
    })
}

/// Sends a request again and again on one connection, each after the answer to the one before.
fn many(stream: &mut (impl io::Read + Write), request: &str) -> io::Result<Instant> {
    let mut buffer = vec![0; 64 * 1024];
    let begun = Instant::now();
    for _ in 0..CALLS {
        stream.write_all(request.as_bytes())?;
        let mut length = 0;
        loop {
            let count = stream.read(buffer.get_mut(length..).unwrap_or_default())?;
            length += count;
            let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default()).unwrap_or_default();
            if count == 0 || !text.starts_with("HTTP/1.1 200") {
                return Err(io::Error::other(format!("the answer is {text}")));
            }
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let told = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if told.and_then(|told| told.parse().ok()) == Some(body.len()) {
                break;
            }
        }
    }
    Ok(begun)
}

/// Requests a second, as wrk counts them, with the server and wrk on the same machine.
fn health(stage: &Stage, turns: Turns) -> io::Result<Table> {
    let runtime = threads()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
    let bare = listener.local_addr()?;
    let answer = || async { ([("content-type", "application/json")], r#"{"status":"ok"}"#) };
    let router = axum::Router::new().route("/health", axum::routing::get(answer));
    let serving = runtime.spawn(async move { axum::serve(listener, router).await });
    let home = Home::at(stage.directory().join("health-home"));
    // As the bare one, on threads of its own.
    let own = threads()?;
    let host = own.block_on(Host::builder().home(home).config(Config::default()).build()).map_err(chain)?;
    let served = Served::begin(&own, host, stage.directory().join("health.sock"), None)?;
    let rows = vec![
        Row::new(BARE, || wrk(&format!("http://{bare}/health"))),
        Row::new(HEALTH, || wrk(&format!("http://{}/api/v1/health", served.address))),
    ];
    let table = Table {
        title: format!("GET /health without a token, {CONNECTIONS} connections of wrk"),
        unit: "requests/s",
        rows: take_turns(rows, turns),
        targets: vec![Target { row: HEALTH, base: BARE, bound: Bound::AtLeast(0.8) }],
    };
    drop(served);
    serving.abort();
    Ok(table)
}

fn wrk(url: &str) -> io::Result<f64> {
    let mut command = peers::command("wrk");
    command.args(["--threads", "1", "--connections", CONNECTIONS, "--duration", SECONDS, url]);
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let refused = text.lines().any(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok());
    match rate {
        Some(rate) if !refused && output.status.success() => Ok(rate),
        _ => Err(io::Error::other(format!("wrk says: {text}"))),
    }
}

/// What a server in a process of its own takes for each stream that is open and silent.
fn memory(stage: &Stage, options: &Options) -> Table {
    let count = if options.quick { QUICK_STREAMS } else { STREAMS };
    let row = Row::new(STREAM, move || {
        let mut server = Apart::start(stage.directory())?;
        let before = server.resident_kib()?;
        let mut streams = Vec::with_capacity(count);
        for number in 0..count {
            let token = server.tokens.get(number / STREAMS_EACH).map(String::as_str).unwrap_or_default();
            let mut stream = TcpStream::connect(server.address)?;
            stream.set_read_timeout(Some(ANSWER_WAIT))?;
            let head = format!(
                "GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            let mut first = [0; 12];
            stream.read_exact(&mut first)?;
            if !first.ends_with(b"200") {
                return Err(io::Error::other(format!("stream {number} was refused")));
            }
            streams.push(stream);
        }
        let used = server.resident_kib()? - before;
        drop(streams);
        server.end();
        Ok(used / count as f64)
    });
    Table {
        title: format!("Memory of the server for each of {count} idle streams"),
        unit: "KiB",
        rows: take_turns(vec![row], Turns::of_long_runs(0, 1)),
        targets: Vec::new(),
    }
}

/// What a server runs on: the threads of the machines that figures are given for.
fn threads() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// A server in this process, on the runtime of its host.
struct Served {
    address: SocketAddr,
    socket: PathBuf,
    token: String,
}

impl Served {
    fn begin(
        runtime: &Runtime,
        host: Host,
        socket: PathBuf,
        tokens: Option<&mut Vec<String>>,
    ) -> io::Result<Self> {
        let (server, token) = runtime.block_on(async {
            let options = ServerOptions {
                listen: vec![
                    Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: None },
                    Listen::Unix { path: socket.clone() },
                ],
                // What is measured is a request, not how many one token may send.
                requests_per_second: None,
                ..ServerOptions::default()
            };
            let token = made(&host).await?;
            for more in tokens.into_iter().flatten() {
                *more = made(&host).await?;
            }
            let server = Server::bind(host, options).await.map_err(chain)?;
            Ok::<_, io::Error>((server, token))
        })?;
        let address = server.addresses().first().copied();
        let address = address.ok_or_else(|| io::Error::other("it has no address"))?;
        runtime.spawn(server.serve(std::future::pending()));
        Ok(Self { address, socket, token })
    }
}

async fn made(host: &Host) -> io::Result<String> {
    let made = host.create_token(NewToken::new(Role::Admin)).await.map_err(chain)?;
    Ok(made.token.reveal().to_owned())
}

/// This program as a server alone: says its address and tokens, and ends with its input.
fn serve() -> io::Result<()> {
    let directory = std::env::args().next_back().map(PathBuf::from).unwrap_or_default();
    let runtime = threads()?;
    let home = Home::at(directory.join("home"));
    let host =
        runtime.block_on(Host::builder().home(home).config(Config::default()).build()).map_err(chain)?;
    let mut tokens = vec![String::new(); STREAMS / STREAMS_EACH];
    let served = Served::begin(&runtime, host, directory.join("s"), Some(&mut tokens))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{} {}", served.address, tokens.join(" "))?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// The asking side of [`serve`].
struct Apart {
    process: Child,
    address: SocketAddr,
    tokens: Vec<String>,
}

impl Apart {
    fn start(directory: &Path) -> io::Result<Self> {
        let place = directory.join("streams");
        std::fs::create_dir_all(&place)?;
        let mut command = peers::command(std::env::current_exe()?);
        command.arg(PART_SERVER).arg(&place).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut line = String::new();
        let out = process.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        BufReader::new(out).read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let address = words.next().and_then(|word| word.parse().ok());
        let address = address.ok_or_else(|| io::Error::other("the server did not start"))?;
        Ok(Self { process, address, tokens: words.collect() })
    }

    fn resident_kib(&self) -> io::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let value = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        value.ok_or_else(|| io::Error::other("the kernel does not say what it takes"))
    }

    fn end(&mut self) {
        drop(self.process.stdin.take());
        // A failure to wait leaves nothing to do.
        drop(self.process.wait());
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.end();
    }
}
