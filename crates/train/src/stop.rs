//! Stopping a run with Ctrl-C or a signal.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// A request to stop, which the training checks after each step.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    /// Whether no training is running.
    idle: Arc<AtomicBool>,
    /// How to resume, printed when the program ends at once.
    way_on: Arc<OnceLock<String>>,
}

impl Stop {
    /// Makes Ctrl-C and SIGTERM end the run after the current step. A closed terminal does the
    /// same, unless SIGHUP is ignored, as under `nohup`. A second signal, or one outside the
    /// training, ends the program at once.
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

    /// Whether a stop was requested.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Sets whether no training is running, so that Ctrl-C ends the program at once.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// Sets how to resume after a stop outside the training. Only the first call counts: a sweep
    /// calls this before its runs do.
    pub fn set_way_on(&self, way_on: String) {
        self.way_on.set(way_on).ok();
    }
}

#[cfg(not(unix))]
fn set_handler(handler: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(handler)
}

/// `ctrlc` always handles SIGHUP, which would end a program under `nohup`.
#[cfg(unix)]
fn set_handler(handler: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    use nix::sys::signal::{SigHandler, Signal, signal};

    // SAFETY: ignoring a signal runs no code.
    let ignore = || unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
    let before = ignore();
    ctrlc::set_handler(handler)?;
    if matches!(before, Ok(SigHandler::SigIgn)) {
        ignore().ok();
    }
    Ok(())
}
