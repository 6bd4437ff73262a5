//! Activating and deactivating.

use super::super::seen::{Act, Question, done};
use super::super::view::Next;
use crate::api::Failure;

pub(crate) async fn activate(act: Act) -> Result<Next, Failure> {
    act.send(Question::default()).await?;
    let name = act.seen.name();
    Ok(done(format!("/dashboard/plugins/{name}"), format!("{name} is active.")))
}

pub(crate) async fn deactivate(act: Act) -> Result<Next, Failure> {
    act.send(Question::default()).await?;
    let name = act.seen.name();
    Ok(done(
        format!("/dashboard/plugins/{name}"),
        format!("{name} is stopped, and stays so until somebody activates it."),
    ))
}
