//! One daemon a home: it takes the home for itself, and the home is free when it has ended, however it ended.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use ringfence::{Config, Home, Host};
use ringfence_api::{ErrorCode, PluginState};

use crate::rig::Rig;

const HOME: &str = "RINGFENCE_TEST_DAEMON_HOME";

async fn daemon(home: &Path) -> Result<Host, ringfence::Error> {
    Host::builder().home(Home::at(home)).config(Config::default()).daemon(true).build().await
}

/// The other process: holds the home until it is killed.
#[test]
#[ignore = "it is the other process of the next test"]
fn another_daemon() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _host = runtime.block_on(daemon(Path::new(&home))).unwrap();
    println!("\nready");
    std::thread::sleep(Duration::from_secs(120));
}

#[tokio::test]
async fn a_second_one_is_refused_with_the_number_of_the_first_and_a_killed_one_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("home");
    #[expect(clippy::disallowed_methods, reason = "the test needs a process of its own to kill")]
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "daemon::another_daemon"]).env(HOME, &home);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));

    let refused = daemon(&home).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Busy);
    assert!(refused.message().contains(&format!("process {}", child.id())), "{refused}");
    // Whoever is no daemon works beside it.
    let command = Host::builder().home(Home::at(&home)).config(Config::default()).build().await.unwrap();
    assert!(command.list().await.unwrap().is_empty());
    command.shutdown().await;

    child.kill().unwrap();
    child.wait().unwrap();
    let next = daemon(&home).await.unwrap();
    assert_eq!(next.home().daemon_socket(), home.join("daemon.sock"));
    next.shutdown().await;
    // Who leaves in order leaves it too.
    daemon(&home).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn it_starts_by_itself_only_what_it_is_told_to() {
    let rig = Rig::new().await;
    rig.active("p", "", &["ok"], "def ok(a):\n    return 'ok'\n").await;
    let home = rig.host.home().clone();
    // The home is held until the last handle is gone.
    let (host, directory) = rig.apart();
    host.shutdown().await;
    let calm = daemon(home.path()).await.unwrap();
    let shown = calm.show("p").await.unwrap();
    assert!(shown.state == PluginState::Active && !shown.running);
    calm.shutdown().await;
    let builder = Host::builder().home(home).config(Config::default()).daemon(true).start_active(true);
    let eager = builder.build().await.unwrap();
    assert!(eager.show("p").await.unwrap().running, "the twin");
    eager.shutdown().await;
    drop(directory);
}
