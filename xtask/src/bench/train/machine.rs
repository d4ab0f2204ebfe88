//! What Linux reports about processes and processors. `None` on other systems.

use std::{fs, thread, time::Duration};

use train::Error;

/// The share of the processors that other programs may use.
const ALLOWED: f64 = 0.1;
/// The number of one-second samples before the machine counts as busy.
const LOOKS: usize = 5;

/// Returns the share of the processors in use, from 0 to 1, while this process waits for a second.
///
/// # Errors
///
/// If the share is too high for a comparison and `anyway` is false.
pub fn check_idle(anyway: bool) -> Result<Option<f64>, Error> {
    let mut used = None;
    for _ in 0..LOOKS {
        used = look();
        if anyway || used.is_none_or(|used| used <= ALLOWED) {
            return Ok(used);
        }
    }
    Err(Error::Usage(format!(
        "other programs use {:.0}% of the processors; a comparison allows at most {:.0}%: stop the \
         other programs, or measure with --anyway",
        used.unwrap_or_default() * 100.0,
        ALLOWED * 100.0
    )))
}

fn look() -> Option<f64> {
    let read = || fs::read_to_string("/proc/stat").ok();
    let before = read()?;
    thread::sleep(Duration::from_secs(1));
    share_in_use(&before, &read()?)
}

/// Returns the share of the time between two readings of `/proc/stat` in which the processors
/// worked, or were stolen by other virtual machines.
fn share_in_use(before: &str, after: &str) -> Option<f64> {
    // user, nice, system, idle, I/O wait, two kinds of interrupts, steal
    let read = |text: &str| -> Option<[u64; 8]> {
        let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let numbers = numbers.map_while(|number| number.parse().ok()).take(8);
        numbers.collect::<Vec<_>>().try_into().ok()
    };
    let (before, after) = (read(before)?, read(after)?);
    let passed: Vec<u64> = after.iter().zip(before).map(|(a, b)| a.saturating_sub(b)).collect();
    let all = passed.iter().sum::<u64>().max(1);
    Some((all - passed[3] - passed[4]) as f64 / all as f64)
}

/// Returns the processor seconds that a process has used.
pub fn processor_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and the name may contain parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |field: usize| fields.split_whitespace().nth(field)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) as f64 / 100.0)
}

/// Returns the peak memory of a process in MiB.
pub fn peak_memory(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? as f64 / 1024.0)
}

/// Returns the model name of the processor.
pub fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::share_in_use;

    #[test]
    fn waiting_for_a_disk_is_not_work_and_stolen_time_is_not_idle() {
        let before = "cpu  100 200 300 1000 50 1 2 3 0 0\ncpu0 1 2 3\n";
        let share = |after: &str| share_in_use(before, after);
        assert_eq!(share("cpu  100 200 300 1090 60 1 2 3 0 0\n"), Some(0.0));
        assert_eq!(share("cpu  110 200 300 1090 50 1 2 3 0 0\n"), Some(0.1));
        assert_eq!(share("cpu  100 210 310 1060 50 1 2 23 0 0\n"), Some(0.4));
        assert_eq!(share("not /proc/stat"), None);
    }
}
