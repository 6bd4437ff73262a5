//! Who is signed in, and the end of a session by somebody who sees it in the list.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringfence_api::Role;

use crate::browser::{Browser, page};
use crate::rig::Rig;

/// The number of the session that this browser has, as its list says it.
fn number_of_this(browser: &mut Browser) -> String {
    let body = browser.open("/dashboard/sessions");
    let row = body.split("<tr>").find(|row| row.contains("this one")).unwrap_or_else(|| panic!("{body}"));
    let at = row.find("/dashboard/sessions/").unwrap() + "/dashboard/sessions/".len();
    row[at..].split('/').next().unwrap().to_owned()
}

fn rows(body: &str) -> usize {
    body.matches("aria-label=\"End session").count()
}

#[test]
fn somebody_sees_and_ends_their_own_sessions_and_no_others() {
    let rig = Rig::new();
    let (_, token) = rig.token(Role::Operator, None, None);
    let mut here = Browser::signed_in(&rig, &token);
    let mut elsewhere = Browser::signed_in(&rig, &token);
    let mut other = Browser::with_role(&rig, Role::Viewer);
    let foreign = number_of_this(&mut other);
    let body = here.open("/dashboard/sessions");
    assert_eq!(rows(&body), 2, "{body}");
    assert!(body.contains("just now") && body.contains("127.0.0.1") && !body.contains(&token), "{body}");
    let key = here.cookie.clone().unwrap();
    assert!(!body.contains(key.split('=').nth(1).unwrap()), "no key stands in a page");
    assert_eq!(here.post(&format!("/dashboard/sessions/{foreign}/end"), &[]).status, 404);
    assert_eq!(here.post("/dashboard/sessions/x/end", &[]).status, 404);
    assert_eq!(other.get("/dashboard").status, 200, "that of somebody else goes on");
    let there = number_of_this(&mut elsewhere);
    assert!(here.act(&format!("/dashboard/sessions/{there}/end"), &[]).contains("The session is ended"));
    assert_eq!(elsewhere.get("/dashboard").status, 303);
    assert_eq!(here.post(&format!("/dashboard/sessions/{there}/end"), &[]).status, 404, "it has ended");
    // One's own end is signing out.
    let own = number_of_this(&mut here);
    let answer = here.post(&format!("/dashboard/sessions/{own}/end"), &[]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard/login")));
    assert_eq!(here.get("/dashboard").status, 303);
}

#[test]
fn an_administrator_sees_all_sessions_and_ends_any_but_not_one_of_one_plugin() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let mut bound = Browser::signed_in(&rig, &rig.token(Role::Admin, Some("p"), None).1);
    let number = number_of_this(&mut viewer);
    assert_eq!(rows(&bound.open("/dashboard/sessions")), 1, "of one plugin: its own alone");
    assert_eq!(bound.post(&format!("/dashboard/sessions/{number}/end"), &[]).status, 404);
    assert_eq!(viewer.get("/dashboard").status, 200);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    assert_eq!(rows(&admin.open("/dashboard/sessions")), 3);
    admin.act(&format!("/dashboard/sessions/{number}/end"), &[]);
    assert_eq!(viewer.get("/dashboard").status, 303);
    assert_eq!(bound.get("/dashboard").status, 200, "the twin");
}

#[test]
fn all_other_sessions_of_a_token_are_ended_with_one_button() {
    let rig = Rig::new();
    let (_, token) = rig.token(Role::Viewer, None, None);
    let mut all: Vec<Browser> = (0..3).map(|_| Browser::signed_in(&rig, &token)).collect();
    let mut other = Browser::with_role(&rig, Role::Viewer);
    assert!(!other.open("/dashboard/sessions").contains("End my other sessions"));
    let here = all.last_mut().unwrap();
    assert!(here.open("/dashboard/sessions").contains("End my other sessions"));
    assert!(here.act("/dashboard/sessions/others", &[]).contains("2 other sessions are ended"));
    let open: Vec<u16> = all.iter_mut().map(|browser| browser.get("/dashboard").status).collect();
    assert_eq!(open, [303, 303, 200]);
    assert_eq!(other.get("/dashboard").status, 200, "the twin");
}

#[test]
fn what_a_browser_says_of_itself_is_shown_as_text_and_cut() {
    let rig = Rig::new();
    let mut browser = Browser::new(&rig);
    let agent = format!("<script>alert(1)</script>{}", "x".repeat(9_000));
    let answer = browser
        .form("/dashboard/login", &[("token", &rig.admin)])
        .header("User-Agent", &agent)
        .send(rig.address);
    browser.cookie = Some(answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned());
    let body = browser.open("/dashboard/sessions");
    assert!(body.contains("&lt;script&gt;alert(1)") && !body.contains("<script>alert"), "{body}");
    assert!(!body.contains(&"x".repeat(300)), "it is cut");
}

#[test]
fn web_07_a_second_cookie_of_our_name_locks_nobody_out_and_is_nobody() {
    let rig = Rig::new();
    let (_, token) = rig.token(Role::Viewer, None, None);
    let own = Browser::signed_in(&rig, &token).cookie.unwrap();
    let other = Browser::with_role(&rig, Role::Operator).cookie.unwrap();
    let name = own.split('=').next().unwrap().to_owned();
    let made_up = format!("{name}={}", "a".repeat(64));
    let mut browser = Browser::new(&rig);
    for pair in [format!("{own}; {made_up}"), format!("{made_up}; {name}=; {own}"), format!("{own}; {own}")] {
        browser.cookie = Some(pair.clone());
        assert!(browser.open("/dashboard").contains("viewer"), "{pair}");
    }
    browser.cookie = Some(made_up);
    assert_eq!(browser.get("/dashboard").status, 303, "the twin");
    // With two that hold it cannot be told who is there. Signing in ends both.
    browser.cookie = Some(format!("{own}; {other}"));
    assert_eq!(browser.get("/dashboard").status, 303);
    let answer = browser.form("/dashboard/login", &[("token", &token)]).send(rig.address);
    let new = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    browser.cookie = Some(format!("{other}; {new}"));
    assert!(browser.open("/dashboard").contains("viewer"));
    browser.cookie = Some(own);
    assert_eq!(browser.get("/dashboard").status, 303, "that of before");
}

#[test]
fn a_session_holds_so_many_streams_and_another_one_its_own() {
    let rig = Rig::new();
    let (_, token) = rig.token(Role::Viewer, None, None);
    let begin = |browser: &Browser| {
        let mut stream = TcpStream::connect(rig.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&browser.request("GET", "/dashboard/stream").bytes(rig.address)).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (String::from_utf8_lossy(&first[9..]).into_owned(), stream)
    };
    let browser = Browser::signed_in(&rig, &token);
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..32 {
        let (status, stream) = begin(&browser);
        assert_eq!(status, "200");
        held.push(stream);
    }
    assert_eq!(begin(&browser).0, "503");
    let refused = browser.request("GET", "/dashboard/stream").send(rig.address);
    assert!(page(&refused).contains("this session has 32 streams open already"), "{}", page(&refused));
    assert_eq!(
        begin(&Browser::signed_in(&rig, &token)).0,
        "200",
        "the twin: another session of the same token"
    );
    drop(held);
    let again = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        begin(&browser).0 == "200"
    });
    assert!(again, "what is closed is given back");
}
