//! Requests that no client sends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, get, post, request};
use crate::rig::Rig;

#[test]
fn api_09_what_climbs_or_hides_in_a_path_is_the_name_of_nothing() {
    let rig = Rig::new();
    for path in [
        "/plugins/..",
        "/plugins/%2e%2e",
        "/plugins/..%2f..%2fetc%2fpasswd",
        "/plugins/%252e%252e",
        "/plugins/a%00b",
        "/plugins//config",
        "/plugins/a;b",
        "/plugins/%ff",
        "/runs/..%2f1",
        "/runs/-1",
        "/runs/01",
        "/runs/99999999999999999999",
        "/tokens/%2e%2e",
        "//../../etc/passwd",
        "//api/v1/../../etc/passwd",
        "//api/v2/plugins",
        "/plugins/",
    ] {
        let answer = rig.send(&get(path));
        assert!(matches!(answer.status, 400 | 404 | 405), "{path}: {}", answer.status);
    }
}

#[test]
fn api_11_bodies_heads_and_clients_that_never_end_are_bounded() {
    let rig = Rig::with(|options| options.body_max = 10_000);
    let large = json!({"topic": "t", "payload": "x".repeat(20_000)});
    assert_eq!(rig.send(&post("/events", &large)).refusal(), (413, "too_large".to_owned()));
    let told = request("POST", "/events")
        .header("Content-Type", "application/json")
        .header("Content-Length", "1000000000");
    assert_eq!(rig.send(&told).refusal(), (413, "too_large".to_owned()));
    let compressed = post("/events", &json!({"topic": "t"})).header("Content-Encoding", "gzip");
    assert_eq!(rig.send(&compressed).refusal(), (415, "unsupported_media_type".to_owned()));
    let deep = request("POST", "/events").body("application/json", "[".repeat(5_000).as_bytes());
    assert_eq!(rig.send(&deep).refusal().0, 400);

    // A body in pieces without an end.
    let mut stream = TcpStream::connect(rig.address).unwrap();
    let head = request("POST", "/events")
        .token(&rig.admin)
        .header("Content-Type", "application/json")
        .header("Transfer-Encoding", "chunked");
    stream.write_all(&head.bytes(rig.address)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for _ in 0..40 {
        if stream.write_all(format!("3e8\r\n{}\r\n", "x".repeat(1_000)).as_bytes()).is_err() {
            break;
        }
    }
    let mut all = Vec::new();
    let _cut = stream.read_to_end(&mut all);
    assert_eq!(Answer::parse(&all).status, 413);

    let many = (0..200).fold(get("/plugins"), |request, n| request.header(&format!("x-{n}"), "v"));
    assert!(matches!(rig.send(&many).status, 400 | 431));
    let long = get("/plugins").header("x-long", &"v".repeat(200_000));
    let answer = rig.send(&long);
    assert!(matches!(answer.status, 400 | 431), "{}", answer.status);
    assert_eq!(rig.send(&get("/plugins")).status, 200);
}

#[test]
fn api_11_a_head_that_comes_drop_by_drop_is_cut_off_while_others_are_served() {
    let rig = Rig::new();
    let mut slow: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: loc").unwrap();
    }
    let begun = Instant::now();
    assert_eq!(rig.send(&get("/plugins")).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let first = &mut slow[0];
    first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = Vec::new();
    let _cut = first.read_to_end(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

/// What two administrators could do one after the other is all that twenty can do at once: each version is changed by one of them.
#[test]
fn api_13_of_twenty_changes_of_one_version_exactly_one_is_made() {
    let rig = Rig::new();
    let schema =
        "config_schema: {type: object, properties: {n: {type: integer}}}\npermissions: ['env:read=LANG']\n";
    let package = rig.package("p", "1.0.0", schema, &["hi"], "def hi(a):\n    return 'hi'\n");
    rig.send(&post("/plugins", &json!({"path": package, "grant_requested": true}))).ok();
    for (path, change) in [
        ("/plugins/p/config", (|n| json!({"n": n})) as fn(usize) -> Value),
        ("/plugins/p/grants", |n| json!({"permissions": [format!("env:read=V{n}")]})),
    ] {
        for round in 0..3 {
            let version = rig.send(&get(path)).header("etag").unwrap().to_owned();
            let together = std::sync::Barrier::new(20);
            let answers: Vec<(usize, u16)> = std::thread::scope(|scope| {
                let all: Vec<_> = (0..20)
                    .map(|thread| {
                        let (rig, together, version) = (&rig, &together, &version);
                        let number = round * 20 + thread;
                        let put = crate::client::put(path, &change(number)).header("If-Match", version);
                        scope.spawn(move || {
                            together.wait();
                            (number, rig.send(&put).status)
                        })
                    })
                    .collect();
                all.into_iter().map(|act| act.join().unwrap()).collect()
            });
            let done: Vec<usize> =
                answers.iter().filter(|(_, status)| *status == 200).map(|(number, _)| *number).collect();
            let [won] = done.as_slice() else { panic!("{path}: {answers:?}") };
            assert!(answers.iter().all(|(_, status)| matches!(status, 200 | 412)), "{path}: {answers:?}");
            let now = rig.send(&get(path)).ok().to_string();
            let wanted =
                if path.ends_with("config") { format!("\"n\":{won}") } else { format!("env:read=V{won}") };
            assert!(now.contains(&wanted), "{path}: {won} was answered, and there is {now}");
        }
    }
    assert_eq!(rig.send(&get("/audit/verify")).ok()["first_bad"], json!(null));
}

#[test]
fn api_13_many_acts_on_one_plugin_at_once_leave_one_whole_state() {
    let rig = Rig::new();
    let package = rig.package(
        "p",
        "1.0.0",
        "permissions: ['env:read=LANG']\n",
        &["hi"],
        "def hi(a):\n    return 'hi'\n",
    );
    let install = post("/plugins", &json!({"path": package, "grant_requested": true}));
    rig.send(&install).ok();
    let acts = [
        request("POST", "/plugins/p/activate"),
        request("POST", "/plugins/p/deactivate"),
        crate::client::put("/plugins/p/grants", &json!({"permissions": []})),
        crate::client::put("/plugins/p/grants", &json!({"permissions": ["env:read=LANG"]})),
        post("/plugins/p/call", &json!({"tool": "hi"})),
        crate::client::delete("/plugins/p"),
        install,
    ];
    let together = std::sync::Barrier::new(15);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..15)
            .map(|turn| {
                let (rig, acts, together) = (&rig, &acts, &together);
                scope.spawn(move || {
                    together.wait();
                    (0..acts.len())
                        .map(|n| rig.send(&acts[(n + turn) % acts.len()]).status)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        all.into_iter().flat_map(|act| act.join().unwrap()).collect()
    });
    // Done; not there or not active just then; changed meanwhile; busy; ended during the call.
    let declared = [200, 201, 204, 403, 404, 409, 412, 422, 502, 503];
    assert!(statuses.iter().all(|status| declared.contains(status)), "{statuses:?}");
    rig.send(&request("POST", "/plugins/scan")).ok();
    assert_eq!(rig.send(&get("/audit/verify")).ok()["first_bad"], json!(null));
    // It works as if nothing had been.
    rig.send(&post("/plugins", &json!({"path": package, "grant_requested": true}))).ok();
    rig.send(&request("POST", "/plugins/p/activate")).ok();
    assert_eq!(rig.send(&post("/plugins/p/call", &json!({"tool": "hi"}))).ok(), json!({"result": "hi"}));
}
