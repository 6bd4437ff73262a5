//! From grants to a plan: a pure translation but for looking at which of the granted files exist.
//!
//! Here the grants become rules without links; what the rules show is in `mounts`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ringfence_api::{ErrorCode, PermissionName};
use ringfence_policy::{CanonicalPath, Effect, FileOp, Name, PathPattern, Request, Rule, RuleSet, Vars};
use ringfence_sandbox::{Backend, Limits, Plan, Processes, Program, ResolveError, Resolved};

use crate::config::LimitsBackend;
use crate::error::Error;
use crate::exec::explain;
use crate::exec::floor::vars;
use crate::exec::held::{Holder, Holding, Look};
use crate::exec::learn;
use crate::exec::mounts::{self, shows};
use crate::exec::policed::Policed;
use crate::exec::request::Exec;
use crate::exec::walk;

pub(crate) use crate::exec::policed::Judged;

/// Variables that make a program load or run other code. Neither a grant nor a wildcard passes them on.
const NEVER_PASSED: [&str; 18] = [
    "BASH_ENV",
    "BASH_FUNC_",
    "ENV",
    "GCONV_PATH",
    "GIT_",
    "GLIBC_TUNABLES",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LD_AUDIT",
    "LD_PRELOAD",
    "MALLOC_TRACE",
    "NODE_OPTIONS",
    "PERL5OPT",
    "PROMPT_COMMAND",
    "PYTHONSTARTUP",
    "RUBYOPT",
    "SHELLOPTS",
    "_JAVA_OPTIONS",
];

/// A plan, and what is needed to explain it.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) plan: Plan,
    pub(crate) rules: RuleSet,
    /// What is worth knowing about the grants if the command fails.
    pub(crate) hints: Vec<String>,
    /// The caller's directory, if the command starts in /tmp because that is not granted.
    pub(crate) left_directory: Option<PathBuf>,
    /// What paths mean here, and what is protected.
    pub(crate) vars: Vars,
}

/// Turns a request into a plan.
///
/// # Errors
/// `invalid_permission`, `floor`, `path_not_found`, `not_supported`, `not_enforceable`, `usage` for grants; `not_found` and
/// `not_executable` for the command.
pub(crate) fn translate(exec: &Exec) -> Result<Translated, Error> {
    let directory = match &exec.directory {
        Some(directory) => directory.clone(),
        None => std::env::current_dir().map_err(|error| Error::file("find", Path::new("."), error))?,
    };
    let vars = vars(exec, &directory)?;
    let rules = rules(exec, &directory, &vars)?;
    let program = find_program(exec, &directory)?;
    if exec.judged.as_deref().is_some_and(|judged| judged != asked_program(&program).path()) {
        return Err(Error::new(ErrorCode::Busy, "the program was replaced while it was being started"));
    }
    let mut plan = Plan::new(program);
    for argument in exec.command.iter().skip(1) {
        plan.argument(argument);
    }
    let mut hints = mounts::mount(&mut plan, &rules, &vars)?;
    processes(&mut plan, &rules)?;
    environment(&mut plan, exec, &rules)?;
    plan.limits(limits(exec)?).observe(exec.explain).throw_away(exec.throw_away);
    if exec.explain && !exec.wide {
        explain::site::ask(&mut plan);
    }
    if exec.wide {
        learn::open_wide(&mut plan, exec, &directory, &vars);
    }
    let left_directory = working_directory(&mut plan, exec, &rules, &directory)?;
    hints.extend(left_directory.as_deref().and_then(|left| relative_name(exec, left)));
    Ok(Translated { plan, rules: rules.set, hints, left_directory, vars })
}

/// What the grants of a plugin say, without starting anything: for asking, and for judging what the host does on its behalf.
///
/// # Errors
/// As for [`translate`], for grants.
pub(crate) fn rule_set(exec: &Exec) -> Result<RuleSet, Error> {
    resolution(exec).map(|rules| rules.set)
}

/// The same with the links that the grants go through, which the sandbox has too, and what the policy leaves of each grant.
///
/// # Errors
/// As for [`rule_set`].
pub(crate) fn resolution(exec: &Exec) -> Result<Resolution, Error> {
    let directory = exec.directory.clone().unwrap_or_else(|| PathBuf::from("/"));
    let vars = vars(exec, &directory)?;
    rules(exec, &directory, &vars)
}

/// What paths mean in the policy of a home: `~`, the floor, and no directory that relative ones are taken from.
///
/// # Errors
/// As for the paths of any request.
pub(crate) fn vars_of_home(home: &crate::Home) -> Result<Vars, Error> {
    let mut exec = Exec::new(["/"]);
    exec.home = Some(home.clone());
    exec.read_path("/");
    vars(&exec, Path::new("/"))
}

/// The rules, with every path as it is without links, and the links that were followed.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) set: RuleSet,
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    pub(crate) missing: Missing,
    /// Of each grant, in the order of the request, what the policy leaves of it.
    pub(crate) judged: Vec<Judged>,
    /// What lies at the places of the grants.
    pub(crate) holding: Holding,
}

/// What becomes of a grant for something that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// An error: whoever typed it wants to know.
    Refused,
    /// It shows nothing, as long as nothing is there.
    Skipped,
}

/// A path in the one spelling that rules know.
pub(crate) fn canonical(path: &Path) -> Result<CanonicalPath, Error> {
    CanonicalPath::new(path).map_err(|error| Error::new(ErrorCode::Usage, error.to_string()))
}

fn rules(exec: &Exec, directory: &Path, vars: &Vars) -> Result<Resolution, Error> {
    let mut rules = Vec::new();
    let mut links = Vec::new();
    let mut own = Vec::new();
    let missing = if exec.plugin.is_some() { Missing::Skipped } else { Missing::Refused };
    for (paths, flag, ops) in [
        (&exec.read, "--ro", &[FileOp::Read][..]),
        (&exec.read_write, "--rw", &[FileOp::Read, FileOp::Write, FileOp::Delete][..]),
    ] {
        for path in paths {
            let typed = directory.join(path);
            let origin = format!("{flag} {}", path.display());
            let found = resolve(&typed, vars, &origin)?;
            remember_link(&mut links, &typed, &found);
            for op in ops {
                rules.push(path_rule(Effect::Allow, *op, &found, vars, &origin)?);
            }
            // A plugin gets its package, its data and its interpreter so; what it is granted are permissions.
            if exec.plugin.is_some() {
                own.push(canonical(found.path())?);
            }
        }
    }
    let mut granted = Vec::new();
    for text in &exec.grants {
        let rule = Rule::parse(Effect::Allow, text, vars, format!("--grant {text}")).map_err(grant_error)?;
        if exec.plugin.is_none() {
            supported(&rule)?;
        }
        granted.push(rule);
    }
    let mut policed = Policed::new(exec.policy.as_deref());
    let holding = open(
        exec,
        granted,
        &own,
        vars,
        &mut Opening { rules: &mut rules, links: &mut links, policed: &mut policed, missing },
    )?;
    for text in &exec.denials {
        let origin = format!("--deny {text}");
        // A denial goes for the name that was typed as well as for what lies there now: see `walk::denied_below`.
        let named = Rule::parse(Effect::Deny, text, vars, &origin).map_err(grant_error)?;
        if exec.plugin.is_none() {
            supported(&named)?;
        }
        let rule = without_links(named.clone(), vars, missing, &mut links)?;
        if named.text() != rule.text() {
            rules.push(named);
        }
        rules.push(rule);
    }
    let (judged, except) = policed.end();
    rules.extend(except);
    Ok(Resolution { set: RuleSet::new(rules).with_own(&own), links, missing, judged, holding })
}

/// What becomes of grants on the way to rules.
struct Opening<'o, 'p> {
    rules: &'o mut Vec<Rule>,
    links: &'o mut Vec<(PathBuf, PathBuf)>,
    policed: &'o mut Policed<'p>,
    missing: Missing,
}

/// Adds the rules of what is granted: of a plugin, of those grants alone that still open what was consented to.
fn open(
    exec: &Exec,
    granted: Vec<Rule>,
    own: &[CanonicalPath],
    vars: &Vars,
    to: &mut Opening<'_, '_>,
) -> Result<Holding, Error> {
    let mut holder = exec.pins.as_deref().map(|pins| Holder::new(pins, own, granted.iter()));
    for (text, rule) in exec.grants.iter().zip(granted) {
        let look = holder.as_mut().map_or(Look::Open(None), |holder| holder.look(text, &rule));
        let Look::Open(place) = look else {
            // It is judged all the same, so that each grant has its judgement.
            to.policed.leave(rule, vars)?;
            continue;
        };
        let rule = without_links(rule, vars, to.missing, to.links)?;
        if place.is_some_and(|place| rule.path().is_some_and(|path| path.literal_prefix().as_path() != place))
        {
            return Err(Error::new(ErrorCode::Busy, format!("{text} was replaced while it was looked at")));
        }
        if let Some(holder) = &mut holder {
            holder.let_through(text, &rule);
        }
        to.rules.extend(to.policed.leave(rule, vars)?);
    }
    holder.map_or_else(|| Ok(Holding::default()), Holder::end)
}

pub(super) fn grant_error(error: ringfence_policy::GrantError) -> Error {
    Error::new(error.code(), error.to_string())
}

/// What `exec` can hold today.
fn supported(rule: &Rule) -> Result<(), Error> {
    use PermissionName as P;
    let refused = |why: &str, hint: &str| {
        Err(Error::new(ErrorCode::NotSupported, format!("{}: {why}", rule.text())).with_hint(hint))
    };
    match rule.permission_name() {
        P::FileRead | P::FileWrite | P::FileDelete | P::SubprocessExecute | P::EnvRead => Ok(()),
        _ if rule.effect() == Effect::Deny => Ok(()),
        P::NetworkRequest | P::NetworkListen => refused(
            "a command cannot be given network yet",
            "run it without network, or fetch what it needs beforehand",
        ),
        _ => refused(
            "a single command has nothing that this permission opens",
            "it is for plugins; leave it out",
        ),
    }
}

fn resolve(typed: &Path, vars: &Vars, origin: &str) -> Result<Resolved, Error> {
    let found = Resolved::find(typed).map_err(|error| path_error(error, origin))?;
    let named = CanonicalPath::new(lexical(typed));
    let real = canonical(found.path())?;
    let hides = vars.floor().holds(&real) && !named.is_ok_and(|named| vars.floor().holds(&named));
    if hides {
        let message = format!(
            "{origin}: {} is a link to {real}, which only a grant that names it can open",
            typed.display()
        );
        return Err(Error::new(ErrorCode::Floor, message)
            .with_hint(format!("name {real} itself, if that is what is wanted")));
    }
    Ok(found)
}

pub(crate) fn path_error(error: ResolveError, origin: &str) -> Error {
    let code = match error {
        ResolveError::Missing { .. } => ErrorCode::PathNotFound,
        ResolveError::Special { .. } => ErrorCode::NotSupported,
        _ => ErrorCode::Io,
    };
    let made = Error::new(code, format!("{origin}: {error}"));
    match code {
        ErrorCode::PathNotFound => {
            made.with_hint("create it first: a sandbox shows only what exists when it starts")
        }
        ErrorCode::NotSupported => {
            made.with_hint("grant the directory of a socket for writing, if connecting is wanted")
        }
        _ => made,
    }
}

fn remember_link(links: &mut Vec<(PathBuf, PathBuf)>, typed: &Path, found: &Resolved) {
    let typed = lexical(typed);
    if typed != found.path() {
        links.push((typed, found.path().to_owned()));
    }
}

/// The path without `.`, `..` and doubled slashes, links not followed.
pub(crate) fn lexical(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

fn path_rule(effect: Effect, op: FileOp, found: &Resolved, vars: &Vars, origin: &str) -> Result<Rule, Error> {
    let path = canonical(found.path())?;
    let pattern = if found.is_directory() { PathPattern::subtree(&path) } else { PathPattern::exact(&path) };
    Rule::for_path(effect, op, pattern, vars, origin).map_err(grant_error)
}

/// A rule over files whose literal part goes through a link is turned into one over where the link leads.
fn without_links(
    rule: Rule,
    vars: &Vars,
    missing: Missing,
    links: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<Rule, Error> {
    let programs = *rule.permission_name() == PermissionName::SubprocessExecute;
    let Some(pattern) = rule.path().filter(|_| file_op(&rule).is_some() || programs) else { return Ok(rule) };
    let prefix = pattern.literal_prefix();
    if prefix == CanonicalPath::root() {
        return Ok(rule);
    }
    let found = match Resolved::find(prefix.as_path()) {
        Ok(found) => found,
        // What does not exist cannot be shown, so its denial is for `mounts` to judge, where it would be. A program need not
        // be there.
        Err(_) if rule.effect() == Effect::Deny => return Ok(where_it_would_be(&rule, vars).unwrap_or(rule)),
        Err(_) if programs => return Ok(rule),
        // What a plugin was granted once may come and go; it is shown when it is there at a start.
        Err(ResolveError::Missing { .. }) if missing == Missing::Skipped => return Ok(rule),
        Err(error) => return Err(path_error(error, rule.origin())),
    };
    if pattern.is_exact() && found.is_directory() && !programs {
        let message = format!("{} names a directory itself, not what is in it", rule.text());
        return Err(Error::new(ErrorCode::Usage, message).with_hint(format!("write {}/**", rule.text())));
    }
    if found.path() == prefix.as_path() {
        return Ok(rule);
    }
    let real = resolve(prefix.as_path(), vars, rule.origin())?;
    if !pattern.is_exact() && !pattern.is_subtree() {
        let message = format!("{}: {prefix} is a link to {}", rule.origin(), real.path().display());
        return Err(Error::new(ErrorCode::Usage, message)
            .with_hint("write the pattern with the path that the link leads to"));
    }
    let Some(op) = file_op(&rule) else { return program_rule(&rule, &real, vars) };
    remember_link(links, prefix.as_path(), &real);
    path_rule(rule.effect(), op, &real, vars, rule.origin())
}

/// A rule over something that is not there, over the path to which the links on its way lead; `None` when that is its own.
pub(crate) fn where_it_would_be(rule: &Rule, vars: &Vars) -> Option<Rule> {
    let pattern = rule.path()?;
    let prefix = pattern.literal_prefix();
    let real = CanonicalPath::new(walk::leads_to(prefix.as_path())).ok().filter(|real| *real != prefix)?;
    let written = pattern.to_string();
    let rest = written.strip_prefix(&prefix.to_string())?;
    let text = format!("{}={real}{rest}", rule.permission_name());
    Rule::parse(rule.effect(), &text, vars, rule.origin()).ok()
}

fn program_rule(rule: &Rule, real: &Resolved, vars: &Vars) -> Result<Rule, Error> {
    let path = canonical(real.path())?;
    let pattern = if real.is_directory() { PathPattern::subtree(&path) } else { PathPattern::exact(&path) };
    let text = format!("{}={pattern}", rule.permission_name());
    Rule::parse(rule.effect(), &text, vars, rule.origin()).map_err(grant_error)
}

pub(crate) fn file_op(rule: &Rule) -> Option<FileOp> {
    [FileOp::Read, FileOp::Write, FileOp::Delete]
        .into_iter()
        .find(|op| op.permission() == *rule.permission_name())
}

fn find_program(exec: &Exec, directory: &Path) -> Result<Program, Error> {
    let command = exec.command.first().ok_or_else(|| {
        Error::new(ErrorCode::Usage, "no command was given")
            .with_hint("write it after --, as in: ringfence exec -- ls /usr")
    })?;
    Program::find(command, directory).map_err(|error| program_error(&error, command))
}

/// The program that was asked for: what is executed, or the script that it interprets.
pub(crate) fn asked_program(program: &Program) -> &Resolved {
    program.scripts().first().unwrap_or_else(|| program.file())
}

fn program_error(error: &ResolveError, command: &OsStr) -> Error {
    let code = match error {
        ResolveError::Missing { .. } | ResolveError::NoSuchProgram { .. } => ErrorCode::NotFound,
        ResolveError::NotExecutable { .. } | ResolveError::Special { .. } => ErrorCode::NotExecutable,
        _ => ErrorCode::Io,
    };
    let made = Error::new(code, error.to_string());
    match (code, elsewhere(command)) {
        (ErrorCode::NotFound, Some(path)) => made.with_hint(format!(
            "your own PATH has {0}; a sandbox does not use it: name the file, and grant its directory, as in: --ro {1} -- {0}",
            path.display(),
            path.parent().unwrap_or(Path::new("/")).display(),
        )),
        _ => made,
    }
}

/// Where the caller's own PATH has the command.
fn elsewhere(command: &OsStr) -> Option<PathBuf> {
    if command.as_bytes().contains(&b'/') || command.is_empty() {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(command)).find(|path| path.is_file())
}

/// Whether processes may be started. A rule cannot allow or deny programs one by one: children run what they see.
fn processes(plan: &mut Plan, rules: &Resolution) -> Result<(), Error> {
    let about = |effect| {
        rules.set.rules().iter().filter(move |rule| {
            rule.effect() == effect && *rule.permission_name() == PermissionName::SubprocessExecute
        })
    };
    let whole = about(Effect::Deny).any(Rule::is_bare);
    if whole || about(Effect::Allow).next().is_none() {
        return Ok(());
    }
    if let Some(scoped) = about(Effect::Deny).next() {
        let message = format!(
            "{}: programs cannot be denied one by one, because children run what they see",
            scoped.origin()
        );
        return Err(
            Error::new(ErrorCode::NotEnforceable, message).with_hint("deny subprocess:execute as a whole")
        );
    }
    plan.processes(Processes::Allowed);
    Ok(())
}

fn never_passed(name: &OsStr) -> bool {
    NEVER_PASSED.iter().any(|known| {
        if known.ends_with('_') {
            name.as_bytes().starts_with(known.as_bytes())
        } else {
            name == OsStr::new(known)
        }
    })
}

/// Granted variables with the host's value, then given ones.
fn environment(plan: &mut Plan, exec: &Exec, rules: &Resolution) -> Result<(), Error> {
    let granted = rules.set.rules().iter().any(|rule| *rule.permission_name() == PermissionName::EnvRead);
    if granted {
        for (name, value) in std::env::vars_os().filter(|(name, _)| !never_passed(name)) {
            let Ok(wanted) = Name::new(name.as_bytes()) else { continue };
            let request = Request::Named { permission: PermissionName::EnvRead, name: wanted };
            if rules.set.decide(&request).is_allowed() {
                plan.variable(name, value);
            }
        }
    }
    for (name, value) in &exec.environment {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            let message = format!("'{}' is no name of an environment variable", name.display());
            return Err(Error::new(ErrorCode::Usage, message).with_hint("write --env NAME=VALUE"));
        }
        if never_passed(name) {
            let message = format!(
                "the variable {} is never passed on: it makes programs load or run other code",
                name.display()
            );
            return Err(Error::new(ErrorCode::PermissionDenied, message)
                .with_hint("leave it out; no grant allows it"));
        }
        plan.variable(name, value);
    }
    Ok(())
}

fn limits(exec: &Exec) -> Result<Limits, Error> {
    let given = &exec.limits;
    Ok(Limits {
        memory_bytes: given.memory_bytes,
        cpu_percent: given.cpu_percent,
        tasks: given.processes,
        file_size_bytes: given.file_size_bytes,
        open_files: given.open_files.unwrap_or(u64::MAX),
        backend: match exec.backend {
            LimitsBackend::Sampler if exec.strict => {
                return Err(Error::new(
                    ErrorCode::NotEnforceable,
                    "the sampler is asked for, and --strict refuses it",
                )
                .with_hint("choose another limits_backend, or leave --strict out"));
            }
            LimitsBackend::Auto if exec.strict => Backend::Cgroup,
            LimitsBackend::Auto => Backend::Auto,
            LimitsBackend::CgroupV1 => Backend::CgroupV1,
            LimitsBackend::CgroupV2 => Backend::CgroupV2,
            LimitsBackend::Sampler => Backend::Sampler,
        },
    })
}

/// The asked-for directory; else the caller's own if it is granted; else /tmp.
/// Where the command starts. The caller's directory, if it would have started there and cannot because it is not granted.
fn working_directory(
    plan: &mut Plan,
    exec: &Exec,
    rules: &Resolution,
    directory: &Path,
) -> Result<Option<PathBuf>, Error> {
    if let Some(asked) = &exec.working_directory {
        let asked = lexical(&directory.join(asked));
        plan.working_directory(asked);
        return Ok(None);
    }
    let Ok(found) = Resolved::find(directory) else { return Ok(None) };
    if exec.wide || shows(mounts::access(&rules.set, found.path(), true)?) {
        plan.working_directory(found.path());
        return Ok(None);
    }
    Ok(Some(found.path().to_owned()))
}

/// What to say when an argument names something in the directory that the command was not started in.
fn relative_name(exec: &Exec, left: &Path) -> Option<String> {
    let names_something = |argument: &&std::ffi::OsString| {
        let path = Path::new(argument);
        let empty = path.as_os_str().is_empty();
        !empty && path.is_relative() && left.join(path).symlink_metadata().is_ok()
    };
    let name = exec.command.iter().skip(1).find(names_something)?;
    let (name, left) = (Path::new(name).display(), left.display());
    Some(format!(
        "the command started in /tmp, because {left} is not granted, and {name} is not there: with --ro {left} it starts in {left}"
    ))
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
