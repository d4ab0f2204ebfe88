//! The choice of the algorithm: from the shape, the memory layout and the instruction set alone.

use std::fmt;

use super::{
    gather::{self, Source},
    geometry::Geometry,
    panels::Panels,
    simd::Isa,
    weights, winograd,
};

/// What computes the output of a convolution, or the gradient of its input.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Winograd's algorithm.
    Winograd(winograd::Plan),
    /// The sum of products.
    Direct(gather::Plan),
}

impl Plan {
    /// The plan for a problem and, if it may be computed by Winograd's algorithm, for the same
    /// problem in its terms.
    pub fn new(
        direct: gather::Problem,
        winograd: Option<winograd::Problem>,
        source: &Source,
        isa: Isa,
    ) -> Self {
        match winograd.filter(winograd::Problem::wins) {
            Some(problem) => Self::Winograd(winograd::Plan::new(problem, isa)),
            None => Self::Direct(gather::Plan::new(direct, source, isa)),
        }
    }

    /// How the weights are packed, and for which instructions.
    pub fn panels(&self) -> (Panels, Isa) {
        match self {
            Self::Winograd(plan) => plan.panels(),
            Self::Direct(plan) => plan.panels(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Winograd(plan) => write!(f, "Winograd, {plan}"),
            Self::Direct(plan) => write!(f, "direct, {plan}"),
        }
    }
}

/// What computes the gradient of the weights.
#[derive(Clone, Debug)]
pub enum WeightPlan {
    /// Winograd's algorithm, backward.
    Winograd(winograd::WeightPlan),
    /// The sum of products.
    Direct(weights::Plan),
}

impl WeightPlan {
    /// The plan for a convolution.
    pub fn new(geometry: &Geometry, winograd: bool, isa: Isa) -> Self {
        let of_winograd = winograd.then(|| winograd::WeightPlan::new(geometry, isa)).flatten();
        match of_winograd.filter(winograd::WeightPlan::wins) {
            Some(plan) => Self::Winograd(plan),
            None => Self::Direct(weights::Plan::new(geometry, isa)),
        }
    }
}

impl fmt::Display for WeightPlan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Winograd(plan) => write!(f, "Winograd, {plan}"),
            Self::Direct(plan) => write!(f, "direct, {plan}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table in the crate's documentation, "Which kernel runs when".
    #[test]
    fn the_algorithm_depends_on_the_layer() {
        let layer = |[inputs, outputs]: [usize; 2], size: usize, kernel: usize, stride: usize| {
            let padding = kernel / 2;
            let output = (size + 2 * padding - kernel) / stride + 1;
            Geometry {
                batch: 32,
                inputs,
                outputs,
                size: [size; 2],
                kernel: [kernel; 2],
                stride: [stride; 2],
                padding: [padding; 2],
                output: [output; 2],
            }
        };
        let isa = Isa::Portable;
        let mut wrong = Vec::new();
        for (geometry, expected) in [
            // ResNet's stem, a layer of each stage, a shortcut.
            (layer([1, 64], 96, 7, 2), ["direct, lines", "direct, phases", "direct, window lines"]),
            (layer([64, 64], 24, 3, 1), ["Winograd", "Winograd", "Winograd"]),
            (layer([512, 512], 3, 3, 1), ["direct, images", "direct, images", "direct, channels"]),
            (layer([64, 128], 24, 1, 2), ["direct, lines", "direct, phases", "direct, channels"]),
            // A 1 x 1 layer of an inception block; few channels.
            (
                layer([192, 64], 12, 1, 1),
                ["direct, one line", "direct, one line", "direct, channels"],
            ),
            (layer([8, 8], 24, 3, 1), ["direct, lines", "direct, lines", "direct, channels"]),
        ] {
            let Geometry { inputs, outputs, size, output, .. } = geometry;
            let input = Source::channels_last(&[], [inputs, size[0], size[1]]);
            let gradient = Source::channels_last(&[], [outputs, output[0], output[1]]);
            let forward = gather::Problem::forward(&geometry);
            let backward = gather::Problem::backward(&geometry);
            let of_output = winograd::Problem::forward(&geometry);
            let of_input = winograd::Problem::backward(&geometry);
            let plans = [
                Plan::new(forward.clone(), of_output, &input, isa).to_string(),
                Plan::new(backward, of_input, &gradient, isa).to_string(),
                WeightPlan::new(&geometry, true, isa).to_string(),
            ];
            if !plans.iter().zip(expected).all(|(plan, expected)| plan.starts_with(expected)) {
                wrong.push(format!("{geometry}: {plans:?}"));
            }
            // Without Winograd's algorithm, all are direct.
            let plans = [
                Plan::new(forward, None, &input, isa).to_string(),
                WeightPlan::new(&geometry, false, isa).to_string(),
            ];
            assert!(plans.iter().all(|plan| plan.starts_with("direct")), "{plans:?}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
