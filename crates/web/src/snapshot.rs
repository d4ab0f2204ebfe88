//! What the page shows of a network.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};
use models::{ConvNet, LayerNames, Network};
use serde::Serialize;

use crate::{Session, session::image};

/// The most layers that are shown, and the most channels of each.
const LAYERS: usize = 6;
const CHANNELS: usize = 16;

/// A network at a moment: what it looks for, what it sees in one image, and what batch normalization
/// remembers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// The windows of the first convolution.
    pub filters: Features,
    /// The outputs of layers for one image.
    pub features: Vec<Features>,
    /// The running statistics of each batch normalization.
    pub statistics: Vec<Statistics>,
}

/// Small grayscale pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Features {
    /// The name of the layer.
    pub layer: String,
    /// The height and width of a picture.
    pub size: [usize; 2],
    /// The pixels of each picture, row by row. 0 is the lowest value of the layer, 255 the highest.
    pub pictures: Vec<Vec<u8>>,
}

/// The running mean and variance of each channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// The name of the layer.
    pub layer: String,
    /// The running means.
    pub mean: Vec<f32>,
    /// The running variances.
    pub variance: Vec<f32>,
}

impl Snapshot {
    /// A snapshot of the session's network, which looks at an image of 28 x 28 pixels.
    ///
    /// # Errors
    ///
    /// If the number of pixels is another.
    pub fn new(session: &Session, pixels: &[u8]) -> Result<Self, String> {
        let network = session.network();
        let maps = network.activations(image(pixels)?, LAYERS).into_iter();
        let features = maps.map(|(layer, output)| Features::new(layer.name, output));
        let mut visitor =
            Visitor { network: &network, path: Vec::new(), filters: None, statistics: Vec::new() };
        network.visit(&mut visitor);
        let Visitor { filters, statistics, .. } = visitor;
        let filters = filters.expect("a network has a convolution");
        Ok(Self {
            features: features.collect(),
            filters: Features::new(String::new(), filters.swap_dims(0, 1)),
            statistics,
        })
    }
}

impl Features {
    /// The first channels of `[1, channels, height, width]`.
    fn new(layer: String, maps: Tensor<4>) -> Self {
        let [_, channels, height, width] = maps.dims();
        let maps = maps.slice([0..1, 0..channels.min(CHANNELS)]);
        let values: Vec<f32> = maps.into_data().try_into_vec().expect("f32");
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        let byte = |value: &f32| ((value - low) * scale).round() as u8;
        let pictures = values.chunks(height * width).map(|map| map.iter().map(byte).collect());
        Self { layer, size: [height, width], pictures: pictures.collect() }
    }
}

/// Finds the first convolution's weights, and all running statistics.
struct Visitor<'a> {
    network: &'a Network,
    path: Vec<Option<String>>,
    filters: Option<Tensor<4>>,
    statistics: Vec<Statistics>,
}

impl ModuleVisitor for Visitor<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        // The variant of the network is not a part of the names.
        let is_layer = !container.starts_with("Enum:");
        self.path.push(is_layer.then(|| name.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let values = || value.to_data().try_into_vec().expect("f32");
        let path: Vec<_> = self.path.iter().flatten().map(String::as_str).collect();
        match path.last().copied() {
            Some("running_mean") => {
                let layer = self.network.torchvision_name(&path[..path.len() - 1].join("."));
                let statistics = Statistics { layer, mean: values(), variance: Vec::new() };
                self.statistics.push(statistics);
            }
            Some("running_var") => {
                let last = self.statistics.last_mut().expect("after the running mean");
                last.variance = values();
            }
            _ if D == 4 && self.filters.is_none() => {
                let dims: [usize; 4] = value.dims()[..].try_into().expect("rank 4");
                self.filters = Some(value.reshape(dims));
            }
            _ => {}
        }
    }
}
