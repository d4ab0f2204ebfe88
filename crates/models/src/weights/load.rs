//! Loading: the entries of a file are compared with the network's parameters, and then copied.

use std::{collections::BTreeMap, path::Path};

use burn::{
    module::{ModuleMapper, Param},
    tensor::{Bytes, Device, Shape, Tensor, TensorData},
};

use super::{
    error::{Hint, Mismatch, WeightsError},
    formats::{Contents, Entries, Format, Metadata, printable},
    names::{Names, Naming, Walk, Wanted, pytorch_name},
};
use crate::layer_names::LayerNames;

/// How a file may differ from the network that loads it. By default, no difference is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    new_classifier: bool,
    grayscale: bool,
}

impl LoadOptions {
    /// Keeps the initial weights of the classifier instead of loading the file's, to fine-tune on
    /// other classes.
    pub fn with_new_classifier(self) -> Self {
        Self { new_classifier: true, ..self }
    }

    /// Loads weights for color images into a network for grayscale images. The first convolution
    /// gets the sum of its weights for red, green and blue, so that a grayscale image gives the
    /// same features as a color image with three equal channels.
    pub fn with_grayscale(self) -> Self {
        Self { grayscale: true, ..self }
    }
}

pub(crate) fn load<N: LayerNames>(
    network: N,
    path: &Path,
    options: LoadOptions,
) -> Result<N, WeightsError> {
    let contents = Format::of(path).and_then(|format| Ok((format, format.read(path)?)));
    fill(network, path, contents, options)
}

pub(crate) fn load_bytes<N: LayerNames>(
    network: N,
    name: &str,
    bytes: Vec<u8>,
    options: LoadOptions,
) -> Result<N, WeightsError> {
    let path = Path::new(name);
    let contents = Format::of(path).and_then(|format| Ok((format, format.read_bytes(bytes)?)));
    fill(network, path, contents, options)
}

fn fill<N: LayerNames>(
    network: N,
    path: &Path,
    contents: Result<(Format, Contents), String>,
    options: LoadOptions,
) -> Result<N, WeightsError> {
    let unreadable = |reason: String| WeightsError::Unreadable { path: path.to_owned(), reason };
    let (format, Contents { entries, .. }) = contents.map_err(unreadable)?;
    let (names, prefix) = Names::find(&network, format, &entries).map_err(unreadable)?;
    let plan = Plan::new(&network, &entries, &prefix, names, options).map_err(|mismatch| {
        WeightsError::Mismatch { path: path.to_owned(), mismatch: Box::new(mismatch) }
    })?;
    Filler { walk: Walk::default(), entries, plan, statistics: false, error: None }
        .fill(network)
        .map_err(unreadable)
}

/// Reads the metadata of a `.safetensors` or `.bpk` file. A PyTorch file has none.
///
/// # Errors
///
/// If the file cannot be read.
pub fn read_metadata(path: impl AsRef<Path>) -> Result<Metadata, WeightsError> {
    let path = path.as_ref();
    let contents = Format::of(path).and_then(|format| format.read(path));
    let contents =
        contents.map_err(|reason| WeightsError::Unreadable { path: path.to_owned(), reason })?;
    Ok(contents.metadata)
}

/// [`read_metadata`] for the contents of a file with this name.
///
/// # Errors
///
/// If the file is damaged.
pub fn read_metadata_bytes(name: &str, contents: Vec<u8>) -> Result<Metadata, WeightsError> {
    let contents = Format::of(Path::new(name)).and_then(|format| format.read_bytes(contents));
    let contents =
        contents.map_err(|reason| WeightsError::Unreadable { path: name.into(), reason })?;
    Ok(contents.metadata)
}

/// Maps paths in the module to the names of entries in the file.
struct Plan {
    sources: BTreeMap<String, String>,
    transposed: bool,
}

impl Plan {
    fn new<N: LayerNames>(
        network: &N,
        entries: &Entries,
        prefix: &str,
        names: Names,
        options: LoadOptions,
    ) -> Result<Self, Mismatch> {
        let Names { naming, wanted, .. } = names;
        // The file's names without the prefix, and with it.
        let found = entries.keys().filter_map(|name| Some((name.strip_prefix(prefix)?, name)));
        let mut found: BTreeMap<&str, &String> = found.collect();

        let is_under = |name: &str, layers: &[&str]| {
            layers
                .iter()
                .any(|layer| name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.')))
        };
        let classifier = |wanted: &Wanted| {
            let name = pytorch_name(network, &wanted.path);
            is_under(&name, network.classifier())
        };

        let mut mismatch = Mismatch::default();
        let mut sources = BTreeMap::new();
        for (name, wanted) in &wanted {
            let entry = found.remove(name.as_str());
            if options.new_classifier && classifier(wanted) {
                continue;
            }
            let Some(source) = entry else {
                mismatch.missing.push(name.clone());
                continue;
            };
            let entry = &entries[source];
            let is_grayscale = matches!(
                (&entry.shape[..], &wanted.shape[..]),
                (&[o, 3, ref k @ ..], &[p, 1, ref l @ ..]) if o == p && k == l
            );
            if entry.shape != wanted.shape && !(is_grayscale && options.grayscale) {
                let hint = match () {
                    () if is_grayscale => Some(Hint::Grayscale),
                    () if classifier(wanted) => Some(Hint::NewClassifier),
                    () => None,
                };
                mismatch.hints.extend(hint.filter(|hint| !mismatch.hints.contains(hint)));
                let (file, network) = (entry.shape.clone(), wanted.shape.clone());
                mismatch.shapes.push((name.clone(), file, network));
            } else if entry.dtype.is_none() {
                mismatch.types.push(name.clone());
            }
            sources.insert(wanted.path.clone(), source.clone());
        }

        for (name, source) in found {
            let is_replaced = options.new_classifier && is_under(name, network.classifier());
            let is_optional = network.optional().iter().any(|start| name.starts_with(start));
            // Entries that are not floating-point numbers are not weights, but settings or counters
            // such as PyTorch's `num_batches_tracked`.
            if !is_replaced && !is_optional && entries[source].dtype.is_some() {
                mismatch.unexpected.push(name.to_owned());
            }
        }
        if mismatch.is_empty() {
            Ok(Self { sources, transposed: naming != Naming::Burn })
        } else {
            Err(mismatch)
        }
    }
}

/// Copies the file's values into the module.
struct Filler {
    walk: Walk,
    entries: Entries,
    plan: Plan,
    /// Whether this pass fills the running means and variances, or everything else.
    statistics: bool,
    error: Option<String>,
}

impl Filler {
    fn fill<N: LayerNames>(mut self, network: N) -> Result<N, String> {
        let network = network.map(&mut self);
        self.result()?;
        // The clones of a network share its running means and variances and their pending update,
        // with which Burn would overwrite the loaded values. The result of `valid()`, and of
        // `train()` after it, has its own.
        let is_autodiff = network.devices().iter().any(Device::is_autodiff);
        let network = if is_autodiff { network.valid().train() } else { network.valid() };
        self.statistics = true;
        let network = network.map(&mut self);
        self.result()?;
        Ok(network)
    }

    fn result(&mut self) -> Result<(), String> {
        self.error.take().map_or(Ok(()), Err)
    }
}

impl ModuleMapper for Filler {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.walk.path();
        let is_statistic = path.ends_with("running_mean") || path.ends_with("running_var");
        let source = self.plan.sources.get(&path);
        let Some(source) = source.filter(|_| is_statistic == self.statistics) else { return param };
        let entry = &self.entries[source];
        let dtype = entry.dtype.expect("the plan has only floating-point entries");
        let data =
            (entry.read)().map_err(|error| printable(&error.to_string())).and_then(|bytes| {
                let (bytes, shape) =
                    (Bytes::from_bytes_vec(bytes), Shape::from(entry.shape.clone()));
                TensorData::try_from_bytes(bytes, shape, dtype).map_err(|error| error.to_string())
            });
        let data = match data {
            Ok(data) => data,
            Err(error) => {
                self.error.get_or_insert(error);
                return param;
            }
        };

        let value = Tensor::<D>::from_data(data.convert::<f32>(), &param.lazy_device());
        let value = if self.plan.transposed && self.walk.is_linear_weight() {
            value.swap_dims(0, 1)
        } else {
            value
        };
        // Weights for color images in a network for grayscale images.
        let value = if D == 4 && value.dims()[1] != param.lazy_shape()[1] {
            value.sum_dim(1)
        } else {
            value
        };
        let id = param.id;
        param.transform_for_load(value, id)
    }
}
