//! Benchmarks the batch norm kernels against Burn's own operation and a plain copy.

use std::{cell::Cell, time::Duration};

use batch_norm::{
    RunningVariance,
    ops::{BackwardOptions, BatchNormOps, Epilogue, Options},
};
use burn::{
    backend::{
        Dispatch, DispatchTensor,
        ops::{ActivationOps, BatchNormTrain, ModuleOps},
    },
    tensor::{Device, Distribution, Tensor},
};
use rayon::{
    iter::{IndexedParallelIterator, ParallelIterator},
    slice::{ParallelSlice, ParallelSliceMut},
};
use serde::{Deserialize, Serialize};
use train::device::Found;

use super::{finish, medians, timed};

/// Batch norm layers of networks, at the batch sizes used in training.
const SHAPES: [(&str, &[usize]); 15] = [
    ("LeNet-BN bn1", &[256, 6, 24, 24]),
    ("LeNet-BN bn2", &[256, 16, 8, 8]),
    ("LeNet-BN bn3", &[256, 120]),
    ("LeNet-BN bn4", &[256, 84]),
    ("GoogLeNet 96 px, stem", &[128, 64, 48, 48]),
    ("GoogLeNet 96 px, stage 2", &[128, 192, 24, 24]),
    ("GoogLeNet 96 px, inception", &[128, 128, 12, 12]),
    ("ResNet-18 96 px, stage 1", &[32, 64, 24, 24]),
    ("ResNet-18 96 px, stage 4", &[256, 512, 3, 3]),
    ("ResNet-50 stem", &[32, 64, 112, 112]),
    ("ResNet-50 stage 3", &[32, 256, 14, 14]),
    ("ResNet-50 stage 4", &[32, 2048, 7, 7]),
    ("ResNet-50 stage 4, narrow", &[64, 512, 7, 7]),
    ("DenseNet 96 px, block 1", &[64, 96, 24, 24]),
    ("DenseNet 96 px, last", &[256, 248, 3, 3]),
];

/// The target number of values over all rounds: small shapes run for more rounds.
const VALUES: usize = 1 << 26;

/// The lowest number of times that a pass reads or writes the tensor. Forward: reads the input for
/// the statistics and for the normalization, writes the output. Backward: reads the input and the
/// gradient twice each, writes the gradient of the input.
const FORWARD: usize = 3;
const BACKWARD: usize = 5;

/// What to measure for every shape.
#[derive(Clone, Copy)]
pub struct What {
    /// Only the kernels.
    pub alone: bool,
    /// With a ReLU after the normalization.
    pub relu: bool,
}

/// The figures of one shape, layout and pass.
#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    network: String,
    pub shape: Vec<usize>,
    pub layout: String,
    pub pass: String,
    pub kernel_ms: f64,
    /// The time of Burn's operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_ms: Option<f64>,
    /// How many times as fast the kernel is.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// The bytes of the minimal passes per second of kernel time.
    pub gbps: f64,
    /// `gbps` as a share of the rate at which a copy moves the same tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_share: Option<f64>,
}

/// Times the forward and backward pass of every shape in both layouts, in f32, on random values.
pub fn run(found: &Found, what: What, json: bool) {
    let mut rows = Vec::new();
    if !json {
        println!("{}: medians of interleaved rounds", found.name);
        println!(
            "{:27} {:>18} {:6} {:8} {:>10} {:>12} {:>6} {:>7} {:>10}",
            "", "shape", "layout", "pass", "kernel ms", "burn's ms", "ratio", "GB/s", "copy share"
        );
    }
    for (network, shape) in SHAPES {
        for layout in ["nchw", "nhwc"] {
            if layout == "nhwc" && shape.len() == 2 {
                continue; // the same memory
            }
            for row in measure(network, shape, layout, what, &found.device) {
                if !json {
                    print(&row);
                }
                rows.push(row);
            }
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("plain values are JSON"));
    }
}

fn print(row: &Row) {
    let shape: Vec<_> = row.shape.iter().map(usize::to_string).collect();
    let number = |value: Option<f64>, decimals: usize| match value {
        Some(value) => format!("{value:.decimals$}"),
        None => "-".to_owned(),
    };
    println!(
        "{:27} {:>18} {:6} {:8} {:10.3} {:>12} {:>6} {:7.1} {:>10}",
        row.network,
        shape.join(" x "),
        row.layout,
        row.pass,
        row.kernel_ms,
        number(row.reference_ms, 3),
        number(row.ratio, 1),
        row.gbps,
        number(row.copy_share, 2)
    );
}

fn measure(
    network: &'static str,
    shape: &'static [usize],
    layout: &'static str,
    What { alone, relu }: What,
    device: &Device,
) -> [Row; 3] {
    let channels = shape[1];
    let source = Source::new(shape, layout, device);
    let constant = |value: f64| Tensor::<1>::full([channels], value, device).into_dispatch();
    let input = source.tensor();
    let (gamma, beta) = (constant(1.5), constant(0.5));
    let options =
        Options { epsilon: 1e-5, momentum: 0.1, running_variance: RunningVariance::Biased };
    let epilogue = || if relu { Epilogue::Relu } else { Epilogue::Identity };
    let kernel = || {
        Dispatch::normalize(
            input.clone(),
            gamma.clone(),
            beta.clone(),
            beta.clone(),
            gamma.clone(),
            epilogue(),
            options,
        )
    };
    let reference = || {
        let (input, gamma, beta) = (input.clone(), gamma.clone(), beta.clone());
        let mut result = Dispatch::batch_norm_train(input, gamma, beta, options.epsilon);
        if relu {
            result.output = Dispatch::relu(result.output);
        }
        result
    };
    let statistics = kernel();
    let BatchNormTrain { output, variance, .. } = reference();

    // As in training, the incoming gradient has no other owner. It is made before the forward pass,
    // so that the backward pass follows the forward pass directly.
    let gradient = Cell::new(None);
    let with_gradient = |forward: &dyn Fn() -> Duration| {
        gradient.set(Some(source.tensor()));
        finish(device);
        forward()
    };
    let take_gradient = || gradient.take().expect("made before the forward pass");
    let kernel_backward = |gradient: DispatchTensor| {
        Dispatch::normalize_backward(
            input.clone(),
            gamma.clone(),
            beta.clone(),
            statistics.mean.clone(),
            statistics.inverse_std.clone(),
            epilogue(),
            gradient,
            BackwardOptions {
                batch_statistics: true,
                input: true,
                parameters: true,
                residual: false,
            },
        )
    };
    let reference_backward = |mut gradient: DispatchTensor| {
        if relu {
            gradient = Dispatch::relu_backward(output.clone(), gradient);
        }
        let mean = statistics.mean.clone();
        let (gamma, variance) = (gamma.clone(), variance.clone());
        let input = input.clone();
        Dispatch::batch_norm_train_backward(input, gamma, mean, variance, options.epsilon, gradient)
    };

    let size = shape.iter().product::<usize>();
    let mut host = is_cpu(&input).then(|| [vec![1.0; size], vec![0.0; size]]);
    let or_nothing =
        |work: &mut dyn FnMut() -> Duration| if alone { Duration::ZERO } else { work() };
    let rounds = (VALUES / size).clamp(7, 101);
    let times = medians(
        rounds,
        [
            &mut || with_gradient(&|| timed(device, kernel)),
            &mut || timed(device, || kernel_backward(take_gradient())),
            &mut || or_nothing(&mut || with_gradient(&|| timed(device, reference))),
            &mut || or_nothing(&mut || timed(device, || reference_backward(take_gradient()))),
            &mut || or_nothing(&mut || copy(&source, &mut host, device)),
        ],
    );
    let [forward, backward, reference_forward, reference_backward, copy] = times;
    let bytes = (size * size_of::<f32>()) as f64;
    let row = |pass: &str, passes: usize, kernel: Duration, reference: Duration| {
        let gbps = passes as f64 * bytes / kernel.as_secs_f64() / 1e9;
        Row {
            network: network.to_owned(),
            shape: shape.to_vec(),
            layout: layout.to_owned(),
            pass: pass.to_owned(),
            kernel_ms: kernel.as_secs_f64() * 1e3,
            reference_ms: (!alone).then_some(reference.as_secs_f64() * 1e3),
            ratio: (!alone).then_some(reference.as_secs_f64() / kernel.as_secs_f64()),
            gbps,
            copy_share: (!alone).then_some(gbps / (2.0 * bytes / copy.as_secs_f64() / 1e9)),
        }
    };
    [
        row("forward", FORWARD, forward, reference_forward),
        row("backward", BACKWARD, backward, reference_backward),
        row("both", FORWARD + BACKWARD, forward + backward, reference_forward + reference_backward),
    ]
}

fn is_cpu(tensor: &DispatchTensor) -> bool {
    match tensor.kind {
        #[cfg(feature = "wgpu")]
        burn::backend::DispatchTensorKind::Cube(_) => false,
        _ => true,
    }
}

/// Makes new tensors of one shape with the same random values.
struct Source {
    /// In memory order.
    values: Tensor<4>,
    shape: &'static [usize],
    channels_last: bool,
}

impl Source {
    fn new(shape: &'static [usize], layout: &str, device: &Device) -> Self {
        let channels_last = layout == "nhwc";
        let dims = match *shape {
            [n, c] => [n, c, 1, 1],
            [n, c, h, w] if channels_last => [n, h, w, c],
            [n, c, h, w] => [n, c, h, w],
            _ => unreachable!("the shapes are of rank 2 and 4"),
        };
        let values = Tensor::random(dims, Distribution::Normal(0.5, 2.0), device);
        Self { values, shape, channels_last }
    }

    fn tensor(&self) -> DispatchTensor {
        let values = self.values.clone() * 1.0;
        match *self.shape {
            [n, c] => values.reshape([n, c]).into_dispatch(),
            _ if self.channels_last => values.permute([0, 3, 1, 2]).into_dispatch(),
            _ => values.into_dispatch(),
        }
    }
}

/// Times one read and one write of every value at the machine's full rate: an element-wise kernel
/// on a GPU, a copy by all threads on the CPU.
fn copy(source: &Source, host: &mut Option<[Vec<f32>; 2]>, device: &Device) -> Duration {
    match host {
        None => timed(device, || source.values.clone() * 1.0),
        Some([from, to]) => timed(device, || {
            let part = from.len().div_ceil(4 * rayon::current_num_threads());
            let parts = from.par_chunks(part).zip(to.par_chunks_mut(part));
            parts.for_each(|(from, to)| to.copy_from_slice(from));
        }),
    }
}
