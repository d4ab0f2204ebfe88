//! Loading and saving of weights.

mod formats;

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    iter,
    path::{Path, PathBuf},
};

use burn::{
    module::{ModuleMapper, ModuleVisitor, Param},
    tensor::{Bytes, Device, Shape, Tensor, TensorData},
};
use burn_pack::AtomicFile;
use safetensors::{Dtype, tensor::TensorView};

use crate::{ConvNet, Listing};
use formats::{Contents, Entries, Format, printable};

/// Text stored in a file with the weights, by key: for example, the name of the network and of the
/// classes. The program that writes the file defines the keys; this crate does not interpret them.
pub type Metadata = BTreeMap<String, String>;

/// How a file may differ from the network that loads it. By default, no difference is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    new_classifier: bool,
    grey_images: bool,
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
    pub fn with_grey_images(self) -> Self {
        Self { grey_images: true, ..self }
    }
}

/// Why weights cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file does not exist, does not have the format of its name, or is damaged.
    #[error("cannot read the weights {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file's entries do not fit the network.
    #[error("the weights {} do not fit this network:{mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All entries that do not fit.
        mismatch: Box<Mismatch>,
    },
    /// The file cannot be written.
    #[error("cannot write the weights {}: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// All entries of a file that do not fit a network. `Display` shortens long lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Entries that the network has and the file does not.
    pub missing: Vec<String>,
    /// Entries that the file has and the network does not.
    pub unexpected: Vec<String>,
    /// Entries with different shapes in file and network: name, shape in the file, in the network.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Entries that are not floating-point numbers, but should be.
    pub types: Vec<String>,
    /// Options that would make the file fit.
    pub hints: Vec<Hint>,
}

/// An option that would make a file fit a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// The classifier is for other classes: [`LoadOptions::with_new_classifier`].
    NewClassifier,
    /// The weights are for color images: [`LoadOptions::with_grey_images`].
    GreyImages,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewClassifier => {
                "the classifier is for other classes: to train a new one, load with \
                 `LoadOptions::with_new_classifier`"
            }
            Self::GreyImages => {
                "the weights are for color images: to use grayscale images, load with \
                 `LoadOptions::with_grey_images`"
            }
        })
    }
}

impl Mismatch {
    fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.shapes.is_empty()
            && self.types.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 6;
        let mut list = |what: &str, items: &[String]| {
            if items.is_empty() {
                return Ok(());
            }
            let shown = items.iter().take(SHOWN).map(|item| printable(item));
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = match items.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            write!(f, "\n  {what} ({}): {shown}{more}", items.len())
        };
        let shapes = self.shapes.iter();
        let shapes = shapes.map(|(name, file, network)| {
            format!("{name} is {file:?} in the file, {network:?} in the network")
        });
        list("missing", &self.missing)?;
        list("unexpected", &self.unexpected)?;
        list("different shape", &shapes.collect::<Vec<_>>())?;
        list("not floating-point", &self.types)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
    }
}

/// A parameter of the network, or a running mean or variance.
struct Wanted {
    /// Its path in the module.
    path: String,
    /// Its shape in a file.
    shape: Vec<usize>,
}

pub(crate) fn load<N: ConvNet>(
    network: N,
    path: &Path,
    options: LoadOptions,
) -> Result<N, WeightsError> {
    let unreadable = |reason: String| WeightsError::Unreadable { path: path.to_owned(), reason };
    let format = Format::of(path).map_err(unreadable)?;
    let Contents { entries, .. } = format.read(path).map_err(unreadable)?;

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
enum Naming {
    /// Burn: the names are the paths in the module.
    Burn,
    /// torchvision.
    Torchvision,
    /// Dive into Deep Learning.
    D2l(Listing),
}

impl Naming {
    /// The namings that a file of this format may have, the most likely first.
    fn of(format: Format) -> &'static [Self] {
        match format {
            Format::Burnpack => &[Self::Burn],
            _ => &[Self::Torchvision, Self::D2l(Listing::Class), Self::D2l(Listing::Sequential)],
        }
    }

    /// The name of the parameter at this path of the module; `None` if this naming does not have
    /// it.
    fn name<N: ConvNet>(self, network: &N, path: &str) -> Option<String> {
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
pub(crate) fn pytorch_name<N: ConvNet>(network: &N, path: &str) -> String {
    let (layer, parameter) = split(path);
    format!("{}.{parameter}", network.torchvision_name(layer))
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
struct Names<'a, N> {
    network: &'a N,
    naming: Naming,
    walk: Walk,
    wanted: BTreeMap<String, Wanted>,
    /// Whether every parameter has a name.
    complete: bool,
}

impl<'a, N: ConvNet> Names<'a, N> {
    fn new(network: &'a N, naming: Naming) -> Self {
        let (walk, wanted) = (Walk::default(), BTreeMap::new());
        let mut names = Self { network, naming, walk, wanted, complete: true };
        network.visit(&mut names);
        names
    }

    /// Finds the naming that fits most of the file's entries, and the prefix of the names in the
    /// file.
    ///
    /// # Errors
    ///
    /// If the file contains the network more than once.
    fn find(network: &'a N, format: Format, entries: &Entries) -> Result<(Self, String), String> {
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

impl<N: ConvNet> ModuleVisitor for Names<'_, N> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.walk.path();
        let mut shape = param.lazy_shape().to_vec();
        let Some(name) = self.naming.name(self.network, &path) else {
            self.complete = false;
            return;
        };
        if self.naming != Naming::Burn && self.walk.is_linear_weight() {
            shape.reverse();
        }
        self.wanted.insert(name, Wanted { path, shape });
    }
}

/// Maps paths in the module to the names of entries in the file.
struct Plan {
    sources: BTreeMap<String, String>,
    transposed: bool,
}

impl Plan {
    fn new<N: ConvNet>(
        network: &N,
        entries: &Entries,
        prefix: &str,
        names: Names<N>,
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
            let is_grey = matches!(
                (&entry.shape[..], &wanted.shape[..]),
                (&[o, 3, ref k @ ..], &[p, 1, ref l @ ..]) if o == p && k == l
            );
            if entry.shape != wanted.shape && !(is_grey && options.grey_images) {
                let hint = match () {
                    () if is_grey => Some(Hint::GreyImages),
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
        match mismatch.is_empty() {
            true => Ok(Self { sources, transposed: naming != Naming::Burn }),
            false => Err(mismatch),
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
    fn fill<N: ConvNet>(mut self, network: N) -> Result<N, String> {
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
        let value = match self.plan.transposed && self.walk.is_linear_weight() {
            true => value.swap_dims(0, 1),
            false => value,
        };
        // Weights for color images in a network for grayscale images.
        let value = match D == 4 && value.dims()[1] != param.lazy_shape()[1] {
            true => value.sum_dim(1),
            false => value,
        };
        let id = param.id;
        param.transform_for_load(value, id)
    }
}

pub(crate) fn save<N: ConvNet>(
    network: &N,
    path: &Path,
    metadata: &Metadata,
) -> Result<(), WeightsError> {
    let unwritable = |reason: String| WeightsError::Unwritable { path: path.to_owned(), reason };
    // valid() applies the pending update of the running means and variances.
    let network = network.valid();
    let written = match Format::of(path) {
        Ok(Format::Safetensors) => {
            let tensors = Gather::from(&network, Naming::Torchvision);
            write_safetensors(tensors, path, metadata)
        }
        Ok(Format::Burnpack) => {
            write_burnpack(Gather::from(&network, Naming::Burn), path, metadata)
        }
        _ => Err("expected a file name ending in .safetensors or .bpk".to_owned()),
    };
    written.map_err(unwritable)
}

/// Collects a network's tensors in the form that a file has.
struct Gather<'a, N> {
    network: &'a N,
    naming: Naming,
    walk: Walk,
    tensors: Vec<(String, TensorData)>,
}

impl<'a, N: ConvNet> Gather<'a, N> {
    fn from(network: &'a N, naming: Naming) -> Vec<(String, TensorData)> {
        let mut gather = Self { network, naming, walk: Walk::default(), tensors: Vec::new() };
        network.visit(&mut gather);
        gather.tensors
    }
}

impl<N: ConvNet> ModuleVisitor for Gather<'_, N> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.transform_for_save().val();
        let value = match self.naming != Naming::Burn && self.walk.is_linear_weight() {
            true => value.swap_dims(0, 1),
            false => value,
        };
        let name = self.naming.name(self.network, &self.walk.path()).expect("every layer is named");
        self.tensors.push((name, value.into_data().convert::<f32>()));
    }
}

fn write_safetensors(
    tensors: Vec<(String, TensorData)>,
    path: &Path,
    metadata: &Metadata,
) -> Result<(), String> {
    let tensors = tensors.into_iter().map(|(name, data)| {
        let shape = data.shape().to_vec();
        (name, shape, data.into_bytes())
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        Ok((name, view.map_err(|error| error.to_string())?))
    });
    let views = views.collect::<Result<Vec<_>, String>>()?;
    let metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    let bytes = safetensors::serialize(views, metadata).map_err(|error| error.to_string())?;
    // Written under a temporary name and synced first, so that no incomplete file has the final
    // name.
    let (part, mut file) = AtomicFile::create(path).map_err(|error| error.to_string())?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|error| error.to_string())?;
    drop(file);
    part.commit().map_err(|error| error.to_string())
}

fn write_burnpack(
    tensors: Vec<(String, TensorData)>,
    path: &Path,
    metadata: &Metadata,
) -> Result<(), String> {
    let tensors = tensors.into_iter().map(|(name, data)| {
        let (bytes, shape, dtype) = data.into_parts();
        burn_pack::Tensor::new(name, dtype, shape, None, bytes)
    });
    let writer = burn_pack::Writer::new(tensors.collect());
    let writer =
        metadata.iter().fold(writer, |writer, (key, value)| writer.with_metadata(key, value));
    // Burn's writer also uses a temporary name until the data is on the disk.
    writer.write_to_file(path).map_err(|error| error.to_string())
}
