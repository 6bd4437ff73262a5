//! `ringfence install PATH` and `ringfence scan`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::plugin::{Consent, Installed, Scan};
use ringfence_api::text::shell_word;
use ringfence_api::{ErrorCode, PluginState};

use crate::answer::Answer;
use crate::consent::{self, ConsentArguments, Flags};
use crate::host::{self, Opened, Stopped};
use crate::table::Table;
use crate::text::{lines, one_line};

#[derive(Debug, Args)]
#[command(
    after_help = "The package is checked, copied into the store and never run from where it lies. At a terminal you are asked what \
it may do; elsewhere only flags consent, and without them it is installed and waits.

Examples:
  ringfence install ./translator
  ringfence install ./translator --grant-requested
  ringfence install ./translator --grant 'file:read=/srv/notes/**' --grant env:read=LANG
  ringfence install ./translator-1.2.0.tar.gz --grant-none --json

Exit status: 0 installed, also when it waits for consent or was installed already; 1 the package or its manifest has errors; \
2 usage; 3 no such path; 4 another version is installed, or a grant is refused; 7 not enforceable here; 8 busy."
)]
pub(crate) struct InstallArguments {
    /// The directory of the plugin, or its parent; or an archive, .tar or .tar.gz
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    consent: ConsentArguments,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Looks in the plugin directories of config.toml, by default plugins/ in the home. Nothing is installed.

Examples:
  ringfence scan
  ringfence scan --json

Exit status: 0, also when a package is broken: each is reported; 1 a directory cannot be read; 8 busy."
)]
pub(crate) struct ScanArguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Installs.
pub(crate) fn run(arguments: &InstallArguments) -> ExitCode {
    host::with(arguments.json, |opened| install(opened, arguments))
}

fn install(opened: &mut Opened, arguments: &InstallArguments) -> Result<Answer, Stopped> {
    let path = package(&arguments.path)?;
    let flags = arguments.consent.flags();
    let given = flags.consent()?;
    let mut installed = opened.wait("checking and copying the package", |host| host.install(&path, given))?;
    if flags == Flags::Silent && installed.plugin.state == PluginState::Installed && consent::can_ask() {
        let name = installed.plugin.name.to_string();
        if let Some(given) = ask(opened, &name)? {
            installed.plugin = opened.wait("recording the consent", |host| host.consent(&name, given))?;
        }
    }
    Ok(installed_answer(&installed)?)
}

/// Asks a person what is asked for now.
pub(super) fn ask(opened: &Opened, name: &str) -> Result<Option<Consent>, Stopped> {
    let asks = || opened.wait("reading what it asks for", |host| host.consent_request(name));
    let request = asks()?;
    let given = consent::ask(&request, opened.arrivals())?;
    // A person may take long, and somebody else may have upgraded the plugin meanwhile.
    if given.is_some() && asks()?.digest != request.digest {
        let message = format!("the package of {name} was changed while you were asked");
        return Err(Error::new(ErrorCode::ConsentRequired, message).with_hint("look at it again").into());
    }
    Ok(given)
}

/// A directory or archive on this machine, by its whole path, and nothing else.
///
/// # Errors
/// `not_supported` for an address; `path_not_found` for what does not exist; `io` when the working directory is gone.
pub(super) fn package(path: &Path) -> Result<PathBuf, Error> {
    let shown = one_line(&path.to_string_lossy());
    if path.exists() {
        return std::path::absolute(path).map_err(|cause| {
            Error::new(ErrorCode::Io, format!("cannot say where '{shown}' is")).with_source(cause)
        });
    }
    if path.to_str().is_some_and(|text| text.contains("://")) {
        let message = format!("'{shown}' is no path: plugins are installed from a directory or an archive");
        return Err(Error::new(ErrorCode::NotSupported, message)
            .with_hint("download it, look at it, and install what you have looked at"));
    }
    Err(Error::new(ErrorCode::PathNotFound, format!("there is no '{shown}'"))
        .with_hint("name the directory of the plugin, the one with plugin.json, plugin.yaml or plugin.toml, or an archive of it"))
}

fn installed_answer(installed: &Installed) -> Result<Answer, Error> {
    let plugin = &installed.plugin;
    let (name, version) = (&plugin.name, &plugin.version);
    let done = if installed.changed {
        format!("installed {name} {version}")
    } else {
        format!("{name} {version} is installed already; its package was not changed")
    };
    let next = match plugin.state {
        PluginState::Installed => format!(
            "it waits for consent; see what it asks for: ringfence show {name}; grant all of it: \
             ringfence activate {name} --grant-requested"
        ),
        PluginState::Inactive => format!("start it: ringfence activate {name}"),
        state => format!("it is {state}"),
    };
    let notes = installed.notes.iter().map(|note| format!("note: {}", one_line(note)));
    let found = super::scan_code::told(&installed.scan);
    Ok(Answer::of(installed)?.talk(done).talk_all(notes).talk_all(found).talk(next))
}

/// Looks for packages.
pub(crate) fn run_scan(arguments: &ScanArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let scan = opened.wait("looking into the plugin directories", |host| host.scan())?;
        Ok(scan_answer(&scan)?)
    })
}

fn scan_answer(scan: &Scan) -> Result<Answer, Error> {
    let mut table = Table::new(["NAME", "VERSION", "RUNTIME", "INSTALLED", "PATH"]).last_whole();
    for found in &scan.found {
        table.row([
            found.name.to_string(),
            found.version.clone(),
            found.runtime.to_string(),
            found.installed_version.clone().unwrap_or_else(|| "-".to_owned()),
            one_line(&found.path),
        ]);
    }
    let broken = scan.broken.iter().map(|broken| {
        let message = lines(&broken.message).replace('\n', "\n    ");
        format!("cannot be installed: {}\n    {message}", one_line(&broken.path))
    });
    let mut answer = Answer::of(scan)?.text(table.for_stdout()).talk_all(broken).talk_all(code(scan));
    if scan.found.is_empty() && scan.broken.is_empty() {
        answer = answer.talk("no new package was found");
    } else if let Some(first) = scan.found.first() {
        let verb = if first.installed_version.is_some() { "upgrade" } else { "install" };
        answer = answer.talk(format!("next: ringfence {verb} {}", shell_word(&one_line(&first.path))));
    }
    Ok(answer)
}

/// What the scan says of the code of each package.
fn code(scan: &Scan) -> Vec<String> {
    let mut said = Vec::new();
    for found in &scan.found {
        let lines = found.scan.as_ref().map(super::scan_code::told).unwrap_or_default();
        said.extend(lines.into_iter().map(|line| format!("{}: {line}", found.name)));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::plugin::{Broken, Discovered, PluginSummary};
    use ringfence_api::Runtime;

    fn installed(state: PluginState, changed: bool) -> Installed {
        let plugin = PluginSummary {
            name: "translator".parse().unwrap(),
            version: "1.2.0".to_owned(),
            state,
            runtime: Runtime::Python,
            publisher: "unsigned".to_owned(),
            description: None,
            reason: None,
        };
        let scan = ringfence::scan::scan_file("a.sh", b"rm x\n").judged(None);
        Installed { plugin, digest: "ab".to_owned(), changed, notes: vec!["a\u{1b}[2Jb".to_owned()], scan }
    }

    #[test]
    fn a_person_is_told_what_was_done_and_what_comes_next() {
        let text = installed_answer(&installed(PluginState::Installed, true)).unwrap().for_people();
        assert_eq!(
            text,
            "installed translator 1.2.0\nnote: a\\u{1b}[2Jb\n\
             scan: a.sh:1 deletes-files 'rm' deletes or renames files; that needs file:delete, which the manifest does not ask for\n\
             scan: a.sh:1 runs-programs 'rm' starts other programs; that needs subprocess:execute, which the manifest does not ask for\n\
             it waits for consent; see what it asks for: \
             ringfence show translator; grant all of it: ringfence activate translator --grant-requested"
        );
        let text = installed_answer(&installed(PluginState::Inactive, true)).unwrap().for_people();
        assert!(text.ends_with("start it: ringfence activate translator"), "{text}");
        let text = installed_answer(&installed(PluginState::Active, false)).unwrap().for_people();
        assert!(text.contains("its package was not changed") && text.ends_with("it is active"), "{text}");
    }

    #[test]
    fn an_address_is_no_directory() {
        let error = package(Path::new("https://example.com/p.git")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotSupported);
        assert_eq!(package(Path::new("./none")).unwrap_err().code(), ErrorCode::PathNotFound);
        assert_eq!(package(Path::new("src")).unwrap(), std::env::current_dir().unwrap().join("src"));
    }

    #[test]
    fn broken_packages_are_reported_beside_good_ones() {
        let scan = Scan {
            found: vec![Discovered {
                name: "good".parse().unwrap(),
                version: "1.0.0".to_owned(),
                state: PluginState::Discovered,
                runtime: Runtime::Native,
                path: "/p/good dir".to_owned(),
                installed_version: None,
                scan: Some(ringfence::scan::scan_file("a.py", b"eval(x)\n").judged(None)),
            }],
            broken: vec![Broken { path: "/p/bad".to_owned(), message: "one\u{1b}\ntwo".to_owned() }],
        };
        assert_eq!(
            scan_answer(&scan).unwrap().for_people(),
            "NAME  VERSION  RUNTIME  INSTALLED  PATH\ngood  1.0.0    native   -          /p/good dir\n\
             cannot be installed: /p/bad\n    one\\u{1b}\n    two\n\
             good: scan: a.py:1 dynamic-code 'eval' executes text as code, so that what runs cannot be read here\nnext: ringfence install '/p/good dir'"
        );
        assert_eq!(scan_answer(&Scan::default()).unwrap().for_people(), "no new package was found");
    }
}
