//! The whole pipeline on one machine: real parts, a strict stand-in for Redshift, and the demo.
//!
//! Each process of a sandbox has a module that starts and stops it; [`up`], [`down`], [`wait`], [`diff`] and [`demo`] are
//! the commands. Nothing here decides what the pipeline does: that is the capture's and the loader's.

pub mod capture;
pub mod capture_config;
mod database;
pub mod demo;
pub mod deploy;
pub mod diff;
pub mod down;
pub mod error;
mod health;
pub mod ministack;
pub mod places;
pub mod ports;
pub mod postgres;
pub mod processes;
pub mod redshift;
pub mod stand_in;
pub mod state;
pub mod up;
pub mod wait;
pub mod zip;
