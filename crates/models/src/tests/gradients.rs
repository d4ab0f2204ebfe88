//! Every network trains, on every device.

use burn::{
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, SgdConfig, momentum::MomentumConfig},
    tensor::Int,
};

use super::*;

/// A fixed batch, and the loss on it.
struct Trainer {
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    device: Device,
}

impl Trainer {
    fn new(image: [usize; 3], batch: usize, device: Device) -> Self {
        let [channels, height, width] = image;
        let shape = [batch, channels, height, width];
        let images = uniform("images", shape.iter().product());
        let images = TensorData::new(images, shape).convert::<f32>();
        let labels: Vec<i32> = (0..batch as i32).map(|index| index % 10).collect();
        Self {
            images: Tensor::from_data(images, &device),
            labels: Tensor::from_data(TensorData::from(labels.as_slice()), &device),
            device,
        }
    }

    fn loss(&self, network: &Network) -> Tensor<1> {
        let logits = network.forward(self.images.clone());
        CrossEntropyLossConfig::new().init(&self.device).forward(logits, self.labels.clone())
    }
}

fn number(loss: Tensor<1>) -> f64 {
    loss.into_scalar::<f32>().into()
}

/// A network of the same depth, but with few channels and small images, to save time.
fn small(architecture: Architecture, preset: Preset) -> (NetworkConfig, [usize; 3]) {
    let config = match without_dropout(architecture.config(preset).unwrap().with_classes(10)) {
        NetworkConfig::AlexNet(config) => NetworkConfig::AlexNet(config.with_units(64)),
        NetworkConfig::Vgg(config) => {
            let (widths, units) = (config.widths.map(|width| width / 4), config.units.map(|_| 64));
            NetworkConfig::Vgg(config.with_widths(widths).with_units(units))
        }
        NetworkConfig::ResNet(config) => NetworkConfig::ResNet(config.with_width(16)),
        NetworkConfig::WideResNet(mut config) => {
            config.width = 2;
            NetworkConfig::WideResNet(config)
        }
        NetworkConfig::DenseNet(mut config) => {
            (config.growth, config.stem) = (8, 16);
            NetworkConfig::DenseNet(config)
        }
        config => config,
    };
    let [channels, side, _] = architecture.image(preset).unwrap();
    let side = match (architecture, preset) {
        (Architecture::AlexNet | Architecture::Nin, _) => 67,
        (Architecture::Vgg16Bn, _) => side.min(32),
        (_, Preset::Small) => 12,
        // Batch normalization of two values per channel gives plus and minus one; rounding decides
        // which is which.
        (Architecture::ResNet18 | Architecture::DenseNet, Preset::D2l) => 48,
        _ => side.min(32),
    };
    (config, [channels, side, side])
}

#[test]
fn the_loss_of_every_network_falls() {
    let device = Device::flex().autodiff();
    for (architecture, preset) in all() {
        device.seed(0);
        let (config, image) = small(architecture, preset);
        let mut network = config.init(&device);
        let trainer = Trainer::new(image, 4, device.clone());
        let rate = match architecture {
            Architecture::LeNet => 0.5, // sigmoids
            Architecture::Nin => 0.002, // a large step sets its ReLU logits to zero for good
            _ => 0.01,
        };
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
        let mut losses = Vec::new();
        for _ in 0..20 {
            let loss = trainer.loss(&network);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            losses.push(number(loss));
            network = optimizer.step(rate, network, gradients);
        }
        let [first, last] = [losses[0], losses[19]];
        assert!(last < first && last.is_finite(), "{architecture} ({preset}): {losses:?}");
    }
}

/// One training step of each network of the D2L notes on every device: the loss before and after
/// it.
///
/// wgpu compiles each kernel for each shape. This is slow on a software adapter, where each of the
/// large networks takes minutes: `cargo test --workspace --lib same_step -- --ignored` runs them.
mod every_device_takes_the_same_step {
    use super::*;

    #[test]
    fn lenet() {
        same_step(Architecture::LeNet);
    }

    #[test]
    fn lenet_bn() {
        same_step(Architecture::LeNetBn);
    }

    #[test]
    #[cfg_attr(feature = "wgpu", ignore = "takes minutes on a software adapter")]
    fn alexnet() {
        same_step(Architecture::AlexNet);
    }

    #[test]
    #[cfg_attr(feature = "wgpu", ignore = "takes minutes on a software adapter")]
    fn vgg11() {
        same_step(Architecture::Vgg11);
    }

    #[test]
    #[cfg_attr(feature = "wgpu", ignore = "takes minutes on a software adapter")]
    fn nin() {
        same_step(Architecture::Nin);
    }

    #[test]
    #[cfg_attr(feature = "wgpu", ignore = "takes minutes on a software adapter")]
    fn googlenet() {
        same_step(Architecture::GoogLeNet);
    }

    #[test]
    #[cfg_attr(feature = "wgpu", ignore = "takes minutes on a software adapter")]
    fn resnet18() {
        same_step(Architecture::ResNet18);
    }

    #[test]
    #[cfg_attr(feature = "wgpu", ignore = "takes minutes on a software adapter")]
    fn densenet() {
        same_step(Architecture::DenseNet);
    }
}

fn same_step(architecture: Architecture) {
    let (config, image) = small(architecture, Preset::D2l);
    let mut expected: Option<[f64; 2]> = None;
    for (name, device) in test_devices::all() {
        let device = device.autodiff();
        let (network, _) = fill(&config, &device);
        let trainer = Trainer::new(image, 4, device.clone());
        let loss = trainer.loss(&network);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let network = SgdConfig::new().init().step(0.001, network, gradients);
        let losses = [number(loss), number(trainer.loss(&network))];
        let Some(expected) = expected else {
            expected = Some(losses);
            continue;
        };
        for (found, expected) in losses.into_iter().zip(expected) {
            let error = (found - expected).abs() / expected;
            assert!(error < 1e-3, "{architecture} on {name}: {found}, not {expected}");
        }
    }
}
