//! The planner proved: examples named after what happens to a person, laws over worlds made up at random, and long
//! random stories. People are `ann` to `eve` at Okta and `P-ann` to `P-eve` at PagerDuty; times are minutes after noon.

mod ahead;
mod by_hand;
mod laws;
mod outsiders;
mod refusals;
mod shifts;
mod story;
mod text;
mod unknown;
mod world;

use super::*;
use chrono::TimeDelta;
use world::{PEOPLE, Run, World, at, changes, id, untold};
