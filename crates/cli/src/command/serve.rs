//! `ringfence serve`: the daemon. It holds the home, keeps active plugins running and serves them over HTTP.
//!
//! In order: the sockets that were handed over, signals, the configuration, the log; then threads; then the host, which starts
//! what is active; then the addresses, and only then it says that it is ready. It ends the other way round.

mod background;
mod file;
mod lifeline;
mod listeners;
mod log;
mod notify;
mod reload;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use ringfence::resident::{self, HandedSocket};
use ringfence::stream::Signals;
use ringfence::{Config, Error, Home, Host};
use ringfence_api::ErrorCode;
use ringfence_server::{Listen, Server, ServerOptions};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use crate::daemon;
use crate::host::{self, Arrivals, ENDING, FILES_WAIT, Stopped, broken};
use crate::print;
use file::LogFile;
use lifeline::Lifeline;
use listeners::{Place, Wanted};
use log::{LogForm, LogPlace};
use notify::Notifier;
use reload::Reloader;

/// The hidden flag of the process that stays.
const DETACHED: &str = "detached";
/// Reload the configuration.
const SIGHUP: i32 = 1;
/// Stop in order.
const SIGTERM: i32 = 15;

#[derive(Debug, Args)]
#[command(
    after_help = "One daemon holds a home. It starts every active plugin, keeps it running, and serves the HTTP API; other commands on \
that home go through it or work beside it. Its Unix socket is daemon.sock in the home; who connects as its user needs no token. Over TCP \
every request but GET /api/v1/health needs one: ringfence token create.

SIGTERM and Ctrl-C: nothing new is accepted, requests under way may end within drain_timeout, plugins are stopped, the store is closed. \
A second one ends it at once. With --until-stdin-closes the end of standard input does the same as the first. SIGHUP: config.toml is read again; if it has a mistake, what holds goes on, and the log says why.

Examples:
  ringfence serve
  ringfence serve --listen 127.0.0.1:0 --json
  ringfence serve --background
  ringfence serve --unix /run/ringfence.sock --log json
  ringfence serve --listen none --until-stdin-closes --json

Exit status: 0 stopped in order; 1 an address or the home cannot be used; 2 usage, or the configuration is wrong; 8 another daemon \
holds the home; 128+n ended by a second signal n."
)]
pub(crate) struct ServeArguments {
    /// Where to listen for HTTP, in the place of the configuration; may be given several times, or once as none
    #[arg(long, value_name = "ADDRESS:PORT|none")]
    listen: Vec<Place>,
    /// The Unix socket, or none [default: daemon.sock in the home]
    #[arg(long, value_name = "PATH|none")]
    unix: Option<OsString>,
    /// Return when it is ready, and leave it running; its log is daemon.log in the home
    #[arg(long)]
    background: bool,
    /// Stop in order when standard input ends: for an application that starts it, and must not leave it behind
    #[arg(long, conflicts_with_all = ["background", "detached"])]
    until_stdin_closes: bool,
    /// What the log looks like [default: text]
    #[arg(long, value_name = "FORM", value_enum)]
    log: Option<LogForm>,
    /// Print one JSON document when it is ready: {pid, version, addresses, socket}
    #[arg(long)]
    json: bool,
    /// This is the process that stays.
    #[arg(long, hide = true, conflicts_with = "background")]
    detached: bool,
}

/// What is said when it is ready.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {
    /// Its process.
    pid: u32,
    version: String,
    /// The address of each TCP socket, as a URL.
    addresses: Vec<String>,
    /// The Unix socket, unless there is none.
    socket: Option<PathBuf>,
}

impl Ready {
    fn lines(&self) -> Vec<String> {
        let socket = self.socket.iter().map(|path| format!("listening on unix:{}", path.display()));
        self.addresses.iter().map(|url| format!("listening on {url}")).chain(socket).collect()
    }
}

/// Serves until a signal.
pub(crate) fn run(arguments: &ServeArguments) -> ExitCode {
    if arguments.background {
        return background::start(arguments);
    }
    match serve(arguments) {
        Ok(status) => status,
        Err(stopped) => host::tell(&stopped, arguments.json),
    }
}

/// The log of a daemon in the background.
fn log_file(home: &Home) -> PathBuf {
    home.path().join("daemon.log")
}

/// What it needs before there are threads.
struct Prepared {
    home: Home,
    config: Config,
    handed: Vec<HandedSocket>,
    signals: Signals,
    reloader: Reloader,
    notifier: Notifier,
    lifeline: Lifeline,
}

fn prepare(arguments: &ServeArguments) -> Result<Prepared, Stopped> {
    if arguments.detached {
        background::leave()?;
    }
    // Before anything else is opened or started.
    let handed =
        resident::handed_over().map_err(|cause| broken("cannot take the sockets of LISTEN_FDS", cause))?;
    let signals = Signals::catch(&ENDING).map_err(|cause| broken("cannot catch signals", cause))?;
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    let level = reload::level(&config)?;
    let place = if arguments.detached {
        let path = log_file(&home);
        let file = LogFile::open(&path).map_err(|cause| broken("cannot open daemon.log", cause))?;
        LogPlace::File(Mutex::new(file))
    } else {
        LogPlace::Stderr
    };
    let control = log::start(arguments.log.unwrap_or_default(), level, place);
    let reloader = Reloader::new(home.clone(), config.clone(), control);
    let notifier = Notifier::from_env();
    // After the signals: its thread takes their mask.
    let lifeline = if arguments.until_stdin_closes { Lifeline::of_stdin()? } else { Lifeline::default() };
    Ok(Prepared { home, config, handed, signals, reloader, notifier, lifeline })
}

fn serve(arguments: &ServeArguments) -> Result<ExitCode, Stopped> {
    let Prepared { home, config, handed, signals, reloader, notifier, lifeline } = prepare(arguments)?;
    let wanted = Wanted {
        listen: listeners::addresses(&arguments.listen)?,
        unix: arguments.unix.as_deref(),
        own_socket: daemon::socket(&home),
    };
    // Judged before any plugin is started.
    let (places, socket) = listeners::places(&wanted, handed, &config.server)?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| broken("cannot start the runtime", cause))?;
    let done = runtime.block_on(async {
        let arrivals = Ends { signals: Arrivals::of(signals)?, lifeline };
        let host = tokio::select! {
            number = ending(&arrivals) => return Err(Stopped::Signal(number)),
            host = host::builder(home, config.clone()).actor("daemon").start_active(true).build() => host?,
        };
        let served = serve_host(arguments, &host, places, socket, &arrivals, &notifier, &reloader).await;
        let forced = match &served {
            Ok(Ended::Again(number)) => Some(*number),
            _ => {
                tokio::select! {
                    number = ending(&arrivals) => Some(number),
                    () = host.shutdown() => None,
                }
            }
        };
        tracing::info!(in_order = forced.is_none(), "ended");
        served.map(|_| forced.map_or(ExitCode::SUCCESS, host::signal_status))
    });
    runtime.shutdown_timeout(if done.is_ok() { FILES_WAIT } else { Duration::ZERO });
    done
}

/// What ends the daemon, or has it read its configuration again.
struct Ends {
    signals: Arrivals,
    lifeline: Lifeline,
}

impl Ends {
    /// The next signal; the end of standard input, where that ends the daemon, is one SIGTERM. Cancel safe.
    async fn next(&self) -> i32 {
        tokio::select! {
            number = self.signals.next() => number,
            () = self.lifeline.closed() => {
                tracing::info!("standard input has ended");
                SIGTERM
            }
        }
    }
}

/// How the serving ended.
enum Ended {
    /// In order.
    Drained,
    /// By a second signal.
    Again(i32),
}

async fn serve_host(
    arguments: &ServeArguments,
    host: &Host,
    places: Vec<Listen>,
    socket: Option<PathBuf>,
    arrivals: &Ends,
    notifier: &Notifier,
    reloader: &Reloader,
) -> Result<Ended, Stopped> {
    let secure = places.iter().any(|place| matches!(place, Listen::Tcp { tls: Some(_), .. }));
    let config = reloader.config();
    let options = ServerOptions {
        listen: places,
        drain: config.server.drain_timeout,
        install_from: config.server.install_from.clone(),
        names: config.server.names.clone(),
        ..ServerOptions::default()
    };
    let server = tokio::select! {
        number = ending(arrivals) => return Err(Stopped::Signal(number)),
        server = Server::bind(host.clone(), options) => server?,
    };
    let scheme = if secure { "https" } else { "http" };
    let ready = Ready {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        addresses: server.addresses().iter().map(|address| format!("{scheme}://{address}")).collect(),
        socket,
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut serving = tokio::spawn(server.serve(async move {
        // Whoever holds the other end has gone: that is a stop as well.
        let _dropped = stopped.await;
    }));
    announce(arguments, &ready)?;
    tracing::info!(addresses = ready.addresses.join(" "), pid = ready.pid, "serving");
    notifier.say(&format!("READY=1\nSTATUS={}", ready.lines().join(", ")));
    let mut beat = notifier.watchdog().map(tokio::time::interval);
    loop {
        tokio::select! {
            number = arrivals.next() => {
                if number != SIGHUP {
                    tracing::info!(signal = number, "stopping");
                    break;
                }
                notifier.say("RELOADING=1");
                reloader.reload(host);
                notifier.say("READY=1");
            }
            () = tick(&mut beat) => notifier.say("WATCHDOG=1"),
            ended = &mut serving => {
                let error = Error::new(ErrorCode::Internal, "the server ended by itself");
                return Err(match ended {
                    Ok(()) => error,
                    Err(cause) => error.with_source(cause),
                }
                .into());
            }
        }
    }
    notifier.say("STOPPING=1");
    // Nobody waits for it if the server has ended.
    let _ended = stop.send(());
    tokio::select! {
        number = ending(arrivals) => {
            serving.abort();
            Ok(Ended::Again(number))
        }
        _ended = &mut serving => Ok(Ended::Drained),
    }
}

/// The next signal that ends; the others say what cannot be done now.
async fn ending(arrivals: &Ends) -> i32 {
    loop {
        match arrivals.next().await {
            SIGHUP => tracing::info!("the configuration is not read while the daemon starts or stops"),
            number => return number,
        }
    }
}

async fn tick(beat: &mut Option<tokio::time::Interval>) {
    match beat {
        Some(beat) => {
            beat.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Says where it listens.
///
/// # Errors
/// `cancelled` when whoever started it in the background waits no more: then nobody knows of it.
fn announce(arguments: &ServeArguments, ready: &Ready) -> Result<(), Error> {
    if arguments.json {
        let mut line = serde_json::to_string(ready).unwrap_or_default();
        line.push('\n');
        let mut out = std::io::stdout().lock();
        let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        return match written {
            Err(cause) if arguments.detached => {
                let message = "whoever started the daemon has gone before it was ready";
                Err(Error::new(ErrorCode::Cancelled, message).with_source(cause))
            }
            _ => Ok(()),
        };
    }
    for line in ready.lines() {
        print::talk(&line);
    }
    Ok(())
}
