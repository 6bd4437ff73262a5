//! The host of one command: opened when it is needed, waited on together with signals, and always shut down in order.
//!
//! Only commands about plugins come here: `exec`, `runs` and `doctor` pay for no runtime.

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
use crate::print;

/// Signals that end a command in order: Ctrl-C, `kill`, a closed terminal, Ctrl-\.
const ENDING: [i32; 4] = [2, 15, 1, 3];
/// After this long a person is told what is being waited for.
const PROGRESS_AFTER: Duration = Duration::from_millis(400);
/// The longest wait for work on files that goes on after everything else has ended.
const FILES_WAIT: Duration = Duration::from_secs(10);
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
    host: Host,
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
fn tell(stopped: &Stopped, json: bool) -> ExitCode {
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

fn signal_status(number: i32) -> ExitCode {
    ExitCode::from(u8::try_from(SIGNAL_STATUS + number).unwrap_or(u8::MAX))
}

impl Opened {
    fn open(place: impl FnOnce() -> Result<(Home, Config), Error>) -> Result<Self, Stopped> {
        // Before the runtime: threads take the mask of signals from whoever starts them.
        let signals = Signals::catch(&ENDING).map_err(|cause| broken("cannot catch signals", cause))?;
        let (home, config) = place()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| broken("cannot start the runtime", cause))?;
        let entered = runtime.enter();
        let readiness = signals.as_fd().try_clone_to_owned().and_then(watched);
        let readiness = readiness.map_err(|cause| broken("cannot wait for signals", cause))?;
        drop(entered);
        let arrivals = Arrivals { signals, readiness };
        let built = runtime.block_on(async {
            tokio::select! {
                number = arrivals.next() => Err(Stopped::Signal(number)),
                host = builder(home, config).build() => host.map_err(Stopped::from),
            }
        });
        Ok(Self { host: built?, runtime, arrivals })
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
        self.runtime.block_on(async {
            tokio::select! {
                number = self.arrivals.next() => Err(Stopped::Signal(number)),
                done = with_progress(doing, work(&self.host)) => done.map_err(Stopped::from),
            }
        })
    }

    /// What is wrong with the administrator's policy, for people who only look.
    pub(crate) fn policy_warning(&self) -> Option<String> {
        self.host.policy().warning().map(|warning| crate::text::one_line(&warning))
    }

    /// The signals, for whoever waits for something else.
    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Stops what runs, in order. A signal ends the wait for it: the kernel then ends what is left. Returns that signal.
    fn close(self) -> Option<i32> {
        let Self { runtime, host, arrivals } = self;
        let signal = runtime.block_on(async {
            tokio::select! {
                number = arrivals.next() => Some(number),
                () = host.shutdown() => None,
            }
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

fn builder(home: Home, config: Config) -> HostBuilder {
    let builder = Host::builder().home(home).config(config).actor(actor());
    match crate::command::scan_code::words() {
        Some(words) => builder.scan_program(words),
        None => builder,
    }
}

/// Who acts, as grants and the audit trail name it.
fn actor() -> String {
    match std::fs::metadata("/proc/self") {
        Ok(process) => format!("command line, uid {}", process.uid()),
        Err(_) => "command line".to_owned(),
    }
}

fn broken(message: &str, cause: std::io::Error) -> Stopped {
    Stopped::Failed(Error::new(ErrorCode::Io, message).with_source(cause))
}

impl Arrivals {
    /// The next signal. Cancel safe. Where signals cannot be read, none ever comes.
    async fn next(&self) -> i32 {
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
