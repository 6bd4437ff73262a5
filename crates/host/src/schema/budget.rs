//! The steps that a schema may take before it judges anything.

use super::fault::SchemaError;

/// The most steps of analysing the schemas of one manifest; a step is about ten nanoseconds. A large honest manifest takes
/// some ten thousand.
pub const COMPILE_STEPS_MAX: u64 = 4_000_000;

/// What is left of [`COMPILE_STEPS_MAX`]. Steps are counted before they are taken, so what is too dear is not begun.
///
/// One budget is handed to all schemas of a manifest: a thousand schemas are no dearer together than one.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    spent: u64,
}

impl Budget {
    /// Takes steps for what is at `place`, a JSON pointer.
    ///
    /// # Errors
    /// When there are not as many left.
    pub(super) fn spend(&mut self, steps: u64, place: &str) -> Result<(), SchemaError> {
        let spent = self.spent.saturating_add(steps);
        if spent > COMPILE_STEPS_MAX {
            let message = format!(
                "the schema causes too much work: more than {COMPILE_STEPS_MAX} steps to analyse it; write it smaller, with \
                 fewer references and patterns"
            );
            return Err(SchemaError::new(place, message));
        }
        self.spent = spent;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }
}
