//! What a history has come to, in numbers and words.

use std::time::Duration;

use super::check::{Verdict, check};
use super::record::{History, Plan, lost};

/// How long a store may take to answer when its keys are counted: nobody waits for that, and the clients' own patience may be short.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Violations and lost keys that are named.
const NAMED: usize = 5;

/// Returns the keys of acknowledged writes that are missing in the first store that answers; `None` if none does.
pub(crate) fn audit(history: &History, plan: &Plan) -> Option<Vec<String>> {
    let timeout = plan.timeout.max(AUDIT_TIMEOUT);
    plan.stores.iter().find_map(|store| lost(history, store, timeout).ok())
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Registers with answers that none can give; `None` when that can't be told.
    pub(crate) violations: Option<usize>,
    pub(crate) about_violations: String,
    /// Acknowledged writes that are not there any more; `None` when no store answers.
    pub(crate) lost: Option<usize>,
    pub(crate) about_lost: String,
    /// The longest time without an answer.
    pub(crate) silence: Duration,
}

impl Finding {
    /// Checks a history, and looks for its writes in the first store that answers.
    pub(crate) fn of(history: &History, plan: &Plan) -> Self {
        Self::judge(history, audit(history, plan).as_deref())
    }

    /// Checks a history of which these writes are missing; `None` if that is not known.
    pub(crate) fn judge(history: &History, missing: Option<&[String]>) -> Self {
        let answered = history.operations.iter().filter(|operation| operation.answered.is_some()).count();
        let (violations, about_violations) = match check(&history.operations) {
            _ if answered == 0 => (None, "no client had an answer".into()),
            Verdict::Linearizable => {
                (Some(0), format!("linearizable: one register could have given these {answered} answers"))
            }
            Verdict::Undecided(keys) => {
                (None, format!("undecided: too much at once on registers {keys:?}; use more keys, or a longer pace"))
            }
            Verdict::Violated(found) => {
                let first: Vec<String> = found.iter().take(NAMED).map(|one| format!("\n  {one}")).collect();
                (Some(found.len()), format!("not linearizable on {} registers{}", found.len(), first.concat()))
            }
        };
        let acknowledged = history.kept.len();
        let about_lost = match missing {
            None => "lost writes: not known, no store answers".into(),
            Some([]) => format!("lost writes: none of {acknowledged} that were acknowledged"),
            Some(missing) => {
                let first: Vec<String> = missing.iter().take(NAMED).map(|key| format!("\n  {key}")).collect();
                format!("lost writes: {} of {acknowledged} that were acknowledged{}", missing.len(), first.concat())
            }
        };
        let lost = missing.map(|missing| missing.len());
        Self { violations, about_violations, lost, about_lost, silence: history.silence }
    }
}
