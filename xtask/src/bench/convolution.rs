//! Benchmarks the convolution kernels, layer by layer, and compares them with the processor's peak
//! FLOP/s.

use std::{cell::Cell, time::Duration};

use burn::{
    backend::{Dispatch, DispatchTensor},
    tensor::{Device, Distribution, Tensor},
};
use convolution::ops::{Convolution, ConvolutionOps, Optional, Wanted};
use serde::Serialize;
use train::{
    Error,
    device::{Found, Kind},
};

use super::{finish, medians, peak::Peak, timed};

/// A layer on a batch of images.
#[derive(Clone, Copy, Debug, Serialize)]
struct Shape {
    name: &'static str,
    batch: usize,
    /// Channels of the images and of the output.
    channels: [usize; 2],
    /// Side length of the images in pixels, and kernel size.
    size: usize,
    window: usize,
    stride: usize,
    padding: usize,
}

const fn shape(
    name: &'static str,
    [batch, inputs, size]: [usize; 3],
    outputs: usize,
    [window, stride, padding]: [usize; 3],
) -> Shape {
    Shape { name, batch, channels: [inputs, outputs], size, window, stride, padding }
}

/// Layers of networks, with every kernel size, many image sizes, few and many channels. ResNet-18
/// and DenseNet are for images of 96 pixels; AlexNet, VGG and ResNet-50 for 224.
const SHAPES: [Shape; 22] = [
    shape("lenet-conv1", [256, 1, 28], 6, [5, 1, 0]),
    shape("lenet-conv2", [256, 6, 12], 16, [5, 1, 0]),
    shape("alexnet-conv1", [32, 1, 224], 96, [11, 4, 1]),
    shape("alexnet-conv2", [32, 96, 26], 256, [5, 1, 2]),
    shape("vgg-conv2", [8, 64, 112], 128, [3, 1, 1]),
    shape("vgg-conv5", [8, 256, 28], 512, [3, 1, 1]),
    shape("resnet18-stem", [32, 1, 96], 64, [7, 2, 3]),
    shape("resnet18-stage1", [32, 64, 24], 64, [3, 1, 1]),
    shape("resnet18-stage2-first", [32, 64, 24], 128, [3, 2, 1]),
    shape("resnet18-stage2-shortcut", [32, 64, 24], 128, [1, 2, 0]),
    shape("resnet18-stage2", [32, 128, 12], 128, [3, 1, 1]),
    shape("resnet18-stage3-first", [32, 128, 12], 256, [3, 2, 1]),
    shape("resnet18-stage3-shortcut", [32, 128, 12], 256, [1, 2, 0]),
    shape("resnet18-stage3", [32, 256, 6], 256, [3, 1, 1]),
    shape("resnet18-stage4-first", [32, 256, 6], 512, [3, 2, 1]),
    shape("resnet18-stage4-shortcut", [32, 256, 6], 512, [1, 2, 0]),
    shape("resnet18-stage4", [32, 512, 3], 512, [3, 1, 1]),
    shape("resnet50-stage4", [8, 512, 7], 512, [3, 1, 1]),
    shape("resnet50-stage4-wide", [8, 512, 7], 2048, [1, 1, 0]),
    shape("densenet-1x1", [64, 256, 12], 128, [1, 1, 0]),
    shape("densenet-3x3", [64, 64, 24], 32, [3, 1, 1]),
    shape("one-image", [1, 64, 56], 64, [3, 1, 1]),
];

/// The target number of FLOPs over all rounds of a pass: small layers run for more rounds.
const FLOPS: f64 = 1e11;

/// A pass of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Pass {
    Forward,
    InputGradient,
    WeightGradient,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    shape: Shape,
    pass: Pass,
    algorithm: &'static str,
    ms: f64,
    /// The FLOPs of direct convolution per second, also if the algorithm needs fewer.
    gflops: f64,
    /// The processor's peak, measured in the same rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gflops: Option<f64>,
    /// `gflops` as a share of the peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_share: Option<f64>,
}

impl Shape {
    /// Returns the side length of the output in pixels.
    fn output(&self) -> usize {
        (self.size + 2 * self.padding - self.window) / self.stride + 1
    }

    /// Returns the FLOPs of direct convolution.
    fn flops(&self) -> f64 {
        let [inputs, outputs] = self.channels;
        let (positions, window) = (self.batch * self.output().pow(2), self.window.pow(2));
        2.0 * (positions * window) as f64 * (inputs * outputs) as f64
    }
}

/// Times all passes of every shape whose name contains `part`, in f32, on random values, in the
/// channels-last layout, which the layers of a network use.
///
/// # Errors
///
/// If the device is not the CPU, or no shape's name contains `part`.
pub fn run(found: &Found, part: &str, json: bool) -> Result<(), Error> {
    if found.kind != Kind::Cpu {
        let why =
            format!("the convolution kernels need a CPU, not {}: use --device flex", found.name);
        return Err(Error::Usage(why));
    }
    let shapes: Vec<_> = SHAPES.into_iter().filter(|shape| shape.name.contains(part)).collect();
    if shapes.is_empty() {
        let names = SHAPES.map(|shape| shape.name).join(", ");
        return Err(Error::Usage(format!(
            "no shape's name contains `{part}`; the shapes: {names}"
        )));
    }
    let peak = Peak::of_processor();
    let mut rows = Vec::new();
    if !json {
        let threads = rayon::current_num_threads();
        let instructions = peak.map_or("none measured", |peak| peak.instructions);
        println!(
            "{}, {threads} threads: medians of interleaved rounds; peak: the fastest round of \
             multiply-adds in registers, {instructions}",
            found.name
        );
        println!(
            "{:25} {:>31}  {:15} {:9} {:>9} {:>8} {:>6}",
            "", "", "pass", "algorithm", "ms", "GFLOP/s", "peak"
        );
    }
    for shape in shapes {
        for row in measure(shape, peak, &found.device) {
            if !json {
                print(&row);
            }
            rows.push(row);
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&rows).expect("plain values are JSON"));
    }
    Ok(())
}

fn print(row: &Row) {
    let Row { shape, pass, algorithm, ms, gflops, peak_share, .. } = row;
    let Shape { name, batch, channels: [inputs, outputs], size, window, stride, .. } = shape;
    let layer = format!("{batch} x {inputs} x {size}^2 -> {outputs}, {window}^2 / {stride}");
    let pass = match pass {
        Pass::Forward => "forward",
        Pass::InputGradient => "input gradient",
        Pass::WeightGradient => "weight gradient",
    };
    let share = peak_share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0));
    println!("{name:25} {layer:>31}  {pass:15} {algorithm:9} {ms:9.3} {gflops:8.1} {share:>6}");
}

fn measure(shape: Shape, peak: Option<Peak>, device: &Device) -> Vec<Row> {
    let Shape { batch, channels: [inputs, outputs], size, window, stride, padding, .. } = shape;
    let random = |dims| Tensor::<4>::random(dims, Distribution::Normal(0.0, 1.0), device);
    let images = |channels, size| {
        random([batch, size, size, channels]).permute([0, 3, 1, 2]).into_dispatch()
    };
    let (input, gradient) = (images(inputs, size), images(outputs, shape.output()));
    let weight = random([outputs, inputs, window, window]).into_dispatch();
    let options = |winograd| Convolution {
        stride: [stride; 2],
        padding: [[padding; 2]; 2],
        relu: false,
        winograd,
    };
    let gradients = |winograd, input_wanted| {
        let wanted =
            Wanted { input: input_wanted, weight: !input_wanted, bias: false, residual: false };
        let (input, weight, gradient) = (input.clone(), weight.clone(), gradient.clone());
        let none = Optional::Missing;
        Dispatch::convolve_backward(input, weight, none, gradient, options(winograd), wanted)
    };
    let compute = |pass, winograd| -> DispatchTensor {
        let gradient = match pass {
            Pass::Forward => {
                let (input, weight, none) = (input.clone(), weight.clone(), Optional::Missing);
                let none_either = Optional::Missing;
                return Dispatch::convolve(input, weight, none, none_either, options(winograd));
            }
            Pass::InputGradient => gradients(winograd, true).input,
            Pass::WeightGradient => gradients(winograd, false).weight,
        };
        gradient.get().expect("this gradient was requested")
    };
    // Training does not need the gradient of the network's input images. Winograd's algorithm is
    // used only where it is faster; elsewhere both options run direct convolution and give the same
    // bits.
    let values = |tensor| Tensor::<4>::from_dispatch(tensor).into_data();
    let passes = [Pass::Forward, Pass::InputGradient, Pass::WeightGradient].map(|pass| {
        let direct = pass != Pass::InputGradient || inputs > 3;
        let winograd = direct && values(compute(pass, true)) != values(compute(pass, false));
        (pass, [direct, winograd])
    });
    let piece = |pass: usize, winograd: usize| {
        let (pass, are_run) = passes[pass];
        if !are_run[winograd] {
            return Duration::ZERO;
        }
        finish(device);
        timed(device, || compute(pass, winograd == 1))
    };
    let rounds = (FLOPS / shape.flops()).clamp(7.0, 101.0) as usize;
    // Not the median: only other programs can slow this work down.
    let fastest = Cell::new(Duration::MAX);
    let [_, times @ ..] = medians(
        rounds,
        [
            &mut || {
                let time = peak.map_or(Duration::ZERO, Peak::time);
                fastest.set(fastest.get().min(time));
                time
            },
            &mut || piece(0, 0),
            &mut || piece(0, 1),
            &mut || piece(1, 0),
            &mut || piece(1, 1),
            &mut || piece(2, 0),
            &mut || piece(2, 1),
        ],
    );
    let peak = peak.map(|peak| peak.flops(fastest.get()));
    let rows = passes.into_iter().zip(times.chunks(2)).flat_map(|((pass, are_run), times)| {
        let both = ["direct", "winograd"].into_iter().zip(are_run).zip(times);
        both.filter(|((_, is_run), _)| *is_run).map(move |((algorithm, _), time)| {
            let flops = shape.flops() / time.as_secs_f64();
            Row {
                shape,
                pass,
                algorithm,
                ms: time.as_secs_f64() * 1e3,
                gflops: flops / 1e9,
                peak_gflops: peak.map(|peak| peak / 1e9),
                peak_share: peak.map(|peak| flops / peak),
            }
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ResNet-18's stem: 48 x 48 output pixels, 7 x 7 kernel, 64 output channels.
    #[test]
    fn what_a_layer_multiplies_is_counted() {
        let stem = SHAPES.iter().find(|shape| shape.name == "resnet18-stem").unwrap();
        assert_eq!(stem.output(), 48);
        assert_eq!(stem.flops(), 2.0 * 32.0 * 2304.0 * 49.0 * 64.0);
    }
}
