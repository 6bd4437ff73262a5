//! What is granted opens exactly that, what is revoked closes at once, and every refusal names the grant.

use ringfence::plugin::Consent;
use ringfence_api::{ErrorCode, Permission, PluginState};
use ringfence_policy::{CanonicalPath, FileOp, Request};

use crate::rig::Rig;

const READER: &str = "def read(arguments):\n    return open(arguments['path']).read()\n";

fn permission(text: &str) -> Permission {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_file_is_read_with_the_grant_refused_without_and_refused_again_after_revoking() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.path("notes")).unwrap();
    let file = rig.path("notes").join("today.txt");
    std::fs::write(&file, "buy bread").unwrap();
    let grant = format!("file:read={}/**", rig.path("notes").display());
    let head = format!("permissions: ['{grant}']\n");
    let package = rig.python_package("reader", "1.0.0", &head, &["read"], READER);
    let read = || rig.host.call("reader", "read", serde_json::json!({"path": file}));

    rig.host.install(&package, Consent::Only(Vec::new())).await.unwrap();
    rig.host.activate("reader").await.unwrap();
    let refused = read().await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PluginFailed);
    let hint = refused.hint().unwrap();
    assert!(hint.contains(&format!("ringfence grant reader file:read={}", file.display())), "{hint}");
    let denials = rig.host.denials("reader").await.unwrap();
    assert_eq!(denials[0].object, file.display().to_string());

    rig.host.grant("reader", &[permission(&grant)]).await.unwrap();
    assert_eq!(read().await.unwrap(), "buy bread");

    let left = rig.host.revoke("reader", &[permission(&grant)]).await.unwrap();
    assert!(left.is_empty());
    assert!(read().await.is_err());
    assert_eq!(rig.state("reader").await, PluginState::Active);
    let again = rig.host.revoke("reader", &[permission(&grant)]).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::NotFound);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn without_consent_nothing_starts_and_what_is_asked_is_told() {
    let rig = Rig::new().await;
    let head = "permissions: ['env:read=LANG', {permission: 'file:read', scope: ['/srv/**'], reason: 'to see', optional: true}]\n";
    let package = rig.python_package("asker", "1.0.0", head, &["read"], READER);
    let installed = rig.host.install(&package, Consent::Absent).await.unwrap();
    assert_eq!(installed.plugin.state, PluginState::Installed);
    for refused in
        [rig.host.activate("asker").await.unwrap_err(), rig.call("asker", "read").await.unwrap_err()]
    {
        assert_eq!(refused.code(), ErrorCode::ConsentRequired);
    }
    let asked = rig.host.consent_request("asker").await.unwrap();
    let texts: Vec<String> = asked.asked.iter().map(|item| item.permission.to_string()).collect();
    assert_eq!(texts, ["env:read=LANG", "file:read=/srv/**"]);
    assert!(asked.asked[1].optional && asked.command[0].contains("python3"), "{asked:?}");
    assert_eq!(rig.host.consent("asker", Consent::Requested).await.unwrap().state, PluginState::Inactive);
    assert_eq!(rig.host.activate("asker").await.unwrap().state, PluginState::Active);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_grant_that_cannot_be_held_is_refused_before_it_is_recorded() {
    let rig = Rig::new().await;
    let package = rig.python_package("greedy", "1.0.0", "", &["read"], READER);
    rig.host.install(&package, Consent::Absent).await.unwrap();
    let state = format!("file:write={}/**", rig.host.home().path().parent().unwrap().display());
    let refused = rig.host.grant("greedy", &[permission(&state)]).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Floor, "{refused}");
    assert!(rig.host.grants("greedy").await.unwrap().is_empty());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_permission_can_be_asked_for_and_explained() {
    let rig = Rig::new().await;
    let package =
        rig.python_package("p", "1.0.0", "permissions: ['file:read=/usr/share/**']\n", &["read"], READER);
    rig.host.install(&package, Consent::Requested).await.unwrap();
    let ask = |path: &str| Request::File { op: FileOp::Read, path: CanonicalPath::new(path).unwrap() };
    for running in [false, true] {
        if running {
            rig.host.activate("p").await.unwrap();
        }
        let allowed = rig.host.check_permission("p", &ask("/usr/share/x")).await.unwrap();
        assert_eq!(allowed.grant, None, "{}", allowed.text);
        assert!(rig.host.is_permitted("p", &ask("/usr/share/x")).await.unwrap());
        assert!(!rig.host.is_permitted("p", &ask("/srv/x")).await.unwrap());
        let denied = rig.host.check_permission("p", &ask("/srv/x")).await.unwrap();
        assert_eq!(denied.grant.as_deref(), Some("file:read=/srv/x"));
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_grant_that_nothing_serves_yet_is_said_to_open_nothing() {
    let rig = Rig::new().await;
    let head = "permissions: ['network:request=api.example.com:443']\n";
    rig.active("net", head, &["read"], READER).await;
    let details = rig.host.show("net").await.unwrap();
    let enforced = ringfence::enforcement::enforcement(details.grants[0].permission.name(), details.runtime);
    assert_eq!(details.grants[0].enforced, enforced);
    let served = enforced == ringfence::enforcement::Enforcement::Brokered;
    assert_eq!(details.network, if served { "brokered" } else { "none" });
    let asked = rig.host.consent_request("net").await.unwrap().to_string();
    assert_eq!(asked.contains("opens nothing in this version"), !served, "{asked}");
    assert!(details.running && details.enforced.contains_key("network"), "{:?}", details.enforced.keys());
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_grant_that_comes_while_a_call_starts_the_plugin_begins_the_start_again() {
    let rig = Rig::new().await;
    std::fs::write(rig.path("note.txt"), "buy bread").unwrap();
    let file = rig.path("note.txt");
    let code = format!("import time\ntime.sleep(0.8)\n{READER}");
    rig.active("slow", "", &["read"], &code).await;
    // A host of its own, in which nothing runs yet: its first call starts the plugin.
    let host = ringfence::Host::builder().home(rig.host.home().clone()).build().await.unwrap();
    let grant = [permission(&format!("file:read={}", file.display()))];
    let (called, granted) =
        tokio::join!(host.call("slow", "read", serde_json::json!({"path": file})), async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            host.grant("slow", &grant).await
        });
    assert_eq!(granted.unwrap().len(), 1);
    assert_eq!(called.unwrap(), "buy bread");
    host.shutdown().await;
    rig.host.shutdown().await;
}
