//! What is said of the function's work: the log and the metrics, and alerts.

pub(crate) mod alerts;
pub(crate) mod audit;
