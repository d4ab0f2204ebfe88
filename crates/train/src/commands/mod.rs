//! The commands, each with its arguments.

mod completions;
mod config;
mod devices;
mod diagram;
mod evaluate;
mod export;
mod networks;
mod predict;
mod report;
mod resume;
mod serve;
mod summary;
mod sweep;
mod train;
mod values;
mod watch;

pub(crate) use self::{
    completions::{CompletionsArgs, completions},
    config::{ConfigArgs, config},
    devices::{DevicesArgs, devices},
    diagram::{DiagramArgs, diagram},
    evaluate::{EvaluateArgs, evaluate},
    export::{ExportArgs, export},
    networks::{NetworksArgs, networks},
    predict::{PredictArgs, predict},
    report::{ReportArgs, report},
    resume::{ResumeArgs, resume},
    serve::{ServeArgs, serve},
    summary::{SummaryArgs, summary},
    sweep::{SweepArgs, sweep},
    train::{TrainArgs, train},
    watch::{WatchArgs, watch},
};
