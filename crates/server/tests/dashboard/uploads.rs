//! A package that a form brings: to be installed, and as another version.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringfence_api::Role;
use serde_json::json;

use crate::browser::{Browser, page};
use crate::client::{Answer, Request, get};
use crate::rig::Rig;

const CODE: &str = "def hi(a):\n    return 1\n";
const BOUNDARY: &str = "----WebKitFormBoundaryR1ngfence";
const INSTALL: &str = "/dashboard/install/upload";

/// A package as one file.
fn tar(rig: &Rig, name: &str, version: &str, head: &str) -> Vec<u8> {
    let package = rig.package(name, version, head, &["hi"], CODE);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(format!("{name}-{version}"), &package).unwrap();
    std::fs::remove_dir_all(package).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What a browser sends of a form with a file.
fn multipart(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    body.extend(
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"package\"; filename=\"p.tar\"\r\n\
             Content-Type: application/x-tar\r\n\r\n"
        )
        .bytes(),
    );
    body.extend_from_slice(file);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    body
}

fn form(rig: &Rig, browser: &Browser, path: &str, body: &[u8]) -> Request {
    browser
        .request("POST", path)
        .header("Origin", &format!("http://{}", rig.address))
        .header("Sec-Fetch-Site", "same-origin")
        .body(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

fn upload(rig: &Rig, browser: &Browser, path: &str, fields: &[(&str, &str)], file: &[u8]) -> Answer {
    let mut all = vec![("csrf", browser.csrf.as_str())];
    all.extend_from_slice(fields);
    form(rig, browser, path, &multipart(&all, file)).send(rig.address)
}

fn nothing_is_left(rig: &Rig) {
    let staging = std::fs::read_dir(rig.path("home/staging"));
    assert_eq!(staging.map_or(0, Iterator::count), 0, "something is left in staging");
}

#[test]
fn an_uploaded_package_is_checked_and_nothing_of_it_runs_before_consent() {
    let rig = Rig::new();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let asked = admin.open("/dashboard/install");
    assert!(asked.contains("multipart/form-data") && asked.contains("type=\"file\""), "{asked}");
    for (name, packed) in [("plain", false), ("packed", true)] {
        let tar = tar(&rig, name, "1.0.0", "permissions: ['env:read=LANG']\n");
        let file = if packed { gzip(&tar) } else { tar };
        let answer = upload(&rig, &admin, INSTALL, &[], &file);
        let to = format!("/dashboard/plugins/{name}/grants");
        assert_eq!((answer.status, answer.header("location")), (303, Some(to.as_str())), "{}", page(&answer));
        let after = admin.open(&to);
        assert!(after.contains("It has not run yet") && after.contains("Allow selected"), "{after}");
        let shown = rig.send(&get(&format!("/plugins/{name}"))).ok();
        assert_eq!((&shown["state"], &shown["running"]), (&json!("installed"), &json!(false)));
        // The same file once more changes nothing, and says so.
        let again = upload(&rig, &admin, INSTALL, &[], &file);
        assert_eq!(again.header("location"), Some(format!("/dashboard/plugins/{name}").as_str()));
        assert!(admin.open("/dashboard").contains("is installed already"));
    }
    let records = rig.send(&get("/audit?event=install")).ok();
    let text = records["records"][0].to_string();
    assert!(text.contains("upload sha256:") && text.contains("dashboard, token "), "{text}");
    nothing_is_left(&rig);
}

#[test]
fn nobody_uploads_without_the_role_the_session_its_form_or_from_another_site() {
    let rig = Rig::new();
    let file = tar(&rig, "p", "1.0.0", "");
    for role in [Role::Viewer, Role::Operator] {
        let browser = Browser::with_role(&rig, role);
        assert_eq!(upload(&rig, &browser, INSTALL, &[], &file).status, 403, "{role}");
        assert_eq!(upload(&rig, &browser, "/dashboard/plugins/p/upgrade/upload", &[], &file).status, 403);
    }
    let stranger = Browser::new(&rig);
    assert_eq!(upload(&rig, &stranger, INSTALL, &[], &file).status, 401);
    let admin = Browser::with_role(&rig, Role::Admin);
    let other = Browser::with_role(&rig, Role::Admin);
    for csrf in [None, Some(""), Some("0"), Some(other.csrf.as_str())] {
        let fields: Vec<(&str, &str)> = csrf.map(|csrf| ("csrf", csrf)).into_iter().collect();
        let answer = form(&rig, &admin, INSTALL, &multipart(&fields, &file)).send(rig.address);
        assert_eq!(answer.status, 403, "{csrf:?}");
        assert!(page(&answer).contains("not one that your session has made"), "{}", page(&answer));
    }
    let body = multipart(&[("csrf", &admin.csrf)], &file);
    for (name, value) in
        [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")]
    {
        let foreign = admin
            .request("POST", INSTALL)
            .header(name, value)
            .body(&format!("multipart/form-data; boundary={BOUNDARY}"), &body);
        assert_eq!(foreign.send(rig.address).status, 403, "{name}: {value}");
    }
    // What tells the form apart stands ahead of the file: it is not looked for behind it.
    let text = String::from_utf8_lossy(&multipart(&[], &file)).into_owned();
    let behind = text.replace(
        &format!("--{BOUNDARY}--"),
        &format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n{}\r\n--{BOUNDARY}--",
            admin.csrf
        ),
    );
    assert_eq!(form(&rig, &admin, INSTALL, behind.as_bytes()).send(rig.address).status, 403);
    assert_eq!(rig.send(&get("/plugins")).ok(), json!([]));
    nothing_is_left(&rig);
    assert_eq!(upload(&rig, &admin, INSTALL, &[], &file).status, 303, "the twin");
}

#[test]
fn what_is_no_package_is_told_on_the_page_of_the_form_and_leaves_nothing() {
    let rig = Rig::new();
    let good = tar(&rig, "p", "1.0.0", "");
    let admin = Browser::with_role(&rig, Role::Admin);
    let mut linked = tar::Header::new_gnu();
    linked.set_path("../planted").unwrap_err();
    linked.as_old_mut().name[..10].copy_from_slice(b"../planted");
    linked.set_size(0);
    linked.set_cksum();
    let climbing = [linked.as_bytes().as_slice(), &good].concat();
    for (file, status) in [
        (good[..good.len() / 2].to_vec(), 422),
        (b"PK\x03\x04".to_vec(), 422),
        (climbing, 422),
        (gzip(&vec![0; 8 << 20]), 422),
    ] {
        let answer = upload(&rig, &admin, INSTALL, &[], &file);
        assert_eq!(answer.status, status, "{}", page(&answer));
        let body = page(&answer);
        assert!(body.contains("notice failed") && body.contains("Upload and check"), "{body}");
        assert!(!body.contains("staging"), "{body}");
        nothing_is_left(&rig);
    }
    let nothing = form(
        &rig,
        &admin,
        INSTALL,
        &String::from_utf8_lossy(&multipart(&[("csrf", &admin.csrf)], b"")).replace("p.tar", "").into_bytes(),
    );
    let answer = nothing.send(rig.address);
    assert_eq!(answer.status, 400);
    assert!(page(&answer).contains("no file was chosen"), "{}", page(&answer));
    assert!(!rig.path("planted").exists() && !rig.path("home/planted").exists());
    assert_eq!(rig.send(&get("/plugins")).ok(), json!([]));
    assert_eq!(upload(&rig, &admin, INSTALL, &[], &good).status, 303, "the twin");
}

#[test]
fn a_form_that_breaks_off_installs_nothing_although_the_file_in_it_is_whole() {
    let rig = Rig::new();
    let file = tar(&rig, "p", "1.0.0", "");
    let admin = Browser::with_role(&rig, Role::Admin);
    let body = multipart(&[("csrf", &admin.csrf)], &file);
    let whole = form(&rig, &admin, INSTALL, &body).bytes(rig.address);
    // Up to behind the file, and no further: the end of the form never comes.
    let cut = whole.len() - format!("\r\n--{BOUNDARY}--\r\n").len();
    for cut in [cut, cut + 5, whole.len() - 4] {
        let mut stream = TcpStream::connect(rig.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&whole[..cut]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _cut = stream.read_to_end(&mut Vec::new());
        assert_eq!(rig.send(&get("/plugins")).ok(), json!([]), "cut at {cut} of {}", whole.len());
    }
    nothing_is_left(&rig);
    assert_eq!(upload(&rig, &admin, INSTALL, &[], &file).status, 303, "the twin");
}

#[test]
fn a_refusal_is_read_although_most_of_the_file_is_still_to_come() {
    let rig = Rig::new();
    let admin = Browser::with_role(&rig, Role::Admin);
    let answer = upload(&rig, &admin, INSTALL, &[], &vec![b'x'; 16 << 20]);
    assert_eq!(answer.status, 422, "{}", page(&answer));
    assert!(page(&answer).contains("Upload and check"), "{}", page(&answer));
}

#[test]
fn another_version_is_uploaded_and_waits_when_it_asks_for_more() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], CODE);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let path = "/dashboard/plugins/p/upgrade/upload";
    let wider = tar(&rig, "p", "2.0.0", "permissions: ['env:read=LANG']\n");
    let answer = upload(&rig, &admin, path, &[], &wider);
    assert_eq!(answer.header("location"), Some("/dashboard/plugins/p/grants"), "{}", page(&answer));
    assert!(admin.open("/dashboard/plugins/p/grants").contains("1.0.0 goes on running until you decide"));
    let older = tar(&rig, "p", "0.9.0", "");
    let refused = upload(&rig, &admin, path, &[], &older);
    assert_eq!(refused.status, 400, "{}", page(&refused));
    assert!(page(&refused).contains("Upload this version"), "{}", page(&refused));
    let taken = upload(&rig, &admin, path, &[("allow_downgrade", "yes")], &older);
    assert_eq!(taken.status, 303, "the twin: {}", page(&taken));
    assert_eq!(rig.send(&get("/plugins/p")).ok()["version"], "0.9.0");
    nothing_is_left(&rig);
}
