//! The config of a run: a TOML file, parsed strictly.
//!
//! An unknown key, a wrong type or a value out of range is an error that names the file, the line
//! and the nearest valid name, before anything is downloaded or computed.
//!
//! | module | contents |
//! |---|---|
//! | `schema` | the keys |
//! | `values` | their defaults, and which values are valid |
//! | `load` | reads a file |
//! | `set` | changes by `--set KEY=VALUE` |
//! | `check` | checks that depend on several keys |
//! | `message` | messages about a config that is not valid |

mod check;
mod load;
mod message;
mod schema;
mod set;
mod values;

pub(crate) use message::readable;
pub(crate) use schema::schema;
pub use schema::{
    AugmentConfig, Config, DataConfig, DecayConfig, EarlyStoppingConfig, EmaConfig, HoldOut,
    KernelsConfig, NormalizationConfig, OptimizerConfig, OptimizerName, PretrainedConfig,
    ScheduleConfig, ScheduleName, SourceConfig, WeightsConfig,
};
