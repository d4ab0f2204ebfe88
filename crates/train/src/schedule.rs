//! The learning rate over a run: a function of how much of the run is done, and of nothing else. A
//! run that is resumed goes on with the same rates.

use std::f64::consts::PI;

/// Where the linear warm-up begins. As in torchvision's reference training, not at 0: the first
/// step would change nothing.
const WARMUP_START: f64 = 0.01;

/// Where one cycle begins and where it ends: PyTorch's defaults, `div_factor` 25 and
/// `final_div_factor` 10,000.
const ONE_CYCLE_START: f64 = 1.0 / 25.0;
const ONE_CYCLE_END: f64 = ONE_CYCLE_START / 1e4;

/// How the learning rate goes over a run: up to the base rate, and then as the shape has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) shape: Shape,
    /// Share of the run in which the rate rises: from 0, for no warm-up, to less than 1. The rise
    /// is linear and begins at a hundredth of the base rate; see [`Shape::OneCycle`] for its own.
    pub(crate) warmup: f64,
}

/// How the learning rate goes after the warm-up. Factors are of the base rate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// It stays.
    Constant,
    /// It is multiplied by `factor` at every milestone. Milestones are shares of the whole run,
    /// with its warm-up.
    Step { milestones: Vec<f64>, factor: f64 },
    /// It falls to `final_factor` along half a period of the cosine (Loshchilov and Hutter, 2017,
    /// without restarts).
    Cosine { final_factor: f64 },
    /// It falls to `final_factor` along a line.
    Linear { final_factor: f64 },
    /// It rises from 1/25 over the warm-up and falls to 1/250,000, both along half a period of the
    /// cosine: PyTorch's `OneCycleLR`, after Smith and Topin, 2018. The momentum stays as it is.
    OneCycle,
}

impl Schedule {
    /// The factor of the base rate at `progress`, the share of the run that is done, from 0 to 1.
    ///
    /// Step `i` of `n`, counted from 0, is taken at `i / n`: the first at 0, the last one a step
    /// before 1. An estimated progress may leave these bounds; the factor does not.
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

/// From `start` to `end` along a line, as `share` goes from 0 to 1.
fn linear(start: f64, end: f64, share: f64) -> f64 {
    start + (end - start) * share
}

/// From `start` to `end` along half a period of the cosine, as `share` goes from 0 to 1.
fn cosine(start: f64, end: f64, share: f64) -> f64 {
    linear(start, end, (1.0 - (PI * share).cos()) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of the runs in `tests/reference.json`.
    const STEPS: usize = 20;

    /// What `tests/reference.py` had from PyTorch.
    fn reference(name: &str) -> Vec<f64> {
        let reference: serde_json::Value =
            serde_json::from_str(include_str!("../tests/reference.json")).unwrap();
        serde_json::from_value(reference["schedules"][name].clone()).unwrap()
    }

    /// The factors of `STEPS` steps, and what is left at the end.
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
            // OneCycleLR counts a step less in each phase. With `total_steps` of one more than the
            // run has, and the rise longer by it, the first steps are this schedule's.
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
    /// end in the last step: it is up to a step ahead of this schedule, never more, never behind.
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
            // Nor does it jump when it begins to fall.
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
                // Beyond the end, where an estimated progress may be.
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
