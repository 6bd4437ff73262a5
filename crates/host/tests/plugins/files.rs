//! Files by way of the host: what is granted works, what is not is refused by name, and nothing leads outside.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringfence::Config;
use serde_json::{Value, json};

use crate::asker::ASKERS;
use crate::rig::Rig;

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A directory for a test, without links in its own path.
fn place(rig: &Rig, name: &str) -> PathBuf {
    let directory = rig.path(name);
    fs::create_dir(&directory).unwrap();
    directory
}

fn code(answer: &Value) -> &str {
    answer["code"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn each_function_works_with_its_grant_and_is_refused_without_it() {
    let rig = Rig::new().await;
    let notes = place(&rig, "notes");
    let (file, new) = (text(&notes.join("a.txt")), text(&notes.join("new.bin")));
    fs::write(&file, "buy bread").unwrap();
    rig.askers(&[], "").await;
    for name in ASKERS {
        let grant = |permission: &str, object: &str| format!("{permission}={object}");
        rig.refused(name, "read_file", json!([file]), &file, &grant("file:read", &file)).await;
        rig.refused(name, "write_file", json!([new, "x"]), &new, &grant("file:write", &new)).await;
        rig.refused(name, "delete_file", json!([file]), &file, &grant("file:delete", &file)).await;
        let directory = text(&notes);
        rig.refused(name, "list_files", json!([directory]), &directory, &grant("file:read", &directory))
            .await;
        assert_eq!(fs::read_to_string(&file).unwrap(), "buy bread");
        assert!(!Path::new(&new).exists());
    }
    let all = ["read", "write", "delete"].map(|verb| format!("file:{verb}={}/**", notes.display()));
    rig.grant_askers(&all).await;
    for name in ASKERS {
        assert_eq!(rig.ask(name, "read_file", json!([file])).await, json!({"result": "buy bread"}));
        let bytes = json!({"base64": "/wD+"});
        assert_eq!(rig.ask(name, "write_file", json!([new, bytes])).await, json!({"result": null}));
        assert_eq!(fs::read(&new).unwrap(), [0xff, 0, 0xfe]);
        assert_eq!(rig.ask(name, "read_file", json!([new])).await, json!({"result": bytes}));
        fs::set_permissions(&new, fs::Permissions::from_mode(0o4750)).unwrap();
        rig.ask(name, "write_file", json!([new, "grüße"])).await;
        assert_eq!(fs::read_to_string(&new).unwrap(), "grüße");
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o7777, 0o750, "the mode stays, set-id does not");
        let listed = json!([
            {"name": "a.txt", "kind": "file", "size_bytes": 9}, {"name": "new.bin", "kind": "file", "size_bytes": 7},
        ]);
        assert_eq!(rig.ask(name, "list_files", json!([text(&notes)])).await, json!({"result": listed}));
        assert_eq!(rig.ask(name, "delete_file", json!([new])).await, json!({"result": true}));
        assert_eq!(rig.ask(name, "delete_file", json!([new])).await, json!({"result": false}));
        let missing = rig.ask(name, "read_file", json!([new])).await;
        assert_eq!((code(&missing), &missing["number"]), ("not_found", &json!(-32602)), "{missing}");
        assert_eq!(fs::read_dir(&notes).unwrap().count(), 1, "no temporary file is left");
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn the_package_is_readable_and_the_data_directory_is_the_plugins_own() {
    let rig = Rig::new().await;
    rig.askers(&[], "").await;
    for name in ASKERS {
        let data = rig.call(name, "where").await.unwrap();
        let file = format!("{}/keep/a", data.as_str().unwrap());
        let manifest = rig.ask(name, "read_file", json!(["plugin.yaml"])).await;
        assert!(manifest["result"].as_str().unwrap().contains(name), "{manifest}");
        let listed = rig.ask(name, "list_files", json!(["."])).await;
        assert_eq!(listed["result"].as_array().unwrap().len(), 2, "{listed}");
        let inside = rig.ask(name, "write_file", json!(["plugin.yaml", "x"])).await;
        assert_eq!(code(&inside), "permission_denied", "the package is nobody's to write: {inside}");
        let nowhere = rig.ask(name, "write_file", json!([file, "x"])).await;
        assert_eq!(code(&nowhere), "not_found", "no directory is made: {nowhere}");
        let file = format!("{}/a", data.as_str().unwrap());
        assert_eq!(rig.ask(name, "write_file", json!([file, "x"])).await, json!({"result": null}));
        assert_eq!(rig.ask(name, "read_file", json!([file])).await, json!({"result": "x"}));
        let other = ASKERS.iter().find(|other| **other != name).unwrap();
        let theirs = rig.call(other, "where").await.unwrap();
        let refused = rig.ask(name, "list_files", json!([theirs])).await;
        assert_eq!(code(&refused), "permission_denied", "not another plugin's: {refused}");
        assert_eq!(rig.ask(name, "delete_file", json!([file])).await, json!({"result": true}));
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_write_over_the_quota_is_refused_before_anything_is_written() {
    let config = Config::parse("[plugins]\ndata_size = \"100KB\"\ndata_keys = 3\n").unwrap();
    let rig = Rig::with(config).await;
    rig.askers(&[], "").await;
    for name in ASKERS {
        let data = rig.call(name, "where").await.unwrap().as_str().unwrap().to_owned();
        let put = |file: &str, bytes: usize| json!([format!("{data}/{file}"), "x".repeat(bytes)]);
        assert_eq!(rig.ask(name, "write_file", put("a", 60_000)).await, json!({"result": null}));
        let over = rig.ask(name, "write_file", put("b", 60_000)).await;
        assert_eq!((code(&over), &over["number"]), ("quota", &json!(-31006)), "{over}");
        assert!(over["message"].as_str().unwrap().contains("100000 bytes"), "{over}");
        let over = rig.ask(name, "write_file", put("a", 60_000)).await;
        assert_eq!(code(&over), "quota", "the old and the new one exist for a moment: {over}");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
        assert_eq!(fs::metadata(format!("{data}/a")).unwrap().len(), 60_000, "what was there is whole");
        assert_eq!(rig.ask(name, "write_file", put("b", 1)).await, json!({"result": null}));
        assert_eq!(rig.ask(name, "write_file", put("c", 1)).await, json!({"result": null}));
        assert_eq!(
            code(&rig.ask(name, "write_file", put("d", 1)).await),
            "quota",
            "three files are the most"
        );
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn links_are_judged_by_where_they_lead() {
    let rig = Rig::new().await;
    let (inside, outside) = (place(&rig, "inside"), place(&rig, "outside"));
    fs::write(inside.join("real"), "inside").unwrap();
    fs::write(outside.join("secret"), "outside").unwrap();
    let secret = text(&outside.join("secret"));
    symlink("real", inside.join("fine")).unwrap();
    symlink(&secret, inside.join("out")).unwrap();
    symlink(&outside, inside.join("directory")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    let all = ["read", "write", "delete"].map(|verb| format!("file:{verb}={}/**", inside.display()));
    rig.askers(&all, "").await;
    let at = |name: &str| text(&inside.join(name));
    for name in ASKERS {
        assert_eq!(rig.ask(name, "read_file", json!([at("fine")])).await, json!({"result": "inside"}));
        fs::write(inside.join("real"), "other").unwrap();
        let written = rig.ask(name, "write_file", json!([at("fine"), "inside"])).await;
        assert_eq!(written, json!({"result": null}));
        assert_eq!(fs::read_to_string(inside.join("real")).unwrap(), "inside");
        assert!(inside.join("fine").is_symlink(), "what it leads to was written");
        let reads = format!("file:read={secret}");
        rig.refused(name, "read_file", json!([at("out")]), &secret, &reads).await;
        rig.refused(name, "read_file", json!([at("directory/secret")]), &secret, &reads).await;
        rig.refused(name, "read_file", json!([at("../outside/secret")]), &secret, &reads).await;
        rig.refused(name, "write_file", json!([at("out"), "x"]), &secret, &format!("file:write={secret}"))
            .await;
        let listed = text(&outside);
        rig.refused(name, "list_files", json!([at("directory")]), &listed, &format!("file:read={listed}"))
            .await;
        assert_eq!(code(&rig.ask(name, "read_file", json!([at("loop")])).await), "invalid_params");
        let entries = rig.ask(name, "list_files", json!([text(&inside)])).await;
        let kinds: Vec<_> =
            entries["result"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
        assert_eq!(kinds, ["link", "link", "link", "link", "file"], "{entries}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "outside");
    }
    // A link is removed itself, and what it led to stays.
    assert_eq!(rig.ask(ASKERS[0], "delete_file", json!([at("out")])).await, json!({"result": true}));
    assert_eq!(rig.ask(ASKERS[1], "delete_file", json!([at("directory")])).await, json!({"result": true}));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "outside");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let rig = Rig::new().await;
    let odd = place(&rig, "odd");
    #[expect(clippy::disallowed_methods, reason = "the standard library makes no pipe with a name")]
    let made = std::process::Command::new("mkfifo").arg(odd.join("fifo")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(odd.join("socket")).unwrap();
    fs::create_dir(odd.join("directory")).unwrap();
    fs::write(odd.join("plain"), "plain").unwrap();
    let huge = fs::File::create(odd.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let mut grants =
        ["read", "write", "delete"].map(|verb| format!("file:{verb}={}/**", odd.display())).to_vec();
    grants.push("file:read".into());
    rig.askers(&grants, "").await;
    let at = |name: &str| text(&odd.join(name));
    for name in ASKERS {
        for special in ["fifo", "socket", "directory"] {
            for (function, arguments) in [
                ("read_file", json!([at(special)])),
                ("write_file", json!([at(special), "x"])),
                ("delete_file", json!([at(special)])),
            ] {
                let refused = rig.ask(name, function, arguments).await;
                assert_eq!(code(&refused), "invalid_params", "{function} {special}: {refused}");
            }
        }
        assert_eq!(rig.ask(name, "read_file", json!([at("plain")])).await, json!({"result": "plain"}));
        let huge = rig.ask(name, "read_file", json!([at("huge")])).await;
        assert_eq!((code(&huge), &huge["number"]), ("too_large", &json!(-31005)), "{huge}");
        let not_a_directory = rig.ask(name, "list_files", json!([at("plain")])).await;
        assert_eq!(code(&not_a_directory), "not_found", "{not_a_directory}");
        let nul = rig.ask(name, "read_file", json!([format!("{}\0.txt", at("plain"))])).await;
        assert_eq!(code(&nul), "invalid_params", "{nul}");
        let long = rig.ask(name, "read_file", json!(["a/".repeat(5000)])).await;
        assert_eq!(code(&long), "invalid_params", "{long}");
        // Everything may be read, but each sandbox has these of its own, and the kernel is no file.
        for own in ["/proc/self/environ", "/proc/1/root/etc/passwd", "/sys/kernel/uevent_seqnum", "/dev/zero"]
        {
            rig.refused(name, "read_file", json!([own]), own, &format!("file:read={own}")).await;
        }
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_is_protected_is_not_opened_by_a_wildcard() {
    let rig = Rig::new().await;
    let home = rig.host.home().path().to_owned();
    let (secret, beside) = (home.join("note-secret"), rig.path("note-beside"));
    fs::write(&secret, "the state of the host").unwrap();
    fs::write(&beside, "beside").unwrap();
    rig.askers(&[format!("file:read={}/**/note-*", rig.path("").display())], "").await;
    for name in ASKERS {
        assert_eq!(rig.ask(name, "read_file", json!([text(&beside)])).await, json!({"result": "beside"}));
        let object = text(&secret);
        rig.refused(name, "read_file", json!([object]), &object, &format!("file:read={object}")).await;
    }
    rig.grant_askers(&[format!("file:read={}", secret.display())]).await;
    for name in ASKERS {
        let read = rig.ask(name, "read_file", json!([text(&secret)])).await;
        assert_eq!(read, json!({"result": "the state of the host"}), "granted by its name, it is there");
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_directory_of_100_000_entries_is_refused_at_once() {
    let rig = Rig::new().await;
    let (many, few) = (place(&rig, "many"), place(&rig, "few"));
    for number in 0..100_000 {
        fs::File::create(many.join(format!("{number}"))).unwrap();
    }
    for number in 0..ringfence::service::LISTED_MAX {
        fs::File::create(few.join(format!("{number}"))).unwrap();
    }
    rig.askers(&[many, few].map(|place| format!("file:read={}/**", place.display())), "").await;
    for name in ASKERS {
        let begun = std::time::Instant::now();
        let refused = rig.ask(name, "list_files", json!([text(&rig.path("many"))])).await;
        assert_eq!(code(&refused), "too_large", "{refused}");
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
        let listed = rig.ask(name, "list_files", json!([text(&rig.path("few"))])).await;
        assert_eq!(listed["result"].as_array().unwrap().len(), ringfence::service::LISTED_MAX);
    }
    rig.host.shutdown().await;
}

/// Swaps `here` between the directory `real` and a link to the outside, until told to end.
fn swap(directory: PathBuf, over: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let at = |name: &str| directory.join(name);
        while !over.load(Ordering::Relaxed) {
            for (away, here) in [("real", "bait"), ("bait", "real")] {
                let _moved = fs::rename(at("here"), at(away));
                let _moved = fs::rename(at(here), at("here"));
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_swapped_for_a_link_all_the_time_never_leads_outside() {
    let rig = Rig::new().await;
    let (inside, outside) = (place(&rig, "inside"), place(&rig, "outside"));
    fs::create_dir(inside.join("real")).unwrap();
    fs::write(inside.join("real/file"), "inside").unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    symlink(&outside, inside.join("bait")).unwrap();
    let all = ["read", "write", "delete"].map(|verb| format!("file:{verb}={}/**", inside.display()));
    rig.askers(&all, "").await;
    let over = Arc::new(AtomicBool::new(false));
    let swapping = swap(inside.clone(), Arc::clone(&over));
    let (here, new) = (text(&inside.join("here/file")), text(&inside.join("here/new")));
    let (mut read, mut refused, mut wrote) = (0, 0, 0);
    let mut rounds = 0;
    while (read < 20 || refused < 20 || wrote < 20) && rounds < 5_000 {
        rounds += 1;
        let name = ASKERS[rounds % 2];
        let answer = rig.ask(name, "read_file", json!([here])).await;
        match answer["result"].as_str() {
            Some(content) => {
                assert_eq!(content, "inside");
                read += 1;
            }
            None => refused += usize::from(code(&answer) == "permission_denied"),
        }
        let written = rig.ask(name, "write_file", json!([new, "new"])).await;
        wrote += usize::from(written == json!({"result": null}));
        rig.ask(name, "delete_file", json!([new])).await;
        rig.ask(name, "list_files", json!([text(&inside.join("here"))])).await;
    }
    over.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(
        read >= 20 && refused >= 20 && wrote >= 20,
        "{read} reads, {wrote} writes and {refused} refusals in {rounds} rounds"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was made or removed outside");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "outside");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn as_root_a_file_belongs_to_the_owner_of_the_tree_and_others_files_stay_closed() {
    if ringfence_testkit::lacks("root") {
        return;
    }
    let rig = Rig::new().await;
    let theirs = place(&rig, "theirs");
    std::os::unix::fs::chown(&theirs, Some(4711), Some(4712)).unwrap();
    for (file, owner, mode) in [("mine", 0, 0o600), ("open", 0, 0o644), ("own", 4711, 0o600)] {
        fs::write(theirs.join(file), file).unwrap();
        std::os::unix::fs::chown(theirs.join(file), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(theirs.join(file), fs::Permissions::from_mode(mode)).unwrap();
    }
    let single = rig.path("single");
    fs::write(&single, "x").unwrap();
    std::os::unix::fs::chown(&single, Some(4713), Some(4714)).unwrap();
    let mut grants = ["read", "write"].map(|verb| format!("file:{verb}={}/**", theirs.display())).to_vec();
    grants.push(format!("file:write={}", single.display()));
    rig.askers(&grants, "").await;
    let owner = |path: &Path| fs::metadata(path).map(|seen| (seen.uid(), seen.gid())).unwrap();
    for name in ASKERS {
        let new = theirs.join(name);
        assert_eq!(rig.ask(name, "write_file", json!([text(&new), "x"])).await, json!({"result": null}));
        assert_eq!(owner(&new), (4711, 4712), "as the sandbox makes it");
        assert_eq!(
            rig.ask(name, "read_file", json!([text(&theirs.join("own"))])).await,
            json!({"result": "own"})
        );
        assert_eq!(
            rig.ask(name, "read_file", json!([text(&theirs.join("open"))])).await,
            json!({"result": "open"})
        );
        for (function, arguments) in [
            ("read_file", json!([text(&theirs.join("mine"))])),
            ("write_file", json!([text(&theirs.join("mine")), "x"])),
            ("write_file", json!([text(&theirs.join("open")), "x"])),
        ] {
            let refused = rig.ask(name, function, arguments).await;
            assert_eq!(code(&refused), "io", "root's own file in a stranger's tree: {refused}");
        }
        assert_eq!(rig.ask(name, "write_file", json!([text(&single), name])).await, json!({"result": null}));
        assert_eq!((fs::read_to_string(&single).unwrap().as_str(), owner(&single)), (name, (4713, 4714)));
        let data = rig.call(name, "where").await.unwrap();
        let own = format!("{}/a", data.as_str().unwrap());
        rig.ask(name, "write_file", json!([own, "x"])).await;
        assert_eq!(owner(Path::new(&own)), owner(Path::new(data.as_str().unwrap())));
    }
    assert_eq!(fs::read_to_string(theirs.join("mine")).unwrap(), "mine");
    rig.host.shutdown().await;
}
