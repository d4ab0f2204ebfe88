//! Numbers and texts for display.

use std::time::Duration;

/// Displayed in place of an unknown number.
pub const UNKNOWN: &str = "–";

/// Four significant digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || !size.is_finite() {
        value.to_string()
    } else if (1e-3..1e6).contains(&size) {
        let decimals = 3 - size.log10().floor() as i32;
        format!("{value:.*}", decimals.clamp(0, 6) as usize)
    } else {
        format!("{value:.2e}")
    }
}

/// A share, from 0 to 1, with two decimals.
pub fn percent(share: f64) -> String {
    format!("{:.2}\u{a0}%", 100.0 * share)
}

/// A share, from 0 to 1, without decimals.
pub fn round_percent(share: f64) -> String {
    format!("{:.0}\u{a0}%", 100.0 * share)
}

/// A whole number in groups of three digits.
pub fn grouped(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`grouped`], of the nearest whole number.
pub fn rounded(value: f64) -> String {
    if value.is_finite() { grouped(value.round() as usize) } else { UNKNOWN.to_owned() }
}

/// A duration in seconds, in its two largest units.
pub fn duration(seconds: f64) -> String {
    let Ok(time) = Duration::try_from_secs_f64(seconds) else { return UNKNOWN.to_owned() };
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A text with a capital as its first letter.
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
