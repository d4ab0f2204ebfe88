use burn::{
    config::Config,
    nn::{
        Initializer, Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::Device,
};

/// How the initial weights of a network are drawn.
#[derive(Config, Debug, PartialEq)]
pub struct Initialization {
    /// The weights of convolutions.
    pub convolution: Initializer,
    /// The weights of fully connected layers.
    pub linear: Initializer,
    /// Whether biases start at zero. Otherwise they are uniform in ±1 / sqrt(fan in), the default
    /// of PyTorch and Burn.
    pub zero_biases: bool,
}

impl Initialization {
    /// Glorot and Bengio, [Understanding the difficulty of training deep feedforward neural
    /// networks](https://proceedings.mlr.press/v9/glorot10a.html) (2010), equation 16. All networks
    /// of the D2L notes use it.
    pub const XAVIER: Self = Self { convolution: XAVIER, linear: XAVIER, zero_biases: false };
}

const XAVIER: Initializer = Initializer::XavierUniform { gain: 1.0 };

/// Uniform in ±1 / sqrt(fan in): the default of PyTorch's layers.
pub(crate) const PYTORCH: Initializer =
    Initializer::KaimingUniform { gain: 0.577_350_269_189_625_8, fan_out_only: false };

/// He et al., [Delving deep into rectifiers](https://arxiv.org/abs/1502.01852) (2015), equation 10.
pub(crate) const HE_FAN_IN: Initializer =
    Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: false };

/// The same paper, equation 14: preserves the variance of the gradients, not of the features.
pub(crate) const HE_FAN_OUT: Initializer =
    Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true };

/// A normal distribution with standard deviation 0.01, common before batch normalization.
pub(crate) const NORMAL: Initializer = Initializer::Normal { mean: 0.0, std: 0.01 };

impl Initialization {
    pub(crate) fn conv2d(&self, config: Conv2dConfig, device: &Device) -> Conv2d {
        let fresh = config.clone().with_initializer(self.convolution.clone());
        let weight = fresh.with_bias(false).init(device).weight;
        let biases = if self.zero_biases {
            config.with_initializer(Initializer::Zeros)
        } else {
            config.with_initializer(PYTORCH)
        };
        Conv2d { weight, ..biases.init(device) }
    }

    pub(crate) fn linear(&self, [inputs, outputs]: [usize; 2], device: &Device) -> Linear {
        let config = LinearConfig::new(inputs, outputs);
        let fresh = config.clone().with_initializer(self.linear.clone());
        let weight = fresh.with_bias(false).init(device).weight;
        let biases = if self.zero_biases {
            config.with_initializer(Initializer::Zeros)
        } else {
            config.with_initializer(PYTORCH)
        };
        Linear { weight, ..biases.init(device) }
    }
}
