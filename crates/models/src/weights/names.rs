//! The names that a network's parameters have in a file.

use std::{collections::BTreeMap, iter};

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::Tensor,
};

use super::formats::{Entries, Format, printable};
use crate::layer_names::{LayerNames, Listing};

/// A parameter of the network, or a running mean or variance.
pub(super) struct Wanted {
    /// Its path in the module.
    pub(super) path: String,
    /// Its shape in a file.
    pub(super) shape: Vec<usize>,
}

/// The current position while visiting a module. Enum variants are not part of the path.
#[derive(Default)]
pub(crate) struct Walk {
    path: Vec<String>,
    containers: Vec<String>,
}

impl Walk {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.push(name.to_owned());
        }
        self.containers.push(container.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        if self.containers.pop().is_some_and(|container| !container.starts_with("Enum:")) {
            self.path.pop();
        }
    }

    pub(crate) fn path(&self) -> String {
        self.path.join(".")
    }

    /// Whether this is the weight of a fully connected layer, `[inputs, outputs]`: in PyTorch it is
    /// transposed.
    pub(crate) fn is_linear_weight(&self) -> bool {
        self.containers.last().is_some_and(|container| container == "Struct:Linear")
            && self.path.last().is_some_and(|name| name == "weight")
    }
}

/// The source of the layer names in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Burn: the names are the paths in the module.
    Burn,
    /// torchvision.
    Torchvision,
    /// Dive into Deep Learning.
    D2l(Listing),
}

impl Naming {
    /// The namings that a file of this format may have, the most likely first.
    pub(super) fn of(format: Format) -> &'static [Self] {
        match format {
            Format::Burnpack => &[Self::Burn],
            _ => &[Self::Torchvision, Self::D2l(Listing::Class), Self::D2l(Listing::Sequential)],
        }
    }

    /// The name of the parameter at this path of the module; `None` if this naming does not have
    /// it.
    pub(super) fn name<N: LayerNames>(self, network: &N, path: &str) -> Option<String> {
        match self {
            Self::Burn => Some(path.to_owned()),
            Self::Torchvision => Some(pytorch_name(network, path)),
            Self::D2l(listing) => {
                let (layer, parameter) = split(path);
                Some(format!("{}.{parameter}", network.d2l_name(layer, listing)?))
            }
        }
    }
}

/// The torchvision name, in a PyTorch file, of the parameter at this path of the module.
pub(crate) fn pytorch_name<N: LayerNames>(network: &N, path: &str) -> String {
    let (layer, parameter) = split(path);
    format!("{}.{parameter}", network.torchvision_name(layer))
}

/// A parameter of a network, or a running mean or variance.
pub(crate) struct Parameter {
    pub(crate) id: ParamId,
    /// Its path in the module.
    path: String,
    shape: Vec<usize>,
    /// Whether it is the weight of a fully connected layer.
    is_linear_weight: bool,
}

impl Parameter {
    /// The path of its layer.
    pub(crate) fn layer(&self) -> &str {
        split(&self.path).0
    }

    /// Whether it is a running mean or variance, which has no gradient.
    pub(crate) fn is_running(&self) -> bool {
        matches!(split(&self.path).1, "running_mean" | "running_var")
    }

    /// The number of its values.
    pub(crate) fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// All parameters of a network, and its running means and variances.
pub(crate) fn parameters(network: &impl Module) -> Vec<Parameter> {
    #[derive(Default)]
    struct Collect {
        walk: Walk,
        found: Vec<Parameter>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.walk.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.walk.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push(Parameter {
                id: param.id,
                path: self.walk.path(),
                shape: param.lazy_shape().to_vec(),
                is_linear_weight: self.walk.is_linear_weight(),
            });
        }
    }
    let mut collect = Collect::default();
    network.visit(&mut collect);
    collect.found
}

/// Splits a parameter's path into its layer's path and PyTorch's name of the parameter.
fn split(path: &str) -> (&str, &str) {
    let (layer, parameter) = path.rsplit_once('.').unwrap_or(("", path));
    let parameter = match parameter {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    };
    (layer, parameter)
}

/// The names that a network's parameters have in a file.
pub(super) struct Names {
    pub(super) naming: Naming,
    pub(super) wanted: BTreeMap<String, Wanted>,
    /// Whether every parameter has a name.
    pub(super) complete: bool,
}

impl Names {
    fn new(network: &impl LayerNames, naming: Naming) -> Self {
        let mut names = Self { naming, wanted: BTreeMap::new(), complete: true };
        for Parameter { path, mut shape, is_linear_weight, .. } in parameters(network) {
            let Some(name) = naming.name(network, &path) else {
                names.complete = false;
                continue;
            };
            if naming != Naming::Burn && is_linear_weight {
                shape.reverse();
            }
            names.wanted.insert(name, Wanted { path, shape });
        }
        names
    }

    /// Finds the naming that fits most of the file's entries, and the prefix of the names in the
    /// file.
    ///
    /// # Errors
    ///
    /// If the file contains the network more than once.
    pub(super) fn find(
        network: &impl LayerNames,
        format: Format,
        entries: &Entries,
    ) -> Result<(Self, String), String> {
        let names = Naming::of(format).iter().map(|&naming| Self::new(network, naming));
        let mut found = names.filter(|names| names.complete).map(|names| {
            let (most, prefixes) = prefixes(entries, &names.wanted);
            (most, prefixes, names)
        });
        let first = found.next().expect("a network has names in every format");
        let (most, prefixes, names) =
            found.fold(first, |best, next| if next.0 > best.0 { next } else { best });
        match prefixes[..] {
            // Fewer than half of the names do not identify a network: some are common to all.
            _ if 2 * most < names.wanted.len() || prefixes.contains(&"") => {
                Ok((names, String::new()))
            }
            [prefix] => Ok((names, prefix.to_owned())),
            _ => {
                let prefixes: Vec<_> = prefixes.iter().map(|prefix| printable(prefix)).collect();
                Err(format!("it contains the network more than once: {}", prefixes.join(" and ")))
            }
        }
    }
}

/// Finds the prefixes of the network's names in the file: training programs save the weights
/// together with other things (`state_dict.`) or wrapped (`module.`); the book's classes have
/// `net.`. Returns the largest number of entries found under one prefix, and all prefixes with this
/// number.
fn prefixes<'a>(entries: &'a Entries, wanted: &BTreeMap<String, Wanted>) -> (usize, Vec<&'a str>) {
    let longest = wanted.keys().map(String::len).max().unwrap_or_default();
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    for name in entries.keys() {
        let starts = name.rmatch_indices('.').map(|(dot, _)| dot + 1).chain(iter::once(0));
        for start in starts.take_while(|start| name.len() - start <= longest) {
            if wanted.contains_key(&name[start..]) {
                *hits.entry(&name[..start]).or_default() += 1;
            }
        }
    }
    let most = hits.values().copied().max().unwrap_or_default();
    (most, hits.into_iter().filter(|&(_, count)| count == most).map(|(prefix, _)| prefix).collect())
}
