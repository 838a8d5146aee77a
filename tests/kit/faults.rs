//! What goes wrong, and when: the one plan that every emulator and proxy of a stack asks.
//!
//! Each external call of the function under test has a name that is the same in every run: the rotation step, what is
//! called, and its how-many-eth time, as in `setSecret GetSecretValue AWSPENDING #1`. A clean run records the names;
//! the crash matrix then takes them one by one.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where in a call a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before the call has any effect.
    Before,
    /// After its effect, before the function sees the reply.
    After,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The function's process is killed (SIGKILL), as when Lambda takes an execution environment away.
    Kill,
    /// The connection is cut without a reply.
    Cut,
    /// The call goes on, this much later.
    Slow(Duration),
    /// An HTTP error instead of a reply: status and error type (`429`, `ThrottlingException`). Databases cut instead.
    Status(u16, &'static str),
    /// Bytes that are no valid reply.
    Garbage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The call's whole name, as recorded.
    pub call: String,
    /// Before or after its effect.
    pub moment: Moment,
    pub fault: Fault,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {}", self.fault, self.moment, self.call)
    }
}

type Kill = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    step: String,
    seen: HashMap<String, usize>,
    recorded: Vec<String>,
    points: VecDeque<Point>,
    struck: Vec<Point>,
    kill: Option<Kill>,
}

/// The plan, shared by everything in one stack. Clones are handles to the same plan.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// A plan in which nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the rotation step that calls belong to from now on. The Runtime API server says it for every invocation.
    pub fn enter_step(&self, step: &str) {
        step.clone_into(&mut self.state().step);
    }

    /// What [`Fault::Kill`] does: the Runtime API server registers itself here. It must have killed when it returns.
    pub fn on_kill(&self, kill: impl Fn() + Send + Sync + 'static) {
        self.state().kill = Some(Arc::new(kill));
    }

    pub fn inject(&self, point: Point) {
        self.state().points.push_back(point);
    }

    /// Forgets what was recorded and what was still to come; counting starts at one again.
    pub fn reset(&self) {
        let mut state = self.state();
        *state = State { kill: state.kill.take(), ..State::default() };
    }

    /// A call begins: records it and gives back its whole name.
    #[must_use]
    pub fn begin(&self, what: &str) -> String {
        let mut state = self.state();
        let name = format!("{} {what}", state.step);
        let nth = state.seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(1);
        let name = format!("{name} #{nth}");
        state.recorded.push(name.clone());
        name
    }

    /// The call is at this moment: takes the fault planned for it, if any. `Kill` has struck when this returns (the caller
    /// then cuts the connection), `Slow` has been waited for; every other fault is the caller's to carry out.
    pub async fn at(&self, call: &str, moment: Moment) -> Option<Fault> {
        let (fault, kill) = {
            let mut state = self.state();
            let at = state.points.iter().position(|p| p.call == call && p.moment == moment)?;
            let point = state.points.remove(at)?;
            state.struck.push(point.clone());
            (point.fault, state.kill.clone())
        };
        match fault {
            Fault::Kill => {
                if let Some(kill) = kill {
                    kill();
                }
                Some(Fault::Kill)
            }
            Fault::Slow(pause) => {
                tokio::time::sleep(pause).await;
                None
            }
            other => Some(other),
        }
    }

    /// Every call so far, in order, by its whole name.
    #[must_use]
    pub fn recorded(&self) -> Vec<String> {
        self.state().recorded.clone()
    }

    /// The faults that have struck.
    #[must_use]
    pub fn struck(&self) -> Vec<Point> {
        self.state().struck.clone()
    }
}
