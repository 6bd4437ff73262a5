//! Homes of the time before places were kept.

use super::*;
use crate::Host;
use crate::plugin::Consent as Answer;
use crate::store::{Consent, Places};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A host with a native plugin that asks for these grants, as a home of before has it: consented to, without places.
async fn old_home(dir: &Path, grants: &[String]) -> Host {
    let home = crate::Home::at(dir.join("home"));
    let host = Host::builder().home(home).config(crate::Config::default()).build().await.unwrap();
    let package = dir.join("package");
    fs::create_dir(&package).unwrap();
    let manifest = serde_json::json!({
        "name": "old", "version": "1.0.0", "runtime": "python", "entry_point": "main.py", "permissions": grants,
    });
    fs::write(package.join("plugin.json"), manifest.to_string()).unwrap();
    fs::write(package.join("main.py"), "").unwrap();
    host.install(&package, Answer::Requested).await.unwrap();
    let store = &host.context().store;
    let name: PluginName = "old".parse().unwrap();
    let trusted = store.trusted(&name).unwrap();
    assert!(trusted.grants.iter().all(|row| row.pin.is_some()));
    let permissions: Vec<Permission> = trusted.grants.into_iter().map(|row| row.permission).collect();
    let record = Consent {
        digest: trusted.plugin.package.digest,
        asked: permissions.clone(),
        granted: permissions,
        places: Places::new(),
        by: "ada".into(),
    };
    store.consent(&name, record).unwrap();
    assert!(store.trusted(&name).unwrap().grants.iter().all(|row| row.pin.is_none()));
    host
}

fn tree() -> (tempfile::TempDir, std::path::PathBuf) {
    let made = tempfile::tempdir().unwrap();
    let root = ringfence_sandbox::Resolved::find(made.path()).unwrap().path().to_owned();
    fs::create_dir(root.join("out")).unwrap();
    fs::create_dir(root.join("private")).unwrap();
    (made, root)
}

#[tokio::test]
async fn fs_25_an_old_grant_gets_its_place_at_the_next_start_and_keeps_it() {
    let (_made, root) = tree();
    fs::create_dir(root.join("out/cache")).unwrap();
    let host = old_home(&root, &[format!("file:read={}/out/cache/**", root.display())]).await;
    host.activate("old").await.unwrap();
    let store = host.context().store.clone();
    let name: PluginName = "old".parse().unwrap();
    let pin = store.trusted(&name).unwrap().grants[0].pin.clone().unwrap();
    assert!(pin.is_at(&root.join("out/cache")));
    let records = store.audit_list(&Default::default(), None, 100).unwrap().records;
    let pinned = records.iter().find(|record| record.event == "pin").unwrap();
    let body = pinned.body.to_string();
    assert!(body.contains("out/cache") && body.contains("inode"), "{body}");
    host.deactivate("old").await.unwrap();
    host.activate("old").await.unwrap();
    let again = store.audit_list(&Default::default(), None, 100).unwrap().records;
    assert_eq!(again.iter().filter(|record| record.event == "pin").count(), 1, "once");
    host.deactivate("old").await.unwrap();
    fs::remove_dir(root.join("out/cache")).unwrap();
    symlink(root.join("private"), root.join("out/cache")).unwrap();
    let refused = host.activate("old").await.unwrap_err();
    assert_eq!(refused.code(), ringfence_api::ErrorCode::PermissionDenied, "{refused}");
    host.shutdown().await;
}

#[tokio::test]
async fn fs_25_an_old_grant_is_not_given_the_place_that_a_plugin_has_put_there() {
    let (_made, root) = tree();
    symlink(root.join("private"), root.join("out/cache")).unwrap();
    let grant = |verb: &str, below: &str| format!("file:{verb}={}/{below}/**", root.display());
    fs::create_dir(root.join("other")).unwrap();
    let host = old_home(&root, &[grant("read", "other")]).await;
    let name: PluginName = "old".parse().unwrap();
    let wanted: Vec<Permission> = [grant("write", "out"), grant("read", "out/cache")]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    host.context().store.grant(&name, wanted, Places::new(), "ada").unwrap();
    let refused = host.activate("old").await.unwrap_err();
    assert_eq!(refused.code(), ringfence_api::ErrorCode::PermissionDenied, "{refused}");
    assert!(refused.message().contains("a plugin can put another link there"), "{refused}");
    // The twin: without the grant that it could turn to something else, it starts.
    host.revoke("old", &[grant("read", "out/cache").parse().unwrap()]).await.unwrap();
    host.activate("old").await.unwrap();
    host.shutdown().await;
}
