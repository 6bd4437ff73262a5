//! The host of one command: opened when it is needed, waited on together with signals, and always shut down in order.
//!
//! Where a daemon holds the home, what needs a running plugin is asked of it; all else is done on the home that is shared with it.
//!
//! Only commands about plugins come here: `exec`, `runs` and `doctor` pay for no runtime.

use std::cell::OnceCell;
use std::future::Future;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use std::time::Duration;

use ringfence::stream::Signals;
use ringfence::{Config, Error, Home, Host, HostBuilder};
use ringfence_api::ErrorCode;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};

use crate::answer::Answer;
use crate::daemon::Daemon;
use crate::print;

/// Signals that end a command in order: Ctrl-C, `kill`, a closed terminal, Ctrl-\.
pub(crate) const ENDING: [i32; 4] = [2, 15, 1, 3];
/// After this long a person is told what is being waited for.
const PROGRESS_AFTER: Duration = Duration::from_millis(400);
/// The longest wait for work on files that goes on after everything else has ended.
pub(crate) const FILES_WAIT: Duration = Duration::from_secs(10);
/// The status of a command that was ended by a signal is this and the signal's number.
const SIGNAL_STATUS: i32 = 128;

/// Why a command did not come to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It failed, or was refused.
    Failed(Error),
    /// This signal ended it.
    Signal(i32),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A host, the runtime it lives in, and the signals that end both.
pub(crate) struct Opened {
    runtime: Runtime,
    home: Home,
    config: Config,
    /// Opened by the first work that needs it: what goes through the daemon opens no store.
    host: OnceCell<Host>,
    daemon: Option<Daemon>,
    arrivals: Arrivals,
}

/// Signals, to be waited for by tasks and by the consent prompt.
pub(crate) struct Arrivals {
    signals: Signals,
    readiness: AsyncFd<OwnedFd>,
}

/// Opens the home's host, does the work, prints the answer, and shuts the host down, whatever came of it.
pub(crate) fn with(json: bool, work: impl FnOnce(&mut Opened) -> Result<Answer, Stopped>) -> ExitCode {
    with_status(json, |opened| work(opened).map(|answer| answer.print(json)))
}

/// The same for work that prints by itself, and whose status is not only that of printing.
pub(crate) fn with_status(
    json: bool,
    work: impl FnOnce(&mut Opened) -> Result<ExitCode, Stopped>,
) -> ExitCode {
    let place = || {
        let home = Home::from_env()?;
        let config = Config::load(&home)?;
        Ok((home, config))
    };
    with_home(json, place, work)
}

/// The same for a home that `place` finds or makes, when signals wait to be asked for already; the work prints by itself.
pub(crate) fn with_home(
    json: bool,
    place: impl FnOnce() -> Result<(Home, Config), Error>,
    work: impl FnOnce(&mut Opened) -> Result<ExitCode, Stopped>,
) -> ExitCode {
    let mut opened = match Opened::open(place) {
        Ok(opened) => opened,
        Err(stopped) => return tell(&stopped, json),
    };
    let status = match work(&mut opened) {
        Ok(status) => status,
        Err(stopped) => tell(&stopped, json),
    };
    match opened.close() {
        Some(signal) => signal_status(signal),
        None => status,
    }
}

/// Says why there is no answer.
pub(crate) fn tell(stopped: &Stopped, json: bool) -> ExitCode {
    let (error, status) = match stopped {
        Stopped::Failed(error) => return failed(error, json),
        Stopped::Signal(number) => {
            let message = format!("cancelled by signal {number}");
            (Error::new(ErrorCode::Cancelled, message), signal_status(*number))
        }
    };
    if json {
        print::error_document(&error);
    } else {
        print::error(&error);
    }
    status
}

/// Says what failed, in the form that was asked for; the status is that of its code.
pub(crate) fn failed(error: &Error, json: bool) -> ExitCode {
    if json {
        print::error_document(error);
    } else {
        print::error(error);
    }
    ExitCode::from(error.code().exit_status())
}

pub(crate) fn signal_status(number: i32) -> ExitCode {
    ExitCode::from(u8::try_from(SIGNAL_STATUS + number).unwrap_or(u8::MAX))
}

/// Runs what opens the home by itself whenever it needs it, until it ends or a signal comes; then `rest` is waited for, unless
/// another signal comes.
pub(crate) fn serve(
    work: impl Future<Output = Result<(), Error>>,
    rest: impl Future<Output = ()>,
) -> ExitCode {
    let served = || {
        let signals = Signals::catch(&ENDING).map_err(|cause| broken("cannot catch signals", cause))?;
        let (runtime, arrivals) = runtime(signals)?;
        let done = runtime.block_on(async {
            tokio::select! {
                done = work => done.map_err(Stopped::from),
                number = arrivals.next() => {
                    tokio::select! {
                        () = rest => {}
                        _again = arrivals.next() => {}
                    }
                    Err(Stopped::Signal(number))
                }
            }
        });
        runtime.shutdown_timeout(if done.is_err() { Duration::ZERO } else { FILES_WAIT });
        done
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(stopped) => tell(&stopped, false),
    }
}

/// A runtime, and the signals as something that tasks wait for.
fn runtime(signals: Signals) -> Result<(Runtime, Arrivals), Stopped> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| broken("cannot start the runtime", cause))?;
    let entered = runtime.enter();
    let arrivals = Arrivals::of(signals)?;
    drop(entered);
    Ok((runtime, arrivals))
}

impl Opened {
    fn open(place: impl FnOnce() -> Result<(Home, Config), Error>) -> Result<Self, Stopped> {
        // Before the runtime: threads take the mask of signals from whoever starts them.
        let signals = Signals::catch(&ENDING).map_err(|cause| broken("cannot catch signals", cause))?;
        let (home, config) = place()?;
        let (runtime, arrivals) = runtime(signals)?;
        let daemon = runtime.block_on(async {
            tokio::select! {
                number = arrivals.next() => Err(Stopped::Signal(number)),
                daemon = Daemon::find(&home) => daemon.map_err(Stopped::from),
            }
        })?;
        Ok(Self { runtime, home, config, host: OnceCell::new(), daemon, arrivals })
    }

    /// The daemon that holds the home, if one answers.
    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        self.daemon.as_ref()
    }

    /// The host of this process, opened now if it was not needed before.
    fn host(&self) -> Result<&Host, Stopped> {
        if let Some(host) = self.host.get() {
            return Ok(host);
        }
        let built = self.runtime.block_on(async {
            tokio::select! {
                number = self.arrivals.next() => Err(Stopped::Signal(number)),
                host = builder(self.home.clone(), self.config.clone()).build() => host.map_err(Stopped::from),
            }
        })?;
        Ok(self.host.get_or_init(|| built))
    }

    /// Waits for work of the daemon; a signal drops it. On a terminal, `doing` is said when it takes long.
    pub(crate) fn wait_for<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Stopped> {
        self.runtime.block_on(async {
            tokio::select! {
                number = self.arrivals.next() => Err(Stopped::Signal(number)),
                done = with_progress(doing, work) => done.map_err(Stopped::from),
            }
        })
    }

    /// Waits for work of the host; a signal drops it, which cancels it. On a terminal, `doing` is said when it takes long.
    pub(crate) fn wait<'a, T, F>(
        &'a self,
        doing: &str,
        work: impl FnOnce(&'a Host) -> F,
    ) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let host = self.host()?;
        self.wait_for(doing, work(host))
    }

    /// Lets time go by; gives the signal that came meanwhile.
    pub(crate) fn pause(&self, duration: Duration) -> Option<i32> {
        self.runtime.block_on(async {
            tokio::select! {
                number = self.arrivals.next() => Some(number),
                () = tokio::time::sleep(duration) => None,
            }
        })
    }

    /// What is wrong with the administrator's policy, for people who only look.
    ///
    /// # Errors
    /// As for opening the host.
    pub(crate) fn policy_warning(&self) -> Result<Option<String>, Stopped> {
        Ok(self.host()?.policy().warning().map(|warning| crate::text::one_line(&warning)))
    }

    /// The signals, for whoever waits for something else.
    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Stops what runs, in order. A signal ends the wait for it: the kernel then ends what is left. Returns that signal.
    fn close(self) -> Option<i32> {
        let Self { runtime, host, arrivals, .. } = self;
        let signal = host.into_inner().and_then(|host| {
            runtime.block_on(async {
                tokio::select! {
                    number = arrivals.next() => Some(number),
                    () = host.shutdown() => None,
                }
            })
        });
        // A signal that came in the last moment must not kill us before the statuses are told.
        drop(arrivals);
        runtime.shutdown_timeout(if signal.is_some() { Duration::ZERO } else { FILES_WAIT });
        signal
    }
}

async fn with_progress<T>(doing: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(PROGRESS_AFTER) => print::progress(doing),
    }
    work.await
}

#[expect(
    deprecated,
    reason = "its successor is unsafe; an OwnedFd keeps its number until it is dropped, which is all that asks for"
)]
fn watched(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

/// A host of the command line.
pub(crate) fn builder(home: Home, config: Config) -> HostBuilder {
    let builder = Host::builder().home(home).config(config).actor(actor());
    match crate::command::scan_code::words() {
        Some(words) => builder.scan_program(words),
        None => builder,
    }
}

fn actor() -> String {
    actor_by("command line")
}

/// Who acts, as grants and the audit trail name it.
pub(crate) fn actor_by(way: &str) -> String {
    match std::fs::metadata("/proc/self") {
        Ok(process) => format!("{way}, uid {}", process.uid()),
        Err(_) => way.to_owned(),
    }
}

pub(crate) fn broken(message: &str, cause: std::io::Error) -> Stopped {
    Stopped::Failed(Error::new(ErrorCode::Io, message).with_source(cause))
}

impl Arrivals {
    /// Waits for these in the runtime that is entered.
    pub(crate) fn of(signals: Signals) -> Result<Self, Stopped> {
        let readiness = signals.as_fd().try_clone_to_owned().and_then(watched);
        let readiness = readiness.map_err(|cause| broken("cannot wait for signals", cause))?;
        Ok(Self { signals, readiness })
    }

    /// The next signal. Cancel safe. Where signals cannot be read, none ever comes.
    pub(crate) async fn next(&self) -> i32 {
        loop {
            let Ok(mut ready) = self.readiness.readable().await else { return std::future::pending().await };
            match self.signals.next() {
                Ok(Some(number)) => return number,
                Ok(None) => ready.clear_ready(),
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// The descriptor and the reader for a wait without a runtime.
    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }
}
