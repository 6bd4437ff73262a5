//! `http_fetch`: with the grant and without, and every way around it. A refused request reaches no server.

mod servers;
mod streams;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ringfence::Config;
use serde_json::{Value, json};

use self::servers::{Answer, Dns, Server, authority};
use crate::rig::{Both, Rig};

const PYTHON: &str = r#"
from ringfence import HostError, host

def get(a):
    try:
        answer = host.http_fetch(a['url'], method=a.get('method', 'GET'), headers=a.get('headers'), body=a.get('body'),
                                 timeout_s=a.get('timeout_s'), max_bytes=a.get('max_bytes'))
    except HostError as error:
        return {'code': error.code, 'number': error.number, 'message': str(error), **error.data}
    if isinstance(answer['body'], bytes):
        answer['body'] = list(answer['body'])
    return answer
"#;
const NODE: &str = r#"
import { HostError, host } from 'ringfence';

export async function get({ url, method, headers, body, max_bytes: maxBytes }) {
  try {
    const answer = await host.httpFetch(url, { method, headers, body, maxBytes });
    return { ...answer, body: typeof answer.body === 'string' ? answer.body : [...answer.body] };
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { code: error.code, number: error.number, message: error.message, ...error.data };
  }
}
"#;

/// A host with one Python plugin `web` that has these grants.
async fn web(settings: &str, grants: &[&str]) -> Rig {
    let rig = Rig::with(Config::parse(&format!("[network]\n{settings}\n")).unwrap()).await;
    rig.active("web", &permissions(grants), &["get"], PYTHON).await;
    rig
}

fn permissions(grants: &[&str]) -> String {
    format!("permissions: {}\n", json!(grants))
}

async fn get(rig: &Rig, url: &str) -> Value {
    ask(rig, json!({"url": url})).await
}

async fn ask(rig: &Rig, request: Value) -> Value {
    rig.host.call("web", "get", request).await.unwrap_or_else(|error| panic!("{}", error.chain()))
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_granted_host_answers_and_one_that_is_not_granted_is_never_dialled() {
    let server = Server::start(|request| match request.split(' ').nth(1) {
        Some("/text") => Answer::ok("grüße"),
        Some("/bytes") => Answer::ok([0, 159, 255]),
        _ => Answer::ok(request),
    })
    .await;
    let other = Server::start(|_| Answer::ok("secret")).await;
    let (port, closed) = (server.port, other.port);
    let rig = Rig::new().await;
    let granted = format!("network:request=127.0.0.1:{port}");
    for Both { name, runtime } in rig.both("web", &permissions(&[&granted]), &["get"], PYTHON, NODE).await {
        let get = async |request: Value| rig.host.call(&name, "get", request).await.unwrap();
        let text = get(json!({"url": format!("http://127.0.0.1:{port}/text#part")})).await;
        assert_eq!((&text["status"], &text["body"]), (&json!(200), &json!("grüße")), "{runtime}: {text}");
        assert_eq!(text["headers"]["content-length"], json!("7"));
        let bytes = get(json!({"url": format!("http://127.0.0.1:{port}/bytes")})).await;
        assert_eq!(bytes["body"], json!([0, 159, 255]), "{runtime}");
        let echo = get(json!({
            "url": format!("http://127.0.0.1:{port}/echo?q=1"), "method": "POST", "body": "hello", "headers": {"X-A": "b"},
        }))
        .await;
        let sent = echo["body"].as_str().unwrap().to_lowercase();
        for part in [
            "post /echo?q=1 http/1.1\r\n",
            "x-a: b\r\n",
            "content-length: 5\r\n",
            "\r\n\r\nhello",
            "connection: close",
        ] {
            assert!(sent.contains(part), "{runtime}: {part} in {sent}");
        }
        assert_eq!(sent.matches(&format!("\r\nhost: 127.0.0.1:{port}\r\n")).count(), 1, "{sent}");
        rig.recorded("call", &["http_fetch", &format!("127.0.0.1:{port}")]).await;

        let denied = get(json!({"url": format!("http://127.0.0.1:{closed}/")})).await;
        let object = format!("127.0.0.1:{closed}");
        let grant = format!("network:request={object}");
        assert_eq!(
            (&denied["code"], &denied["layer"], &denied["operation"], &denied["object"], &denied["grant"]),
            (
                &json!("permission_denied"),
                &json!("host_api"),
                &json!("http_fetch"),
                &json!(object),
                &json!(grant)
            ),
            "{runtime}: {denied}"
        );
        rig.recorded("denial", &["http_fetch", &grant]).await;
        rig.host.revoke(&name, &[granted.parse().unwrap()]).await.unwrap();
        let before = server.connections();
        let denied = get(json!({"url": format!("http://127.0.0.1:{port}/text")})).await;
        assert_eq!(denied["grant"], json!(granted), "{runtime}: {denied}");
        assert_eq!(server.connections(), before);
    }
    assert_eq!(other.connections(), 0);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn no_spelling_and_no_wildcard_reaches_loopback_or_the_metadata_services() {
    let server = Server::start(|_| Answer::ok("secret")).await;
    let port = server.port;
    let dns = Dns::start(|_, _| addresses(&["127.0.0.1"])).await;
    let settings = format!("resolver = \"{}\"", dns.address);
    let rig = web(&settings, &["network:request=*", "network:request=*.test:*"]).await;
    for host in [
        "127.0.0.1",
        "127.0.0.2",
        "127.1",
        "0.0.0.0",
        "0",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[2001:db8::5efe:7f00:1]",
        "[fe80::1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "x.localhost",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "metadata.google.internal",
        "user@127.0.0.1",
        "127.0.0.1%00.test",
        "x.test",
    ] {
        let refused = get(&rig, &format!("http://{host}:{port}/")).await;
        let code = refused["code"].as_str().unwrap_or_default().to_owned();
        assert!(matches!(code.as_str(), "permission_denied" | "invalid_params"), "{host}: {refused}");
        assert_eq!(server.connections(), 0, "{host}");
    }
    // The wildcards do grant names; the address behind one must be named as well.
    let any = get(&rig, &format!("http://x.example:{port}/")).await;
    assert_eq!(any["object"], json!(format!("x.example:{port} at 127.0.0.1")));
    let denied = get(&rig, &format!("http://x.test:{port}/")).await;
    assert_eq!(denied["object"], json!(format!("x.test:{port} at 127.0.0.1")));
    let literal = format!("network:request=127.0.0.1:{port}");
    assert_eq!(denied["grant"], json!(literal));
    rig.host.grant("web", &[literal.parse().unwrap()]).await.unwrap();
    assert_eq!(get(&rig, &format!("http://x.test:{port}/")).await["body"], json!("secret"));
    assert_eq!(get(&rig, &format!("http://[::ffff:127.0.0.1]:{port}/")).await["body"], json!("secret"));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_name_is_resolved_once_and_only_if_it_is_granted_and_what_was_judged_is_dialled() {
    let granted = Server::start(|_| Answer::ok("granted")).await;
    let port = granted.port;
    let other = Server::at(&format!("127.0.0.2:{port}"), |_| Answer::ok("secret")).await;
    let dns = Dns::start(|name, before| match (name, before) {
        // Changes its mind after the first answer.
        ("rebind.test", 0) | ("good.test", _) => addresses(&["127.0.0.1"]),
        ("rebind.test", _) => addresses(&["127.0.0.2"]),
        ("mixed.test", _) => addresses(&["127.0.0.1", "127.0.0.2"]),
        ("six.test", _) => addresses(&["127.0.0.1", "::ffff:127.0.0.2"]),
        ("nat.test", _) => addresses(&["127.0.0.1", "64:ff9b::7f00:2"]),
        ("many.test", _) => (1..=40).map(|_| "127.0.0.1".parse().unwrap()).collect(),
        _ => Vec::new(),
    })
    .await;
    let settings = format!("resolver = \"{}\"", dns.address);
    let literal = format!("network:request=127.0.0.1:{port}");
    let rig = web(&settings, &["network:request=*.test:*", &literal]).await;
    let fetch = async |name: &str| get(&rig, &format!("http://{name}:{port}/")).await;

    assert_eq!(fetch("good.test").await["body"], json!("granted"));
    assert_eq!(granted.requests()[0].matches("good.test").count(), 1, "the name goes to the server");
    assert_eq!(dns.asked(), ["good.test"]);
    assert_eq!(fetch("rebind.test").await["body"], json!("granted"));
    assert_eq!(dns.asked(), ["good.test", "rebind.test"], "asked once, although nothing may be remembered");
    let rebound = fetch("rebind.test").await;
    assert_eq!(rebound["object"], json!(format!("rebind.test:{port} at 127.0.0.2")), "{rebound}");
    let before = granted.connections();
    for name in ["mixed.test", "six.test", "nat.test"] {
        let refused = fetch(name).await;
        assert_eq!(refused["code"], json!("permission_denied"), "{name} is refused as a whole: {refused}");
    }
    for name in ["many.test", "absent.test"] {
        assert_eq!(fetch(name).await["code"], json!("fetch_failed"), "{name}");
    }
    // A name that is not granted is no question to anybody.
    let asked = dns.asked().len();
    for name in ["secret-data.evil.example", "x.test.evil.example", "evilxtest", "test"] {
        assert_eq!(fetch(name).await["code"], json!("permission_denied"), "{name}");
    }
    assert_eq!(dns.asked().len(), asked);
    assert_eq!((granted.connections(), other.connections()), (before, 0));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn every_redirect_is_judged_anew_and_takes_no_credential_elsewhere() {
    let secret = Server::start(|_| Answer::ok("secret")).await;
    let second = Server::start(|request| Answer::ok(request)).await;
    let (closed, to) = (secret.port, second.port);
    let first = Server::start(move |request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        match path {
            "/closed" => Answer::redirect(302, &format!("http://127.0.0.1:{closed}/")),
            "/odd" => Answer::redirect(302, &format!("http://2130706433:{closed}/")),
            "/scheme" => Answer::redirect(302, "file:///etc/passwd"),
            "/user" => Answer::redirect(302, &format!("http://a:b@127.0.0.1:{to}/")),
            "/loop" => Answer::redirect(307, "/loop"),
            "/second" => Answer::redirect(307, &format!("http://127.0.0.1:{to}/landed")),
            "/see-other" => Answer::redirect(303, "end"),
            "/5" => Answer::redirect(302, "/4"),
            "/4" => Answer::redirect(302, "/3"),
            "/3" => Answer::redirect(302, "/2"),
            "/2" => Answer::redirect(302, "/1"),
            "/1" => Answer::redirect(302, "/end"),
            _ => Answer::ok(request),
        }
    })
    .await;
    let port = first.port;
    let open = |port: u16| format!("network:request=127.0.0.1:{port}");
    let rig = web("", &[&open(port), &open(to)]).await;
    let fetch = async |path: &str| {
        let headers =
            json!({"Authorization": "Bearer t0ken", "Cookie": "c=1", "X-Api-Key": "k3y", "Accept": "text/x"});
        ask(&rig, json!({"url": format!("http://127.0.0.1:{port}{path}"), "method": "POST", "body": "data", "headers": headers})).await
    };

    let denied = fetch("/closed").await;
    assert_eq!(denied["grant"], json!(open(closed)), "{denied}");
    for path in ["/odd", "/scheme", "/user"] {
        assert_eq!(fetch(path).await["code"], json!("fetch_failed"), "{path}");
    }
    assert_eq!((secret.connections(), second.connections()), (0, 0));
    let before = first.connections();
    let endless = fetch("/loop").await;
    assert!(endless["message"].as_str().unwrap().contains("more than 5 times"), "{endless}");
    assert_eq!(first.connections() - before, 6);
    // The twins: five redirects, and one to another granted server, which sees the body and no credential.
    let five = fetch("/5").await;
    assert_eq!(
        (&five["status"], &five["url"]),
        (&json!(200), &json!(format!("http://127.0.0.1:{port}/end")))
    );
    let stayed = five["body"].as_str().unwrap().to_lowercase();
    assert!(stayed.contains("t0ken") && stayed.contains("k3y"), "{stayed}");
    let landed = fetch("/second").await["body"].as_str().unwrap().to_lowercase();
    assert!(
        landed.starts_with("post /landed") && landed.contains("data") && landed.contains("text/x"),
        "{landed}"
    );
    for secret in ["t0ken", "c=1", "k3y"] {
        assert!(!landed.contains(secret), "{landed}");
    }
    let other = fetch("/see-other").await["body"].as_str().unwrap().to_owned();
    assert!(other.starts_with("GET /end") && !other.contains("data"), "{other}");
    rig.recorded("call", &["http_fetch", &format!("127.0.0.1:{to}")]).await;
    rig.host.shutdown().await;
}

/// One way to misbehave for each path.
fn misbehaving(path: &str) -> Answer {
    match path {
        "/slow-head" => Answer::Slow("HTTP/1.1 200 OK\r\nX: "),
        "/slow-body" => Answer::Slow("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
        "/slow-status" => Answer::Slow("HTTP/1.1 200 "),
        "/endless" => Answer::Endless("HTTP/1.1 200 OK\r\n\r\n", "x"),
        "/chunks" => Answer::Endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1000\r\n"),
        "/huge" => Answer::text("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\nx"),
        "/headers" => Answer::Endless("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
        "/header" => Answer::Endless("HTTP/1.1 200 OK\r\nX-A: ", "b"),
        "/garbage" => {
            Answer::text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")
        }
        "/short" => Answer::text("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        "/lengths" => Answer::text("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        "/nine" => Answer::text("hello"),
        "/upgrade" => Answer::text(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ),
        "/folded" => Answer::text("HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        "/two" => Answer::text(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
        ),
        "/alt" => Answer::text("HTTP/1.1 200 OK\r\nAlt-Svc: h2=\":1\"\r\nContent-Length: 2\r\n\r\nok"),
        "/gzip" => {
            let packed = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xed, 0xc1, 1];
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                packed.len()
            );
            Answer::Whole([head.as_bytes(), &packed].concat())
        }
        _ => Answer::ok("x".repeat(100)),
    }
}

#[tokio::test]
async fn a_server_that_misbehaves_costs_a_bounded_time_and_a_bounded_size() {
    let server = Server::start(|request| misbehaving(request.split(' ').nth(1).unwrap_or_default())).await;
    let port = server.port;
    let rig = web("", &[&format!("network:request=127.0.0.1:{port}")]).await;
    let fetch = async |path: &str, more: Value| {
        let mut request = json!({"url": format!("http://127.0.0.1:{port}{path}"), "timeout_s": 20});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(&rig, request).await
    };

    for path in ["/slow-head", "/slow-body", "/slow-status"] {
        let begun = Instant::now();
        let late = fetch(path, json!({"timeout_s": 0.5})).await;
        assert_eq!(late["code"], json!("timeout"), "{path}: {late}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{path}");
    }
    for path in ["/endless", "/huge", "/chunks"] {
        assert_eq!(fetch(path, json!({})).await["code"], json!("too_large"), "{path}");
    }
    for path in ["/headers", "/header", "/garbage", "/short", "/lengths", "/nine", "/upgrade", "/folded"] {
        let failed = fetch(path, json!({})).await;
        assert_eq!(failed["code"], json!("fetch_failed"), "{path}: {failed}");
    }
    assert_eq!(fetch("/100", json!({"max_bytes": 99})).await["code"], json!("too_large"));
    // The twins: the same sizes within their limits, and what only looks like trouble.
    assert_eq!(fetch("/100", json!({"max_bytes": 100})).await["body"].as_str().unwrap().len(), 100);
    assert_eq!(fetch("/two", json!({})).await["body"], json!("ok"));
    let packed = fetch("/gzip", json!({})).await;
    assert_eq!(packed["body"].as_array().unwrap().len(), 13, "it is handed on as it came: {packed}");
    let before = server.connections();
    for _ in 0..2 {
        assert_eq!(fetch("/alt", json!({})).await["body"], json!("ok"));
    }
    assert_eq!(server.connections() - before, 2, "no connection is kept");
    for wrong in [
        json!({"method": "CONNECT"}),
        json!({"method": "TRACE"}),
        json!({"headers": {"Host": "evil.example"}}),
        json!({"headers": {"Transfer-Encoding": "chunked"}}),
        json!({"headers": {"X": "a\r\nHost: evil"}}),
        json!({"headers": {"Proxy-Authorization": "x"}}),
        json!({"body": "a body of GET"}),
    ] {
        let refused = fetch("/", wrong.clone()).await;
        assert_eq!(refused["code"], json!("invalid_params"), "{wrong}: {refused}");
    }
    assert_eq!(server.connections() - before, 2);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn tls_needs_a_trusted_authority_and_the_right_name_and_is_never_left() {
    let plain = Server::start(|_| Answer::ok("plain")).await;
    let plain_port = plain.port;
    let server = Server::tls(move |request| match request.split(' ').nth(1) {
        Some("/down") => Answer::redirect(302, &format!("http://127.0.0.1:{plain_port}/")),
        _ => Answer::ok("safe"),
    })
    .await;
    let port = server.port;
    let dns = Dns::start(|_, _| addresses(&["127.0.0.1"])).await;
    let trusting = format!("resolver = \"{}\"\nca_file = \"{}\"", dns.address, authority().display());
    let grants = [
        format!("network:request=127.0.0.1:{port}"),
        "network:request=*.test:*".to_owned(),
        format!("network:request=127.0.0.1:{plain_port}"),
    ];
    let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
    let rig = web(&trusting, &grants).await;
    assert_eq!(get(&rig, &format!("https://safe.test:{port}/")).await["body"], json!("safe"));
    assert_eq!(get(&rig, &format!("https://127.0.0.1:{port}/")).await["body"], json!("safe"));
    let asked = server.requests().len();
    let wrong = get(&rig, &format!("https://other.test:{port}/")).await;
    assert!(wrong["message"].as_str().unwrap().contains("TLS"), "another name: {wrong}");
    assert_eq!(server.requests().len(), asked, "nothing was sent to it");
    let down = get(&rig, &format!("https://safe.test:{port}/down")).await;
    assert_eq!((&down["code"], &down["grant"]), (&json!("permission_denied"), &json!(null)), "{down}");
    assert_eq!(plain.connections(), 0);
    // What was refused is granted as such: the redirect is what was wrong.
    assert_eq!(get(&rig, &format!("http://127.0.0.1:{plain_port}/")).await["body"], json!("plain"));
    rig.host.shutdown().await;

    let rig = web(&format!("resolver = \"{}\"", dns.address), &grants).await;
    let asked = server.requests().len();
    let strange = get(&rig, &format!("https://safe.test:{port}/")).await;
    assert_eq!(strange["code"], json!("fetch_failed"), "{strange}");
    assert_eq!(server.requests().len(), asked);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn an_authority_that_is_none_is_refused_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let build = async || {
        let config = Config::parse(&format!("[network]\nca_file = \"{}\"\n", file.display())).unwrap();
        let home = ringfence::Home::at(directory.path().join("home"));
        ringfence::Host::builder().home(home).config(config).build().await
    };
    for text in
        [None, Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
    {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let refused = build().await.map(drop).unwrap_err();
        assert_eq!(refused.code(), ringfence_api::ErrorCode::InvalidConfig, "{text:?}: {refused}");
    }
    std::fs::copy(authority(), &file).unwrap();
    build().await.unwrap().shutdown().await;
}
