//! `rotate-mongo`: whole rotations on servers that really authenticate, at Atlas (an emulator in front of them) and on one's
//! own.

mod atlas_api;
mod clients;
mod crash;
mod each_try;
mod guards;
mod half_done;
mod leaks;
mod propagation;
mod scene;
mod servers;
mod shapes;
mod tags;
mod taken_over;
mod turn;
mod unreachable;
mod wire;
