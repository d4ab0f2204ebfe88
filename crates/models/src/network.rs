use burn::{
    module::{Module, ModuleVisitor, Param},
    store::ModuleRecord,
    tensor::Tensor,
};

use crate::LeNet;

/// Any network of this crate, as one module: for a program that learns at run time which.
#[derive(Module, Debug)]
pub enum Network {
    /// A LeNet.
    LeNet(LeNet),
}

impl Network {
    /// Images `[batch, channels, height, width]` to logits `[batch, classes]`.
    ///
    /// # Panics
    ///
    /// If the images do not have the size or the channels that the network takes.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::LeNet(network) => network.forward(images),
        }
    }

    /// Images `[batch, channels, height, width]` to the last feature map.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn features(&self, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::LeNet(network) => network.features(images),
        }
    }

    /// The weights, as the network's own type saves and loads them; those of
    /// [`into_record`](Module::into_record) load into a `Network` only.
    pub fn weights(&self) -> ModuleRecord {
        match self {
            Self::LeNet(network) => network.clone().into_record(),
        }
    }

    /// The number of trainable parameters, as papers count them.
    ///
    /// Unlike [`Module::num_params`], it leaves out the moving averages of batch normalization,
    /// which no gradient reaches.
    pub fn parameters(&self) -> usize {
        #[derive(Default)]
        struct Count {
            path: Vec<String>,
            parameters: usize,
        }
        impl ModuleVisitor for Count {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.path.push(name.to_owned());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let name = self.path.last().map(String::as_str);
                if !matches!(name, Some("running_mean" | "running_var")) {
                    self.parameters += param.shape().num_elements();
                }
            }
        }
        let mut count = Count::default();
        self.visit(&mut count);
        count.parameters
    }
}
