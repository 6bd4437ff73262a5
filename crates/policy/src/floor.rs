//! The floor of the file system: paths that no wildcard opens.
//!
//! The floor of the network is in `network_floor`. Both are lists on purpose: someone who wonders whether
//! their key is protected can read them.

use crate::canonical_path::CanonicalPath;
use crate::path_pattern::PathPattern;

/// Keys, tokens and sessions below a home directory.
const HOME_SECRETS: &[&str] = &[
    ".ssh",
    ".aws",
    ".gnupg",
    // Credentials of other clouds, registries and tools; the same harm as a stolen ~/.aws.
    ".azure",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".docker/config.json",
    ".git-credentials",
    ".kube",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pgpass",
    ".pypirc",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    ".local/share/keyrings",
];

/// Profiles of browsers and mail readers: cookies are as good as passwords.
const HOME_BROWSERS: &[&str] = &[
    ".config/BraveSoftware",
    ".config/chromium",
    ".config/google-chrome",
    ".config/google-chrome-beta",
    ".config/google-chrome-unstable",
    ".config/microsoft-edge",
    ".config/microsoft-edge-beta",
    ".config/microsoft-edge-dev",
    ".config/mozilla",
    ".config/opera",
    ".config/vivaldi",
    ".librewolf",
    ".mozilla",
    ".thunderbird",
    ".var/app/com.brave.Browser",
    ".var/app/com.google.Chrome",
    ".var/app/com.microsoft.Edge",
    ".var/app/org.chromium.Chromium",
    ".var/app/org.mozilla.firefox",
    "snap/chromium",
    "snap/firefox",
];

/// Files that are executed the next time the user opens a shell or logs in.
const HOME_STARTUP: &[&str] = &[
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".config/autostart",
    ".config/environment.d",
    ".config/fish",
    ".config/systemd/user",
    ".cshrc",
    ".kshrc",
    ".login",
    ".logout",
    ".pam_environment",
    ".profile",
    ".tcshrc",
    ".xinitrc",
    ".xprofile",
    ".xsession",
    ".xsessionrc",
    ".zlogin",
    ".zlogout",
    ".zprofile",
    ".zshenv",
    ".zshrc",
];

/// Password hashes of the machine: a service that runs as root could grant them with `/etc/**`.
const SYSTEM_SECRETS: &[&str] = &["/etc/gshadow", "/etc/gshadow-", "/etc/shadow", "/etc/shadow-"];

/// The paths that only a literal grant opens: an exact path, or `DIR/**` whose DIR is such a path or lies
/// below one.
///
/// It has Ringfence's own state, the password hashes of the machine, and below each home directory: keys and
/// tokens (`.ssh`, `.aws`, `.gnupg` and those of other clouds and registries), browser profiles and shell
/// start-up files. [`Floor::paths`] lists them.
///
/// ```
/// use ringfence_policy::{CanonicalPath, PathPattern, Vars};
///
/// let vars = Vars::new(CanonicalPath::root()).with_home(CanonicalPath::new("/home/ada")?);
/// let home = PathPattern::parse("~/**", &vars)?;
/// let keys = PathPattern::parse("~/.ssh/known_hosts", &vars)?;
///
/// // Reading the home directory is fine, with these paths carved out of it ...
/// assert!(vars.floor().carve_outs(&home).contains(&CanonicalPath::new("/home/ada/.ssh")?));
/// // ... and a literal grant has nothing to carve out.
/// assert!(vars.floor().carve_outs(&keys).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// What people care for most comes first: messages name the first few.
    paths: Vec<CanonicalPath>,
}

impl Floor {
    /// The floor of a machine without homes and without Ringfence's state.
    pub(crate) fn of_the_system() -> Self {
        Self { paths: SYSTEM_SECRETS.iter().filter_map(|path| CanonicalPath::new(path).ok()).collect() }
    }

    pub(crate) fn add(&mut self, path: CanonicalPath) {
        if !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    pub(crate) fn add_home(&mut self, home: &CanonicalPath) {
        // A home whose name leaves no room for the file names below it cannot hold them either.
        let names = HOME_SECRETS.iter().chain(HOME_BROWSERS).chain(HOME_STARTUP);
        let before = std::mem::take(&mut self.paths);
        let of_the_home = names.filter_map(|name| home.join(name).ok());
        of_the_home.chain(before).for_each(|path| self.add(path));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for path in &other.paths {
            self.add(path.clone());
        }
    }

    /// The floor paths, keys first; each stands for itself and everything below.
    pub fn paths(&self) -> impl Iterator<Item = &CanonicalPath> {
        self.paths.iter()
    }

    /// Whether the path is on the floor or below a floor path.
    #[must_use]
    pub fn holds(&self, path: &CanonicalPath) -> bool {
        self.paths.iter().any(|floor| path.is_within(floor))
    }

    /// The floor paths that a grant with this pattern would bring along without naming them, existing or
    /// not: those it has, those above something it has, and those below a directory it has.
    ///
    /// A write or delete grant for which this is not empty is refused
    /// ([`Rule::parse`](crate::Rule::parse) does so).
    #[must_use]
    pub fn floor_conflicts(&self, pattern: &PathPattern) -> Vec<CanonicalPath> {
        self.paths.iter().filter(|floor| !pattern.names(floor) && pattern.touches(floor)).cloned().collect()
    }

    /// Of these directories those that can be granted for change as a whole: what to offer instead of a grant
    /// that is refused for its [`floor_conflicts`](Floor::floor_conflicts). The caller lists what exists.
    #[must_use]
    pub fn leaves<'p>(&self, children: impl IntoIterator<Item = &'p CanonicalPath>) -> Vec<PathPattern> {
        children
            .into_iter()
            .filter(|child| !self.holds(child))
            .map(PathPattern::subtree)
            .filter(|pattern| self.floor_conflicts(pattern).is_empty())
            .collect()
    }

    /// The paths that must stay invisible inside a read grant with this pattern.
    ///
    /// The same list as [`Floor::floor_conflicts`]; whoever mounts the grant covers those that exist.
    #[must_use]
    pub fn carve_outs(&self, pattern: &PathPattern) -> Vec<CanonicalPath> {
        self.floor_conflicts(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vars;

    fn path(text: &str) -> CanonicalPath {
        CanonicalPath::new(text).unwrap()
    }

    fn vars() -> Vars {
        Vars::new(path("/proj"))
            .with_home(path("/home/ada"))
            .with_data(path("/rf/data/notes"))
            .with_state(path("/rf"))
    }

    #[test]
    fn every_listed_name_is_on_the_floor_and_its_neighbour_is_not() {
        let vars = vars();
        let names = HOME_SECRETS.iter().chain(HOME_BROWSERS).chain(HOME_STARTUP);
        for name in names {
            assert!(vars.floor().holds(&path(&format!("/home/ada/{name}"))), "{name}");
            assert!(vars.floor().holds(&path(&format!("/home/ada/{name}/below"))), "{name}");
            assert!(!vars.floor().holds(&path(&format!("/home/ada/{name}_"))), "{name}");
            assert!(!vars.floor().holds(&path(&format!("/home/bob/{name}"))), "{name}");
        }
        assert!(vars.floor().holds(&path("/etc/shadow")) && !vars.floor().holds(&path("/etc/passwd")));
        let more = vars.with_other_home(&path("/home/bob"));
        assert!(
            more.floor().holds(&path("/home/bob/.ssh/id_rsa")) && more.home() == Some(&path("/home/ada"))
        );
    }

    #[test]
    fn leaves_are_the_children_without_floor() {
        let children =
            ["/home/ada/.ssh", "/home/ada/.config", "/home/ada/notes", "/home/ada/.bashrc"].map(path);
        assert_eq!(vars().floor().leaves(&children), [PathPattern::subtree(&path("/home/ada/notes"))]);
    }

    #[test]
    fn conflicts_are_found_from_above_from_below_and_through_wildcards() {
        let vars = vars();
        let conflicts = |text: &str| {
            let pattern = PathPattern::parse(text, &vars).unwrap();
            vars.floor().floor_conflicts(&pattern).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let all = vars.floor().paths().count();
        for everything in ["/**", "/", "/**/*"] {
            assert_eq!(conflicts(everything).len(), all, "{everything}");
        }
        assert!(conflicts("~").contains(&"/home/ada/.ssh".to_owned()));
        assert!(conflicts("/home/*").contains(&"/home/ada/.bashrc".to_owned()));
        assert_eq!(conflicts("/**/id_rsa").len(), all, "any floor directory could have one");
        assert_eq!(conflicts("/home/*/.s*/**"), ["/home/ada/.ssh"]);
        assert_eq!(conflicts("~/.ssh/*.pub"), ["/home/ada/.ssh"]);
        assert_eq!(conflicts("~/.config/systemd/**"), ["/home/ada/.config/systemd/user"]);
        for fine in
            ["~/.ssh", "~/.ssh/**", "~/.ssh/id_rsa", "~/notes/**", "/srv/**", "~/.ssh2/**", "${data}/**"]
        {
            assert!(conflicts(fine).is_empty(), "{fine}: {:?}", conflicts(fine));
        }
    }
}
