//! 10,000 random rule sets and requests: the crate and the tiny evaluator must agree on the answer and on the
//! rule that gave it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use ringfence_policy::{
    CanonicalPath, Effect, FileOp, Name, NetworkOp, PathPattern, Request, Rule, RuleSet, Vars,
};

use crate::reference::{self, FLOOR, RefRequest, RefRule};

const CASES: u32 = 10_000;

/// The same cases on every machine: a failure can be looked at again.
pub(crate) fn runner() -> TestRunner {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

pub(crate) fn vars() -> Vars {
    FLOOR.iter().fold(Vars::new(CanonicalPath::root()), |vars, floor| {
        vars.with_state(CanonicalPath::new(floor).unwrap())
    })
}

pub(crate) fn path_text() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "ab", "ba", "c"]), 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

pub(crate) fn path_scope() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "b", "ab", "c", "*", "a*", "*b", "a*b", "**", "**"]);
    vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

pub(crate) fn host_scope() -> impl Strategy<Value = String> {
    let host = select(vec![
        "*",
        "x.com",
        "a.x.com",
        "*.x.com",
        "*.com",
        "localhost",
        "1.2.3.4",
        "1.2.0.0/16",
        "0.0.0.0/0",
        "127.0.0.1",
        "127.0.0.0/8",
        "126.0.0.0/7",
        "10.1.0.0/16",
        "169.254.0.0/16",
        "169.254.169.254",
    ]);
    (host, select(vec!["*", "80", "443"])).prop_map(|(host, port)| format!("{host}:{port}"))
}

fn name_scope() -> impl Strategy<Value = String> {
    vec(select(vec!["A", "B", "*"]), 1..5).prop_map(|pieces| pieces.concat())
}

pub(crate) fn rule() -> impl Strategy<Value = RefRule> {
    let scoped = prop_oneof![
        4 => path_scope().prop_map(|scope| ("file:read", scope)),
        3 => host_scope().prop_map(|scope| ("network:request", scope)),
        2 => name_scope().prop_map(|scope| ("env:read", scope)),
    ];
    (scoped, prop::bool::weighted(0.9), prop::bool::weighted(0.75)).prop_map(
        |((permission, scope), has_scope, allow)| RefRule {
            allow,
            permission,
            scope: has_scope.then_some(scope),
        },
    )
}

pub(crate) fn request() -> impl Strategy<Value = RefRequest> {
    let host = select(vec![
        "x.com",
        "a.x.com",
        "b.a.x.com",
        "y.com",
        "localhost",
        "1.2.3.4",
        "1.2.9.9",
        "8.8.8.8",
        "127.0.0.1",
        "10.1.2.3",
        "10.2.0.1",
        "169.254.169.254",
        "169.254.1.1",
    ]);
    prop_oneof![
        4 => path_text().prop_map(RefRequest::File),
        3 => (host, select(vec![80, 443, 22])).prop_map(|(host, port)| RefRequest::Host(host.to_owned(), port)),
        2 => vec(select(vec!["A", "B"]), 1..5).prop_map(|pieces| RefRequest::Name(pieces.concat())),
    ]
}

pub(crate) fn real(request: &RefRequest) -> Request {
    match request {
        RefRequest::File(path) => Request::File { op: FileOp::Read, path: CanonicalPath::new(path).unwrap() },
        RefRequest::Host(host, port) => {
            Request::Network { op: NetworkOp::Request, host: host.parse().unwrap(), port: *port }
        }
        RefRequest::Name(name) => {
            Request::Named { permission: "env:read".parse().unwrap(), name: Name::new(name).unwrap() }
        }
    }
}

#[test]
fn ten_thousand_random_cases_agree_with_the_reference() {
    let vars = vars();
    let mut seen = [0_u32; 3];
    runner().run_counted(
        &(vec(rule(), 0..8), request()),
        |(rules, request)| {
            // Rules that name the floor with a wildcard are refused when they are read; see the floor's tests.
            let (kept, parsed): (Vec<_>, Vec<_>) = rules
                .into_iter()
                .filter_map(|rule| {
                    let effect = if rule.allow { Effect::Allow } else { Effect::Deny };
                    Rule::parse(effect, &rule.text(), &vars, "case").ok().map(|parsed| (rule, parsed))
                })
                .unzip();
            let expected = reference::decide(&kept, &request);
            let set = RuleSet::new(parsed);
            let asked = real(&request);
            let decision = set.decide(&asked);
            let got = (decision.is_allowed(), decision.deciding().map(|by| by.index));
            prop_assert_eq!(got, expected, "{:?} {:?}", kept, asked);

            // What the answer promises: this grant, added to the same rules, allows it.
            if let Some(grant) = decision.grant() {
                let mut more = set.rules().to_vec();
                more.push(Rule::parse(Effect::Allow, &grant, &vars, "the grant that was named").unwrap());
                prop_assert!(RuleSet::new(more).decide(&asked).is_allowed(), "{} for {:?}", grant, asked);
            }
            Ok(match expected {
                (true, _) => 0,
                (false, Some(_)) => 1,
                (false, None) => 2,
            })
        },
        &mut seen,
    );
    // The cases are of all kinds; a generator that only makes refusals would prove nothing.
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
}

#[test]
fn ten_thousand_random_patterns_match_like_the_reference() {
    let vars = vars();
    let mut seen = [0_u32; 2];
    runner().run_counted(
        &(path_scope(), path_text()),
        |(scope, text)| {
            let pattern = PathPattern::parse(&scope, &vars).unwrap();
            let path = CanonicalPath::new(&text).unwrap();
            let expected = reference::path(&reference::segments(&scope), &reference::segments(&text));
            prop_assert_eq!(pattern.matches(&path), expected, "{} {}", scope, text);
            let touches = reference::touches(&reference::segments(&scope), &reference::segments(&text));
            prop_assert_eq!(pattern.touches(&path), touches, "{} {}", scope, text);
            Ok(usize::from(expected))
        },
        &mut seen,
    );
    assert!(seen.iter().all(|count| *count > 1_000), "{seen:?}");
}

/// Runs cases and counts of which kind they were.
pub(crate) trait RunCounted {
    fn run_counted<S: Strategy>(
        self,
        strategy: &S,
        case: impl Fn(S::Value) -> Result<usize, TestCaseError>,
        seen: &mut [u32],
    );
}

impl RunCounted for TestRunner {
    fn run_counted<S: Strategy>(
        mut self,
        strategy: &S,
        case: impl Fn(S::Value) -> Result<usize, TestCaseError>,
        seen: &mut [u32],
    ) {
        let counts: Vec<_> = seen.iter().map(|_| std::cell::Cell::new(0)).collect();
        let outcome = self.run(strategy, |value| {
            let kind = case(value)?;
            counts[kind].set(counts[kind].get() + 1);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
        for (slot, count) in seen.iter_mut().zip(counts) {
            *slot = count.get();
        }
    }
}
