//! Path patterns, case by case.

use ringfence_policy::{CanonicalPath, PathPattern, PathPatternError, Vars, WILDCARDS_MAX};

fn path(text: &str) -> CanonicalPath {
    CanonicalPath::new(text).unwrap()
}

fn vars() -> Vars {
    Vars::new(path("/proj/pkg")).with_home(path("/home/ada")).with_data(path("/rf/data/x"))
}

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text, &vars()).unwrap()
}

#[test]
fn every_form_has_one_spelling_that_reads_back() {
    for (text, one) in [
        ("/", "/"),
        ("/srv//notes/./a/", "/srv/notes/a"),
        ("~", "/home/ada"),
        ("~/**", "/home/ada/**"),
        ("${data}", "/rf/data/x"),
        ("${data}/*.db", "/rf/data/x/*.db"),
        ("notes", "/proj/pkg/notes"),
        ("./notes/**", "/proj/pkg/notes/**"),
        (".", "/proj/pkg"),
        ("./~", "/proj/pkg/~"),
        ("./${data}", "/proj/pkg/${data}"),
        ("**/*.rs", "/proj/pkg/**/*.rs"),
        ("/a/**/**/b", "/a/**/b"),
        ("/a/**/", "/a/**"),
        ("/[id]/{a,b}?", "/[id]/{a,b}?"),
        ("/\\*\\\\\\x20\\xff", "/\\*\\\\ \\xff"),
        ("/a=b", "/a=b"),
    ] {
        assert_eq!(pattern(text).to_string(), one);
        assert_eq!(pattern(one), pattern(text), "{text}");
    }
    assert_eq!(format!("{:?}", pattern("/a/*")), "PathPattern(/a/*)");
}

#[test]
fn what_cannot_be_right_is_refused_with_its_reason() {
    use PathPatternError as E;
    let bare = Vars::new(CanonicalPath::root());
    let error = |text: &str| PathPattern::parse(text, &bare).unwrap_err();
    assert_eq!(error(""), E::Empty);
    for text in ["..", "/a/..", "/../a", "/a/\\x2e\\x2e", "/\\x2e"] {
        assert!(matches!(error(text), E::ParentSegment { .. }), "{text}");
    }
    for text in ["/a/b**", "/**b", "/a***", "/\\***"] {
        assert!(matches!(error(text), E::DoubleStarInside { .. }), "{text}");
    }
    assert!(PathPattern::parse("/\\**", &bare).is_ok(), "an escaped star and a star");
    assert!(matches!(error("~bob/x"), E::OtherHome { .. }));
    assert!(matches!(error("~/x"), E::NoHome { .. }));
    assert!(matches!(error("${data}/x"), E::NoData { .. }));
    for text in ["${dat}/x", "${data}x", "${", "${HOME}"] {
        assert!(matches!(error(text), E::UnknownVariable { .. }), "{text}");
    }
    for text in ["/a\\", "/a\\n", "/a\\x2fb", "/a*\\x2f"] {
        assert!(matches!(error(text), E::Escape { .. }), "{text}");
    }
    assert!(matches!(error("/a\\x00"), E::Nul { .. }));
    assert!(matches!(error("/a\0b"), E::Nul { .. }));
    assert!(matches!(error(&format!("/{}", "a".repeat(5000))), E::TooLong { bytes: 5001 }));
    assert!(matches!(error(&"/*".repeat(WILDCARDS_MAX + 1)), E::TooManyWildcards { .. }));
    assert!(PathPattern::parse(&"/*".repeat(WILDCARDS_MAX), &bare).is_ok());
}

#[test]
fn stars_stay_inside_segments_and_double_stars_cross_them() {
    for (text, inside, outside) in [
        ("/srv", &["/srv"][..], &["/srv/a", "/SRV", "/srv2", "/"][..]),
        ("/srv/**", &["/srv", "/srv/a", "/srv/a/b/.c"], &["/srv2", "/", "/a/srv"]),
        ("/srv/*", &["/srv/a", "/srv/.a"], &["/srv", "/srv/a/b"]),
        ("/srv/*.txt", &["/srv/a.txt", "/srv/.txt"], &["/srv/a.txt/b", "/srv/a.TXT"]),
        ("/**/x", &["/x", "/a/x", "/a/b/x"], &["/", "/x/a", "/xx"]),
        ("/a/**/b/**/c", &["/a/b/c", "/a/b/b/c", "/a/1/b/2/3/c"], &["/a/c", "/a/c/b", "/a/b"]),
        ("/**", &["/", "/a", "/a/b"], &[]),
    ] {
        let pattern = pattern(text);
        for inside in inside {
            assert!(pattern.matches(&path(inside)), "{text} has {inside}");
        }
        for outside in outside {
            assert!(!pattern.matches(&path(outside)), "{text} has not {outside}");
        }
    }
}

#[test]
fn bytes_are_exact() {
    let composed = pattern("/\u{e9}");
    assert!(composed.matches(&path("/\u{e9}")) && !composed.matches(&path("/e\u{301}")));
    let raw = CanonicalPath::from_bytes(b"/a\xff").unwrap();
    assert!(pattern("/a\\xff").matches(&raw) && pattern("/a*").matches(&raw));
    assert_eq!(PathPattern::exact(&raw), pattern("/a\\xff"));
    assert_eq!(pattern("/a\\xff").literal_prefix(), raw);
}

#[test]
fn facts_for_mounts() {
    for (text, prefix, exact, subtree) in [
        ("/", "/", true, false),
        ("/a/b", "/a/b", true, false),
        ("/a/b/**", "/a/b", false, true),
        ("/a/*/b/**", "/a", false, false),
        ("/a/b*", "/a", false, false),
        ("/**", "/", false, true),
        ("/a/**/b", "/a", false, false),
    ] {
        let pattern = pattern(text);
        assert_eq!(pattern.literal_prefix(), path(prefix), "{text}");
        assert_eq!((pattern.is_exact(), pattern.is_subtree()), (exact, subtree), "{text}");
    }
    assert_eq!(PathPattern::everything(), pattern("/**"));
    assert_eq!(PathPattern::subtree(&path("/a")), pattern("/a/**"));
}
