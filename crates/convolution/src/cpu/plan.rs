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
    /// The plan for the output.
    pub fn forward(geometry: &Geometry, input: &Source, winograd: bool, isa: Isa) -> Self {
        let of_winograd = winograd::Problem::forward(geometry).filter(|_| winograd);
        Self::new(gather::Problem::forward(geometry), of_winograd, input, isa)
    }

    /// The plan for the gradient of the input, given the gradient of the output.
    pub fn backward(geometry: &Geometry, gradient: &Source, winograd: bool, isa: Isa) -> Self {
        let of_winograd = winograd::Problem::backward(geometry).filter(|_| winograd);
        Self::new(gather::Problem::backward(geometry), of_winograd, gradient, isa)
    }

    fn new(
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

    /// How the weights are packed.
    pub fn panels(&self) -> (Panels, Isa) {
        match self {
            Self::Winograd(plan) => plan.panels(),
            Self::Direct(plan) => plan.panels(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (_, isa) = self.panels();
        match self {
            Self::Winograd(plan) => write!(f, "Winograd, {} tasks, {isa}", plan.tasks()),
            Self::Direct(plan) => {
                write!(f, "direct {}, {} tasks, {isa}", plan.along(), plan.tasks())
            }
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
            Self::Winograd(plan) => write!(f, "Winograd, {} tasks", plan.tasks()),
            Self::Direct(plan) => write!(f, "direct {}, {} tasks", plan.rows(), plan.tasks()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the crate's documentation, "Which kernel runs when".
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
        for (geometry, output, weights) in [
            // ResNet's stem, a layer of each stage, a shortcut.
            (layer([1, 64], 96, 7, 2), "direct along lines", "direct by lines of the window"),
            (layer([64, 64], 24, 3, 1), "Winograd", "Winograd"),
            (layer([512, 512], 3, 3, 1), "direct along the batch", "direct by channels"),
            (layer([64, 128], 24, 1, 2), "direct along lines", "direct by channels"),
            // LeNet, an inception block's 1 x 1, few channels.
            (layer([6, 16], 14, 5, 1), "direct along lines", "direct by channels"),
            (layer([192, 64], 12, 1, 1), "direct along one long line", "direct by channels"),
            (layer([8, 8], 24, 3, 1), "direct along lines", "direct by channels"),
        ] {
            let [height, width] = geometry.size;
            let input = Source::channels_last(&[], [geometry.inputs, height, width]);
            let plan = Plan::forward(&geometry, &input, true, isa).to_string();
            assert!(plan.starts_with(output), "{plan}: {geometry:?}");
            let plan = WeightPlan::new(&geometry, true, isa).to_string();
            assert!(plan.starts_with(weights), "{plan}: {geometry:?}");
            let plan = Plan::forward(&geometry, &input, false, isa).to_string();
            assert!(plan.starts_with("direct"), "{plan}: {geometry:?}");
        }
    }
}
