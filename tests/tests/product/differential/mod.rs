//! What the sandbox allows against what the rules say, for random trees and rules: it must never be more. Where it is less,
//! it is for a reason that is on a list (`Judge::is_known`).
//!
//! Each case is a tree at one of several places, and a run of one program that tries everything at each path of it. A
//! difference is told with the fewest rules that show it, and with its seed. `RINGFENCE_CASES=2000` runs so many cases for
//! each user, `RINGFENCE_SEED=7` begins with another seed than 0.

mod judge;
mod rules;
mod tree;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ringfence_testkit::{Run, Who, World, say, users};

use judge::{Difference, Judge};
use rules::{Reference, Word};
use tree::{Node, Numbers};

/// How many cases an ordinary run has for each user.
const CASES: u64 = 60;
/// Why a start may be refused: what is granted is not there, or no mount holds what the rules say.
const REFUSALS: [&str; 5] = ["floor", "not_enforceable", "not_supported", "path_not_found", "usage"];

/// Where the tree lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    World,
    Home,
    Tmp,
    VarTmp,
}

const SITES: [Site; 4] = [Site::World, Site::Home, Site::Tmp, Site::VarTmp];

/// All that a seed stands for.
#[derive(Debug)]
struct Case {
    seed: u64,
    site: Site,
    /// The tree is the home directory, with things in it that no wildcard opens.
    is_home: bool,
    nodes: Vec<Node>,
    words: Vec<Word>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let site = *numbers.of(&SITES);
        let is_home = numbers.once_in(4);
        let nodes = tree::draw(&mut numbers, is_home);
        let words = rules::draw(&mut numbers, &nodes, is_home);
        Self { seed, site, is_home, nodes, words }
    }

    /// Runs it with some of its rules; `Err` when its start was refused as it may be.
    fn differences(&self, who: Who, words: &[Word]) -> Result<Vec<Difference>, String> {
        let world = World::new(who);
        let directory = self.directory(&world);
        let base = directory.path();
        tree::make(&world, base, &self.nodes);
        let identities = tree::identities(base, &self.nodes);
        let rules = Reference::new(words, &self.nodes, self.is_home);
        let run = self.run(&world, base, words);
        if run.code == Some(125) {
            let text = run.err();
            let code = run.report.pointer("/error/code").and_then(|code| code.as_str()).unwrap_or_default();
            if REFUSALS.contains(&code) {
                return Err(code.to_owned());
            }
            let act = format!("start refused: {text}");
            return Ok(vec![Difference { is_wide: false, act, path: code.to_owned(), errno: 0 }]);
        }
        let judge = Judge { nodes: &self.nodes, rules: &rules, identities: &identities };
        let mut found = judge.said(&run.act().data);
        found.extend(judge.left(base));
        Ok(found)
    }

    fn directory(&self, world: &World) -> tempfile::TempDir {
        let place = match self.site {
            Site::World => world.path("data"),
            Site::Home => world.path("home"),
            Site::Tmp => PathBuf::from("/tmp"),
            Site::VarTmp => PathBuf::from("/var/tmp"),
        };
        tempfile::Builder::new().prefix("rf").tempdir_in(place).unwrap()
    }

    fn run(&self, world: &World, base: &Path, words: &[Word]) -> Run {
        let flags: Vec<String> = words.iter().flat_map(|word| word.words(base)).collect();
        let mut act = vec!["each".to_owned(), base.join("tree").to_str().unwrap().to_owned()];
        act.extend(
            self.nodes
                .iter()
                .map(|node| format!("{}{}", node.kind.letter(), base.join(&node.path).display())),
        );
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let act: Vec<&str> = act.iter().map(String::as_str).collect();
        let job = world.probe(&flags, &act);
        if self.is_home { job.env("HOME", base.join("tree").to_str().unwrap()) } else { job }.run()
    }

    /// The fewest of the rules with which one of these differences is still there.
    fn fewest(&self, who: Who, found: &[Difference]) -> (Vec<Word>, Vec<Difference>) {
        let is_wide = found.iter().any(|one| one.is_wide);
        let mut words = self.words.clone();
        let mut kept = found.to_vec();
        let mut at = 0;
        while at < words.len() && words.len() > 1 {
            let mut fewer = words.clone();
            fewer.remove(at);
            let still = self.differences(who, &fewer).unwrap_or_default();
            let same: Vec<Difference> = still
                .into_iter()
                .filter(|one| one.is_wide == is_wide && kept.iter().any(|kept| kept.act == one.act))
                .collect();
            if same.is_empty() {
                at += 1;
            } else {
                (words, kept) = (fewer, same);
            }
        }
        (words, kept)
    }

    /// How to see it again.
    fn told(&self, who: Who, found: &[Difference]) -> String {
        let (words, found) = self.fewest(who, found);
        let mut text = format!("seed {} as {who:?}, below {:?}", self.seed, self.site);
        text += if self.is_home { ", BASE/tree is HOME\n" } else { "\n" };
        for node in &self.nodes {
            let to = node.to.as_ref().map(|to| format!(" -> {to}")).unwrap_or_default();
            writeln!(text, "    {:?} {:?}{to}", node.kind, node.path).unwrap();
        }
        let words: Vec<String> = words.iter().flat_map(|word| word.words(Path::new("BASE"))).collect();
        writeln!(text, "  ringfence exec {words:?}").unwrap();
        for one in found {
            let how = if one.is_wide { "WIDER" } else { "narrower" };
            writeln!(text, "  {how}: {} of {:?} ({})", one.act, one.path, one.errno).unwrap();
        }
        text
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn check(who: Who) -> Vec<String> {
    let first = number("RINGFENCE_SEED").unwrap_or(0);
    let cases = number("RINGFENCE_CASES").unwrap_or(CASES);
    let mut failures = Vec::new();
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for seed in first..first + cases {
        let case = Case::new(seed);
        match case.differences(who, &case.words) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => failures.push(case.told(who, &found)),
            Err(code) => *refused.entry(code).or_default() += 1,
        }
    }
    if cases > CASES {
        say(&format!("{cases} cases as {who:?}, of which were not started: {refused:?}"));
    }
    assert!(refused.values().sum::<u64>() * 2 < cases, "most of {cases} cases: {refused:?}");
    failures
}

#[test]
fn a_sandbox_never_allows_what_the_rules_do_not() {
    let all: Vec<_> = users().into_iter().map(|who| std::thread::spawn(move || check(who))).collect();
    let failures: Vec<String> = all.into_iter().flat_map(|one| one.join().unwrap()).collect();
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
}
