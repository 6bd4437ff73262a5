//! Rules over files are judged by where things are, links followed: a grant is, so a rule of the policy must be.

use ringfence_api::PermissionName;
use ringfence_policy::{CanonicalPath, Effect, Policy, PolicyRule, Rule, Vars};
use ringfence_sandbox::Resolved;

use crate::exec::translate::{file_op, where_it_would_be};

/// The policy with every path as it is without links. A denied path is denied as it is written too, so that nobody gains by
/// putting a link in its place; a denied path that is a directory is denied with all that it holds.
pub(super) fn follow(mut policy: Policy, vars: &Vars) -> Policy {
    let rules = std::mem::take(&mut policy.rules);
    for rule in rules {
        match (real(&rule.rule, vars), rule.rule.effect()) {
            (None, _) => policy.rules.push(rule),
            (Some(real), Effect::Allow) => policy.rules.push(PolicyRule { rule: real, ..rule }),
            (Some(real), Effect::Deny) => {
                let also = PolicyRule { rule: real, ..rule.clone() };
                policy.rules.extend([rule, also]);
            }
        }
    }
    policy
}

/// The same rule over where its path leads, or would lead if something were there; `None` when that is the same place.
fn real(rule: &Rule, vars: &Vars) -> Option<Rule> {
    let pattern = rule.path()?;
    if file_op(rule).is_none() && *rule.permission_name() != PermissionName::SubprocessExecute {
        return None;
    }
    let prefix = pattern.literal_prefix();
    if prefix == CanonicalPath::root() {
        return None;
    }
    let Ok(found) = Resolved::find(prefix.as_path()) else { return where_it_would_be(rule, vars) };
    let whole_directory = pattern.is_exact() && found.is_directory();
    if found.path() == prefix.as_path() && !whole_directory {
        return None;
    }
    let real = CanonicalPath::new(found.path()).ok()?;
    let written = pattern.to_string();
    let rest = if whole_directory { "/**" } else { written.strip_prefix(&prefix.to_string())? };
    let text = format!("{}={real}{rest}", rule.permission_name());
    Rule::parse(rule.effect(), &text, vars, rule.origin()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::{FileOp, Request};
    use std::os::unix::fs::symlink;

    #[test]
    fn a_rule_holds_where_its_link_leads_and_where_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test wants the real path of its own directory")]
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        symlink(root.join("real"), root.join("link")).unwrap();
        let vars = Vars::new(CanonicalPath::root());
        let text = format!(
            "deny = [\"file:read={0}/link/*.key\", \"file:write={0}/link\"]\nallow = [\"file:delete={0}/link/**\"]",
            root.display()
        );
        let policy = follow(super::super::parse::parse(&text, "policy.toml", &vars).unwrap(), &vars);
        let policy = policy.for_plugin("notes");
        let may = |op, path: &str| {
            let path = CanonicalPath::new(root.join(path)).unwrap();
            policy.decide(&Request::File { op, path }).is_allowed()
        };
        assert!(!may(FileOp::Read, "real/a.key") && !may(FileOp::Read, "link/a.key"));
        assert!(may(FileOp::Read, "real/a.txt"));
        assert!(!may(FileOp::Write, "real/deep/er") && !may(FileOp::Write, "link"));
        assert!(may(FileOp::Delete, "real/x") && !may(FileOp::Delete, "other"));
    }
}
