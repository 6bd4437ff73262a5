//! PKG-17, PKG-18, PKG-22, PKG-23, PKG-25: other bytes under the same version, another publisher, a staging directory that
//! somebody prepared, many at once, and a disk that is full.

use crate::place::{Place, document, refusal};
use ringfence_testkit::{Who, users};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

#[test]
fn pkg_17_the_same_version_with_other_bytes_is_refused() {
    let Some(place) = Place::ordinary() else { return };
    place.active("hostile", &json!({}));
    let digest = place.json(&["show", "hostile"])["digest"].clone();
    let other = place.package("other", &place.manifest("hostile"), "noise_first");
    place.refused(&["install", &other], 4, "already_installed");
    let error = place.refused(&["upgrade", &other, "--grant-requested"], 2, "usage");
    assert!(error["message"].as_str().unwrap().contains("another package of version 1.0.0"), "{error}");
    assert_eq!(place.json(&["show", "hostile"])["digest"], digest, "what is installed stays");
    assert_eq!(place.json(&["call", "hostile", "ok"]), "ok");
    // The twins: the same bytes again change nothing, and a newer version is an upgrade.
    let same = place.hostile("again", &json!({"name": "hostile"}), "good");
    assert_eq!(place.json(&["install", &same])["changed"], false);
    let newer = place.hostile("newer", &json!({"name": "hostile", "version": "1.0.1"}), "good");
    assert_eq!(place.json(&["upgrade", &newer])["done"], true);
}

#[test]
fn pkg_18_another_publisher_inherits_nothing() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let data = place.world.path("data/secret").to_string_lossy().into_owned();
        let asks = |author: &str, version: &str| json!({"name": "hostile", "author": author, "version": version, "permissions": [format!("file:read={data}/**")]});
        let mine = place.hostile("mine", &asks("ada", "1.0.0"), "good");
        place.done(&["install", &mine, "--grant-requested"]);
        place.done(&["activate", "hostile"]);
        let read = json!({"how": "read", "path": format!("{data}/canary.txt")});
        assert!(place.act("hostile", &read).as_str().unwrap().contains(&place.world.canary), "the control");
        assert_eq!(place.act("hostile", &json!({"how": "write_data", "name": "mine"})), true);

        let theirs = place.hostile("theirs", &asks("eve", "1.1.0"), "good");
        let run = place.run(&["upgrade", &theirs, "--json"]);
        assert_eq!(run.code, Some(4), "as {who:?}: {run}");
        let error = document(&run)["error"].to_string();
        assert!(error.contains("consent_required") && error.contains("so 1.0.0 stays"), "{error}");
        for part in ["another publisher", "unsigned:eve", "unsigned:ada"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("asks for more"), "it asks for nothing else: {error}");
        let shown = place.json(&["show", "hostile"]);
        assert_eq!(shown["version"], "1.0.0");
        let change = json!({"from_publisher": "unsigned:ada", "to_publisher": "unsigned:eve"});
        assert_eq!(shown["pending"]["publisher_change"], change);
        assert_eq!(shown["asks"]["publisher_change"], change);
        let text = place.done(&["show", "hostile"]).out();
        assert!(text.contains("it is by unsigned:eve, and the version before by unsigned:ada"), "{text}");
        // The twin: consented to, it is in place, and the answer says whose it is.
        let upgraded = place.json(&["upgrade", &theirs, "--grant-requested"]);
        assert_eq!((&upgraded["done"], &upgraded["publisher_change"]), (&json!(true), &change), "{upgraded}");
        let back = place.json(&["rollback", "hostile"]);
        assert_eq!(
            back["publisher_change"],
            json!({"from_publisher": "unsigned:eve", "to_publisher": "unsigned:ada"})
        );
        // Another version by the same publisher is no change.
        let again = place.hostile("again", &asks("ada", "1.2.0"), "good");
        assert_eq!(place.json(&["upgrade", &again])["publisher_change"], json!(null));

        place.done(&["uninstall", "hostile", "--keep-data"]);
        place.done(&["install", &theirs]);
        assert_eq!(place.json(&["grants", "hostile"]), json!([]), "as {who:?}");
        place.refused(&["activate", "hostile"], 4, "consent_required");
        assert!(!place.home("data/hostile/mine").exists(), "the data of another publisher as {who:?}");
        place.done(&["uninstall", "hostile"]);
        place.done(&["install", &mine]);
        assert!(place.home("data/hostile/mine").exists(), "what was kept waits for its publisher");
    }
}

#[test]
fn pkg_22_a_staging_directory_that_somebody_prepared() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let package = place.hostile("hostile", &json!({}), "good");
        let staging = place.home("staging");
        // A link to a directory of somebody else: nothing is written there.
        let trap = place.world.path("out/trap");
        fs::create_dir(&trap).unwrap();
        fs::set_permissions(&trap, Permissions::from_mode(0o777)).unwrap();
        symlink(&trap, &staging).unwrap();
        let run = place.job(&["install", &package, "--json"]).run();
        let error = refusal(&run, 1, "io");
        assert!(error["message"].as_str().unwrap().contains("state/staging': Not a directory"), "{error}");
        assert_eq!(fs::read_dir(&trap).unwrap().count(), 0, "as {who:?}");
        fs::remove_file(&staging).unwrap();
        // The twin, and modes: what is staged and stored is for this user alone.
        place.done(&["install", &package]);
        for name in ["staging", "store", "data", "kept", "state.db", "state.key"] {
            let found = place.home(name).metadata().unwrap();
            assert_eq!((found.mode() & 0o077, found.uid()), (0, who.uid()), "{name} as {who:?}");
        }
    }
}

#[test]
fn pkg_22_a_staging_directory_of_another_user() {
    if ringfence_testkit::lacks("root") {
        return;
    }
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let package = place.hostile("hostile", &json!({}), "good");
        let staging = place.home("staging");
        fs::create_dir(&staging).unwrap();
        fs::set_permissions(&staging, Permissions::from_mode(0o777)).unwrap();
        chown(&staging, Some(12_345), Some(12_345)).unwrap();
        let run = place.job(&["install", &package, "--json"]).run();
        let error = refusal(&run, 1, "io");
        assert!(error["message"].as_str().unwrap().contains("belongs to the user 12345"), "{error}");
        assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "as {who:?}");
        fs::remove_dir(&staging).unwrap();
        place.done(&["install", &package]);
    }
}

#[test]
fn pkg_23_many_at_once_leave_one_whole_state() {
    let Some(place) = Place::ordinary() else { return };
    let one = place.hostile("one", &json!({"name": "hostile"}), "good");
    let two = place.hostile("two", &json!({"name": "hostile", "version": "2.0.0"}), "good");
    for round in 0..2 {
        let jobs: Vec<_> = [
            &["install", one.as_str(), "--grant-requested", "--json"][..],
            &["install", &two, "--grant-requested", "--json"],
            &["upgrade", &two, "--grant-requested", "--json"],
            &["install", &one, "--grant-requested", "--json"],
            &["uninstall", "hostile", "--json"],
            &["activate", "hostile", "--grant-requested", "--json"],
            &["upgrade", &one, "--grant-requested", "--allow-downgrade", "--json"],
            &["list", "--json"],
        ]
        .into_iter()
        .map(|words| place.job(words).spawn())
        .collect();
        for running in jobs {
            let run = running.finish();
            assert!(matches!(run.code, Some(0 | 3 | 4 | 5 | 8)), "round {round}\n{run}");
            document(&run);
        }
        let list = place.json(&["list"]);
        let installed = list.as_array().unwrap().len();
        assert!(installed <= 1, "{list}");
        place.run(&["install", &one, "--grant-requested"]);
        place.done(&["activate", "hostile"]);
        assert_eq!(place.json(&["call", "hostile", "ok"]), "ok");
        place.done(&["uninstall", "hostile"]);
        for name in ["store", "data", "kept"] {
            let left = ringfence_testkit::post::names(&place.home(name));
            assert!(left.is_empty(), "{name} holds {left:?}");
        }
    }
}

#[test]
fn pkg_23_a_full_disk_leaves_nothing() {
    if ringfence_testkit::lacks("root") || ringfence_testkit::lacks("unshare") {
        return;
    }
    let Some(place) = Place::new(Who::Root) else { return };
    let small = place.hostile("small", &json!({}), "good");
    let large = place.hostile("large", &json!({"version": "2.0.0", "name": "small"}), "good");
    place.world.put("packages/large/blob", &"x".repeat(8_000_000));
    // A namespace of its own: the mount goes with it, and the host never sees it.
    let script = "mount -t tmpfs -o size=4m,mode=0755 none {home}/state && cd / && \
        r={bin}/ringfence; $r install \"$1\" --json; echo \"status $?\"; ls {home}/state/staging {home}/state/store; \
        $r install \"$0\" --json; echo \"status $?\"; $r upgrade \"$1\" --grant-requested --json; echo \"status $?\"; \
        tar -C \"$1\" -cf {home}/large.tar . && $r upgrade {home}/large.tar --json; echo \"status $?\"; \
        ls {home}/state/staging; $r list --json";
    assert!(place.world.rig().ringfence().is_file());
    let run =
        place.world.bare_program(&["/usr/bin/unshare", "-m", "/bin/sh", "-c", script, &small, &large]).run();
    let text = run.out();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let statuses: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("status ")).collect();
    assert_eq!(statuses, ["status 1", "status 0", "status 1", "status 1"], "{run}");
    assert!(text.contains("\"code\":\"io\"") && text.to_lowercase().contains("no space"), "{run}");
    let listed = lines.last().unwrap();
    assert!(listed.contains("\"version\":\"1.0.0\"") && !listed.contains("2.0.0"), "{run}");
    let staged = lines.iter().filter(|line| line.len() == 32).count();
    assert_eq!(staged, 0, "a copy was left in staging\n{run}");
}

#[test]
fn pkg_25_words_that_look_like_options_or_addresses() {
    let Some(place) = Place::ordinary() else { return };
    let touched = place.world.path("out/touched");
    let shell = format!("x;touch {}", touched.display());
    for word in [
        "--upload-pack=id",
        "ext::sh -c id",
        "https://127.0.0.1:1/x",
        "file:///etc",
        "git@host:x",
        &shell,
        "-",
    ] {
        let run = place.run(&["install", "--json", "--", word]);
        assert!(matches!(run.code, Some(2..=4)), "{word}\n{run}");
    }
    assert!(!touched.exists());
    // The twin: a directory whose name looks like an option is a directory.
    let package = place.hostile(
        "--grant-requested",
        &json!({"name": "hostile", "permissions": ["env:read=LANG"]}),
        "good",
    );
    place.done(&["install", &package]);
    assert_eq!(place.json(&["grants", "hostile"]), json!([]), "its name granted nothing");
}
