//! FS-08, FS-22, FS-25, PROC-02: what a grant opens is what a person consented to, whatever a plugin puts in its place, and what
//! else it reaches is said beforehand.

use crate::place::{Place, document};
use ringfence_testkit::{Who, users};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

/// A place with `srv/out` of its user, for plugins to write, and `srv/private/key` beside it.
fn place(who: Who) -> Option<Place> {
    let place = Place::new(who)?;
    for directory in ["srv", "srv/out", "srv/private"] {
        place.world.mkdir(directory);
    }
    place.world.put("srv/private/key", "the private key");
    Some(place)
}

fn srv(place: &Place, below: &str) -> String {
    place.world.path("srv").join(below).to_string_lossy().into_owned()
}

/// Installs and activates the hostile plugin with these grants, written from `srv/` on.
fn active(place: &Place, name: &str, grants: &[&str]) {
    let permissions: Vec<String> = grants.iter().map(|grant| grant.replace("SRV", &srv(place, ""))).collect();
    place.active(name, &json!({"permissions": permissions}));
}

/// What a plugin reads by itself, and by way of the host; `None` where it is refused.
fn read(place: &Place, name: &str, path: &str) -> [Option<String>; 2] {
    let itself =
        place.run(&["call", name, "act", &json!({"how": "read", "path": path}).to_string(), "--json"]);
    let itself = (itself.code == Some(0)).then(|| document(&itself).as_str().unwrap().to_owned());
    let asked = json!({"how": "host_request", "method": "read_file", "params": {"path": path}});
    let run = place.run(&["call", name, "act", &asked.to_string(), "--json"]);
    let by_host = (run.code == Some(0))
        .then(|| document(&run)["result"]["content"].as_str().map(str::to_owned))
        .flatten();
    [itself, by_host]
}

const NOTHING: [Option<String>; 2] = [None, None];

fn plant(place: &Place, name: &str, target: &str, path: &str) {
    let planted = json!({"how": "plant", "target": target, "path": path});
    assert_eq!(place.act(name, &planted), "planted", "the control: it may write there");
}

#[test]
fn fs_25_a_link_that_the_plugin_puts_into_its_own_tree_opens_nothing() {
    for who in users() {
        let Some(place) = place(who) else { return };
        active(&place, "hostile", &["file:write=SRVout/**", "file:read=SRVout/cache/**"]);
        plant(&place, "hostile", &srv(&place, "private"), &srv(&place, "out/cache"));
        let private = read(&place, "hostile", &srv(&place, "private/key"));
        assert_eq!(private, NOTHING, "as {who:?}");
        assert_eq!(read(&place, "hostile", &srv(&place, "out/cache/key")), NOTHING, "as {who:?}");
        let told = place.json(&["grants", "hostile"]).to_string();
        assert!(
            told.contains("\"state\":\"closed\"") && told.contains("nothing was there at the consent"),
            "{told}"
        );
        // Nor does a consent go through it: the place must be named.
        let grant = format!("file:read={}/**", srv(&place, "out/cache"));
        let error = place.refused(&["grant", "hostile", &grant], 4, "permission_denied");
        assert!(error["hint"].as_str().unwrap().contains(&srv(&place, "private")), "{error}");
        // The twin: named, it is read.
        place.done(&["grant", "hostile", &format!("file:read={}/**", srv(&place, "private"))]);
        let private = read(&place, "hostile", &srv(&place, "private/key"));
        assert_eq!(private, [Some("the private key".to_owned()), Some("the private key".to_owned())]);
    }
}

#[test]
fn fs_25_an_accomplice_opens_nothing_for_another_plugin() {
    for who in users() {
        let Some(place) = place(who) else { return };
        active(&place, "hostile", &["file:read=SRVout/cache/**"]);
        active(&place, "accomplice", &["file:write=SRVout/**"]);
        plant(&place, "accomplice", &srv(&place, "private"), &srv(&place, "out/cache"));
        assert_eq!(read(&place, "hostile", &srv(&place, "out/cache/key")), NOTHING, "as {who:?}");
        assert_eq!(read(&place, "hostile", &srv(&place, "private/key")), NOTHING, "as {who:?}");
        // When nobody can change it any more, it is the user's to say whether it is meant.
        place.done(&["uninstall", "accomplice"]);
        assert_eq!(read(&place, "hostile", &srv(&place, "private/key")), NOTHING, "as {who:?}");
        place.done(&["grant", "hostile", &format!("file:read={}/**", srv(&place, "out/cache"))]);
        let key = Some("the private key".to_owned());
        assert_eq!(read(&place, "hostile", &srv(&place, "private/key"))[0], key, "the twin");
    }
}

#[test]
fn fs_25_what_was_consented_to_was_replaced() {
    for who in users() {
        let Some(place) = place(who) else { return };
        place.world.mkdir("srv/out/cache");
        place.world.put("srv/out/cache/a", "mine");
        active(&place, "hostile", &["file:read=SRVout/cache/**"]);
        let mine = Some("mine".to_owned());
        assert_eq!(read(&place, "hostile", &srv(&place, "out/cache/a")), [mine.clone(), mine.clone()]);
        fs::rename(srv(&place, "out/cache"), srv(&place, "out/kept")).unwrap();
        symlink(srv(&place, "private"), srv(&place, "out/cache")).unwrap();
        let starts = "SELECT COUNT(*) FROM audit WHERE event = 'start'";
        let before = place.sql(starts);
        let error = place.refused(&["call", "hostile", "ok"], 4, "permission_denied");
        let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
        for part in [srv(&place, "out/cache"), srv(&place, "private"), "was consented to".to_owned()] {
            assert!(message.contains(&part), "{error}");
        }
        assert!(hint.contains("ringfence grant hostile"), "{error}");
        assert_eq!(place.sql(starts), before, "it was started as {who:?}");
        // Put back, it is what it was; replaced by a person, a new consent mends it.
        fs::remove_file(srv(&place, "out/cache")).unwrap();
        fs::rename(srv(&place, "out/kept"), srv(&place, "out/cache")).unwrap();
        assert_eq!(read(&place, "hostile", &srv(&place, "out/cache/a"))[0], mine);
        // Made first: later it could get the inode that is free by then.
        place.world.mkdir("srv/out/other");
        fs::remove_dir_all(srv(&place, "out/cache")).unwrap();
        place.world.put("srv/out/other/a", "new");
        fs::rename(srv(&place, "out/other"), srv(&place, "out/cache")).unwrap();
        place.refused(&["activate", "hostile"], 4, "permission_denied");
        place.done(&["grant", "hostile", &format!("file:read={}/**", srv(&place, "out/cache"))]);
        place.done(&["activate", "hostile"]);
        assert_eq!(read(&place, "hostile", &srv(&place, "out/cache/a"))[0], Some("new".to_owned()));
    }
}

/// Whoever consents to a variable has not looked at what lies at the place of another grant by now.
#[test]
fn fs_25_a_consent_to_something_else_is_none_to_what_was_put_there() {
    for who in users() {
        let Some(place) = place(who) else { return };
        place.world.mkdir("srv/pub");
        place.world.put("srv/pub/key", "public");
        let over_files = format!("file:read={}/**", srv(&place, "pub"));
        let asks = json!({"permissions": [over_files, {"permission": "env:read=LANG", "optional": true}]});
        let package = place.hostile("hostile", &asks, "good");
        place.done(&["install", &package, "--grant", &over_files]);
        place.done(&["activate", "hostile"]);
        assert_eq!(
            read(&place, "hostile", &srv(&place, "pub/key"))[0],
            Some("public".to_owned()),
            "the control"
        );
        fs::rename(srv(&place, "pub"), srv(&place, "kept")).unwrap();
        fs::rename(srv(&place, "private"), srv(&place, "pub")).unwrap();
        place.done(&["deactivate", "hostile"]);
        for words in [
            &["activate", "hostile", "--grant", "env:read=LANG"][..],
            &["activate", "hostile", "--grant-requested"],
        ] {
            let error = place.refused(words, 4, "permission_denied");
            assert!(
                error["message"].as_str().unwrap().contains("was consented to"),
                "{words:?} as {who:?}: {error}"
            );
        }
        // The twin: named, it is consented to.
        place.done(&["grant", "hostile", &over_files]);
        place.done(&["activate", "hostile", "--grant", "env:read=LANG"]);
        assert_eq!(read(&place, "hostile", &srv(&place, "pub/key"))[0], Some("the private key".to_owned()));
    }
}

#[test]
fn fs_25_a_place_that_was_edited_by_hand_starts_nothing() {
    for edit in [
        "SELECT 1",
        "DELETE FROM grant_places",
        "UPDATE grant_places SET pin = replace(pin, 'out', 'private')",
    ] {
        let Some(place) = place(*users().last().unwrap()) else { return };
        active(&place, "hostile", &["file:read=SRVout/**"]);
        assert_eq!(place.sql("SELECT COUNT(*) FROM grant_places")[0][0], 1);
        place.sql(edit);
        if edit == "SELECT 1" {
            assert_eq!(place.json(&["call", "hostile", "ok"]), "ok", "the control");
        } else {
            let error = place.refused(&["call", "hostile", "ok"], 4, "permission_denied");
            assert!(error.to_string().contains("seal"), "{edit}: {error}");
        }
    }
}

#[test]
fn fs_25_upgrade_rollback_and_links_of_the_user() {
    let Some(place) = place(*users().last().unwrap()) else { return };
    symlink(srv(&place, "private"), srv(&place, "notes")).unwrap();
    let grants = json!([
        format!("file:read={}/**", srv(&place, "notes")),
        "file:read=${data}/cache/**",
        "file:read=~/none/**"
    ]);
    let asks = |version: &str| json!({"version": version, "permissions": grants});
    let one = place.hostile("hostile", &asks("1.0.0"), "good");
    let shown = place.run(&["install", &one]);
    shown.expect_code(0);
    let shown = place.done(&["show", "hostile"]).out();
    assert!(shown.contains(&format!("leads to {}", srv(&place, "private"))), "the resolved path:\n{shown}");
    place.done(&["activate", "hostile", "--grant-requested"]);
    let key = Some("the private key".to_owned());
    let reads =
        |place: &Place| read(place, "hostile", &srv(place, "notes/key")) == [key.clone(), key.clone()];
    assert!(reads(&place));
    let two = place.package(
        "two",
        &{
            let mut manifest = place.manifest("hostile");
            manifest["version"] = json!("1.1.0");
            manifest["permissions"] = grants.clone();
            manifest
        },
        "good",
    );
    place.done(&["upgrade", &two]);
    assert!(reads(&place), "after an upgrade");
    place.done(&["rollback", "hostile"]);
    assert!(reads(&place), "after a rollback");
    // The link is led elsewhere.
    fs::remove_file(srv(&place, "notes")).unwrap();
    symlink(srv(&place, "out"), srv(&place, "notes")).unwrap();
    place.refused(&["call", "hostile", "ok"], 4, "permission_denied");
    place.done(&["revoke", "hostile", &format!("file:read={}/**", srv(&place, "notes"))]);
    place.done(&["activate", "hostile"]);
    assert_eq!(read(&place, "hostile", &srv(&place, "private/key")), NOTHING);
}

#[test]
fn fs_08_22_what_writing_would_reach_is_said_at_consent() {
    let Some(place) = place(*users().last().unwrap()) else { return };
    fs::hard_link(srv(&place, "private/key"), srv(&place, "out/alias")).unwrap();
    place.world.mkdir("srv/out/.git");
    let asks = json!({"permissions": [format!("file:write={}/**", srv(&place, "out"))]});
    let package = place.hostile("hostile", &asks, "good");
    place.done(&["install", &package]);
    let shown = place.done(&["show", "hostile"]).out();
    for part in ["hard links", &srv(&place, "out/alias"), "git runs the hooks in it"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    let warnings = place.json(&["show", "hostile"])["asks"]["asked"][0]["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 2, "{warnings}");
    place.done(&["activate", "hostile", "--grant-requested"]);
    let written = json!({"how": "write", "path": srv(&place, "out/a")});
    assert_eq!(place.act("hostile", &written), "written", "a warning is no denial");
    // Whoever grants it by name is told, too, and whoever only lists is not kept waiting.
    active(&place, "other", &[]);
    let permission = format!("file:write={}/**", srv(&place, "out"));
    let granted = place.done(&["grant", "other", &permission]);
    assert_eq!(granted.err().matches(&format!("note: {permission}: ")).count(), 2, "{granted}");
    assert!(granted.err().contains("git runs the hooks in it"), "{granted}");
    assert!(!place.done(&["grants", "other"]).err().contains("note:"));
    let harmless = place.done(&["grant", "other", &format!("file:read={}/**", srv(&place, "out"))]);
    assert!(!harmless.err().contains("note:"), "the twin: what only reads\n{harmless}");
}

#[test]
fn proc_02_a_granted_program_that_was_replaced_is_not_run() {
    for who in users() {
        let Some(place) = place(who) else { return };
        let tool = srv(&place, "out/tool");
        let write = |text: &str| {
            place.world.put("srv/out/tool", text);
            fs::set_permissions(&tool, Permissions::from_mode(0o755)).unwrap();
        };
        write("#!/bin/sh\necho right\n");
        active(&place, "accomplice", &["file:write=SRVout/**"]);
        active(&place, "hostile", &["file:read=SRVout/**", "subprocess:execute=SRVout/tool"]);
        let run = |place: &Place| {
            let asked =
                json!({"how": "host_request", "method": "run_process", "params": {"command": [tool]}});
            place.act("hostile", &asked)
        };
        assert_eq!(run(&place)["result"]["stdout"], "right\n", "the control as {who:?}");
        let replaced = json!({"how": "write", "path": tool});
        assert_eq!(place.act("accomplice", &replaced), "written");
        let refused = run(&place);
        assert!(refused["error"].to_string().contains("not the one that was consented to"), "{refused}");
        write("#!/bin/sh\necho new\n");
        place.done(&["grant", "hostile", &format!("subprocess:execute={tool}")]);
        assert_eq!(run(&place)["result"]["stdout"], "new\n", "consented anew as {who:?}");
    }
}

#[test]
fn a_pattern_to_write_opens_the_files_that_match_and_new_ones_by_way_of_the_host() {
    for who in users() {
        let Some(place) = place(who) else { return };
        for name in ["old.md", "old.key"] {
            place.world.put(&format!("srv/out/{name}"), "old");
        }
        let wrote = |plugin: &str, name: &str| {
            let path = srv(&place, &format!("out/{name}"));
            let itself = json!({"how": "write", "path": path});
            let asked = json!({"how": "host_request", "method": "write_file", "params": {"path": path, "content": "new"}});
            [itself, asked].map(|act| {
                let run = place.run(&["call", plugin, "act", &act.to_string(), "--json"]);
                run.code == Some(0) && document(&run)["error"].is_null()
            })
        };
        active(&place, "hostile", &["file:read=SRVout/**", "file:write=SRVout/*.md"]);
        assert_eq!(wrote("hostile", "old.md"), [true, true], "as {who:?}");
        assert_eq!(wrote("hostile", "new.md"), [false, true], "as {who:?}");
        assert_eq!(wrote("hostile", "old.key"), [false, false], "as {who:?}");
        assert_eq!(wrote("hostile", "new.key"), [false, false], "as {who:?}");
        assert_eq!(fs::read_to_string(place.world.path("srv/out/old.key")).unwrap(), "old");
        // The twin.
        active(&place, "whole", &["file:read=SRVout/**", "file:write=SRVout/**"]);
        assert_eq!(wrote("whole", "old.key"), [true, true], "as {who:?}");
        assert_eq!(wrote("whole", "newer.key"), [true, true], "as {who:?}");
    }
}

#[test]
fn a_plugin_that_may_read_everything_has_its_own_and_nothing_else_of_the_home() {
    for who in users() {
        let Some(place) = place(who) else { return };
        active(&place, "other", &[]);
        let text = json!({"how": "write_data", "name": "note"});
        place.act("other", &text);
        let others = fs::read_dir(place.home("data/other")).unwrap().next().unwrap().unwrap().path();
        let reads = |name: &str, path: &std::path::Path| read(&place, name, path.to_str().unwrap());
        for (name, grant) in [
            ("all", "file:read".to_owned()),
            ("wide", format!("file:read={}/**", place.world.path("").display())),
        ] {
            active(&place, name, &[&grant]);
            assert_eq!(
                read(&place, name, &srv(&place, "private/key"))[0].as_deref(),
                Some("the private key"),
                "as {who:?}"
            );
            for path in [place.home("state.key"), place.home("state.db"), others.clone()] {
                assert!(path.exists(), "the control: {}", path.display());
                assert_eq!(reads(name, &path), NOTHING, "{} as {who:?}", path.display());
            }
            place.act(name, &text);
            let own = fs::read_dir(place.home("data").join(name)).unwrap().next().unwrap().unwrap().path();
            assert!(reads(name, &own)[0].is_some(), "its own can be read, as {who:?}");
        }
    }
}
