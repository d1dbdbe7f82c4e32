//! Questions to executors whose answers make up one reply to a user.

use crate::api::{ApiError, multi_error};
use crate::client::exec_proto::Usage;
use crate::client::usage::{self, TaskSample};
use crate::stdx::BTreeMap;

/// The open questions, by the token that executors answer under.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    last_token: u64,
    open: BTreeMap<u64, Question>,
}

/// One user's request.
#[derive(Debug)]
pub(crate) struct Question {
    reply: u64,
    awaited: usize,
    /// Answered then with what there is, monotonic nanoseconds.
    by: u64,
    about: About,
}

#[derive(Debug)]
enum About {
    Signal { errors: Vec<String> },
    Stats { samples: Vec<TaskSample>, mhz: f64 },
}

impl Question {
    /// `errors` are those known already.
    pub(crate) fn signal(reply: u64, awaited: usize, errors: Vec<String>, by: u64) -> Self {
        Self { reply, awaited, by, about: About::Signal { errors } }
    }

    /// `mhz`: speed of one core.
    pub(crate) fn stats(reply: u64, awaited: usize, mhz: f64, by: u64) -> Self {
        Self { reply, awaited, by, about: About::Stats { samples: Vec::new(), mhz } }
    }

    fn answer(self) -> Result<Vec<u8>, ApiError> {
        match self.about {
            About::Signal { errors } if errors.is_empty() => Ok(super::INDEX_ZERO.to_vec()),
            About::Signal { errors } => Err(ApiError::failed(multi_error(&errors))),
            About::Stats { samples, mhz } => Ok(usage::alloc_stats(&samples, mhz)),
        }
    }
}

impl Gather {
    pub(crate) fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    pub(crate) fn ask(&mut self, token: u64, question: Question) {
        self.open.insert(token, question);
    }

    pub(crate) fn signaled(&mut self, token: u64, error: Option<String>) {
        let Some(question) = self.open.get_mut(&token) else { return };
        if let About::Signal { errors } = &mut question.about {
            errors.extend(error);
            question.awaited = question.awaited.saturating_sub(1);
        }
    }

    /// `before` is the task's sample of the time before, for rates.
    pub(crate) fn sampled(&mut self, token: u64, task: &str, usage: Usage, before: Option<Usage>) {
        let Some(question) = self.open.get_mut(&token) else { return };
        if let About::Stats { samples, .. } = &mut question.about {
            samples.push(TaskSample { task: task.to_owned(), usage, before });
            question.awaited = question.awaited.saturating_sub(1);
        }
    }

    /// Answers without waiting longer what is due.
    pub(crate) fn expire(&mut self, now: u64) {
        for question in self.open.values_mut().filter(|q| q.by <= now) {
            question.awaited = 0;
        }
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.open.values().map(|q| q.by).min()
    }

    /// Takes out what is complete.
    pub(crate) fn answered(&mut self) -> Vec<(u64, Result<Vec<u8>, ApiError>)> {
        let done: Vec<u64> =
            self.open.iter().filter(|(_, q)| q.awaited == 0).map(|(t, _)| *t).collect();
        let taken = done.into_iter().filter_map(|token| self.open.remove(&token));
        taken.map(|q| (q.reply, q.answer())).collect()
    }
}
