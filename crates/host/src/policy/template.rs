//! The commented policy.

/// A policy with every field and what it does, as comments. As it is it denies nothing.
///
/// ```
/// let home = ringfence::Home::at("/srv/ringfence");
/// let policy = ringfence::policy::parse(ringfence::policy::template(), "policy.toml", &home).unwrap();
/// assert!(policy.rules.is_empty());
/// ```
#[must_use]
pub fn template() -> &'static str {
    TEMPLATE
}

const TEMPLATE: &str = r##"# Ringfence's policy: policy.toml in its home ($RINGFENCE_HOME, else ~/.local/share/ringfence).
# It stands above what people grant: it opens nothing, and no grant overrides it. A running host takes up a change within a
# second. Write another file and rename it over this one, so that nobody reads half of it. Only you or root may be able to
# write it. `ringfence policy check` finds mistakes, `ringfence policy simulate FILE` says what a change would have done.
# Remove the '#' of a line to use it. Permissions are written as for `ringfence grant`: NAME or NAME=SCOPE. Paths begin with
# /, with ~/ or, for any directory, with **/.

# What holds where no rule speaks: "allow" (what a person grants, holds) or "deny" (only what an allow rule has can be granted).
default = "allow"

# What no plugin may have, whatever is granted. Deny beats allow.
#deny = ["file:read=/srv/payroll/**", "file:write=/etc/**", "network:listen"]

# Allow rules are a list: where there are some for a permission, a plugin may be granted what they have and nothing else of it.
#allow = ["network:request=*.example.com:443"]

# How far limits may go, whatever manifests and config.toml say. The fields are those of [plugins] in config.toml.
[limits]
#memory = "500MB"
#cpu = 80
#processes = 256
#call_timeout = "300s"
#init_timeout = "30s"
#max_file_size = "100MB"
#max_open_files = 1024
#max_log_size = "5MB"
#data_size = "1GB"
#data_keys = 100000
#queued_calls = 1000

[install]
# A package must be of one of these publishers, as `ringfence show` prints them. `unsigned:` is what a manifest claims: it
# proves nothing.
#publishers = ["unsigned:Example Labs"]
# Names and packages that are never installed or started. * is any number of letters.
#blocked_names = ["evil-*"]
#blocked_digests = ["0000000000000000000000000000000000000000000000000000000000000000"]
# Rules of the scan of packages whose findings refuse an installation, by id.
#scan_rules = []

[quarantine]
# A plugin to which as much is refused within an hour is stopped until a person releases it.
#denials_per_hour = 100

# Rules and limits for some plugins, beside those above. Any number of such tables.
#[[plugins]]
#names = ["mail-*"]
#deny = ["subprocess:execute"]
#allow = ["file:read=/srv/mail/**"]
#limits = { memory = "100MB" }
"##;
