//! URLs and headers: what is read, what is refused, what goes on.

use std::collections::BTreeMap;

use hyper::header::{HeaderMap, HeaderValue, SET_COOKIE};

use super::headers;
use super::url::Url;

#[test]
fn a_url_has_one_reading() {
    for (text, shown, target) in [
        ("http://Example.COM", "http://example.com/", "/"),
        ("HTTPS://example.com:443/a?b#c", "https://example.com/a?b", "/a?b"),
        ("http://example.com:8080?q", "http://example.com:8080/?q", "/?q"),
        ("http://[::1]:80/", "http://[::1]/", "/"),
        ("http://[::ffff:127.0.0.1]/", "http://127.0.0.1/", "/"),
        ("http://example.com./x", "http://example.com/x", "/x"),
    ] {
        let url = Url::parse(text).unwrap();
        assert_eq!((url.to_string().as_str(), url.target.as_str()), (shown, target), "{text}");
    }
    let long = format!("http://a/{}", "x".repeat(9_000));
    for bad in [
        "",
        "example.com",
        "//example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http:/example.com",
        "http://",
        "http://user:pass@example.com/",
        "http://127.0.0.1@example.com/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.0.0.1.:80/",
        "http://[::1/",
        "http://[::1%25lo]/",
        "http://::1/",
        "http://a:0/",
        "http://a:65536/",
        "http://a:/",
        "http://a:8x/",
        "http://a:+80/",
        "http://a\\@b/",
        "http://a/ b",
        "http://a/\r\nX: y",
        "http://a/\u{0}",
        "http://ä/",
        "http://a/{}",
        "http://%31/",
        "http://[::1]x/",
        "gopher://a/",
        "http://a:80:80/",
        &long,
    ] {
        assert!(Url::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn redirects_lead_where_rfc_3986_says() {
    let base = Url::parse("http://a/b/c/d?q").unwrap();
    for (location, target) in [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d?y"),
        ("g?y#s", "http://a/b/c/g?y"),
        ("", "http://a/b/c/d?q"),
        (".", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../../../g", "http://a/g"),
        ("https://h:8443/x", "https://h:8443/x"),
        ("g?a=b:c", "http://a/b/c/g?a=b:c"),
        ("./a:b", "http://a/b/c/a:b"),
    ] {
        assert_eq!(base.join(location).map(|url| url.to_string()), Ok(target.to_owned()), "{location}");
    }
    for bad in ["javascript:alert(1)", "file:///x", "http://user@h/", "http://127.1/", "/a b", "\\\\evil"] {
        assert!(base.join(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_host_sends_its_own_headers_and_plugins_the_rest() {
    let given = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let headers = headers::from_plugin(given(&[("Authorization", "x"), ("user-agent", "mine")])).unwrap();
    assert_eq!(headers["authorization"], "x");
    assert_eq!(headers["user-agent"], "mine");
    assert_eq!(headers["accept-encoding"], "identity");
    for (name, value) in [
        ("Host", "evil"),
        ("Content-Length", "0"),
        ("transfer-encoding", "chunked"),
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Proxy-Authorization", "x"),
        ("proxy-connection", "x"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Expect", "100-continue"),
        ("Keep-Alive", "x"),
        ("HTTP2-Settings", "x"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("a b", "x"),
        ("a", "b\r\nHost: evil"),
        ("a\r\nb", "x"),
        ("", "x"),
        ("a", "\u{0}"),
    ] {
        assert!(headers::from_plugin(given(&[(name, value)])).is_err(), "{name}: {value}");
    }
    assert!(headers::from_plugin(given(&[("X-A", "1"), ("x-a", "2")])).is_err());
    assert!(headers::from_plugin(given(&[("a", &"x".repeat(20_000))])).is_err());
    let many: BTreeMap<String, String> = (0..65).map(|n| (format!("x-{n}"), String::new())).collect();
    assert!(headers::from_plugin(many).is_err());
    for method in ["CONNECT", "TRACE", "get", "G ET", ""] {
        assert!(headers::method(method).is_err(), "{method}");
    }
    assert_eq!(headers::method("PATCH").unwrap(), "PATCH");
}

#[test]
fn answers_keep_every_header_and_another_origin_gets_no_credential() {
    let mut headers = HeaderMap::new();
    headers.append(SET_COOKIE, HeaderValue::from_static("a=1; expires=Mon, 1 Jan"));
    headers.append(SET_COOKIE, HeaderValue::from_static("b=2"));
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_bytes(b"\xe9").unwrap());
    let told = headers::to_plugin(&headers);
    assert_eq!(told["set-cookie"], "a=1; expires=Mon, 1 Jan\nb=2");
    assert_eq!(told["x-a"], "1, é");
    let mut sent = HeaderMap::new();
    for name in ["authorization", "cookie", "x-api-key", "accept", "content-type"] {
        sent.insert(name, HeaderValue::from_static("v"));
    }
    headers::keep_harmless(&mut sent);
    let mut left: Vec<_> = sent.keys().map(|name| name.as_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "content-type"]);
}

#[tokio::test]
async fn the_addresses_of_this_machine_are_known() {
    for (address, is_ours) in [("127.0.0.1", true), ("192.0.2.1", false), ("2001:db8::1", false)] {
        assert_eq!(super::dial::is_this_machine(address.parse().unwrap()).await, is_ours, "{address}");
    }
    // The address from which this machine talks to others, if it can.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("192.0.2.1:9").is_ok() {
        let own = socket.local_addr().unwrap().ip();
        assert!(super::dial::is_this_machine(own).await, "{own}");
    }
}
