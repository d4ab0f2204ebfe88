//! Devices: their names in a config, those of this machine, and which of them a run uses.

mod choose;
mod list;
mod name;

pub use self::{
    choose::{Chosen, TOKEN, all_of, best_of, choose, choose_all},
    list::{Api, Found, Kind, list},
    name::{Backend, DeviceName},
};
