//! What lies at the places of grants, while a plugin runs and from one start to the next.

use std::fs;
use std::os::unix::fs::symlink;

use ringfence::plugin::{Consent, PlaceState};
use ringfence_api::{ErrorCode, PermissionName};
use ringfence_policy::{CanonicalPath, Request};
use serde_json::json;

use crate::asker::ASKERS;
use crate::rig::Rig;

#[tokio::test]
async fn fs_25_the_host_opens_the_directory_that_was_granted_and_no_other_one() {
    let rig = Rig::new().await;
    let (notes, private) = (rig.path("notes"), rig.path("private"));
    for (directory, content) in [(&notes, "buy bread"), (&private, "secret")] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("a"), content).unwrap();
    }
    rig.askers(&[format!("file:read={}/**", notes.display())], "").await;
    let file = notes.join("a").display().to_string();
    let read = async |name: &str| rig.ask(name, "read_file", json!([file])).await;
    for name in ASKERS {
        assert_eq!(read(name).await, json!({"result": "buy bread"}), "the control");
    }
    // While they run: another directory, and a link to one.
    fs::rename(&notes, rig.path("kept")).unwrap();
    for link in [false, true] {
        if link {
            symlink(&private, &notes).unwrap();
        } else {
            fs::rename(&private, &notes).unwrap();
        }
        for name in ASKERS {
            let refused = read(name).await;
            assert_eq!(refused["code"], "permission_denied", "{refused}");
            if !link {
                let message = refused["message"].as_str().unwrap();
                assert!(message.contains("not the directory that was granted"), "{message}");
            }
        }
        match link {
            true => fs::remove_file(&notes).unwrap(),
            false => fs::rename(&notes, &private).unwrap(),
        }
    }
    fs::rename(rig.path("kept"), &notes).unwrap();
    for name in ASKERS {
        assert_eq!(read(name).await, json!({"result": "buy bread"}), "the twin: put back");
    }
    rig.host.shutdown().await;
}

/// Who may write and delete in a directory and read one file of it, or those of one kind, could put others in their place.
#[tokio::test]
async fn fs_25_the_host_reads_the_file_that_was_granted_and_no_other_one() {
    let rig = Rig::new().await;
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |below: &str| place.path().join(below);
    let (out, texts) = (at("out"), at("out/texts"));
    fs::create_dir_all(&texts).unwrap();
    fs::create_dir(at("out/private")).unwrap();
    for (name, content) in
        [("one", "mine"), ("texts/a.txt", "text"), ("private/a.txt", "secret"), ("secret", "secret")]
    {
        fs::write(out.join(name), content).unwrap();
    }
    let out = out.display();
    let all = [
        format!("file:write={out}/**"),
        format!("file:delete={out}/**"),
        format!("file:read={out}/one"),
        format!("file:read={out}/texts/*.txt"),
    ];
    rig.askers(&all, "").await;
    let read =
        async |name: &str, below: &str| rig.ask(name, "read_file", json!([format!("{out}/{below}")])).await;
    for name in ASKERS {
        assert_eq!(read(name, "one").await, json!({"result": "mine"}), "the control");
        assert_eq!(read(name, "texts/a.txt").await, json!({"result": "text"}), "the control");
        assert_eq!(read(name, "secret").await["code"], "permission_denied");
    }
    // As a plugin can do it in its sandbox.
    fs::rename(at("out/one"), at("out/kept")).unwrap();
    fs::hard_link(at("out/secret"), at("out/one")).unwrap();
    fs::rename(&texts, at("out/kept-texts")).unwrap();
    fs::rename(at("out/private"), &texts).unwrap();
    for name in ASKERS {
        for below in ["one", "texts/a.txt"] {
            let refused = read(name, below).await;
            assert_eq!(refused["code"], "permission_denied", "{below}: {refused}");
        }
    }
    fs::rename(at("out/kept"), at("out/one")).unwrap();
    fs::rename(&texts, at("out/private")).unwrap();
    fs::rename(at("out/kept-texts"), &texts).unwrap();
    for name in ASKERS {
        assert_eq!(read(name, "one").await, json!({"result": "mine"}), "the twin: put back");
        assert_eq!(read(name, "texts/a.txt").await, json!({"result": "text"}), "the twin: put back");
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_consent_to_another_place_is_taken_up_by_what_runs() {
    let rig = Rig::new().await;
    let notes = rig.path("notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("a"), "old").unwrap();
    let grant = format!("file:read={}/**", notes.display());
    let head = format!("permissions: ['{grant}']\n");
    let code = "def read(arguments):\n    return open(arguments['path']).read()\n";
    rig.active("reader", &head, &["read"], code).await;
    let read = || rig.host.call("reader", "read", json!({"path": notes.join("a")}));
    assert_eq!(read().await.unwrap(), "old");
    fs::rename(&notes, rig.path("kept")).unwrap();
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join("a"), "new").unwrap();
    assert_eq!(read().await.unwrap(), "old", "what runs has what was granted");
    let place = rig.host.grants("reader").await.unwrap()[0].place.clone().unwrap();
    assert_eq!(place.state, PlaceState::Misfit);
    let grants = rig.host.grant("reader", &[grant.parse().unwrap()]).await.unwrap();
    assert_eq!(grants[0].place, None, "it opens just what is written");
    assert_eq!(read().await.unwrap(), "new");
    // A start at which it does not fit says so, and the plugin is not active.
    rig.host.deactivate("reader").await.unwrap();
    fs::remove_dir_all(&notes).unwrap();
    fs::rename(rig.path("kept"), &notes).unwrap();
    let refused = rig.host.activate("reader").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PermissionDenied, "{refused}");
    rig.recorded("start_failed", &["was consented to"]).await;
    // Whoever consents to all that it asks for has been shown where each grant leads, but not asked about this one.
    let refused = rig.host.consent("reader", Consent::Requested).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PermissionDenied, "{refused}");
    rig.host.grant("reader", &[grant.parse().unwrap()]).await.unwrap();
    rig.host.activate("reader").await.unwrap();
    assert_eq!(read().await.unwrap(), "old", "named, it is consented to anew");
    rig.recorded("consent", &["inode", notes.to_str().unwrap()]).await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn proc_02_what_the_host_would_run_and_what_the_sandbox_holds_are_told_apart() {
    let rig = Rig::new().await;
    let package =
        rig.python_package("p", "1.0.0", "permissions: ['subprocess:execute=/usr/bin/env']\n", &[], "");
    rig.host.install(&package, Consent::Requested).await.unwrap();
    let ask = |path: &str| Request::Execute { path: CanonicalPath::new(path).unwrap() };
    for running in [false, true] {
        if running {
            rig.host.activate("p").await.unwrap();
        }
        let denied = rig.host.check_permission("p", &ask("/usr/bin/cat")).await.unwrap();
        assert!(denied.text.contains("any program that it sees inside its own sandbox"), "{}", denied.text);
        let allowed = rig.host.check_permission("p", &ask("/usr/bin/env")).await.unwrap();
        assert!(allowed.grant.is_none() && !allowed.text.contains("any program"), "{}", allowed.text);
    }
    rig.host.revoke("p", &["subprocess:execute=/usr/bin/env".parse().unwrap()]).await.unwrap();
    let denied = rig.host.check_permission("p", &ask("/usr/bin/cat")).await.unwrap();
    assert!(!denied.text.contains("any program"), "the twin: it may start none: {}", denied.text);
    let asks = rig.host.consent_request("p").await.unwrap().asked;
    let programs = asks.iter().find(|item| *item.permission.name() == PermissionName::SubprocessExecute);
    assert!(programs.unwrap().meaning.contains("any program that it sees"), "{asks:?}");
    rig.host.shutdown().await;
}
