use super::*;
use crate::exec::Exec;
use crate::exec::translate::{Resolution, resolution};
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

/// A directory with `out`, `private` and a plugin's own directories `package` and `data`.
struct Tree {
    root: PathBuf,
    by_grant: BTreeMap<String, Pin>,
    /// What other plugins may write.
    others: Trees,
    _made: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let made = tempfile::tempdir().unwrap();
        let root = Resolved::find(made.path()).unwrap().path().to_owned();
        for directory in ["out", "private", "package", "data"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        fs::write(root.join("private/key"), "secret").unwrap();
        Self { root, by_grant: BTreeMap::new(), others: Trees::default(), _made: made }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn others_write(&mut self, path: &str) {
        self.others.add(self.at(path));
    }

    fn resolve(&self, grants: &[&str], misfit: Misfit) -> Result<Resolution, Error> {
        let mut exec = Exec::new(["/"]);
        exec.directory(self.at("package")).read_path(self.at("package")).write_path(self.at("data"));
        exec.plugin = Some(Some(self.at("data")));
        for grant in grants {
            exec.grant(self.text(grant));
        }
        exec.pins = Some(Arc::new(Pins {
            plugin: "notes".to_owned(),
            by_grant: self.by_grant.clone(),
            trees: self.others.clone(),
            misfit,
        }));
        resolution(&exec)
    }

    fn text(&self, grant: &str) -> String {
        grant.replace("ROOT", self.root.to_str().unwrap())
    }

    /// Consents, and keeps the places.
    fn consent(&mut self, grants: &[&str]) -> Result<(), Error> {
        self.by_grant.clear();
        self.by_grant = self.resolve(grants, Misfit::Refused)?.holding.taken;
        Ok(())
    }

    fn start(&self, grants: &[&str]) -> Result<Resolution, Error> {
        self.resolve(grants, Misfit::Refused)
    }

    /// Whether a start opens reading this path.
    fn reads(&self, grants: &[&str], path: &str) -> bool {
        let path = CanonicalPath::new(self.at(path)).unwrap();
        let request = ringfence_policy::Request::File { op: FileOp::Read, path };
        self.start(grants).unwrap().set.decide(&request).is_allowed()
    }

    fn state(&self, grants: &[&str], grant: &str) -> (PlaceState, Option<String>) {
        let standing = self.resolve(grants, Misfit::Told).unwrap().holding.standing;
        let found = &standing[&self.text(grant)];
        (found.state, found.why.clone())
    }
}

const OUT: &str = "file:write=ROOT/out/**";
const CACHE: &str = "file:read=ROOT/out/cache/**";

#[test]
fn fs_25_a_directory_that_was_missing_is_not_the_link_that_the_plugin_puts_there() {
    let mut tree = Tree::new();
    let both = [OUT, CACHE];
    tree.consent(&both).unwrap();
    assert!(!tree.reads(&both, "private/key"));
    symlink(tree.at("private"), tree.at("out/cache")).unwrap();
    assert!(!tree.reads(&both, "private/key"), "by its own grant for writing");
    assert_eq!(tree.state(&both, CACHE).0, PlaceState::Closed);
    // Nor a directory that it makes, with what it may write and not read.
    fs::remove_file(tree.at("out/cache")).unwrap();
    fs::create_dir(tree.at("out/cache")).unwrap();
    assert!(!tree.reads(&both, "out/cache/a"));
    // The twin: a person consents to what is there.
    tree.consent(&both).unwrap();
    assert!(tree.reads(&both, "out/cache/a"));
}

#[test]
fn fs_25_an_accomplice_cannot_put_it_there_either() {
    let mut tree = Tree::new();
    tree.consent(&[CACHE]).unwrap();
    assert_eq!(tree.state(&[CACHE], CACHE).0, PlaceState::Missing);
    fs::create_dir(tree.at("out/cache")).unwrap();
    assert!(tree.reads(&[CACHE], "out/cache/a"), "the twin: where no plugin writes, it is the user's");
    tree.others_write("out");
    assert!(!tree.reads(&[CACHE], "out/cache/a"));
    assert!(tree.state(&[CACHE], CACHE).1.unwrap().contains("a plugin may write"));
    // Granted while somebody could write there, it stays closed when nobody can any more.
    fs::remove_dir(tree.at("out/cache")).unwrap();
    tree.consent(&[CACHE]).unwrap();
    tree.others = Trees::default();
    fs::create_dir(tree.at("out/cache")).unwrap();
    assert!(!tree.reads(&[CACHE], "out/cache/a"));
}

#[test]
fn fs_25_a_link_that_nobody_consented_to_opens_nothing_wherever_it_lies() {
    let mut tree = Tree::new();
    tree.consent(&[CACHE]).unwrap();
    symlink(tree.at("private"), tree.at("out/cache")).unwrap();
    assert!(!tree.reads(&[CACHE], "private/key"), "no plugin may write there, and it is a link all the same");
    let (state, why) = tree.state(&[CACHE], CACHE);
    assert!(state == PlaceState::Closed && why.unwrap().contains("private"));
    // The twin: the user's own link, consented to.
    tree.consent(&[CACHE]).unwrap();
    assert!(tree.reads(&[CACHE], "private/key"));
}

#[test]
fn fs_25_what_was_there_must_be_there() {
    let mut tree = Tree::new();
    fs::create_dir(tree.at("out/cache")).unwrap();
    tree.consent(&[OUT, CACHE]).unwrap();
    assert!(tree.reads(&[OUT, CACHE], "out/cache/a"), "the twin");
    for swap in [true, false] {
        // Made first: later it could get the inode that is free by then.
        fs::create_dir_all(tree.at("out/new")).unwrap();
        fs::remove_dir(tree.at("out/cache")).unwrap();
        if swap {
            symlink(tree.at("private"), tree.at("out/cache")).unwrap();
        } else {
            fs::rename(tree.at("out/new"), tree.at("out/cache")).unwrap();
        }
        let error = tree.start(&[OUT, CACHE]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PermissionDenied);
        let (message, hint) = (error.message(), error.hint().unwrap());
        assert!(message.contains(&tree.text("the grant file:read=ROOT/out/cache/** of notes: the directory ROOT/out/cache was consented to")), "{message}");
        let now = if swap {
            tree.text("leads to the directory ROOT/private")
        } else {
            "another directory lies there".to_owned()
        };
        assert!(message.contains(&now), "{message}");
        assert!(hint.contains(&tree.text("ringfence grant notes 'file:read=ROOT/out/cache/**'")), "{hint}");
        if swap {
            fs::remove_file(tree.at("out/cache")).unwrap();
            assert!(tree.start(&[OUT, CACHE]).is_ok(), "what is gone shows nothing");
            fs::create_dir(tree.at("out/cache")).unwrap();
        }
    }
    assert_eq!(tree.state(&[OUT, CACHE], CACHE).0, PlaceState::Misfit, "who only looks is told");
    tree.consent(&[OUT, CACHE]).unwrap();
    assert!(tree.reads(&[OUT, CACHE], "out/cache/a"), "consented anew");
}

#[test]
fn fs_25_no_consent_goes_through_a_link_that_a_plugin_can_change() {
    let mut tree = Tree::new();
    symlink(tree.at("private"), tree.at("out/cache")).unwrap();
    assert!(tree.consent(&[CACHE]).is_ok(), "the twin: nobody writes there");
    let error = tree.consent(&[OUT, CACHE]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied);
    assert!(error.hint().unwrap().contains(&tree.text("name ROOT/private itself")), "{error:?}");
    tree.others_write("out");
    assert!(tree.consent(&[CACHE]).is_err());
    assert!(tree.consent(&["file:read=ROOT/private/**"]).is_ok(), "named itself");
    // A link in the tree to what the same plugin may read anyway is nothing new.
    fs::remove_file(tree.at("out/cache")).unwrap();
    fs::create_dir(tree.at("out/v1")).unwrap();
    symlink("v1", tree.at("out/cache")).unwrap();
    let grants = ["file:read=ROOT/out/**", CACHE];
    tree.consent(&grants).unwrap();
    assert!(tree.reads(&grants, "out/v1/a"));
}

#[test]
fn fs_25_a_file_may_be_saved_anew_but_not_by_somebody_who_may_not_read_it() {
    let mut tree = Tree::new();
    let read = "file:read=ROOT/out/report";
    fs::write(tree.at("out/report"), "1").unwrap();
    let replace = |tree: &Tree| {
        fs::write(tree.at("out/new"), "2").unwrap();
        fs::rename(tree.at("out/new"), tree.at("out/report")).unwrap();
    };
    tree.consent(&[read]).unwrap();
    replace(&tree);
    assert!(tree.reads(&[read], "out/report"), "as an editor does it");
    tree.consent(&[read, OUT]).unwrap();
    replace(&tree);
    assert!(tree.start(&[read, OUT]).is_err(), "it could have put anything there that it may not read");
    for harmless in [["file:write=ROOT/out/report"; 2], ["file:read=ROOT/out/**", OUT]] {
        let grants = [read, harmless[0], harmless[1]];
        let grants = if harmless[0] == harmless[1] { &grants[..2] } else { &grants[..] };
        if grants.len() == 2 {
            tree.others_write("out");
        }
        tree.consent(grants).unwrap();
        replace(&tree);
        assert!(tree.reads(grants, "out/report"), "{grants:?}");
    }
}

#[test]
fn its_own_directories_are_its_own_and_no_link_leads_out_of_them() {
    let mut tree = Tree::new();
    let own = "file:read=${data}/cache/**";
    tree.others_write("data");
    tree.consent(&[own]).unwrap();
    assert!(tree.by_grant.is_empty(), "there is nothing to hold");
    for _ in 0..2 {
        fs::create_dir(tree.at("data/cache")).unwrap();
        assert!(tree.reads(&[own], "data/cache/a"));
        fs::remove_dir(tree.at("data/cache")).unwrap();
    }
    symlink(tree.at("private"), tree.at("data/cache")).unwrap();
    assert!(!tree.reads(&[own], "private/key"));
    assert!(tree.consent(&[own]).is_ok());
    assert!(!tree.reads(&[own], "private/key"), "nor by a consent");
    assert!(tree.consent(&["file:read=./assets/**"]).is_ok());
    assert!(tree.by_grant.is_empty(), "the package is checked as a whole");
}

#[test]
fn what_lies_at_a_place_is_known_while_it_runs() {
    let mut tree = Tree::new();
    tree.consent(&[OUT]).unwrap();
    let before = Resolved::find(&tree.at("out")).unwrap();
    let holding = tree.start(&[OUT]).unwrap().holding;
    assert!(holding.is(&tree.at("out"), before.identity()));
    fs::create_dir(tree.at("other")).unwrap();
    let other = Resolved::find(&tree.at("other")).unwrap();
    assert!(!holding.is(&tree.at("out"), other.identity()));
    assert!(holding.is(&tree.at("elsewhere"), other.identity()), "nothing is known of it");
    // What was gone at the start may come back as what it was.
    fs::rename(tree.at("out"), tree.at("away")).unwrap();
    let holding = tree.start(&[OUT]).unwrap().holding;
    assert!(holding.is(&tree.at("out"), before.identity()) && !holding.is(&tree.at("out"), other.identity()));
}

#[test]
fn proc_02_a_program_is_held_to_what_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut tree = Tree::new();
    let tool = tree.at("out/tool");
    let write = |text: &str| {
        fs::write(&tool, text).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("#!/bin/sh\n");
    let grant = "subprocess:execute=ROOT/out/tool";
    tree.consent(&[grant, "subprocess:execute=sh", "subprocess:execute=ROOT/out/none"]).unwrap();
    let holds = |tree: &Tree, grant: &str, path: &Path| {
        let resolution = tree.start(&[grant]).unwrap();
        let rules = resolution.set.rules();
        let rule = rules.iter().find(|rule| *rule.permission_name() == PermissionName::SubprocessExecute);
        resolution.holding.lets_run(rule.unwrap(), &Resolved::find(path).unwrap())
    };
    assert!(holds(&tree, grant, &tool), "the control");
    assert!(holds(&tree, "subprocess:execute=sh", Path::new("/bin/sh")));
    assert!(!holds(&tree, "subprocess:execute=sh", &tool));
    assert!(holds(&tree, "subprocess:execute=ROOT/out/**", &tool), "a directory names no program");
    write("#!/bin/sh\nexit 1\n");
    assert!(!holds(&tree, grant, &tool), "other bytes");
    tree.consent(&[grant]).unwrap();
    assert!(holds(&tree, grant, &tool), "consented anew");
    fs::copy(&tool, tree.at("out/none")).unwrap();
    tree.by_grant
        .insert(tree.text("subprocess:execute=ROOT/out/none"), Pin::missing(&CanonicalPath::root(), false));
    assert!(!holds(&tree, "subprocess:execute=ROOT/out/none", &tree.at("out/none")));
    // A name of which there was no program is not the one that somebody makes.
    let nameless = "subprocess:execute=no-such-program-of-ours";
    tree.consent(&[nameless]).unwrap();
    assert!(!holds(&tree, nameless, &tool));
}
