use std::mem::MaybeUninit;

use super::{
    gather::{self, Finished, Source},
    geometry::Geometry,
    panels::{self, Panels, Weights},
    scratch::with_scratch,
    simd::Isa,
    sum_of_positions, weights, winograd,
};

#[cfg(unix)]
pub mod pages;

/// Pseudo-random numbers from -1 to 1.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0).collect()
}

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A convolution of `[inputs, outputs]` channels, with padding before and after each axis.
fn convolution(
    batch: usize,
    [inputs, outputs]: [usize; 2],
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [[usize; 2]; 2],
) -> Geometry {
    let output = [0, 1].map(|axis| {
        let [before, after] = padding[axis];
        (size[axis] + before + after - kernel[axis]) / stride[axis] + 1
    });
    let padding = padding.map(|[before, _]| before);
    Geometry { batch, inputs, outputs, size, kernel, stride, padding, output }
}

/// A convolution with equal sizes along both axes.
fn square(
    batch: usize,
    channels: [usize; 2],
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Geometry {
    convolution(batch, channels, [size; 2], [kernel; 2], [stride; 2], [[padding; 2]; 2])
}

fn input_shape(geometry: &Geometry) -> [usize; 4] {
    [geometry.batch, geometry.inputs, geometry.size[0], geometry.size[1]]
}

fn output_shape(geometry: &Geometry) -> [usize; 4] {
    [geometry.batch, geometry.outputs, geometry.output[0], geometry.output[1]]
}

fn multiplications(geometry: &Geometry) -> usize {
    output_shape(geometry).iter().product::<usize>() * geometry.inputs * geometry.taps()
}

/// The inputs of the three passes: images with their channels last, weights
/// `[output][input][row][column]`.
struct Case {
    geometry: Geometry,
    input: Vec<f32>,
    weight: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            input: noise(input_shape(&geometry).iter().product(), 1),
            weight: noise(geometry.weight_len(), 2),
            gradient: noise(output_shape(&geometry).iter().product(), 3),
        }
    }

    fn input(&self) -> Source<'_> {
        let [_, channels, height, width] = input_shape(&self.geometry);
        Source::channels_last(&self.input, [channels, height, width])
    }

    fn gradient(&self) -> Source<'_> {
        let [_, channels, height, width] = output_shape(&self.geometry);
        Source::channels_last(&self.gradient, [channels, height, width])
    }
}

/// The results by the definition of the convolution.
struct Sums {
    output: Vec<f64>,
    input: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl Sums {
    fn of(case: &Case) -> Self {
        let Case { geometry, input, weight, gradient } = case;
        let Geometry { batch, inputs, outputs, size, kernel, stride, padding, output } = *geometry;
        let taps = geometry.taps();
        let double = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let (input, weight, gradient) = (double(input), double(weight), double(gradient));
        // Outputs innermost: [tap][input][output].
        let place = |tap: usize, i: usize, o: usize| (tap * inputs + i) * outputs + o;
        let mut by_tap = vec![0.0; weight.len()];
        let all = || {
            (0..taps).flat_map(move |tap| {
                (0..inputs).flat_map(move |i| (0..outputs).map(move |o| (tap, i, o)))
            })
        };
        for (tap, i, o) in all() {
            by_tap[place(tap, i, o)] = weight[(o * inputs + i) * taps + tap];
        }
        let mut sums = Self {
            output: vec![0.0; gradient.len()],
            input: vec![0.0; input.len()],
            weight: vec![0.0; weight.len()],
            bias: vec![0.0; outputs],
        };
        let mut weight_by_tap = vec![0.0; weight.len()];
        for image in 0..batch {
            for (row, column) in (0..output[0]).flat_map(|y| (0..output[1]).map(move |x| (y, x))) {
                let to = ((image * output[0] + row) * output[1] + column) * outputs;
                let to = to..to + outputs;
                for (sum, value) in sums.bias.iter_mut().zip(&gradient[to.clone()]) {
                    *sum += value;
                }
                for tap in 0..taps {
                    let y = row * stride[0] + tap / kernel[1];
                    let x = column * stride[1] + tap % kernel[1];
                    let inside = |at: usize, axis: usize| {
                        (padding[axis]..padding[axis] + size[axis]).contains(&at)
                    };
                    if !inside(y, 0) || !inside(x, 1) {
                        continue;
                    }
                    let (y, x) = (y - padding[0], x - padding[1]);
                    let from = ((image * size[0] + y) * size[1] + x) * inputs;
                    for i in 0..inputs {
                        let row = place(tap, i, 0)..place(tap, i, 0) + outputs;
                        let value = input[from + i];
                        let outputs = sums.output[to.clone()].iter_mut();
                        for (sum, weight) in outputs.zip(&by_tap[row.clone()]) {
                            *sum += value * weight;
                        }
                        let gradients = &gradient[to.clone()];
                        for (sum, gradient) in weight_by_tap[row.clone()].iter_mut().zip(gradients)
                        {
                            *sum += value * gradient;
                        }
                        let products = by_tap[row].iter().zip(gradients).map(|(a, b)| a * b);
                        sums.input[from + i] += products.sum::<f64>();
                    }
                }
            }
        }
        for (tap, i, o) in all() {
            sums.weight[(o * inputs + i) * taps + tap] = weight_by_tap[place(tap, i, o)];
        }
        sums
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Algorithm {
    Direct,
    Winograd,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Direct, Self::Winograd];

    /// The largest error, relative to the largest value.
    fn tolerance(self) -> f64 {
        match self {
            Self::Direct => 1e-5,
            Self::Winograd => 1e-4,
        }
    }
}

/// The two passes whose result is an image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Output,
    InputGradient,
}

/// Computes a pass with this algorithm, even if the other takes less time; `false` if Winograd's
/// algorithm cannot compute it.
#[expect(clippy::too_many_arguments)]
fn run(
    algorithm: Algorithm,
    pass: Pass,
    geometry: &Geometry,
    source: Source,
    weight: &[f32],
    finish: Finished,
    isa: Isa,
    target: &mut [f32],
) -> bool {
    let taps = geometry.taps();
    let across = geometry.inputs * taps;
    let (direct, winograd, [n, k]) = match pass {
        Pass::Output => (
            gather::Problem::forward(geometry),
            winograd::Problem::forward(geometry),
            [across, taps],
        ),
        Pass::InputGradient => (
            gather::Problem::backward(geometry),
            winograd::Problem::backward(geometry),
            [taps, across],
        ),
    };
    let weights = Weights { values: weight, n, k, tap: 1 };
    let (order, depth) = (direct.taps(geometry.kernel[1]), direct.depth);
    let with_bias = |panels: Panels, compute: &mut dyn FnMut(Finished)| match finish.bias {
        Some(bias) => with_scratch(panels.padded(), |padded| {
            padded.copy_from_slice(&panels::pad(bias, panels));
            compute(Finished { bias: Some(padded), ..finish });
        }),
        None => compute(finish),
    };
    match algorithm {
        Algorithm::Direct => {
            let plan = gather::Plan::new(direct, &source, isa);
            let (panels, _) = plan.panels();
            with_scratch(panels.len(order.len() * depth), |packed| {
                panels::pack(weights, &order, depth, panels, packed);
                with_bias(panels, &mut |finish| plan.run(source, packed, to_write(target), finish));
            });
        }
        Algorithm::Winograd => {
            let Some(problem) = winograd else { return false };
            let plan = winograd::Plan::new(problem, isa);
            let (panels, isa) = plan.panels();
            with_scratch(winograd::weights_len(panels, depth), |transformed| {
                with_scratch(panels.len(9 * depth), |packed| {
                    panels::pack(weights, &order, depth, panels, packed);
                    winograd::transform_weights(packed, depth, panels, isa, transformed);
                });
                with_bias(panels, &mut |finish| {
                    plan.run(source, transformed, to_write(target), finish);
                });
            });
        }
    }
    true
}

/// Computes the gradients of weights and bias in the same way.
fn run_weights(
    algorithm: Algorithm,
    geometry: &Geometry,
    input: Source,
    gradient: Source,
    isa: Isa,
    weight: &mut [f32],
    bias: &mut [f32],
) -> bool {
    let layout = weights::Layout::of(geometry);
    match algorithm {
        Algorithm::Direct => {
            let plan = weights::Plan::new(geometry, isa);
            plan.run(input, gradient, to_write(weight), layout, Some(to_write(bias)));
        }
        Algorithm::Winograd => {
            let Some(plan) = winograd::WeightPlan::new(geometry, isa) else { return false };
            plan.run(input, gradient, to_write(weight), layout);
            bias.copy_from_slice(&sum_of_positions(geometry, gradient));
        }
    }
    true
}

/// Values in the form that a kernel writes.
fn to_write(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: the same layout; kernels write values there, and nothing else.
    unsafe { &mut *(values as *mut [f32] as *mut [MaybeUninit<f32>]) }
}

/// The results of a case.
struct Found {
    output: Vec<f32>,
    input: Option<Vec<f32>>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// All passes of one algorithm, into memory full of NaN.
fn compute(algorithm: Algorithm, case: &Case, isa: Isa) -> Option<Found> {
    compute_from(algorithm, case, case.input(), case.gradient(), isa)
}

fn compute_from(
    algorithm: Algorithm,
    case: &Case,
    input: Source,
    gradient: Source,
    isa: Isa,
) -> Option<Found> {
    let Case { geometry, weight, .. } = case;
    let finish = Finished::default();
    let nan = |count: usize| vec![f32::NAN; count];
    let image = |pass, source, count| {
        let mut target = nan(count);
        run(algorithm, pass, geometry, source, weight, finish, isa, &mut target).then_some(target)
    };
    let output = image(Pass::Output, input, case.gradient.len())?;
    let of_input = image(Pass::InputGradient, gradient, case.input.len());
    let (mut of_weight, mut bias) = (nan(weight.len()), nan(geometry.outputs));
    run_weights(algorithm, geometry, input, gradient, isa, &mut of_weight, &mut bias);
    Some(Found { output, input: of_input, weight: of_weight, bias })
}

impl Found {
    fn assert_near(&self, what: &str, expected: &Sums, tolerance: f64) {
        assert_near(&format!("{what}: output"), &self.output, &expected.output, tolerance);
        if let Some(input) = &self.input {
            assert_near(&format!("{what}: input's gradient"), input, &expected.input, tolerance);
        }
        assert_near(&format!("{what}: weights"), &self.weight, &expected.weight, tolerance);
        assert_near(&format!("{what}: bias"), &self.bias, &expected.bias, 1e-5);
    }

    fn bits(&self) -> Vec<u32> {
        let all = [&self.output, &self.weight, &self.bias].into_iter().chain(&self.input);
        all.flatten().map(|value| value.to_bits()).collect()
    }
}

fn assert_near(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        let near = error <= tolerance * largest;
        assert!(near, "{what}: {found} at {index}, not {expected}, of at most {largest}");
    }
}

/// Every pass against sums in f64: each algorithm, and the functions that choose between them.
fn check(geometry: Geometry) {
    let case = Case::new(geometry);
    let expected = Sums::of(&case);
    for isa in Isa::all() {
        for algorithm in Algorithm::ALL {
            let what = format!("{algorithm:?}, {isa}, {geometry:?}");
            if let Some(found) = compute(algorithm, &case, isa) {
                found.assert_near(&what, &expected, algorithm.tolerance());
            }
            let winograd = algorithm == Algorithm::Winograd;
            let (input, gradient, weight) = (case.input(), case.gradient(), &case.weight);
            let finish = Finished::default();
            let output = super::forward(&geometry, input, weight, finish, winograd, isa);
            let of_input = super::input_gradient(&geometry, gradient, weight, winograd, isa);
            let (of_weight, bias) =
                super::weight_gradient(&geometry, input, gradient, true, winograd, isa);
            let found =
                Found { output, input: Some(of_input), weight: of_weight, bias: bias.unwrap() };
            found.assert_near(&format!("chosen: {what}"), &expected, algorithm.tolerance());
        }
    }
}

const ONCE: [usize; 2] = [1, 1];
const NONE: [[usize; 2]; 2] = [[0, 0], [0, 0]];

#[test]
fn every_pass_is_near_sums_in_f64() {
    let geometries = [
        // Windows and strides.
        square(2, [5, 7], 6, 1, 1, 0),
        square(3, [17, 19], 7, 1, 2, 0),
        square(2, [6, 9], 5, 1, 1, 1),
        square(2, [3, 16], 9, 3, 1, 1),
        square(2, [16, 33], 8, 3, 1, 0),
        square(5, [16, 48], 9, 3, 2, 1),
        square(2, [7, 5], 10, 3, 4, 1),
        square(2, [6, 16], 12, 5, 1, 0),
        square(2, [3, 10], 9, 5, 1, 2),
        square(2, [1, 64], 21, 7, 2, 3),
        square(1, [2, 7], 30, 11, 4, 2),
        convolution(2, [5, 6], [7, 9], [3, 1], [1, 2], [[1, 1], [0, 0]]),
        convolution(2, [4, 9], [6, 11], [1, 5], [1, 1], [[0, 0], [2, 2]]),
        convolution(1, [3, 8], [12, 9], [7, 3], [2, 1], [[3, 3], [1, 1]]),
        convolution(1, [6, 5], [9, 17], [5, 11], [4, 1], [[2, 2], [5, 5]]),
        convolution(3, [8, 8], [9, 10], [3, 3], [1, 3], [[1, 1], [1, 1]]),
        // Windows that skip pixels.
        square(3, [5, 17], 7, 1, 4, 0),
        square(17, [5, 1], 4, 3, 5, 0),
        // Padding: larger than the window, or only at one end.
        square(1, [2, 3], 3, 5, 1, 3),
        square(2, [9, 17], 4, 3, 1, 3),
        square(2, [5, 6], 3, 1, 2, 3),
        square(30, [8, 25], 2, 3, 2, 2),
        convolution(2, [17, 18], [5, 6], [3, 3], ONCE, [[0, 1], [1, 0]]),
        convolution(2, [6, 16], [6, 5], [3, 3], ONCE, [[2, 0], [0, 3]]),
        convolution(2, [3, 16], [7, 8], [5, 3], [2, 2], [[3, 1], [0, 2]]),
        convolution(2, [3, 4], [4, 4], [2, 2], ONCE, [[0, 1], [0, 1]]),
        // Images of one pixel, one row, one column; as large as the window.
        square(4, [19, 23], 1, 3, 1, 1),
        convolution(3, [20, 17], [1, 13], [3, 3], ONCE, [[1, 1], [1, 1]]),
        convolution(3, [17, 20], [14, 1], [3, 3], ONCE, [[1, 1], [1, 1]]),
        square(9, [11, 13], 5, 5, 1, 0),
        square(33, [16, 16], 3, 3, 1, 0),
        // Channels: one, primes, many, and numbers for which rows collide in the cache.
        square(3, [1, 1], 7, 3, 1, 1),
        square(2, [1, 37], 9, 3, 1, 1),
        square(2, [37, 1], 9, 3, 1, 1),
        square(13, [17, 19], 5, 3, 1, 1),
        square(2, [67, 71], 6, 3, 1, 1),
        square(2, [127, 131], 3, 1, 1, 0),
        convolution(1, [2048, 40], [3, 2], [1, 1], ONCE, NONE),
        convolution(1, [41, 2048], [2, 3], [1, 1], ONCE, NONE),
        square(1, [512, 33], 4, 1, 1, 0),
        square(2, [512, 24], 4, 3, 1, 1),
        square(1, [256, 20], 6, 3, 2, 1),
        // Batches: many small images, odd numbers of images.
        square(40, [24, 32], 3, 3, 1, 1),
        square(101, [3, 8], 3, 3, 1, 1),
        square(7, [32, 64], 8, 3, 1, 1),
        square(15, [64, 32], 6, 3, 2, 1),
        // Several pieces of the sums over positions.
        square(3, [40, 40], 40, 3, 1, 1),
        square(64, [1, 6], 28, 5, 1, 2),
        // A window of one pixel with more than one line.
        square(3, [18, 34], 13, 1, 1, 0),
        // Lines in parts: images of few lines, and few images.
        square(1, [300, 16], 9, 5, 1, 2),
        square(1, [16, 200], 11, 5, 2, 2),
        square(4, [150, 32], 8, 5, 1, 2),
        convolution(1, [260, 7], [5, 19], [3, 5], ONCE, [[1, 1], [2, 2]]),
    ];
    geometries.into_iter().for_each(check);
}

#[test]
fn random_convolutions_are_near_sums_in_f64() {
    let mut random = Random::new(7);
    let mut checked = 0;
    while checked < 150 {
        let mut channels =
            || if random.below(4) == 0 { 1 + random.below(150) } else { 1 + random.below(20) };
        let channels = [channels(), channels()];
        let kernel = match random.below(3) {
            0 => [1, 1],
            1 => [3, 3],
            _ => [1 + random.below(11), 1 + random.below(7)],
        };
        let stride = if random.flip() { ONCE } else { [1 + random.below(4), 1 + random.below(4)] };
        let before = [random.below(4), random.below(4)];
        let after = if random.flip() { before } else { [random.below(4), random.below(4)] };
        let padding = [[before[0], after[0]], [before[1], after[1]]];
        let most = if random.below(6) == 0 { 60 } else { 20 };
        let size = [1 + random.below(most), 1 + random.below(most)];
        let batch = 1 + if random.below(3) == 0 { random.below(40) } else { random.below(5) };
        if (0..2).any(|axis| size[axis] + before[axis] + after[axis] < kernel[axis]) {
            continue;
        }
        let geometry = convolution(batch, channels, size, kernel, stride, padding);
        if multiplications(&geometry) < 3_000_000 {
            check(geometry);
            checked += 1;
        }
    }
}

#[test]
fn a_batch_of_no_images_gives_no_output_and_gradients_of_0() {
    let channels = [[5, 7], [3, 17], [20, 16], [1, 1]];
    let geometries = channels.into_iter().flat_map(|channels| {
        [
            square(0, channels, 6, 3, 1, 1),
            square(0, channels, 6, 1, 1, 0),
            square(0, channels, 9, 5, 2, 2),
        ]
    });
    for geometry in geometries {
        let weight = noise(geometry.weight_len(), 1);
        let [input, gradient] = [input_shape(&geometry), output_shape(&geometry)].map(
            |[_, channels, height, width]| Source::channels_last(&[], [channels, height, width]),
        );
        for (isa, winograd) in Isa::all().flat_map(|isa| [(isa, false), (isa, true)]) {
            let finish = Finished { relu: true, ..Finished::default() };
            assert!(super::forward(&geometry, input, &weight, finish, winograd, isa).is_empty());
            assert!(super::input_gradient(&geometry, gradient, &weight, winograd, isa).is_empty());
            let (of_weight, of_bias) =
                super::weight_gradient(&geometry, input, gradient, true, winograd, isa);
            assert_eq!(of_weight, vec![0.0; weight.len()]);
            assert_eq!(of_bias.unwrap(), vec![0.0; geometry.outputs]);
        }
    }
}

/// A tensor of images: values at strides, NaN between them.
struct Laid {
    values: Vec<f32>,
    strides: [usize; 4],
}

impl Laid {
    /// From images with their channels last.
    fn new(values: &[f32], shape: [usize; 4], strides: [usize; 4]) -> Self {
        let length: usize =
            shape.iter().zip(strides).map(|(size, stride)| (size - 1) * stride).sum();
        let mut laid = vec![f32::NAN; length + 1];
        let [_, channels, height, width] = shape;
        for (index, value) in values.iter().enumerate() {
            let (pixel, c) = (index / channels, index % channels);
            let (row, x) = (pixel / width, pixel % width);
            let (n, y) = (row / height, row % height);
            let at = [n, c, y, x]
                .iter()
                .zip(strides)
                .map(|(index, stride)| index * stride)
                .sum::<usize>();
            laid[at] = *value;
        }
        Self { values: laid, strides }
    }

    /// The values as the strides give them, channels last: a stride of 0 repeats a value.
    fn read(&self, [batch, channels, height, width]: [usize; 4]) -> Vec<f32> {
        let [n, c, y, x] = self.strides;
        let mut values = Vec::new();
        for image in 0..batch {
            for (row, column) in
                (0..height).flat_map(|row| (0..width).map(move |column| (row, column)))
            {
                let at = image * n + row * y + column * x;
                values.extend((0..channels).map(|channel| self.values[at + channel * c]));
            }
        }
        values
    }

    fn source(&self) -> Source<'_> {
        Source { values: &self.values, strides: self.strides }
    }
}

/// Memory layouts of a tensor.
fn layouts([_, channels, height, width]: [usize; 4]) -> [[usize; 4]; 12] {
    let dense = [height * width * channels, 1, width * channels, channels];
    let plane = height * width;
    let [n, c, y, x] = dense;
    [
        dense,
        // Channels first, and with the axes of the image swapped.
        [channels * plane, plane, width, 1],
        [channels * plane, plane, 1, height],
        // Parts of larger tensors: of channels, rows and columns, every other image.
        [height * (width + 2) * (c * channels + 3), 1, (width + 2) * (channels + 3), channels + 3],
        [2 * n, 1, 2 * y, 2 * x],
        [channels * (plane * 4 + 5), plane * 4 + 5, 4 * width, 2],
        // Expanded: one image, channel, row, column, value for all.
        [0, c, y, x],
        [plane, 0, width, 1],
        [width * channels, 1, 0, channels],
        [height * channels, 1, channels, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
}

#[test]
fn images_may_lie_anywhere_in_memory() {
    let geometries = [
        square(3, [3, 5], 6, 3, 1, 1),
        square(2, [17, 18], 5, 3, 1, 1),
        square(2, [1, 16], 9, 5, 2, 2),
        square(20, [6, 7], 3, 3, 1, 1),
        square(2, [9, 20], 7, 1, 1, 0),
        square(3, [4, 33], 7, 1, 2, 0),
        convolution(2, [5, 6], [7, 9], [3, 2], [1, 2], [[1, 0], [0, 1]]),
    ];
    for geometry in geometries {
        let shapes = [input_shape(&geometry), output_shape(&geometry)];
        let plain = Case::new(geometry);
        for (index, (of_input, of_gradient)) in
            layouts(shapes[0]).into_iter().zip(layouts(shapes[1])).enumerate()
        {
            let input = Laid::new(&plain.input, shapes[0], of_input);
            let gradient = Laid::new(&plain.gradient, shapes[1], of_gradient);
            let case = Case {
                input: input.read(shapes[0]),
                gradient: gradient.read(shapes[1]),
                weight: plain.weight.clone(),
                geometry,
            };
            let expected = Sums::of(&case);
            let near = |strides: [usize; 4], channels: usize| strides[1] == 1 || channels == 1;
            for isa in Isa::all() {
                for algorithm in Algorithm::ALL {
                    // Winograd's algorithm needs adjacent channels.
                    let takes =
                        near(of_input, geometry.inputs) && near(of_gradient, geometry.outputs);
                    if algorithm == Algorithm::Winograd && !takes {
                        continue;
                    }
                    let (input, gradient) = (input.source(), gradient.source());
                    if let Some(found) = compute_from(algorithm, &case, input, gradient, isa) {
                        let what = format!("layout {index}, {algorithm:?}, {isa}, {geometry:?}");
                        found.assert_near(&what, &expected, algorithm.tolerance());
                    }
                }
            }
        }
    }
}

/// Tiles along lines and along the batch, windows of one pixel and of more, few columns and many.
fn varied() -> [Geometry; 6] {
    [
        square(2, [17, 18], 7, 3, 1, 1),
        square(3, [16, 33], 9, 3, 1, 1),
        square(30, [24, 16], 3, 3, 1, 1),
        square(3, [18, 35], 9, 1, 1, 0),
        square(2, [3, 7], 9, 5, 2, 2),
        square(2, [1, 64], 21, 7, 2, 3),
    ]
}

#[test]
fn bias_residual_and_relu_are_added_in_every_combination() {
    for geometry in varied() {
        let case = Case::new(geometry);
        let sums = Sums::of(&case).output;
        let bias = noise(geometry.outputs, 4);
        let residual: Vec<f32> = noise(sums.len(), 5).iter().map(|value| 3.0 * value).collect();
        for combination in 0..8 {
            let finish = Finished {
                bias: (combination & 1 > 0).then_some(&bias[..]),
                residual: (combination & 2 > 0).then_some(&residual[..]),
                relu: combination & 4 > 0,
            };
            let expected = |(index, sum): (usize, &f64)| {
                let bias =
                    finish.bias.map_or(0.0, |bias| f64::from(bias[index % geometry.outputs]));
                let residual = finish.residual.map_or(0.0, |residual| f64::from(residual[index]));
                let value = sum + bias + residual;
                if finish.relu { value.max(0.0) } else { value }
            };
            let expected: Vec<f64> = sums.iter().enumerate().map(expected).collect();
            for (isa, algorithm) in Isa::all().flat_map(|isa| Algorithm::ALL.map(|it| (isa, it))) {
                let what = format!("{combination:03b}, {algorithm:?}, {isa}, {geometry:?}");
                let mut found = vec![f32::NAN; sums.len()];
                let (input, weight) = (case.input(), &case.weight);
                if run(algorithm, Pass::Output, &geometry, input, weight, finish, isa, &mut found) {
                    assert_near(&what, &found, &expected, algorithm.tolerance());
                }
                let winograd = algorithm == Algorithm::Winograd;
                let found = super::forward(&geometry, input, weight, finish, winograd, isa);
                assert_near(&format!("chosen: {what}"), &found, &expected, algorithm.tolerance());
            }
        }
    }
}

#[test]
fn nan_passes_the_relu_and_minus_infinity_becomes_0() {
    for geometry in varied() {
        let case = Case::new(geometry);
        let mut bias = noise(geometry.outputs, 4);
        let (nan, infinite) = (geometry.outputs - 1, geometry.outputs / 2);
        (bias[nan], bias[infinite]) = (f32::NAN, f32::NEG_INFINITY);
        let finish = Finished { bias: Some(&bias), residual: None, relu: true };
        for (isa, algorithm) in Isa::all().flat_map(|isa| Algorithm::ALL.map(|it| (isa, it))) {
            let mut found = vec![0.5; case.gradient.len()];
            let (input, weight) = (case.input(), &case.weight);
            if !run(algorithm, Pass::Output, &geometry, input, weight, finish, isa, &mut found) {
                continue;
            }
            for (index, value) in found.iter().enumerate() {
                let channel = index % geometry.outputs;
                let what =
                    format!("{value} of channel {channel}, {algorithm:?}, {isa}, {geometry:?}");
                assert_eq!(value.is_nan(), channel == nan, "{what}");
                assert!(channel != infinite || *value == 0.0, "{what}");
            }
        }
    }
}

#[test]
fn the_gradient_of_the_relu_is_0_where_its_output_is_and_passes_where_that_is_nan() {
    let output: Vec<f32> = (0..70_000).map(|i| [0.0, 1.5, f32::NAN, -0.0][i % 4]).collect();
    let mut gradient = noise(output.len(), 1);
    let before = gradient.clone();
    super::relu_backward(&output, &mut gradient);
    for (i, (gradient, before)) in gradient.into_iter().zip(before).enumerate() {
        assert_eq!(gradient, if i % 2 == 0 && i % 4 != 2 || i % 4 == 3 { 0.0 } else { before });
    }
}

fn assert_same_places(what: &str, found: &[f32], expected: &[f64]) {
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.is_finite(), expected.is_finite(), "{what}: {found} at {index}");
    }
}

/// Pixels of images that are not finite, one in a corner, one inside.
const PIXELS: [(f32, [usize; 2]); 3] =
    [(f32::NAN, [0, 0]), (f32::INFINITY, [3, 4]), (f32::NEG_INFINITY, [2, 1])];

/// The index of a channel of a pixel in the last image.
fn place([batch, channels, height, width]: [usize; 4], [row, column]: [usize; 2]) -> usize {
    let (row, column) = (row.min(height - 1), column.min(width - 1));
    (((batch - 1) * height + row) * width + column) * channels + channels / 2
}

#[test]
fn what_is_not_finite_reaches_the_sums_that_have_it_and_no_others() {
    let [a, b, c, d, e, f] = varied();
    let others = [square(3, [33, 5], 9, 3, 2, 1), square(2, [4, 9], 8, 3, 3, 0)];
    for geometry in [a, b, c, d, e, f].into_iter().chain(others) {
        for (value, at) in PIXELS {
            let mut of_input = Case::new(geometry);
            of_input.input[place(input_shape(&geometry), at)] = value;
            let expected = Sums::of(&of_input);
            let mut of_gradient = Case::new(geometry);
            of_gradient.gradient[place(output_shape(&geometry), at)] = value;
            let expected_of_gradient = Sums::of(&of_gradient);
            for isa in Isa::all() {
                let what = format!("{value} at {at:?}, {isa}, {geometry:?}");
                let found = compute(Algorithm::Direct, &of_input, isa).unwrap();
                assert_same_places(&format!("{what}: output"), &found.output, &expected.output);
                assert_same_places(&format!("{what}: weights"), &found.weight, &expected.weight);
                assert_near(&what, &found.bias, &expected.bias, 1e-5);
                let expected = &expected_of_gradient;
                let found = compute(Algorithm::Direct, &of_gradient, isa).unwrap();
                let input = found.input.unwrap();
                assert_same_places(&format!("{what}: input"), &input, &expected.input);
                let weights = format!("{what}: weights'");
                if geometry.inputs > weights::FEW {
                    assert_same_places(&weights, &found.weight, &expected.weight);
                } else {
                    // There the padding is multiplied as zeros, and 0 * NaN is NaN: in its own
                    // channel.
                    let row = geometry.weight_len() / geometry.outputs;
                    for (index, value) in found.weight.iter().enumerate() {
                        let must = !expected.weight[index].is_finite();
                        let may = index / row == geometry.outputs / 2;
                        assert!(value.is_finite() || may, "{weights}: {value} at {index}");
                        assert!(!value.is_finite() || !must, "{weights}: {value} at {index}");
                    }
                }
                assert_same_places(&format!("{what}: bias"), &found.bias, &expected.bias);
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_the_tiles_that_read_it() {
    /// Outputs of a tile along an axis, and inputs that it reads.
    const TILE: usize = 4;
    const READ: usize = 6;
    let geometries = [
        square(2, [17, 18], 11, 3, 1, 1),
        square(2, [16, 33], 10, 3, 1, 0),
        convolution(3, [5, 7], [9, 14], [3, 3], ONCE, [[2, 1], [0, 2]]),
    ];
    for geometry in geometries {
        for (value, at) in [PIXELS[0], PIXELS[1], PIXELS[2], (f32::NAN, [6, 5])] {
            let mut of_input = Case::new(geometry);
            let shape = input_shape(&geometry);
            of_input.input[place(shape, at)] = value;
            let mut of_gradient = Case::new(geometry);
            let gradient_shape = output_shape(&geometry);
            of_gradient.gradient[place(gradient_shape, at)] = value;
            for isa in Isa::all() {
                let what = format!("{value} at {at:?}, {isa}, {geometry:?}");
                let found = compute(Algorithm::Winograd, &of_input, isa).unwrap();
                let sums = Sums::of(&of_input);
                let of_weights = compute(Algorithm::Winograd, &of_gradient, isa).unwrap();
                let gradient_sums = Sums::of(&of_gradient);
                let input = of_weights.input.as_ref().unwrap();
                let turned = geometry.padding.map(|padding| 2 - padding);
                for (found, sums, [batch, channels, height, width], padding) in [
                    (&found.output, &sums.output, gradient_shape, geometry.padding),
                    (input, &gradient_sums.input, shape, turned),
                ] {
                    assert_eq!(found.len(), batch * channels * height * width);
                    for (index, value) in found.iter().enumerate() {
                        let pixel = index / channels;
                        let (image, y, x) =
                            (pixel / (height * width), pixel / width % height, pixel % width);
                        let reads = |position: usize, axis: usize| {
                            let first = position / TILE * TILE;
                            (first..first + READ).contains(&(at[axis] + padding[axis]))
                        };
                        let may = image == batch - 1 && reads(y, 0) && reads(x, 1);
                        let must = !sums[index].is_finite();
                        assert!(may || !must, "{what}: the test itself");
                        assert!(value.is_finite() || may, "{what}: {value} at {y}, {x}");
                        assert!(!value.is_finite() || !must, "{what}: {value} at {y}, {x}");
                    }
                }
                // The sums of the weights are over all tiles, and do not mix channels.
                let taps = geometry.taps();
                for (index, value) in found.weight.iter().enumerate() {
                    let channel = index / taps % geometry.inputs;
                    let must = !sums.weight[index].is_finite();
                    assert!(value.is_finite() || channel == geometry.inputs / 2, "{what}");
                    assert!(!value.is_finite() || !must, "{what}");
                }
                for (index, value) in of_weights.weight.iter().enumerate() {
                    let channel = index / taps / geometry.inputs;
                    let must = !gradient_sums.weight[index].is_finite();
                    assert!(value.is_finite() || channel == geometry.outputs / 2, "{what}");
                    assert!(!value.is_finite() || !must, "{what}");
                }
                assert_same_places(&what, &of_weights.bias, &gradient_sums.bias);
            }
        }
    }
}

#[test]
fn the_bits_are_the_same_on_any_number_of_threads() {
    let geometries = [
        square(8, [32, 64], 16, 3, 1, 1),
        square(40, [64, 48], 4, 3, 1, 1),
        square(4, [96, 128], 14, 1, 1, 0),
        square(4, [3, 32], 40, 7, 2, 3),
        square(2, [20, 70], 24, 5, 1, 2),
        square(1, [64, 64], 28, 3, 2, 1),
    ];
    for geometry in geometries {
        let case = Case::new(geometry);
        for (isa, algorithm) in Isa::all().flat_map(|isa| Algorithm::ALL.map(|it| (isa, it))) {
            let bits = [1, 2, 5, 16].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| compute(algorithm, &case, isa)).map(|found| found.bits())
            });
            for other in &bits[1..] {
                assert!(*other == bits[0], "{algorithm:?}, {isa}, {geometry:?}");
            }
        }
    }
}

#[test]
#[cfg(unix)]
fn no_kernel_reads_or_writes_beyond_its_tensors_and_scratch() {
    use pages::{Pages, Side, with_guarded_scratch};

    const CHANNELS: [usize; 7] = [1, 3, 6, 7, 16, 17, 33];
    let pairs = CHANNELS.into_iter().flat_map(|a| CHANNELS.map(|b| [a, b]));
    let mut geometries: Vec<_> = pairs
        .flat_map(|channels| {
            [
                square(2, channels, 5, 1, 1, 0),
                square(2, channels, 6, 3, 1, 1),
                convolution(1, channels, [7, 6], [3, 3], ONCE, [[2, 0], [0, 1]]),
                square(2, channels, 7, 3, 2, 1),
                square(17, channels, 2, 3, 1, 1),
                square(1, channels, 9, 5, 3, 2),
            ]
        })
        .collect();
    geometries.extend([
        square(1, [512, 33], 4, 1, 1, 0),
        square(1, [512, 17], 4, 3, 2, 1),
        square(3, [3, 17], 20, 11, 4, 2),
        square(3, [40, 70], 13, 3, 1, 1),
        square(2, [37, 40], 21, 3, 1, 1),
        square(1, [300, 16], 9, 5, 1, 2),
        square(4, [150, 32], 8, 5, 1, 2),
    ]);
    let check = |geometry: Geometry, side: Side, isa: Isa, algorithm: Algorithm| {
        let what = format!("{side:?}, {algorithm:?}, {isa}, {geometry:?}");
        let case = Case::new(geometry);
        let sums = Sums::of(&case);
        let weight = Pages::of(&case.weight, side);
        let bias = Pages::of(&noise(geometry.outputs, 4), side);
        let residual = Pages::of(&noise(sums.output.len(), 5), side);
        let shapes = [input_shape(&geometry), output_shape(&geometry)];
        for layout in 0..2 {
            let strides = shapes.map(|shape| layouts(shape)[layout]);
            if algorithm == Algorithm::Winograd && layout > 0 {
                continue;
            }
            let values = Laid::new(&case.input, shapes[0], strides[0]).values;
            let values = Pages::of(&values, side);
            let input = Source { values: &values, strides: strides[0] };
            let values = Laid::new(&case.gradient, shapes[1], strides[1]).values;
            let values = Pages::of(&values, side);
            let gradient = Source { values: &values, strides: strides[1] };
            let mut target = Pages::new(sums.output.len(), side);
            let finish = Finished { bias: Some(&bias), residual: Some(&residual), relu: true };
            let pass = Pass::Output;
            if !run(algorithm, pass, &geometry, input, &weight, finish, isa, &mut target) {
                return;
            }
            let epilogue = |(index, sum): (usize, &f64)| {
                let bias = f64::from(bias[index % geometry.outputs]);
                (sum + bias + f64::from(residual[index])).max(0.0)
            };
            let expected: Vec<f64> = sums.output.iter().enumerate().map(epilogue).collect();
            assert_near(&what, &target, &expected, algorithm.tolerance());
            let mut target = Pages::new(sums.input.len(), side);
            let (pass, finish) = (Pass::InputGradient, Finished::default());
            if run(algorithm, pass, &geometry, gradient, &weight, finish, isa, &mut target) {
                assert_near(&what, &target, &sums.input, algorithm.tolerance());
            }
            let mut of_weight = Pages::new(sums.weight.len(), side);
            let mut of_bias = Pages::new(sums.bias.len(), side);
            run_weights(algorithm, &geometry, input, gradient, isa, &mut of_weight, &mut of_bias);
            assert_near(&what, &of_weight, &sums.weight, algorithm.tolerance());
            assert_near(&what, &of_bias, &sums.bias, 1e-5);
        }
    };
    for side in [Side::Before, Side::After] {
        with_guarded_scratch(side, || {
            for geometry in &geometries {
                for isa in Isa::all() {
                    for algorithm in Algorithm::ALL {
                        check(*geometry, side, isa, algorithm);
                    }
                }
            }
        });
    }
}

/// Computes two images of 3 x 3 pixels and four channels, with a bias and a residual of these
/// lengths.
fn finish_with(algorithm: Algorithm, bias: usize, residual: usize) {
    let geometry = Geometry {
        batch: 2,
        inputs: 4,
        outputs: 4,
        size: [3, 3],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        output: [3, 3],
    };
    let (bias, residual) = (vec![0.0; bias], vec![0.0; residual]);
    let finish = Finished { bias: Some(&bias), residual: Some(&residual), relu: false };
    let weight = vec![0.0; geometry.weight_len()];
    let problem = winograd::Problem::forward(&geometry).expect("a window of 3 x 3");
    let images = [0.0; 72];
    let source = Source::channels_last(&images, [4, 3, 3]);
    let mut target = [0.0; 72];
    match algorithm {
        Algorithm::Direct => {
            let direct = gather::Problem::forward(&geometry);
            let plan = gather::Plan::new(direct, &source, Isa::Portable);
            let packed = vec![0.0; plan.panels().0.len(weight.len() / 4)];
            plan.run(source, &packed, to_write(&mut target), finish);
        }
        Algorithm::Winograd => {
            let plan = winograd::Plan::new(problem, Isa::Portable);
            let transformed = vec![0.0; winograd::weights_len(plan.panels().0, 4)];
            plan.run(source, &transformed, to_write(&mut target), finish);
        }
    }
}

#[test]
fn a_bias_and_a_residual_that_fit_are_taken() {
    finish_with(Algorithm::Direct, 8, 72);
    finish_with(Algorithm::Winograd, 8, 72);
}

#[test]
#[should_panic = "the residual is too short"]
fn a_residual_that_is_too_short_is_refused() {
    finish_with(Algorithm::Direct, 8, 71);
}

#[test]
#[should_panic = "the residual is too short"]
fn a_residual_that_is_too_short_is_refused_by_winograd() {
    finish_with(Algorithm::Winograd, 8, 71);
}

#[test]
#[should_panic = "the bias with its padding is too short"]
fn a_bias_without_its_padding_is_refused() {
    finish_with(Algorithm::Direct, 4, 72);
}

/// Every convolution of these networks: channels, pixels of a side, window, stride, padding.
fn layers() -> Vec<([usize; 2], usize, usize, usize, usize)> {
    let mut layers = vec![
        // AlexNet, NiN, ResNet, GoogLeNet, DenseNet: the stem.
        ([1, 96], 224, 11, 4, 1),
        ([3, 64], 224, 11, 4, 2),
        ([1, 96], 224, 11, 4, 0),
        ([3, 64], 224, 7, 2, 3),
        ([1, 64], 96, 7, 2, 3),
        ([3, 64], 28, 3, 1, 1),
        // The rest of AlexNet and of NiN.
        ([96, 256], 26, 5, 1, 2),
        ([256, 384], 12, 3, 1, 1),
        ([384, 384], 12, 3, 1, 1),
        ([384, 256], 12, 3, 1, 1),
        ([96, 96], 54, 1, 1, 0),
        ([256, 256], 26, 1, 1, 0),
        ([384, 10], 5, 3, 1, 1),
    ];
    // VGG: 224 pixels, and 28.
    for (channels, size) in [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)] {
        let before = if size == 224 {
            3
        } else if size == 14 {
            512
        } else {
            channels / 2
        };
        layers.push(([before, channels], size, 3, 1, 1));
        layers.push(([channels, channels], size, 3, 1, 1));
        layers.push(([channels, channels], (size / 8).max(3), 3, 1, 1));
    }
    // ResNet: the basic block and the bottleneck, of 224, 96 and 28 pixels.
    for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
        for size in [56 >> stage, 24 >> stage, 28 >> stage] {
            layers.push(([channels, channels], size, 3, 1, 1));
            layers.push(([channels, 4 * channels], size, 1, 1, 0));
            layers.push(([4 * channels, channels], size, 1, 1, 0));
            if stage > 0 {
                layers.push(([channels / 2, channels], 2 * size, 3, 2, 1));
                layers.push(([channels / 2, channels], 2 * size, 1, 2, 0));
                layers.push(([channels, channels], 2 * size, 3, 2, 1));
                layers.push(([2 * channels, 4 * channels], 2 * size, 1, 2, 0));
            }
        }
    }
    // GoogLeNet's branches, DenseNet's layers and transitions.
    for size in [28, 14, 7, 12, 6, 3] {
        for channels in [[192, 64], [512, 24], [832, 384]] {
            layers.push((channels, size, 1, 1, 0));
        }
        layers.push(([96, 208], size, 3, 1, 1));
        layers.push(([160, 320], size, 3, 1, 1));
        layers.push(([32, 128], size, 5, 1, 2));
    }
    for size in [56, 28, 14, 7, 24, 12] {
        for channels in [[64, 128], [512, 256], [1024, 512], [248, 128]] {
            layers.push((channels, size, 1, 1, 0));
        }
        layers.push(([128, 32], size, 3, 1, 1));
        layers.push(([248, 32], size, 3, 1, 1));
    }
    layers
}

/// At most two thirds of a millisecond: a core with AVX2 does 50 to 120 multiply-adds in a nanosecond.
const LONG: usize = 1 << 25;

#[test]
fn a_long_pass_has_32_tasks_or_more() {
    let mut plans = 0;
    for isa in Isa::all() {
        for ([inputs, outputs], size, kernel, stride, padding) in layers() {
            for batch in [1, 2, 3, 8, 32] {
                let geometry = square(batch, [inputs, outputs], size, kernel, stride, padding);
                if multiplications(&geometry) < LONG {
                    continue;
                }
                let case = Case { geometry, input: vec![], weight: vec![], gradient: vec![] };
                let forward = gather::Problem::forward(&geometry);
                let backward = gather::Problem::backward(&geometry);
                let mut tasks = vec![
                    ("output", gather::Plan::new(forward, &case.input(), isa).tasks()),
                    ("input", gather::Plan::new(backward, &case.gradient(), isa).tasks()),
                    ("weights", weights::Plan::new(&geometry, isa).tasks()),
                ];
                let winograd = |problem: winograd::Problem| {
                    problem.wins().then(|| winograd::Plan::new(problem, isa).tasks())
                };
                let forward = winograd::Problem::forward(&geometry).and_then(winograd);
                let backward = winograd::Problem::backward(&geometry).and_then(winograd);
                let of_weights = winograd::WeightPlan::new(&geometry, isa)
                    .filter(winograd::WeightPlan::wins)
                    .map(|plan| plan.tasks());
                // 36 products of each tile of 4 x 4 pixels.
                let tiles = |[height, width]: [usize; 2]| height.div_ceil(4) * width.div_ceil(4);
                let multiplied = |pixels| 36 * batch * tiles(pixels) * inputs * outputs >= LONG;
                if multiplied(geometry.output) {
                    tasks.extend(forward.map(|tasks| ("output, Winograd", tasks)));
                    tasks.extend(of_weights.map(|tasks| ("weights, Winograd", tasks)));
                }
                if multiplied(geometry.size) {
                    tasks.extend(backward.map(|tasks| ("input, Winograd", tasks)));
                }
                for (pass, tasks) in tasks {
                    plans += 1;
                    assert!(tasks >= 32, "{tasks} tasks for {pass} of {geometry:?} with {isa}");
                }
            }
        }
    }
    assert!(plans > 1000, "{plans}");
}
