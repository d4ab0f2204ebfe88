use std::{
    fmt,
    io::{IsTerminal, Write},
};

use burn::train::{
    Interrupter,
    logger::{EvaluationProgressLogger, TrainingProgressLogger},
    metric::MetricDefinition,
    renderer::{
        EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
        MetricsRendererTraining, tui::TuiMetricsRendererWrapper,
    },
};

/// Prints a line. A reader that has gone away, as at the end of a pipe, does not end a run.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Whether there is no terminal for the curves, so that lines take their place.
pub(crate) fn shows_plain_lines() -> bool {
    !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal())
}

/// Burn's curves on a terminal, silence elsewhere.
pub(crate) fn renderer(interrupter: Interrupter) -> Box<dyn MetricsRenderer> {
    if shows_plain_lines() {
        return Box::new(Silent);
    }
    keep_ctrl_c();
    Box::new(TuiMetricsRendererWrapper::new(interrupter, None))
}

/// Lets Ctrl-C go on stopping the program. The terminal's raw mode, which Burn's curves turn on,
/// makes it a key like any other; turned on before, they leave it as it is.
fn keep_ctrl_c() {
    #[cfg(unix)]
    if crossterm::terminal::enable_raw_mode().is_ok() {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

        let stdin = std::io::stdin();
        if let Ok(mut modes) = tcgetattr(&stdin) {
            modes.local_modes |= LocalModes::ISIG;
            tcsetattr(&stdin, OptionalActions::Now, &modes).ok();
        }
    }
}

/// Gives the terminal back as it was before Burn's curves, for a program that ends in their midst.
pub(crate) fn restore() {
    #[cfg(unix)]
    if !shows_plain_lines() {
        use crossterm::{
            cursor::Show, event::DisableMouseCapture, execute, terminal::LeaveAlternateScreen,
        };

        crossterm::terminal::disable_raw_mode().ok();
        execute!(std::io::stdout(), DisableMouseCapture, LeaveAlternateScreen, Show).ok();
    }
}

/// Shows nothing: the epochs' lines say it all.
struct Silent;

impl MetricsRenderer for Silent {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _definition: MetricDefinition) {}
}

impl MetricsRendererTraining for Silent {
    fn update_train(&mut self, _state: MetricState) {}
    fn update_valid(&mut self, _state: MetricState) {}
}

impl MetricsRendererEvaluation for Silent {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl TrainingProgressLogger for Silent {
    fn start(
        &mut self,
        _epochs: usize,
        _first: usize,
        _items: Option<usize>,
        _label: Option<&str>,
    ) {
    }
    fn update_epoch(&mut self, _epoch: usize) {}
    fn start_split(&mut self, _split: &str, _items: usize) {}
    fn update_split(&mut self, _items: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _event: String) {}
}

impl EvaluationProgressLogger for Silent {
    fn start_global_progress(&mut self, _tests: usize) {}
    fn start_test(&mut self, _name: &str, _items: usize) {}
    fn update_test_progress(&mut self, _items: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _event: String) {}
}
