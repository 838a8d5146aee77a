//! Break-glass, end to end: what happens to the people on call.

mod alerts;
mod by_hand;
mod config;
mod cost;
mod doctor;
mod eligible;
mod examples;
mod faults;
mod forecast;
mod fuzz;
mod leaks;
mod odd_days;
mod okta;
mod pagerduty;
mod people;
mod plan;
mod rules;
mod shifts;
