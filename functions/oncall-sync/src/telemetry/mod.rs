//! What is said of the function's work: the log and the metrics, alerts, and what was told already.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod conditions;
