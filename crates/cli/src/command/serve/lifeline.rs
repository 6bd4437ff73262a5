//! `serve --until-stdin-closes`: whoever started the daemon holds the other end of its standard input, and the kernel closes it when
//! that process ends, however it ends. So an application that is killed leaves no daemon behind, in any language.

use std::io::{self, Read};
use std::sync::Arc;

use ringfence::Error;
use ringfence_api::ErrorCode;
use tokio::sync::Notify;

/// The end of standard input, or nothing that ever ends.
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    closed: Option<Arc<Notify>>,
}

impl Lifeline {
    /// Follows standard input, on a thread of its own that ends with the process.
    ///
    /// # Errors
    /// `io` when there can be no thread.
    pub(super) fn of_stdin() -> Result<Self, Error> {
        Self::of(io::stdin())
    }

    fn of(mut input: impl Read + Send + 'static) -> Result<Self, Error> {
        let closed = Arc::new(Notify::new());
        let told = Arc::clone(&closed);
        let follow = move || {
            wait_for_end(&mut input);
            // Kept for whoever waits later: the daemon may still be starting.
            told.notify_one();
        };
        std::thread::Builder::new()
            .name("lifeline".to_owned())
            .spawn(follow)
            .map_err(|cause| Error::new(ErrorCode::Io, "cannot follow standard input").with_source(cause))?;
        Ok(Self { closed: Some(closed) })
    }

    /// Waits for the end, which is told once. Cancel safe.
    pub(super) async fn closed(&self) {
        match &self.closed {
            Some(closed) => closed.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// What comes is nobody's: only the end counts. An input that cannot be read has ended.
fn wait_for_end(input: &mut impl Read) {
    let mut block = [0; 4096];
    loop {
        match input.read(&mut block) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::io::Write as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn the_end_is_told_once_and_not_before() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lifeline = Lifeline::of(reader).unwrap();
        writer.write_all(b"anything").unwrap();
        assert_eq!(pin!(lifeline.closed()).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        drop(writer);
        lifeline.closed().await;
        assert_eq!(pin!(lifeline.closed()).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    }
}
