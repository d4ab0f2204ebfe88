//! How a person stops a run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A wish to stop, which the training looks at after each step.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    /// Whether there is no step to wait for.
    idle: Arc<AtomicBool>,
}

impl Stop {
    /// Lets Ctrl-C end the step under way and the run with it. A second one, or one outside the
    /// training, ends the program at once.
    pub fn at_ctrl_c() -> Self {
        let stop = Self::default();
        stop.set_idle(true);
        let heard = stop.clone();
        let handler = move || {
            if heard.asked.swap(true, Ordering::Relaxed) || heard.idle.load(Ordering::Relaxed) {
                std::process::exit(130);
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            eprintln!("warning: Ctrl-C will not stop cleanly: {error}");
        }
        stop
    }

    /// Whether the training is to end.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether there is no step to wait for, so that Ctrl-C ends the program.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }
}
