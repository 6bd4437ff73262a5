//! A plugin that is worked on: reloaded, refused with the line that would allow it, and without a sandbox only by name.

use ringfence::dev::{Dev, DevOptions, manifest_line};
use ringfence::event::{Event, EventKind, Heard};
use ringfence::plugin::Consent;
use ringfence_api::ErrorCode;
use serde_json::json;

use crate::rig::Rig;

const READER: &str = "def read(arguments):\n    return open(arguments['path']).read()\n";

#[tokio::test]
async fn what_is_refused_comes_with_the_line_of_the_manifest_that_would_allow_it() {
    let rig = Rig::new().await;
    let secret = rig.path("secret.txt");
    std::fs::write(&secret, "canary").unwrap();
    let package = rig.python_package("worked-on", "1.0.0", "", &["read"], READER);
    let mut events = rig.host.subscribe();
    let mut dev = Dev::open(&rig.host, &package, DevOptions::default()).await.unwrap();
    assert_eq!(dev.reload().await.unwrap().tools, ["read"]);
    assert!(dev.call("read", json!({"path": secret})).await.is_err());
    let line = loop {
        if let Some(Heard::Event(Event { kind: EventKind::Denial { denial, .. }, .. })) = events.next().await
            && denial.object == secret.display().to_string()
        {
            break manifest_line(&denial).unwrap();
        }
    };
    // That very line makes it work.
    let manifest = std::fs::read_to_string(package.join("plugin.yaml")).unwrap();
    std::fs::write(package.join("plugin.yaml"), format!("{manifest}{line}\n")).unwrap();
    while !dev.changed() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    dev.reload().await.unwrap();
    assert_eq!(dev.call("read", json!({"path": secret})).await.unwrap(), "canary");
    dev.close().await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn while_the_new_one_is_broken_the_one_before_runs_on() {
    let rig = Rig::new().await;
    let package = rig.python_package("worked-on", "1.0.0", "", &["which"], "def which(a):\n    return 1\n");
    let mut dev = Dev::open(&rig.host, &package, DevOptions::default()).await.unwrap();
    dev.reload().await.unwrap();
    std::fs::write(package.join("main.py"), "def which(a:\n").unwrap();
    let broken = dev.reload().await.unwrap_err();
    assert!(broken.message().contains("SyntaxError"), "{broken}");
    assert_eq!(dev.call("which", json!({})).await.unwrap(), 1);
    std::fs::write(package.join("main.py"), "def which(a):\n    return 2\n").unwrap();
    dev.reload().await.unwrap();
    assert_eq!(dev.call("which", json!({})).await.unwrap(), 2);
    dev.close().await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn without_a_sandbox_it_is_the_callers_own_program_and_never_an_installed_plugin() {
    let rig = Rig::new().await;
    let secret = rig.path("secret.txt");
    std::fs::write(&secret, "canary").unwrap();
    let package = rig.python_package("naked", "1.0.0", "", &["read"], READER);
    let options = DevOptions { unsandboxed: true };
    let mut dev = Dev::open(&rig.host, &package, options).await.unwrap();
    dev.reload().await.unwrap();
    assert_eq!(dev.call("read", json!({"path": secret})).await.unwrap(), "canary");
    rig.host.install(&package, Consent::Absent).await.unwrap();
    for refused in
        [dev.reload().await.unwrap_err(), Dev::open(&rig.host, &package, options).await.unwrap_err()]
    {
        assert_eq!(refused.code(), ErrorCode::PermissionDenied, "{refused}");
    }
    dev.close().await;
    rig.host.shutdown().await;
}
