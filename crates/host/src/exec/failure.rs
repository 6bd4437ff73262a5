//! Why a sandbox was not started, in the words and codes of this crate.

use std::error::Error as _;
use std::io;

use ringfence_api::ErrorCode;
use ringfence_sandbox::{CompileError, LaunchError};

use crate::error::Error;

/// The sandbox crate's error, in the words and codes of this one.
pub(crate) fn launch_error(error: &LaunchError) -> Error {
    let code = match error {
        LaunchError::NotEnforceable { .. } | LaunchError::Unproven { .. } | LaunchError::Limits(_) => {
            ErrorCode::NotEnforceable
        }
        LaunchError::Execute { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ErrorCode::NotFound
        }
        LaunchError::Execute { .. } => ErrorCode::NotExecutable,
        LaunchError::Plan(CompileError::NotVisible { .. }) => ErrorCode::NotFound,
        LaunchError::Plan(_) => ErrorCode::Usage,
        LaunchError::Replaced { .. } => ErrorCode::PermissionDenied,
        LaunchError::Step { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            ErrorCode::PathNotFound
        }
        LaunchError::Step { .. } | LaunchError::Launcher { .. } => ErrorCode::Io,
        _ => ErrorCode::Internal,
    };
    let mut message = error.to_string();
    // Every cause, but for one that the text before it has already.
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = inner.source();
    }
    let made = Error::new(code, message);
    match (error, error.hint()) {
        (LaunchError::Plan(CompileError::NotVisible { path }), _) => {
            let directory = path.parent().unwrap_or(std::path::Path::new("/"));
            made.with_hint(format!("grant it: --ro {}", directory.display()))
        }
        (LaunchError::Execute { .. }, _) => made.with_hint(
            "is it built for this processor, and is the loader that it names inside /usr or granted?",
        ),
        (_, Some(hint)) => made.with_hint(hint),
        (_, None) => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_sandbox::{Backend, CgroupError, Layer, Layers, PlanError};

    fn os(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn each_failure_has_its_code_and_says_what_to_do() {
        const ENOENT: i32 = 2;
        const ENOEXEC: i32 = 8;
        let hint = "the hint of the layer";
        let not_visible = CompileError::NotVisible { path: "/opt/x/tool".into() };
        let reserved = CompileError::Plan(PlanError::Reserved { path: "/proc".into() });
        let cases = [
            (
                LaunchError::NotEnforceable { layer: Layer::User, cause: "no".into(), hint },
                ErrorCode::NotEnforceable,
                Some(hint),
            ),
            (LaunchError::Unproven { layers: Layers::ALL }, ErrorCode::NotEnforceable, Some("doctor")),
            (
                LaunchError::Limits(CgroupError::Missing { backend: Backend::CgroupV2 }),
                ErrorCode::NotEnforceable,
                Some("doctor"),
            ),
            (LaunchError::Plan(not_visible), ErrorCode::NotFound, Some("--ro /opt/x")),
            (LaunchError::Plan(reserved), ErrorCode::Usage, None),
            (
                LaunchError::Replaced { path: "/a".into() },
                ErrorCode::PermissionDenied,
                Some("grant it again"),
            ),
            (
                LaunchError::Execute { path: "/a".into(), source: os(ENOENT) },
                ErrorCode::NotFound,
                Some("loader"),
            ),
            (
                LaunchError::Execute { path: "/a".into(), source: os(ENOEXEC) },
                ErrorCode::NotExecutable,
                Some("loader"),
            ),
            (LaunchError::Step { step: "enter".into(), source: os(ENOENT) }, ErrorCode::PathNotFound, None),
            (LaunchError::Step { step: "enter".into(), source: os(ENOEXEC) }, ErrorCode::Io, None),
            (LaunchError::Launcher { what: "was lost", source: os(ENOENT) }, ErrorCode::Io, None),
        ];
        for (failure, code, hint) in cases {
            let error = launch_error(&failure);
            assert_eq!(error.code(), code, "{failure:?}");
            let said = error.hint();
            assert!(said.is_some() == hint.is_some(), "{failure:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(hint.unwrap_or_default()), "{failure:?}: {said:?}");
        }
    }

    #[test]
    fn every_cause_is_told_once() {
        let source = io::Error::other("the cause");
        let error = launch_error(&LaunchError::Launcher { what: "was lost", source });
        assert_eq!(error.message(), "the launcher was lost: the cause");
        let source = io::Error::other("the cause");
        let error = launch_error(&LaunchError::Step { step: "enter".into(), source });
        assert_eq!(error.message(), "cannot enter: the cause");
    }
}
