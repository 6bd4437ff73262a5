//! Another version: asked about when it wants more, put back when it does not come up, undone by hand.

use ringfence::host::UpgradeOptions;
use ringfence::plugin::Consent;
use ringfence_api::{ErrorCode, PluginState};

use crate::rig::Rig;

const V1: &str = "def which(a):\n    return 1\n";
const V2: &str = "def which(a):\n    return 2\n";
const WIDER: &str = "permissions: ['env:read=LANG']\n";

#[tokio::test]
async fn a_version_that_asks_for_more_waits_while_the_old_one_runs_on() {
    let rig = Rig::new().await;
    rig.active("p", "", &["which"], V1).await;
    let second = rig.python_package("p", "2.0.0", WIDER, &["which"], V2);
    let again = rig.host.install(&second, Consent::Requested).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::AlreadyInstalled);

    let waits = rig.host.upgrade(&second, Consent::Absent, UpgradeOptions::default()).await.unwrap();
    assert!(!waits.done);
    assert_eq!(waits.wider, ["env:read=LANG".parse().unwrap()]);
    assert_eq!(rig.call("p", "which").await.unwrap(), 1);
    assert_eq!(rig.host.show("p").await.unwrap().pending.unwrap().version, "2.0.0");
    let asked = rig.host.consent_request("p").await.unwrap();
    assert!(asked.version == "2.0.0" && asked.asked[0].new);

    assert_eq!(rig.host.consent("p", Consent::Requested).await.unwrap().version, "2.0.0");
    assert_eq!(rig.call("p", "which").await.unwrap(), 2);
    assert_eq!(rig.host.grants("p").await.unwrap().len(), 1);

    let back = rig.host.rollback("p").await.unwrap();
    assert_eq!((back.from_version.as_str(), back.to_version.as_str()), ("2.0.0", "1.0.0"));
    assert_eq!(rig.call("p", "which").await.unwrap(), 1);
    assert!(rig.host.grants("p").await.unwrap().is_empty(), "the grants of then");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_rollback_gives_again_what_was_granted_and_not_what_was_taken_back() {
    let rig = Rig::new().await;
    let both = "permissions: ['env:read=LANG', 'env:read=HOME']\n";
    rig.active("p", both, &["which"], V1).await;
    let second = rig.python_package("p", "2.0.0", both, &["which"], V2);
    assert!(rig.host.upgrade(&second, Consent::Absent, UpgradeOptions::default()).await.unwrap().done);
    rig.host.revoke("p", &["env:read=HOME".parse().unwrap()]).await.unwrap();
    assert_eq!(rig.host.rollback("p").await.unwrap().to_version, "1.0.0");
    assert_eq!(rig.call("p", "which").await.unwrap(), 1);
    let granted = rig.host.grants("p").await.unwrap();
    let granted: Vec<String> = granted.iter().map(|grant| grant.permission.to_string()).collect();
    assert_eq!(granted, ["env:read=LANG"]);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_consent_is_to_the_package_that_was_looked_at_and_to_no_other() {
    let rig = Rig::new().await;
    rig.active("p", "", &["which"], V1).await;
    let second = rig.python_package("p", "2.0.0", WIDER, &["which"], V2);
    rig.host.upgrade(&second, Consent::Absent, UpgradeOptions::default()).await.unwrap();
    let looked_at = rig.host.show("p").await.unwrap().pending.unwrap().digest;
    let third = rig.python_package("p", "3.0.0", "permissions: ['env:read']\n", &["which"], V2);
    rig.host.upgrade(&third, Consent::Absent, UpgradeOptions::default()).await.unwrap();
    let refused = rig.host.consent_to("p", Some(&looked_at), Consent::Requested).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Conflict);
    assert_eq!(rig.host.show("p").await.unwrap().version, "1.0.0");
    let now = rig.host.show("p").await.unwrap().pending.unwrap().digest;
    let done = rig.host.consent_to("p", Some(&now), Consent::Requested).await.unwrap();
    assert_eq!(done.version, "3.0.0", "the twin");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_consent_that_comes_with_the_package_that_is_there_holds() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", WIDER, &["which"], V1);
    rig.host.install(&package, Consent::Requested).await.unwrap();
    let upgrade = |consent| rig.host.upgrade(&package, consent, UpgradeOptions::default());
    let same = upgrade(Consent::Absent).await.unwrap();
    assert!(same.done && same.from_version == same.to_version);
    assert_eq!(rig.host.grants("p").await.unwrap().len(), 1, "nothing was said of them");
    assert!(upgrade(Consent::Only(Vec::new())).await.unwrap().done);
    assert!(rig.host.grants("p").await.unwrap().is_empty());
    assert!(upgrade(Consent::Requested).await.unwrap().done);
    assert_eq!(rig.host.grants("p").await.unwrap().len(), 1);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_version_that_does_not_come_up_is_put_back_by_itself() {
    let rig = Rig::new().await;
    rig.active("p", "", &["which"], V1).await;
    let broken = rig.python_package("p", "1.1.0", "", &["which"], "raise RuntimeError('no')\n");
    let upgraded = rig.host.upgrade(&broken, Consent::Absent, UpgradeOptions::default()).await.unwrap();
    assert!(!upgraded.done && upgraded.rolled_back.unwrap().contains("1.1.0"));
    assert_eq!(rig.call("p", "which").await.unwrap(), 1);
    assert_eq!(rig.state("p").await, PluginState::Active);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn an_older_version_and_another_author_are_not_taken_in_silence() {
    let rig = Rig::new().await;
    let newer = rig.python_package("p", "2.0.0", "", &["which"], V2);
    rig.host.install(&newer, Consent::Absent).await.unwrap();
    let older = rig.python_package("p", "1.0.0", "", &["which"], V1);
    let refused = rig.host.upgrade(&older, Consent::Absent, UpgradeOptions::default()).await.unwrap_err();
    assert!(refused.hint().unwrap().contains("--allow-downgrade"), "{refused}");
    let allowed = UpgradeOptions { allow_downgrade: true, ..UpgradeOptions::default() };
    assert!(rig.host.upgrade(&older, Consent::Absent, allowed).await.unwrap().done);

    let other = rig.python_package("p", "3.0.0", "author: Somebody Else\n", &["which"], V2);
    let waits = rig.host.upgrade(&other, Consent::Absent, UpgradeOptions::default()).await.unwrap();
    assert!(!waits.done, "another publisher is asked about");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_package_of_another_plugin_than_the_one_that_is_meant_changes_nothing() {
    let rig = Rig::new().await;
    for name in ["p", "other"] {
        let package = rig.python_package(name, "1.0.0", "", &["which"], V1);
        rig.host.install(&package, Consent::Absent).await.unwrap();
    }
    let meant =
        |name: &str| UpgradeOptions { expected: Some(name.parse().unwrap()), ..UpgradeOptions::default() };
    let newer = rig.python_package("other", "2.0.0", "", &["which"], V2);
    let refused = rig.host.upgrade(&newer, Consent::Requested, meant("p")).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Usage, "{refused}");
    let there = rig.python_package("other", "1.0.0", "", &["which"], V1);
    let refused = rig.host.upgrade(&there, Consent::Requested, meant("p")).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Usage, "{refused}");
    assert_eq!(rig.host.show("other").await.unwrap().version, "1.0.0");
    assert!(rig.host.upgrade(&newer, Consent::Requested, meant("other")).await.unwrap().done);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_version_that_would_show_a_secret_is_not_taken_while_there_is_one() {
    let rig = Rig::new().await;
    let schema = |secret: bool| {
        format!(
            "config_schema: {{type: object, properties: {{key: {{type: string, writeOnly: {secret}}}, city: {{type: string}}}}}}\n"
        )
    };
    rig.active("p", &schema(true), &["which"], V1).await;
    let given = serde_json::json!({"key": "hunter2", "city": "Ulm"});
    assert_eq!(rig.host.set_config("p", given).await.unwrap()["key"], "***");
    for (version, head) in [("2.0.0", schema(false)), ("2.0.1", String::new())] {
        let open = rig.python_package("p", version, &head, &["which"], V2);
        let refused =
            rig.host.upgrade(&open, Consent::Requested, UpgradeOptions::default()).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Conflict);
        assert!(refused.message().contains("/key") && !refused.message().contains("hunter2"), "{refused}");
        assert_eq!(rig.host.show("p").await.unwrap().version, "1.0.0");
        assert_eq!(rig.host.config("p").await.unwrap()["key"], "***");
    }
    // The twins: it is still a secret, or there is none any more.
    let kept = rig.python_package("p", "2.0.2", &schema(true), &["which"], V2);
    assert!(rig.host.upgrade(&kept, Consent::Absent, UpgradeOptions::default()).await.unwrap().done);
    rig.host.set_config("p", serde_json::json!({"city": "Ulm"})).await.unwrap();
    let open = rig.python_package("p", "3.0.0", &schema(false), &["which"], V2);
    assert!(rig.host.upgrade(&open, Consent::Absent, UpgradeOptions::default()).await.unwrap().done);
    rig.host.shutdown().await;
}
