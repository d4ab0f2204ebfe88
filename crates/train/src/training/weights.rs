//! What is known about the weights of a network: names, norms, norms of gradients, first filters.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use convolution::sum_of_squares;
use models::LayerNames;
use serde::{Deserialize, Serialize};

use super::{classifier::Classifier, health::advise};
use crate::{Error, encoding::numbers};

/// The paths of the weights that have gradients, in the order of the module.
pub(crate) fn weight_names(module: &impl Module) -> Vec<String> {
    #[derive(Default)]
    struct Names {
        path: Vec<String>,
        names: Vec<String>,
    }
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.names.push(self.path.join("."));
            }
        }
    }
    let mut names = Names::default();
    module.visit(&mut names);
    names.names
}

/// The squared norm of each weight's gradient, `[weights]`, in the order of the module. A weight
/// without a gradient has 0.
pub(crate) fn squared_gradients(module: &impl Module, gradients: &GradientsParams) -> Tensor<1> {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        squares: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() {
                return;
            }
            self.squares.push(match self.gradients.get::<D>(param.id) {
                Some(gradient) => sum_of_squares(gradient),
                None => Tensor::zeros([1], &param.val().device().inner()),
            });
        }
    }
    let mut visitor = Squares { gradients, squares: Vec::new() };
    module.visit(&mut visitor);
    Tensor::cat(visitor.squares, 0)
}

/// The squared norm of each weight, `[weights]`, in the order of the module.
pub(crate) fn squared_weights(module: &impl Module) -> Tensor<1> {
    #[derive(Default)]
    struct Squares(Vec<Tensor<1>>);
    impl ModuleVisitor for Squares {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0.push(sum_of_squares(param.val().inner()));
            }
        }
    }
    let mut squares = Squares::default();
    module.visit(&mut squares);
    Tensor::cat(squares.0, 0)
}

/// The torchvision names of the weights that have gradients, in the order of the network.
pub(crate) fn torchvision_names(classifier: &Classifier) -> Vec<String> {
    let name = |path: &String| {
        // network.VARIANT.LAYER.weight
        let path = path.splitn(3, '.').last().unwrap_or(path);
        let Some((layer, weight)) = path.rsplit_once('.') else { return path.to_owned() };
        let layer = classifier.network.torchvision_name(layer);
        let weight = match weight {
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        };
        format!("{layer}.{weight}")
    };
    weight_names(classifier).iter().map(name).collect()
}

/// The torchvision name and the norm of each weight, in the order of the network.
pub(crate) fn weight_norms(classifier: &Classifier) -> Result<Vec<(String, f64)>, Error> {
    // Without gradients, no weight would be marked as trained.
    let classifier = classifier.clone().train();
    let squares = read_values(squared_weights(&classifier))?;
    Ok(torchvision_names(&classifier).into_iter().zip(squares.into_iter().map(f64::sqrt)).collect())
}

/// The weights of a convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// `[channels out, channels in, height, width]`
    pub shape: [usize; 4],
    /// In the order of the shape.
    #[serde(deserialize_with = "numbers")]
    pub values: Vec<f32>,
}

/// The weights of the first convolution; `None` if there is no convolution.
pub(crate) fn first_filters(classifier: &Classifier) -> Result<Option<Filters>, Error> {
    #[derive(Default)]
    struct First(Option<(Vec<usize>, Tensor<1>)>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if D == 4 && self.0.is_none() {
                let weight = param.val();
                self.0 = Some((weight.dims().to_vec(), weight.flatten(0, D - 1)));
            }
        }
    }
    let mut first = First::default();
    classifier.visit(&mut first);
    let Some((shape, values)) = first.0 else { return Ok(None) };
    let shape = shape.try_into().expect("four dimensions");
    let values = read_values(values)?.into_iter().map(|value| value as f32).collect();
    Ok(Some(Filters { shape, values }))
}

/// Reads values from the device.
pub(crate) fn read_values(numbers: Tensor<1>) -> Result<Vec<f64>, Error> {
    let failed = |error: String| Error::Training(advise(&error));
    let data = numbers.try_into_data().map_err(|error| failed(error.to_string()))?;
    data.convert::<f64>().try_into_vec().map_err(|error| failed(format!("{error:?}")))
}
