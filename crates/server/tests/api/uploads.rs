//! Packages in the body of a request.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringfence_api::Role;
use serde_json::json;

use crate::client::{Answer, Request, get, post, request};
use crate::rig::Rig;

const ASKS: &str = "permissions: ['env:read=LANG']\n";
const GZIP: &str = "application/gzip";
const TAR: &str = "application/x-tar";

fn code(answer: u32) -> String {
    format!("def which(a):\n    return {answer}\n")
}

/// A package as one file, plain.
fn tar(rig: &Rig, name: &str, version: &str, head: &str, code: &str) -> Vec<u8> {
    let package = rig.package(name, version, head, &["which"], code);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(format!("{name}-{version}"), package).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn upload(target: &str, media: &str, bytes: &[u8]) -> Request {
    request("POST", target).body(media, bytes)
}

fn nothing_is_left(rig: &Rig) {
    let staging = std::fs::read_dir(rig.path("home/staging"));
    assert_eq!(staging.map_or(0, Iterator::count), 0, "something is left in staging");
}

#[test]
fn an_uploaded_package_waits_for_consent_like_any_other() {
    let rig = Rig::new();
    let archive = gzip(&tar(&rig, "p", "1.0.0", ASKS, &code(1)));
    let installed = rig.send(&upload("/plugins", GZIP, &archive).header("X-Correlation-Id", "up-1"));
    assert_eq!(installed.status, 201, "{}", installed.json());
    assert_eq!(installed.json()["plugin"]["state"], "installed");
    assert_eq!(rig.send(&request("POST", "/plugins/p/activate")).refusal().1, "consent_required");
    assert_eq!(rig.send(&get("/plugins/p/grants")).ok(), json!([]));
    nothing_is_left(&rig);
    // Who, what, and from where, tied to the request.
    let records = rig.send(&get("/audit?correlation_id=up-1")).ok();
    let install = &records["records"][0];
    assert_eq!(install["event"], "install", "{records}");
    let text = install.to_string();
    assert!(text.contains("upload sha256:") && text.contains("token "), "{install}");
    assert!(text.contains(installed.json()["digest"].as_str().unwrap()), "{install}");
    // The twin: with what is granted in the query it runs.
    let twin = gzip(&tar(&rig, "q", "1.0.0", ASKS, &code(1)));
    let granted = rig.send(&upload("/plugins?grant=env%3Aread%3DLANG", GZIP, &twin)).ok();
    assert_eq!(granted["plugin"]["state"], "inactive");
    rig.send(&request("POST", "/plugins/q/activate")).ok();
    assert_eq!(rig.send(&post("/plugins/q/call", &json!({"tool": "which"}))).ok()["result"], 1);
    assert_eq!(rig.send(&get("/plugins/q/grants")).ok()[0]["permission"], "env:read=LANG");
}

#[test]
fn an_upgrade_by_upload_waits_for_what_is_new_and_is_of_the_same_plugin() {
    let rig = Rig::new();
    rig.active("p", "", &["which"], &code(1));
    let second = tar(&rig, "p", "2.0.0", ASKS, &code(2));
    let waits = rig.send(&upload("/plugins/p/upgrade", TAR, &second)).ok();
    assert_eq!((&waits["done"], &waits["wider"]), (&json!(false), &json!(["env:read=LANG"])));
    let call = post("/plugins/p/call", &json!({"tool": "which"}));
    assert_eq!(rig.send(&call).ok()["result"], 1);
    let done = rig.send(&upload("/plugins/p/upgrade?grant_requested=true", TAR, &second)).ok();
    assert_eq!(done["done"], true);
    assert_eq!(rig.send(&call).ok()["result"], 2);
    let older = tar(&rig, "p", "1.5.0", "", &code(3));
    assert_eq!(rig.send(&upload("/plugins/p/upgrade", TAR, &older)).refusal(), (400, "usage".to_owned()));
    let allowed = rig.send(&upload("/plugins/p/upgrade?allow_downgrade=true", TAR, &older)).ok();
    assert_eq!(allowed["done"], true);
    let other = tar(&rig, "other", "9.0.0", "", &code(4));
    assert_eq!(rig.send(&upload("/plugins/p/upgrade", TAR, &other)).refusal(), (400, "usage".to_owned()));
    let nobody = rig.send(&upload("/plugins/nobody/upgrade", TAR, &other));
    assert_eq!(nobody.refusal(), (404, "not_found".to_owned()));
    nothing_is_left(&rig);
}

#[test]
fn only_an_administrator_uploads_and_says_what_is_allowed_once() {
    let rig = Rig::new();
    let archive = tar(&rig, "p", "1.0.0", ASKS, &code(1));
    for role in [Role::Viewer, Role::Operator] {
        let (_, token) = rig.token(role, None, None);
        let refused = rig.send_as(&token, &upload("/plugins?grant_requested=true", TAR, &archive));
        assert_eq!(refused.refusal(), (403, "forbidden".to_owned()));
    }
    let nobody = upload("/plugins", TAR, &archive).send(rig.address);
    assert_eq!(nobody.refusal().0, 401);
    for query in ["?grant=x", "?grant_none=true&grant=env:read", "?consent=true", "?allow_downgrade=true"] {
        let refused = rig.send(&upload(&format!("/plugins{query}"), TAR, &archive));
        assert_eq!(refused.refusal().0, 400, "{query}");
    }
    let package = rig.path("packages/p-1.0.0");
    let both = rig.send(&post("/plugins?grant_requested=true", &json!({"path": package})));
    assert_eq!(both.refusal(), (400, "usage".to_owned()));
    for media in ["application/zip", "application/octet-stream", "multipart/form-data", "text/plain", ""] {
        let refused = rig.send(&upload("/plugins", media, &archive));
        assert_eq!(refused.refusal(), (415, "unsupported_media_type".to_owned()), "{media}");
    }
    let compressed = upload("/plugins", TAR, &archive).header("Content-Encoding", "gzip");
    assert_eq!(rig.send(&compressed).refusal().0, 415);
    assert_eq!(rig.send(&get("/plugins")).ok(), json!([]));
    assert_eq!(rig.send(&upload("/plugins", TAR, &archive)).status, 201);
}

#[test]
fn pkg_02_hostile_archives_are_refused_and_leave_nothing() {
    let rig = Rig::new();
    let good = tar(&rig, "p", "1.0.0", "", &code(1));
    let entry = |name: &[u8], kind: tar::EntryType, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_link_name("/etc").unwrap();
        header.set_cksum();
        [header.as_bytes().as_slice(), &good].concat()
    };
    let file = tar::EntryType::Regular;
    for (archive, status, code) in [
        (entry(b"../../../planted", file, 0), 422, "invalid_package"),
        (entry(b"/planted", file, 0), 422, "invalid_package"),
        (entry(b"p-1.0.0", tar::EntryType::Symlink, 0), 422, "invalid_package"),
        (entry(b"h", tar::EntryType::Link, 0), 422, "invalid_package"),
        (entry(b"huge", file, 1 << 40), 413, "too_large"),
        (good[..good.len() / 2].to_vec(), 422, "invalid_package"),
        (b"PK\x03\x04".to_vec(), 422, "invalid_package"),
        (Vec::new(), 422, "invalid_package"),
    ] {
        for (media, archive) in [(TAR, archive.clone()), (GZIP, gzip(&archive))] {
            let refused = rig.send(&upload("/plugins", media, &archive));
            assert_eq!(refused.refusal(), (status, code.to_owned()), "{}", refused.json());
            assert!(!refused.json().to_string().contains("staging"), "{}", refused.json());
            nothing_is_left(&rig);
        }
    }
    let bomb = gzip(&vec![0; 64 << 20]);
    let refused = rig.send(&upload("/plugins", GZIP, &bomb));
    assert!(matches!(refused.status, 413 | 422), "{}", refused.json());
    assert!(!rig.path("planted").exists() && !rig.path("home/planted").exists());
    assert_eq!(rig.send(&get("/plugins")).ok(), json!([]));
    assert_eq!(rig.send(&upload("/plugins", TAR, &good)).status, 201, "the twin without any of it");
}

/// Sends a head and a part of the body that it announces.
fn begun(rig: &Rig, length: usize, part: &[u8]) -> TcpStream {
    let head = request("POST", "/plugins")
        .token(&rig.admin)
        .header("Content-Type", TAR)
        .header("Content-Length", &length.to_string());
    let mut stream = TcpStream::connect(rig.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&head.bytes(rig.address)).unwrap();
    stream.write_all(part).unwrap();
    stream
}

fn within(mut so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it has not become so");
}

#[test]
fn api_11_an_upload_that_stops_holds_one_place_and_goes_with_its_client() {
    let rig = Rig::with(|options| options.limits.uploads = 1);
    let archive = tar(&rig, "p", "1.0.0", "", &code(1));
    let mut stalled = begun(&rig, archive.len(), &archive[..1_000]);
    let whole = upload("/plugins", TAR, &archive);
    within(|| {
        let is_held = rig.send(&whole).status == 503;
        if !is_held {
            // The whole one was faster, and this one was refused for it.
            stalled = begun(&rig, archive.len(), &archive[..1_000]);
        }
        is_held
    });
    let busy = rig.send(&whole);
    assert!(busy.status == 201 || busy.refusal() == (503, "busy".to_owned()), "{}", busy.status);
    assert_eq!(rig.send(&get("/plugins")).status, 200, "others are served");
    // Nobody may send a terabyte, whether or not it says so.
    let announced = begun(&rig, 1 << 41, b"");
    assert_eq!(answer(announced).status, 413);
    drop(stalled);
    within(|| matches!(rig.send(&whole).status, 201 | 200));
    nothing_is_left(&rig);
}

#[test]
fn api_11_what_is_refused_is_refused_while_its_sender_stalls() {
    let rig = Rig::new();
    let good = tar(&rig, "p", "1.0.0", "", &code(1));
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..10].copy_from_slice(b"../planted");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    let bad = [header.as_bytes().as_slice(), &good].concat();
    let within_a_moment = |stalled: TcpStream| {
        // The sender waits for 30 s, and this for less.
        stalled.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        answer(stalled)
    };
    let refused = within_a_moment(begun(&rig, bad.len(), &bad[..1_024]));
    assert_eq!(refused.refusal(), (422, "invalid_package".to_owned()), "{}", refused.json());
    assert!(refused.json().to_string().contains(".."), "{}", refused.json());
    nothing_is_left(&rig);
    // The same head over a body that is not a package and not JSON: what is wrong stands in the head.
    let form = request("POST", "/plugins")
        .token(&rig.admin)
        .header("Content-Type", "text/plain")
        .header("Content-Length", "100");
    let mut stalled = TcpStream::connect(rig.address).unwrap();
    stalled.write_all(&form.bytes(rig.address)).unwrap();
    assert_eq!(within_a_moment(stalled).refusal(), (415, "unsupported_media_type".to_owned()));
    // The twin: nothing is wrong with what came so far, so it is waited for, and taken when the rest comes.
    let mut slow = begun(&rig, good.len(), &good[..1_024]);
    slow.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let early = slow.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(early.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{early}");
    slow.write_all(&good[1_024..]).unwrap();
    assert_eq!(within_a_moment(slow).status, 201);
}

#[test]
fn an_upload_that_is_under_way_ends_with_the_server() {
    let mut rig = Rig::new();
    let archive = tar(&rig, "p", "1.0.0", "", &code(1));
    let stalled = begun(&rig, archive.len(), &archive[..1_000]);
    within(|| std::fs::read_dir(rig.path("home/staging")).is_ok_and(|all| all.count() == 1));
    let begun = std::time::Instant::now();
    rig.stop_server();
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(answer(stalled).refusal(), (503, "busy".to_owned()));
    nothing_is_left(&rig);
    assert!(rig.runtime.block_on(rig.host.list()).unwrap().is_empty());
}

fn answer(mut stream: TcpStream) -> Answer {
    let mut all = Vec::new();
    let _cut = stream.read_to_end(&mut all);
    Answer::parse(&all)
}

#[test]
fn api_14_an_upload_that_is_sent_twice_with_a_key_is_done_once() {
    let rig = Rig::new();
    let archive = tar(&rig, "p", "1.0.0", "", &code(1));
    let keyed = |query: &str, archive: &[u8]| {
        rig.send(&upload(&format!("/plugins{query}"), TAR, archive).header("Idempotency-Key", "k1"))
    };
    let first = keyed("", &archive);
    assert_eq!((first.status, &first.ok()["changed"]), (201, &json!(true)));
    assert_eq!(keyed("", &archive).ok()["changed"], true, "the answer of the first");
    assert_eq!(keyed("?grant_none=true", &archive).refusal(), (412, "conflict".to_owned()));
    let other = tar(&rig, "q", "1.0.0", "", &code(1));
    assert_eq!(keyed("", &other).refusal(), (412, "conflict".to_owned()));
    assert_eq!(rig.send(&upload("/plugins", TAR, &archive)).ok()["changed"], false);
}
