//! How people come in, what keeps strangers out, and what every answer says to a browser.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ringfence_api::Role;
use ringfence_server::Listen;

use crate::browser::{Browser, page, value_of};
use crate::client::{Answer, request};
use crate::rig::Rig;

/// Pages and acts that need somebody who is signed in.
const PAGES: [&str; 22] = [
    "/dashboard",
    "/dashboard/plugins",
    "/dashboard/stream",
    "/dashboard/install",
    "/dashboard/plugins/nobody",
    "/dashboard/plugins/p",
    "/dashboard/plugins/p/grants",
    "/dashboard/plugins/p/config",
    "/dashboard/plugins/p/resources",
    "/dashboard/plugins/p/denials",
    "/dashboard/plugins/p/upgrade",
    "/dashboard/plugins/p/uninstall",
    "/dashboard/plugins/p/activity",
    "/dashboard/plugins/p/logs",
    "/dashboard/hooks",
    "/dashboard/activity",
    "/dashboard/runs",
    "/dashboard/runs/1",
    "/dashboard/runs/1/stream",
    "/dashboard/audit",
    "/dashboard/sessions",
    "/dashboard/tokens",
];
const ACTS: [&str; 18] = [
    "/dashboard/plugins",
    "/dashboard/install/scan",
    "/dashboard/plugins/p/activate",
    "/dashboard/plugins/p/deactivate",
    "/dashboard/plugins/p/grants",
    "/dashboard/plugins/p/grants/add",
    "/dashboard/plugins/p/grants/ask",
    "/dashboard/plugins/p/grants/revoke",
    "/dashboard/plugins/p/config",
    "/dashboard/plugins/p/upgrade",
    "/dashboard/plugins/p/rollback",
    "/dashboard/plugins/p/uninstall",
    "/dashboard/runs/1/cancel",
    "/dashboard/audit/verify",
    "/dashboard/sessions/others",
    "/dashboard/sessions/1/end",
    "/dashboard/tokens",
    "/dashboard/tokens/1/revoke",
];

fn one(rig: &Rig) {
    rig.active("p", "", &["hi"], "def hi(a):\n    return 'hi'\n");
}

#[test]
fn the_root_leads_to_the_dashboard_and_a_stranger_to_the_sign_in() {
    let rig = Rig::new();
    let mut stranger = Browser::new(&rig);
    assert_eq!(stranger.get("/").header("location"), Some("/dashboard"));
    assert_eq!(stranger.get("/dashboard").header("location"), Some("/dashboard/login"));
    let deep = stranger.get("/dashboard/plugins/p?q=1");
    assert_eq!(deep.header("location"), Some("/dashboard/login?then=%2Fdashboard%2Fplugins%2Fp%3Fq%3D1"));
    let login = stranger.open("/dashboard/login?then=%2Fdashboard%2Fplugins%2Fp");
    assert_eq!(value_of(&login, "then").as_deref(), Some("/dashboard/plugins/p"));
    assert!(login.contains("ringfence dashboard"), "{login}");
    for path in PAGES {
        assert_eq!(stranger.get(path).status, 303, "{path}");
    }
    for path in ACTS {
        assert_eq!(stranger.post(path, &[]).status, 401, "{path}");
    }
    let mut known = Browser::with_role(&rig, Role::Viewer);
    assert!(known.open("/dashboard").contains("No plugin is installed yet"), "the twin");
}

#[test]
fn a_token_opens_a_session_that_no_script_and_no_other_site_can_use() {
    let rig = Rig::new();
    let (_, token) = rig.token(Role::Operator, None, None);
    let mut browser = Browser::new(&rig);
    let answer =
        browser.post("/dashboard/login", &[("token", &format!(" {token} ")), ("then", "/dashboard/plugins")]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard/plugins")));
    let cookie = answer.header("set-cookie").unwrap();
    let (key, flags) = cookie.split_once(';').unwrap();
    assert_eq!(flags, " Path=/; HttpOnly; SameSite=Strict");
    assert!(!cookie.contains(&token) && key.len() > 64, "{cookie}");
    let body = browser.open("/dashboard");
    assert!(body.contains("operator") && !body.contains(&token), "{body}");
    // It leads to no other site.
    let mut other = Browser::new(&rig);
    let answer = other.post("/dashboard/login", &[("token", &token), ("then", "//evil.example/dashboard")]);
    assert_eq!(answer.header("location"), Some("/dashboard"));
}

#[test]
fn a_wrong_token_opens_nothing_and_a_flood_of_them_is_held_up() {
    let rig = Rig::new();
    let mut browser = Browser::new(&rig);
    let answer = browser.post("/dashboard/login", &[("token", "rf_nobody_nothing")]);
    assert_eq!((answer.status, answer.header("set-cookie")), (401, None));
    assert!(page(&answer).contains("This token opens nothing") && !page(&answer).contains("rf_nobody"));
    // Some are forgiven with time, far fewer than come.
    let held_up =
        (0..6_000).any(|_| browser.post("/dashboard/login", &[("token", "rf_nobody_nothing")]).status == 429);
    assert!(held_up);
    Browser::signed_in(&rig, &rig.admin);
}

#[test]
fn web_07_a_key_that_a_stranger_chose_is_never_a_session() {
    let rig = Rig::new();
    let (_, token) = rig.token(Role::Viewer, None, None);
    let mut victim = Browser::signed_in(&rig, &token);
    let name = victim.cookie.clone().unwrap().split('=').next().unwrap().to_owned();
    let mut fixed = Browser::new(&rig);
    fixed.cookie = Some(format!("{name}={}", "a".repeat(64)));
    let answer = fixed.post("/dashboard/login", &[("token", &token)]);
    assert!(!answer.header("set-cookie").unwrap().contains(&"a".repeat(64)));
    // Signing in again gives another key, and the one before opens nothing any more.
    let before = victim.clone();
    assert_eq!(victim.post("/dashboard/login", &[("token", &token)]).status, 303);
    assert_ne!(victim.cookie, before.cookie);
    assert_eq!(before.clone().get("/dashboard").status, 303);
    assert_eq!(victim.get("/dashboard").status, 200, "the twin");
}

#[test]
fn web_07_signing_out_ends_the_session_on_the_server_and_its_stream() {
    let rig = Rig::new();
    let mut browser = Browser::with_role(&rig, Role::Viewer);
    let kept = browser.clone();
    let mut stream = std::net::TcpStream::connect(rig.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&browser.request("GET", "/dashboard/stream").bytes(rig.address)).unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    // A form of somebody else ends nothing.
    assert_eq!(browser.post_bare("/dashboard/logout", &[("csrf", "0")]).status, 403);
    assert_eq!(browser.get("/dashboard").status, 200);
    let answer = browser.post("/dashboard/logout", &[]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard/login")));
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(kept.clone().get("/dashboard").status, 303, "whoever kept the cookie");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("text/event-stream"), "it was a stream");
}

#[test]
fn a_session_ends_with_its_token() {
    let rig = Rig::new();
    let (id, revoked) = rig.token(Role::Admin, None, None);
    let (_, expiring) = rig.token(Role::Admin, None, Some(Duration::from_secs(2)));
    let (mut one, mut two) = (Browser::signed_in(&rig, &revoked), Browser::signed_in(&rig, &expiring));
    let mut kept = Browser::signed_in(&rig, &rig.admin);
    rig.runtime.block_on(rig.host.revoke_token(&id.parse().unwrap())).unwrap();
    assert_eq!(one.get("/dashboard").status, 303);
    assert_eq!(one.post("/dashboard/plugins/p/activate", &[]).status, 401);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(two.get("/dashboard").status, 303);
    assert_eq!(kept.get("/dashboard").status, 200, "the twin");
}

#[test]
fn a_form_counts_when_this_session_has_made_it() {
    let rig = Rig::new();
    one(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    for path in ACTS {
        assert_eq!(admin.post_bare(path, &[("csrf", "0"), ("name", "p")]).status, 403, "{path}");
    }
    admin.open("/dashboard/plugins/p");
    let mut browser = Browser::with_role(&rig, Role::Operator);
    let other = Browser::with_role(&rig, Role::Operator);
    let state = || rig.send(&crate::client::get("/plugins/p")).ok()["state"].as_str().unwrap().to_owned();
    for csrf in [None, Some(""), Some("0"), Some(other.csrf.as_str())] {
        let fields: Vec<(&str, &str)> = csrf.map(|csrf| ("csrf", csrf)).into_iter().collect();
        let answer = browser.post_bare("/dashboard/plugins/p/deactivate", &fields);
        assert_eq!(answer.status, 403, "{csrf:?}");
        assert!(page(&answer).contains("not one that your session has made"), "{}", page(&answer));
    }
    assert_eq!(state(), "active");
    assert!(browser.act("/dashboard/plugins/p/deactivate", &[]).contains("is stopped"), "the twin");
    assert_eq!(state(), "inactive");
}

#[test]
fn a_form_that_another_site_sends_is_refused_although_everything_else_is_right() {
    let rig = Rig::new();
    one(&rig);
    let browser = Browser::with_role(&rig, Role::Operator);
    let fields = [("csrf", browser.csrf.as_str())];
    let bare = |origin: Option<&str>, site: Option<&str>| {
        let mut request = browser
            .request("POST", "/dashboard/plugins/p/deactivate")
            .body("application/x-www-form-urlencoded", crate::browser::encoded(&fields).as_bytes());
        for (name, value) in [("Origin", origin), ("Sec-Fetch-Site", site)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request.send(rig.address).status
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"] {
        assert_eq!(bare(Some(origin), None), 403, "{origin}");
    }
    for site in ["cross-site", "same-site", "none"] {
        assert_eq!(bare(None, Some(site)), 403, "{site}");
    }
    assert_eq!(bare(Some(&format!("http://{}", rig.address)), Some("same-origin")), 303, "the twin");
}

#[test]
fn a_name_that_is_not_ours_is_shown_no_page() {
    let rig = Rig::new();
    let browser = Browser::with_role(&rig, Role::Viewer);
    let answer = browser.request("GET", "/dashboard").header("Host", "evil.example").send(rig.address);
    assert_eq!(answer.status, 403);
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    let ours =
        browser.request("GET", "/dashboard").header("Host", &rig.address.to_string()).send(rig.address);
    assert_eq!(ours.status, 200, "the twin");
}

#[test]
fn the_cookie_opens_no_route_of_the_api() {
    let rig = Rig::new();
    let browser = Browser::with_role(&rig, Role::Admin);
    let cookie = browser.cookie.clone().unwrap();
    for (method, path) in
        [("GET", "/plugins"), ("POST", "/plugins/scan"), ("GET", "/stream"), ("GET", "/tokens")]
    {
        let answer = request(method, path).header("Cookie", &cookie).send(rig.address);
        assert_eq!(answer.status, 401, "{method} {path}");
        let with_form = request(method, path).header("Cookie", &cookie).header("X-CSRF-Token", &browser.csrf);
        assert_eq!(with_form.send(rig.address).status, 401, "{method} {path}");
    }
    let mcp = request("POST", "//mcp/admin").header("Cookie", &cookie).send(rig.address);
    assert_eq!(mcp.status, 401);
    // And a token in a header opens no page.
    let header = request("GET", "//dashboard").token(&rig.admin).send(rig.address);
    assert_eq!(header.status, 303);
}

#[test]
fn a_link_from_another_site_leads_in_although_the_cookie_stays_at_home() {
    let rig = Rig::new();
    let stranger = Browser::new(&rig);
    let followed = stranger.request("GET", "/dashboard/plugins/p").header("Sec-Fetch-Site", "cross-site");
    let answer = followed.send(rig.address);
    assert_eq!((answer.status, answer.header("refresh")), (200, Some("0;url=/dashboard/plugins/p")));
    let again = stranger.request("GET", "/dashboard/plugins/p").header("Sec-Fetch-Site", "same-origin");
    assert_eq!(again.send(rig.address).status, 303, "then it is judged as from here");
}

#[test]
fn no_address_fills_in_a_consent_so_that_no_link_of_another_site_can() {
    let rig = Rig::new();
    let package =
        rig.package("p", "1.0.0", "permissions: ['env:read=LANG']\n", &["hi"], "def hi(a):\n    return 1\n");
    rig.send(&crate::client::post("/plugins", &serde_json::json!({"path": package}))).ok();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    // As a page that is asked for again from here, and as one of the same host, to which the cookie goes at once.
    for site in ["same-origin", "same-site", "cross-site", "none"] {
        for query in ["all=yes", "tick=all", "grant=env%3Aread%3DLANG", "more=file%3Aread%3D%2F**"] {
            let path = format!("/dashboard/plugins/p/grants?{query}");
            let body = page(&admin.request("GET", &path).header("Sec-Fetch-Site", site).send(rig.address));
            assert!(body.contains("Allow selected"), "{body}");
            assert!(!body.contains(" checked") && !body.contains("file:read=/**"), "{site} {query}: {body}");
        }
        let asked = "/dashboard/plugins/p/grants/ask?permission=file%3Aread%3D%2F**";
        let answer = admin.request("GET", asked).header("Sec-Fetch-Site", site).send(rig.address);
        assert_eq!(answer.status, 405, "{site}");
    }
    let ticked = admin.post("/dashboard/plugins/p/grants", &[("tick", "all")]);
    assert!(page(&ticked).contains(" checked"), "the twin: {}", page(&ticked));
    assert_eq!(rig.send(&crate::client::get("/plugins/p/grants")).ok(), serde_json::json!([]));
}

fn over_socket(rig: &Rig, text: &str) -> Answer {
    let mut stream = UnixStream::connect(rig.path("sock")).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    Answer::parse(&all)
}

/// A server that listens on a socket too, and the directory that holds it.
fn with_socket() -> (Rig, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    let rig = Rig::with(|options| options.listen.push(Listen::Unix { path: path.clone() }));
    std::os::unix::fs::symlink(&path, rig.path("sock")).unwrap();
    (rig, directory)
}

fn link(rig: &Rig) -> String {
    let answer =
        over_socket(rig, "POST /api/v1/dashboard/links HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let url = answer.ok()["url"].as_str().unwrap().to_owned();
    let origin = format!("http://{}", rig.address);
    url.strip_prefix(&origin).unwrap_or_else(|| panic!("{url}")).to_owned()
}

#[test]
fn a_link_of_the_owner_opens_once_and_the_code_leaves_the_address_bar() {
    let (rig, _socket) = with_socket();
    let path = link(&rig);
    // Whatever looks ahead uses nothing up.
    let mut browser = Browser::new(&rig);
    assert_eq!(browser.request("HEAD", &path).send(rig.address).header("set-cookie"), None);
    let ahead = browser.request("GET", &path).header("Sec-Purpose", "prefetch;prerender").send(rig.address);
    assert_eq!(ahead.header("set-cookie"), None);
    let answer = browser.get(&path);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard")));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert!(browser.open("/dashboard").contains("admin"));
    let mut second = Browser::new(&rig);
    let answer = second.get(&path);
    assert_eq!((answer.status, answer.header("set-cookie")), (401, None));
    assert!(page(&answer).contains("has been used"), "{}", page(&answer));
    assert_eq!(second.get("/dashboard/open?code=0").status, 401);
    assert_eq!(second.get("/dashboard").status, 303);
}

#[test]
fn a_link_is_made_for_nobody_who_comes_with_a_token() {
    let (rig, _socket) = with_socket();
    for role in Role::ALL {
        let (_, token) = rig.token(role, None, None);
        let asked = crate::client::request("POST", "/dashboard/links").token(&token);
        assert_eq!(asked.send(rig.address).refusal(), (403, "forbidden".to_owned()), "{role}");
    }
    let bare = crate::client::request("POST", "/dashboard/links").send(rig.address);
    assert_eq!(bare.status, 401);
    assert!(link(&rig).starts_with("/dashboard/open?code="), "the twin");
}

/// What every answer must say.
#[track_caller]
pub(crate) fn is_protected(answer: &Answer, what: &str) {
    let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("no policy: {what}"));
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(rule), "{what}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{what}");
    }
    let referrer = answer.header("referrer-policy").unwrap();
    assert!(matches!(referrer, "same-origin" | "no-referrer"), "{what}: {referrer}");
    assert!(answer.header("cache-control").is_some(), "{what}");
    let is_page = answer.header("content-type").is_some_and(|media| media.starts_with("text/html"));
    if is_page {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        let body = page(answer);
        for inline in ["<style", " style=", " onclick=", " onload=", " onsubmit=", "href=\"javascript:"] {
            assert!(!body.contains(inline), "{what}: {inline}");
        }
        let scripts = body.matches("<script").count();
        assert_eq!(scripts, body.matches("<script src=\"/dashboard/static/script-").count(), "{what}");
    }
}

#[test]
fn web_03_every_answer_is_protected_errors_and_files_too() {
    let rig = Rig::new();
    one(&rig);
    let mut browser = Browser::with_role(&rig, Role::Admin);
    let body = browser.open("/dashboard");
    let files: Vec<String> =
        body.split('"').filter(|part| part.starts_with("/dashboard/static/")).map(str::to_owned).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        let answer = Browser::new(&rig).get(file);
        assert_eq!(answer.status, 200, "{file}");
        is_protected(&answer, file);
        assert!(answer.header("cache-control").unwrap().contains("immutable"));
        let tag = answer.header("etag").unwrap().to_owned();
        let again = request("GET", &format!("/{file}")).header("If-None-Match", &tag).send(rig.address);
        assert_eq!((again.status, again.body.len()), (304, 0));
        is_protected(&again, file);
    }
    for path in [
        "/",
        "/dashboard",
        "/dashboard/login",
        "/dashboard/nothing",
        "/dashboard/static/x.js",
        "/dashboard/plugins/p",
        "/dashboard/plugins/nobody",
        "/dashboard/plugins/%00",
        "/dashboard/open?code=1",
        "/dashboard/plugins/p/activity",
        "/dashboard/plugins/p/logs?q=x",
        "/dashboard/hooks",
        "/dashboard/activity",
        "/dashboard/runs",
        "/dashboard/runs/1",
        "/dashboard/audit",
        "/dashboard/sessions",
        "/dashboard/tokens",
    ] {
        is_protected(&browser.get(path), path);
        is_protected(&Browser::new(&rig).get(path), path);
    }
    is_protected(&browser.post_bare("/dashboard/plugins/p/activate", &[]), "a form of nobody");
    is_protected(&browser.post("/dashboard/plugins/p/activate", &[]), "an act");
    is_protected(&browser.request("DELETE", "/dashboard/plugins").send(rig.address), "a method");
    is_protected(&browser.request("GET", "/dashboard").header("Host", "evil").send(rig.address), "a name");
    let long = browser.form("/dashboard/login", &[("token", &"x".repeat(5 << 20))]);
    is_protected(&long.send(rig.address), "what is too large");
}

#[test]
fn a_page_that_does_not_take_a_method_says_which_it_takes() {
    let rig = Rig::new();
    let browser = Browser::with_role(&rig, Role::Admin);
    let answer = browser.request("DELETE", "/dashboard/install").send(rig.address);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    let answer = browser.request("GET", "/dashboard/plugins/p/activate").send(rig.address);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let json = browser.request("POST", "/dashboard/plugins/p/activate").body("application/json", b"{}");
    assert_eq!(json.send(rig.address).status, 415);
}
