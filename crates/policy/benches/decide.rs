//! One decision with 1,000 rules. `cargo bench -p ringfence-policy`; the last line is the median.
#![expect(clippy::expect_used, reason = "the inputs are written here; a wrong one must stop the measurement")]

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group};
use ringfence_policy::{
    CanonicalPath, Effect, FileOp, Name, NetworkOp, Place, PluginPolicy, Policy, PolicyRule, Request, Rule,
    RuleSet, Vars,
};

const RULES: usize = 1_000;

/// Rules as an administrator with many plugins has them: mostly directories and hosts, some wildcards, one in
/// ten a deny rule.
fn rules() -> RuleSet {
    let home = CanonicalPath::new("/home/ada").expect("a path");
    let vars = Vars::new(CanonicalPath::root()).with_home(home);
    let text = |number: usize| match number % 10 {
        0..=3 => format!("file:read=/srv/team{}/project{number}/**", number % 17),
        4 => format!("file:read=/srv/team{}/project{number}/file.txt", number % 17),
        5 => format!("file:read=/srv/team{}/*/cache{number}/*.json", number % 17),
        6 => format!("network:request=api{number}.example.com:443"),
        7 => format!("network:request=*.zone{number}.example.com:443"),
        8 => format!("network:request=198.51.{}.0/24:{}", number % 250, number + 1),
        _ => format!("env:read=APP_{number}"),
    };
    let rule = |number: usize| {
        let effect = if number % 10 == 3 { Effect::Deny } else { Effect::Allow };
        Rule::parse(effect, &text(number), &vars, format!("policy.toml:{number}")).expect("a rule")
    };
    RuleSet::new((0..RULES).map(rule).collect())
}

/// Requests of each kind: allowed, denied by a rule, without a rule, and on the floor.
fn requests() -> Vec<Request> {
    let file = |path: &str| {
        let path = CanonicalPath::new(path).expect("a path");
        Request::File { op: FileOp::Read, path }
    };
    let host = |host: &str, port| {
        let host = host.parse().expect("a host");
        Request::Network { op: NetworkOp::Request, host, port }
    };
    let env = |name: &str| Request::Named {
        permission: ringfence_api::PermissionName::EnvRead,
        name: Name::new(name).expect("a name"),
    };
    vec![
        file("/srv/team1/project511/src/deep/er/main.rs"),
        file("/srv/team14/project524/file.txt"),
        file("/srv/team5/project3/x"),
        file("/srv/team8/any/cache535/a.json"),
        file("/srv/team8/none"),
        file("/home/ada/.ssh/id_ed25519"),
        file("/usr/lib/python3/dist-packages/x.py"),
        host("api506.example.com", 443),
        host("a.b.zone507.example.com", 443),
        host("other.example.org", 443),
        host("198.51.8.9", 509),
        host("169.254.169.254", 80),
        env("APP_509"),
        env("HOME"),
    ]
}

fn decide(criterion: &mut Criterion) {
    let (rules, requests) = (rules(), requests());
    let mut group = criterion.benchmark_group("decide with 1,000 rules");
    for request in &requests {
        group.bench_function(request.to_string(), |bencher| {
            bencher.iter(|| black_box(rules.decide(black_box(request))).is_allowed());
        });
    }
    group.finish();
}

/// The same rules as a policy that is about every plugin.
fn policy(rules: &RuleSet) -> PluginPolicy {
    let place = Place { line: 1, column: 1 };
    let rule = |rule: &Rule| PolicyRule { plugins: Vec::new(), rule: rule.clone(), place };
    let policy = Policy { rules: rules.rules().iter().map(rule).collect(), ..Policy::default() };
    policy.for_plugin("notes")
}

/// Times single decisions over all requests and prints the percentiles.
fn percentiles(what: &str, decides: impl Fn(&Request) -> bool) {
    const ROUNDS: usize = 20_000;
    /// Decisions per reading of the clock, so that the clock does not weigh in.
    const BATCH: u32 = 8;
    let requests = requests();
    let mut nanos: Vec<u128> = (0..ROUNDS)
        .flat_map(|_| &requests)
        .map(|request| {
            let start = Instant::now();
            for _ in 0..BATCH {
                black_box(decides(black_box(request)));
            }
            start.elapsed().as_nanos() / u128::from(BATCH)
        })
        .collect();
    nanos.sort_unstable();
    let at = |percent: usize| nanos.get(nanos.len() * percent / 100).copied().unwrap_or_default();
    #[expect(clippy::print_stdout, reason = "the figure is what this program is for")]
    {
        println!("{what} with {RULES} rules: p50 {} ns, p95 {} ns, p99 {} ns", at(50), at(95), at(99));
    }
}

criterion_group!(benches, decide);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    let rules = rules();
    percentiles("decide", |request| rules.decide(request).is_allowed());
    let policy = policy(&rules);
    percentiles("policy", |request| policy.decide(request).is_allowed());
}
