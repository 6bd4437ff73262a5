//! The administrator's policy at the command line: its own commands, and what the others say of it.

use crate::world::World;

impl World {
    fn policy(&self, text: &str) {
        let path = self.path("home/policy.toml");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }
}

#[test]
fn the_documents_of_the_policy_commands() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let snapshot = |name: &str, words: &[&str]| {
        world.snapshot(&format!("policy__{name}"), &world.json(words));
    };
    snapshot("policy_check_absent", &["policy", "check"]);
    let denies = format!("deny = [\"file:read={}/**\"]\n", world.path("data").display());
    world.policy(&format!("{denies}[limits]\nmemory = \"100MB\"\n"));
    snapshot("policy_check", &["policy", "check"]);
    snapshot("policy_explain", &["policy", "explain", "notes", &world.read_grant()]);
    snapshot("policy_grants", &["grants", "notes"]);
    let limits = &world.json(&["show", "notes"])["limits"];
    assert_eq!(limits["by_policy"]["memory_bytes"], "policy.toml:3", "{limits}");
    std::fs::write(world.path("new.toml"), &denies).unwrap();
    let simulated = world.json(&["policy", "simulate", "new.toml"]);
    if crate::SERVED {
        // The daemon records starts of its own, which it judged as the grant was judged.
        assert_eq!(simulated["differences"][0]["event"], "grant", "{simulated}");
    } else {
        world.snapshot("policy__policy_simulate", &simulated);
    }

    std::fs::write(world.path("wrong.toml"), "dney = []\n").unwrap();
    let wrong = world.run(&["policy", "check", "wrong.toml", "--json"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    world.snapshot("policy__policy_check_wrong", &wrong.json());
    world.run(&["policy", "check", "nowhere.toml", "--json"]).refused(3, "path_not_found");
    world.run(&["policy", "explain", "notse", "env:read", "--json"]).refused(3, "not_found");
    world.run(&["policy", "explain", "notes", "env:raed", "--json"]).refused(2, "invalid_permission");
}

#[test]
fn what_people_read_of_a_policy() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    assert!(world.done(&["policy", "check"]).err.contains("nothing is denied"));
    let template = world.done(&["policy", "template"]).out;
    world.policy(&template);
    assert_eq!(world.done(&["policy", "check"]).err, "0 rules, no mistakes\n");

    let read = format!("path={}", world.path("data/a.txt").display());
    assert_eq!(world.run(&["call", "notes", "read", &read]).code, Some(0));
    world.policy(&format!(
        "deny = [\"file:read={}/**\"]\n[limits]\nmemory = \"100MB\"\n",
        world.path("data").display()
    ));
    let show = world.done(&["show", "notes"]).out;
    assert!(show.contains("  by policy no read files below"), "{show}");
    assert!(show.contains("the policy denies it by 'deny file:read="), "{show}");
    assert!(show.contains("  memory     100 MB, by policy (policy.toml:3)"), "{show}");
    let explained = world.done(&["policy", "explain", "notes", &world.read_grant()]).out;
    assert!(explained.contains(": denied\n  decided   the policy\n"), "{explained}");
    assert!(world.done(&["call", "notes", "version"]).out.contains("1.0.0"), "it runs");
    assert_ne!(world.run(&["call", "notes", "read", &read]).code, Some(0), "with less");

    world.policy("dney = []\n");
    let list = world.done(&["list"]);
    assert!(
        list.out.contains("notes") && list.err.contains("nothing is installed, granted, started or called"),
        "{list:?}"
    );
    let check = world.run(&["policy", "check"]);
    assert_eq!(check.code, Some(1));
    assert!(
        check.out.ends_with("home/policy.toml:1:1 unknown field 'dney'; did you mean 'deny'?\n"),
        "{check:?}"
    );
    assert!(check.err.contains("1 mistake"), "{check:?}");
    let doctor = world.run(&["doctor"]);
    assert!(doctor.out.contains("note     policy"), "{doctor:?}");
    let show = world.done(&["show", "notes"]).out;
    assert!(show.contains("did you mean 'deny'"), "{show}");
    // A daemon goes on with the last good one; a command knows none.
    assert_eq!(world.run(&["call", "notes", "version"]).code, Some(if crate::SERVED { 0 } else { 4 }));
    std::fs::remove_file(world.path("home/policy.toml")).unwrap();
    assert!(!world.run(&["doctor"]).out.contains("  policy"));
    assert_eq!(world.run(&["call", "notes", "version"]).code, Some(0));
}
