use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use burn::train::Interrupter;

use super::terminal;

/// How a person stops a run: with Ctrl-C, or with the keys of Burn's curves.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// The learner looks at it after each step.
    pub learner: Interrupter,
    /// Apart from the learner's, for the curves reset theirs when training ends, and with it the
    /// error that ended it.
    pub curves: Interrupter,
    training_is_over: Arc<AtomicBool>,
}

impl Stop {
    /// Lets Ctrl-C end the step under way and the run with it. A second one, or one after the
    /// training, ends the program at once.
    pub fn at_ctrl_c(&self) {
        let stop = self.clone();
        let handler = move || {
            if stop.is_asked() || stop.training_is_over.load(Ordering::Relaxed) {
                terminal::restore();
                std::process::exit(130);
            }
            stop.learner.stop(Some("Ctrl-C"));
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            eprintln!("warning: Ctrl-C will not stop cleanly: {error}");
        }
    }

    /// Passes on a wish made with the curves' keys.
    pub fn heed_curves(&self) {
        if self.curves.should_stop() {
            self.learner.stop(Some("the curves' keys"));
        }
    }

    /// Whether the training is to end before its time.
    pub fn is_asked(&self) -> bool {
        self.learner.should_stop()
    }

    /// From here on there is no step to wait for.
    pub fn training_is_over(&self) {
        self.training_is_over.store(true, Ordering::Relaxed);
    }
}
