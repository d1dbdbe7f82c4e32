//! Running commands of the log: a function of (state, index, command) alone.

mod variable;

use super::{Batch, StoreError};
use crate::api::ApiError;
use crate::command::{Applied, Command};

impl Batch<'_> {
    /// Applies entry `index`. Entries that were applied before change nothing.
    ///
    /// # Errors
    /// After an error the batch is to be dropped; refusals of the command are values.
    pub fn apply(&mut self, index: u64, command: &Command) -> Result<Applied, StoreError> {
        if index <= self.indexes.applied {
            return Ok(Applied::Nothing);
        }
        self.skip(index);
        match command {
            Command::VariablePut { variable, check, wall_ns } => {
                self.variable_put(index, variable, *check, *wall_ns)
            }
            Command::VariableDelete { namespace, path, check } => {
                self.variable_delete(index, namespace, path, *check)
            }
            _ => Ok(Applied::Refused(ApiError::missing("this command is not served"))),
        }
    }
}
