//! Learning-rate schedules: functions only of the share of the run that is done. A resumed run
//! continues with the same rates.

use std::f64::consts::PI;

use crate::config::{ScheduleConfig, ScheduleName};

/// The start of the linear warm-up, as in torchvision's reference training. It is not 0, because
/// the first step would change nothing.
const WARMUP_START: f64 = 0.01;

/// The start and the end of the one-cycle schedule: PyTorch's defaults, `div_factor` 25 and
/// `final_div_factor` 10,000.
const ONE_CYCLE_START: f64 = 1.0 / 25.0;
const ONE_CYCLE_END: f64 = ONE_CYCLE_START / 1e4;

/// A learning-rate schedule: a warm-up to the base rate, then a shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) shape: Shape,
    /// Share of the run that is warm-up, from 0 (no warm-up) to less than 1. The warm-up is linear
    /// from a hundredth of the base rate; [`Shape::OneCycle`] has its own.
    pub(crate) warmup: f64,
}

/// The learning rate after the warm-up. Factors are relative to the base rate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Stays at the base rate.
    Constant,
    /// Multiplied by `factor` at every milestone. Milestones are shares of the whole run, including
    /// its warm-up.
    Step { milestones: Vec<f64>, factor: f64 },
    /// Falls to `final_factor` along half a period of the cosine (Loshchilov and Hutter, 2017,
    /// without restarts).
    Cosine { final_factor: f64 },
    /// Falls linearly to `final_factor`.
    Linear { final_factor: f64 },
    /// Rises from 1/25 during the warm-up and falls to 1/250,000, both along half a period of the
    /// cosine: PyTorch's `OneCycleLR`, after Smith and Topin, 2018. The momentum is constant.
    OneCycle,
}

impl Schedule {
    /// The config's schedule.
    pub(crate) fn new(config: &ScheduleConfig) -> Self {
        let ScheduleConfig { name, warmup, ref milestones, factor, final_factor } = *config;
        let shape = match name {
            ScheduleName::Constant => Shape::Constant,
            ScheduleName::Step => {
                Shape::Step { milestones: milestones.clone(), factor: factor.unwrap_or(0.1) }
            }
            ScheduleName::Cosine => Shape::Cosine { final_factor },
            ScheduleName::Linear => Shape::Linear { final_factor },
            ScheduleName::OneCycle => Shape::OneCycle,
        };
        let rise = if name == ScheduleName::OneCycle { 0.3 } else { 0.0 };
        Self { shape, warmup: warmup.unwrap_or(rise) }
    }

    /// The factor of the base rate at `progress`, the share of the run that is done, from 0 to 1.
    ///
    /// Step `i` of `n`, counted from 0, is taken at `i / n`: the first at 0, the last one a step
    /// before 1. An estimated progress outside these bounds is clamped.
    pub(crate) fn factor(&self, progress: f64) -> f64 {
        let progress = progress.clamp(0.0, 1.0);
        if progress < self.warmup {
            let share = progress / self.warmup;
            return match self.shape {
                Shape::OneCycle => cosine(ONE_CYCLE_START, 1.0, share),
                _ => linear(WARMUP_START, 1.0, share),
            };
        }
        let share = (progress - self.warmup) / (1.0 - self.warmup);
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Step { ref milestones, factor } => {
                let passed = milestones.iter().filter(|&&milestone| milestone <= progress);
                passed.fold(1.0, |product, _| product * factor)
            }
            Shape::Cosine { final_factor } => cosine(1.0, final_factor, share),
            Shape::Linear { final_factor } => linear(1.0, final_factor, share),
            Shape::OneCycle => cosine(1.0, ONE_CYCLE_END, share),
        }
    }
}

/// Interpolates linearly from `start` to `end`, as `share` goes from 0 to 1.
fn linear(start: f64, end: f64, share: f64) -> f64 {
    start + (end - start) * share
}

/// Interpolates along half a period of the cosine, as `share` goes from 0 to 1.
fn cosine(start: f64, end: f64, share: f64) -> f64 {
    linear(start, end, (1.0 - (PI * share).cos()) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of the runs in `tests/reference.json`.
    const STEPS: usize = 20;

    /// PyTorch's values, from `tests/reference.py`.
    fn reference(name: &str) -> Vec<f64> {
        let reference: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/reference.json")).unwrap();
        serde_json::from_value(reference["schedules"][name].clone()).unwrap()
    }

    /// The factors of `STEPS` steps, and the factor at the end.
    fn factors(shape: Shape, warmup: f64) -> Vec<f64> {
        let schedule = Schedule { shape, warmup };
        (0..=STEPS).map(|step| schedule.factor(step as f64 / STEPS as f64)).collect()
    }

    fn divided_by_ten_at_half_and_three_quarters() -> Shape {
        Shape::Step { milestones: vec![0.5, 0.75], factor: 0.1 }
    }

    fn shapes() -> [Shape; 5] {
        [
            Shape::Constant,
            divided_by_ten_at_half_and_three_quarters(),
            Shape::Cosine { final_factor: 0.05 },
            Shape::Linear { final_factor: 0.05 },
            Shape::OneCycle,
        ]
    }

    #[test]
    fn every_step_has_pytorchs_rate() {
        let [constant, step, cosine, linear, one_cycle] = shapes();
        for (name, shape, warmup) in [
            ("step", step.clone(), 0.0),
            ("cosine", cosine.clone(), 0.0),
            ("linear", linear.clone(), 0.0),
            ("warmup_constant", constant, 0.2),
            ("warmup_step", step, 0.2),
            ("warmup_cosine", cosine, 0.2),
            ("warmup_linear", linear, 0.2),
            // OneCycleLR counts a step less in each phase. With one step more in `total_steps` and
            // in the rise, its first steps are those of this schedule.
            ("one_cycle_of_a_step_more", one_cycle, 0.3),
        ] {
            let expected = reference(name);
            assert_eq!(expected.len(), STEPS);
            for (step, (factor, expected)) in
                factors(shape, warmup).iter().zip(expected).enumerate()
            {
                assert!(
                    (factor - expected).abs() < 1e-8,
                    "{name}, step {step}: {factor}, not {expected}"
                );
            }
        }
    }

    /// With as many steps as the run has, PyTorch's peak is in the last step of the rise and its
    /// end in the last step: it is at most one step ahead of this schedule, and never behind.
    #[test]
    fn one_cycle_of_as_many_steps_is_at_most_a_step_ahead() {
        let factors = factors(Shape::OneCycle, 0.3);
        for (step, expected) in reference("one_cycle").into_iter().enumerate() {
            let [now, next] = [factors[step], factors[step + 1]];
            let range = now.min(next) - 1e-8..=now.max(next) + 1e-8;
            assert!(range.contains(&expected), "step {step}: {expected}, not in {range:?}");
        }
    }

    /// DenseNet's paper, section 4.2: the rate is divided by 10 at 50 % and 75 % of the epochs.
    #[test]
    fn the_rate_falls_in_the_epoch_of_the_milestone() {
        let schedule = Schedule { shape: divided_by_ten_at_half_and_three_quarters(), warmup: 0.0 };
        for epochs in [40, 300] {
            let factor = |epoch: usize| schedule.factor(epoch as f64 / epochs as f64);
            let [half, three_quarters] = [epochs / 2, epochs * 3 / 4];
            assert_eq!([factor(0), factor(half - 1)], [1.0, 1.0]);
            assert_eq!([factor(half), factor(three_quarters - 1)], [0.1, 0.1]);
            assert!((factor(three_quarters) - 0.01).abs() < 1e-15);
            assert!((factor(epochs) - 0.01).abs() < 1e-15);
        }
    }

    #[test]
    fn the_warm_up_rises_from_above_zero_to_the_base_rate_without_a_jump() {
        for shape in shapes() {
            let schedule = Schedule { shape, warmup: 0.25 };
            let rise: Vec<f64> =
                (0..=1000).map(|step| schedule.factor(0.25 * f64::from(step) / 1000.0)).collect();
            assert!(rise[0] > 0.0 && rise[0] < 0.05, "{schedule:?}");
            assert!(rise.is_sorted_by(|a, b| a < b && b - a < 0.002), "{schedule:?}");
            assert_eq!(rise[1000], 1.0, "{schedule:?}");
            // The start of the fall has no jump either.
            assert!(schedule.factor(0.2501) > 0.999, "{schedule:?}");
        }
    }

    #[test]
    fn the_rate_ends_where_it_should() {
        let ends = [1.0, 0.01, 0.05, 0.05, 4e-6];
        for warmup in [0.0, 0.4] {
            for (shape, end) in shapes().into_iter().zip(ends) {
                let schedule = Schedule { shape, warmup };
                assert!((schedule.factor(1.0) - end).abs() < 1e-15, "{schedule:?}");
                // An estimated progress may be out of bounds.
                assert_eq!(schedule.factor(1.5), schedule.factor(1.0), "{schedule:?}");
                assert_eq!(schedule.factor(-0.5), schedule.factor(0.0), "{schedule:?}");
            }
        }
    }

    #[test]
    fn without_a_warm_up_the_first_step_has_the_base_rate() {
        for shape in shapes() {
            assert_eq!(factors(shape, 0.0)[0], 1.0);
        }
    }
}
