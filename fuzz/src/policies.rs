//! What must hold for any text of a policy. The fuzz target and an ordinary test of the library call the same function.

use ringfence::Home;
use ringfence::policy;
use ringfence_policy::Candidate;

/// A policy that is read can be asked anything, and one that is not has findings that a terminal can show and that lie in the
/// text.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = text.split('\n').count();
    match policy::parse(text, "policy.toml", &Home::at("/srv/ringfence")) {
        Ok(read) => {
            assert!(read.rules.iter().all(|rule| (1..=lines).contains(&rule.place.line)), "{text:?}");
            let candidate = Candidate { name: "notes", publisher: "unsigned:", digest: "" };
            if let Err(blocked) = read.admit(&candidate) {
                assert!(!blocked.to_string().chars().any(char::is_control), "{blocked:?}");
            }
            let compiled = read.for_plugin("notes");
            for rule in compiled.rules() {
                let judgement = compiled.judge(&rule.rule);
                assert_eq!(judgement.is_refused(), judgement.kept.is_empty());
                assert!(rule.is_about("notes"));
            }
            drop(read.ceilings("notes"));
        }
        Err(findings) => {
            assert!(!findings.is_empty() && findings.len() <= 100, "{}", findings.len());
            for finding in &findings {
                assert!((1..=lines).contains(&finding.line) && finding.column > 0, "{finding:?} {text:?}");
                assert!(!finding.message.chars().any(char::is_control), "{finding:?}");
                assert!(finding.message.len() < 4_096, "{}", finding.message.len());
            }
        }
    }
}
