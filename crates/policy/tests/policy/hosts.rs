//! Host patterns, case by case.

use ringfence_policy::{Host, HostPattern, HostPatternError};

fn pattern(text: &str) -> HostPattern {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

#[test]
fn every_form_has_one_spelling_that_reads_back() {
    for (text, one) in [
        ("*", "*"),
        ("*:*", "*"),
        ("*:443", "*:443"),
        ("API.Example.com.:443", "api.example.com:443"),
        ("*.Example.com:*", "*.example.com:*"),
        ("192.0.2.7:80", "192.0.2.7:80"),
        ("192.0.2.0/24:80", "192.0.2.0/24:80"),
        ("192.0.2.7/32:80", "192.0.2.7:80"),
        ("0.0.0.0/0:80", "0.0.0.0/0:80"),
        ("[2001:DB8::1]:80", "[2001:db8::1]:80"),
        ("[2001:db8::]/32:80", "[2001:db8::]/32:80"),
        ("[::]/0:80", "[::]/0:80"),
        ("[::ffff:1.2.3.4]:80", "1.2.3.4:80"),
    ] {
        assert_eq!(pattern(text).to_string(), one);
        assert_eq!(pattern(one), pattern(text));
    }
    assert_eq!(pattern("a.b:7").port(), Some(7));
    assert_eq!(pattern("a.b:*").port(), None);
    assert_eq!(pattern("[::1]:7").address(), Some("::1".parse().unwrap()));
    assert_eq!(pattern("a.b:7").address(), None);
    assert!(pattern("a.b:7").is_single_host() && pattern("1.2.3.4:7").is_single_host());
    assert!(!pattern("*.b:7").is_single_host() && !pattern("1.2.3.0/24:7").is_single_host());
    assert_eq!(HostPattern::from(&host("a.b")), pattern("a.b:*"));
}

#[test]
fn what_cannot_be_right_is_refused_with_its_reason() {
    use HostPatternError as E;
    let error = |text: &str| text.parse::<HostPattern>().unwrap_err();
    for text in ["", "example.com", "1.2.3.4", "[::1]", "1.2.3.0/24"] {
        assert!(matches!(error(text), E::NoPort { .. }), "{text}");
    }
    for text in ["a.b:", "a.b:0", "a.b:65536", "a.b:080", "a.b:+80", "a.b: 80", "a.b:http", "a.b:8*"] {
        assert!(matches!(error(text), E::Port { .. }), "{text}");
    }
    for text in ["::1:80", "2001:db8::1:443", "http://a.b:80", "a:1:2"] {
        assert!(matches!(error(text), E::NoBrackets { .. }), "{text}");
    }
    for text in ["a*.b:80", "a.*.b:80", "**.b:80", "1.2.3.*:80", "*b.c:80"] {
        assert!(matches!(error(text), E::Star { .. }), "{text}");
    }
    assert!(matches!(error("*.2.3.4:80"), E::Host(_)), "numbers that are no address");
    assert!(matches!(error("*.2.3.4.5:80"), E::Star { .. }), "an address has nothing below it");
    for text in ["1.2.3.0/33:80", "1.2.3.0/:80", "1.2.3.0/08:80", "a.b/8:80", "[::]/129:80", "1.2.3.0/-1:80"]
    {
        assert!(matches!(error(text), E::Range { .. }), "{text}");
    }
    let error_text = error("10.1.2.3/8:80").to_string();
    assert!(error_text.ends_with("write 10.0.0.0/8"), "{error_text}");
    for text in
        ["127.1:80", "0x7f.1:80", "a_b.c:80", "a b:80", "[fe80::1%eth0]:80", ":80", "[::1:80", "*.:80"]
    {
        assert!(matches!(error(text), E::Host(_)), "{text}: {:?}", error(text));
    }
}

#[test]
fn the_floor_needs_its_name() {
    for (text, wanted, opens) in [
        ("*:80", "8.8.8.8", true),
        ("*:80", "127.0.0.1", false),
        ("*:80", "localhost", false),
        ("127.0.0.1:80", "127.0.0.1", true),
        ("127.0.0.0/8:80", "127.0.0.1", true),
        ("126.0.0.0/7:80", "127.0.0.1", false),
        ("0.0.0.0/0:80", "10.0.0.1", false),
        ("10.0.0.0/16:80", "10.0.0.1", true),
        ("169.254.0.0/16:80", "169.254.1.1", true),
        ("169.254.0.0/16:80", "169.254.169.254", false),
        ("169.254.169.254:80", "169.254.169.254", true),
        ("*.google.internal:80", "metadata.google.internal", false),
        ("metadata.google.internal:80", "metadata.google.internal", true),
        ("[::]/0:80", "fd12::1", false),
        ("[fd00::]/8:80", "fd12::1", true),
        ("[64:ff9b::]/96:80", "64:ff9b::127.0.0.1", false),
        ("[64:ff9b::]/96:80", "64:ff9b::8.8.8.8", true),
        ("[64:ff9b::7f00:1]:80", "64:ff9b::127.0.0.1", true),
        ("[::1]:80", "::1", true),
        ("127.0.0.1:80", "::ffff:127.0.0.1", true),
    ] {
        let pattern = pattern(text);
        assert_eq!(pattern.opens(&host(wanted), 80), opens, "{text} {wanted}");
        assert!(pattern.matches(&host(wanted), 80), "{text} has {wanted} either way");
        assert!(!pattern.opens(&host(wanted), 81), "{text} is about port 80");
    }
}
