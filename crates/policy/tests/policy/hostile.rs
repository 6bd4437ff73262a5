//! Patterns and paths made to be slow or deep. Each must be answered within a bound that a matcher which
//! backtracks misses by many orders of magnitude (2 to the power of 30 steps and more).

use std::time::{Duration, Instant};

use ringfence_policy::{
    CanonicalPath, Effect, FileOp, Name, NamePattern, PathPattern, Request, Rule, RuleSet, Vars,
    WILDCARDS_MAX,
};

/// Generous for a slow machine and an unoptimised build.
const BOUND: Duration = Duration::from_secs(5);

fn within_bound(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    assert!(start.elapsed() < BOUND, "{what} took {:?}", start.elapsed());
}

fn vars() -> Vars {
    Vars::new(CanonicalPath::root()).with_home(CanonicalPath::new("/home/ada").unwrap())
}

#[test]
fn many_stars_and_double_stars_are_no_trap() {
    let stars = format!("/{}b", "a*".repeat(WILDCARDS_MAX));
    let crossing = format!("{}/b", "/**/a".repeat(WILDCARDS_MAX));
    let mixed = format!("{}/b", "/**/a*".repeat(WILDCARDS_MAX / 2));
    let flat = CanonicalPath::new(format!("/{}", "a".repeat(4000))).unwrap();
    let deep = CanonicalPath::new("/a".repeat(2000)).unwrap();
    within_bound("matching", || {
        for text in [&stars, &crossing, &mixed] {
            let pattern = PathPattern::parse(text, &vars()).unwrap();
            for path in [&flat, &deep] {
                assert!(!pattern.matches(path), "{text}");
                assert!(!pattern.includes(&PathPattern::exact(path)));
                std::hint::black_box(pattern.touches(path));
            }
            assert!(pattern.includes(&pattern));
        }
    });
    let name: NamePattern = format!("{}b", "a*".repeat(WILDCARDS_MAX)).parse().unwrap();
    within_bound("names", || assert!(!name.matches(&Name::new("a".repeat(1024)).unwrap())));
}

#[test]
fn a_long_literal_between_stars_is_no_trap() {
    let pattern = PathPattern::parse(&format!("/*{}b*", "a".repeat(2000)), &vars()).unwrap();
    let path = CanonicalPath::new(format!("/{}", "a".repeat(4090))).unwrap();
    within_bound("a long literal", || assert!(!pattern.matches(&path)));
}

#[test]
fn deep_paths_do_not_use_up_the_stack() {
    let deep = "/a".repeat(2000);
    let work = move || {
        let rules = (0..200)
            .map(|number| format!("file:read={}/{number}", &deep[..2 * (number + 1) * 9]))
            .map(|text| Rule::parse(Effect::Allow, &text, &vars(), "deep").unwrap())
            .collect();
        let rules = RuleSet::new(rules);
        let request = Request::File { op: FileOp::Read, path: CanonicalPath::new(&deep).unwrap() };
        assert!(!rules.decide(&request).is_allowed());
    };
    std::thread::Builder::new().stack_size(256 * 1024).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_thousand_rules_with_wildcards_are_no_trap() {
    let rules = (0..1_000)
        .map(|number| format!("file:read=/**/a*{number}*/**/c"))
        .map(|text| Rule::parse(Effect::Allow, &text, &vars(), "wild").unwrap())
        .collect();
    let rules = RuleSet::new(rules);
    let request = Request::File { op: FileOp::Read, path: CanonicalPath::new("/a1b".repeat(900)).unwrap() };
    within_bound("a thousand wild rules", || assert!(!rules.decide(&request).is_allowed()));
}
