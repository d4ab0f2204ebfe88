//! How a person or the system stops a run.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// A wish to stop, which the training looks at after each step.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    /// Whether there is no step to wait for.
    idle: Arc<AtomicBool>,
    /// How to go on, said when the program ends at once.
    way_on: Arc<OnceLock<String>>,
}

impl Stop {
    /// Lets Ctrl-C or SIGTERM end the step under way and the run with it; so does a terminal that is
    /// closed, unless the program was told to ignore that, as by `nohup`. A second one, or one outside
    /// the training, ends the program at once.
    pub fn at_ctrl_c() -> Self {
        let stop = Self::default();
        stop.set_idle(true);
        let heard = stop.clone();
        let handler = move || {
            let again = heard.asked.swap(true, Ordering::Relaxed);
            if heard.idle.load(Ordering::Relaxed) {
                let way_on = heard.way_on.get().map(|way_on| format!("; {way_on}"));
                eprintln!("error: stopped{}", way_on.unwrap_or_default());
                std::process::exit(130);
            }
            if again {
                std::process::exit(130);
            }
        };
        if let Err(error) = set_handler(handler) {
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

    /// How to go on after a stop outside the training. The first to say it is right: a sweep, then its
    /// runs.
    pub fn set_way_on(&self, way_on: String) {
        self.way_on.set(way_on).ok();
    }
}

#[cfg(not(unix))]
fn set_handler(handler: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(handler)
}

/// `ctrlc` would listen to SIGHUP in any case, and end what `nohup` keeps alive.
#[cfg(unix)]
fn set_handler(handler: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    use nix::sys::signal::{SigHandler, Signal, signal};

    // SAFETY: to ignore a signal runs no code.
    let ignore = || unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
    let before = ignore();
    ctrlc::set_handler(handler)?;
    if matches!(before, Ok(SigHandler::SigIgn)) {
        ignore().ok();
    }
    Ok(())
}
