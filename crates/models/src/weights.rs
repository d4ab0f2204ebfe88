//! Weights from files and into them.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{
    module::{ModuleMapper, ModuleVisitor, Param},
    tensor::{Bytes, DType, Device, Shape, Tensor, TensorData},
};
use pytorch_reader::PytorchReader;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::ConvNet;

/// How a file may differ from the network that it is loaded into. By default it may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    new_classifier: bool,
    grey_images: bool,
}

impl LoadOptions {
    /// The layers that name the classes keep their fresh weights, whatever the file has for them: to
    /// train on other classes what was learned on the file's.
    pub fn with_new_classifier(self) -> Self {
        Self { new_classifier: true, ..self }
    }

    /// Weights for colour images go into a network for grey ones. The first convolution gets the sum
    /// of its weights for red, green and blue, so that a grey image leads to the features that it
    /// led to as a colour image of three equal channels.
    pub fn with_grey_images(self) -> Self {
        Self { grey_images: true, ..self }
    }
}

/// Why weights cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file is not there, not of its kind, or damaged.
    #[error("cannot read the weights {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file's entries are not the network's.
    #[error("the weights {} do not fit this network:{mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// All that does not fit.
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

/// All entries of a file that do not fit a network. Written out, it is cut short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// What the network has, and the file has not.
    pub missing: Vec<String>,
    /// What the file has, and the network has not.
    pub unexpected: Vec<String>,
    /// What has other dimensions in the file than in the network: name, file, network.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// What is not made of floating-point numbers, though it should be.
    pub types: Vec<String>,
    /// What would make it fit.
    pub hints: Vec<Hint>,
}

/// What would make a file fit a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// The classifier was made for other classes: [`LoadOptions::with_new_classifier`].
    NewClassifier,
    /// The weights were made for colour images: [`LoadOptions::with_grey_images`].
    GreyImages,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewClassifier => {
                "the classifier was made for other classes: to start with a fresh one, load with \
                 `LoadOptions::with_new_classifier`"
            }
            Self::GreyImages => {
                "the weights were made for colour images: for grey ones, load with \
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
            // A name is whatever the file says: nothing of it may reach a terminal unseen.
            let shown = items.iter().take(SHOWN).map(|item| {
                item.chars().take(160).flat_map(char::escape_debug).collect::<String>()
            });
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
        list("of another shape", &shapes.collect::<Vec<_>>())?;
        list("not floating-point", &self.types)?;
        self.hints.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
    }
}

/// A tensor of a file, not read yet.
struct Entry {
    shape: Vec<usize>,
    /// None for integers and the like.
    dtype: Option<DType>,
    read: Box<dyn Fn() -> io::Result<Vec<u8>>>,
}

/// A file's tensors, by their names there.
type Entries = BTreeMap<String, Entry>;

/// A parameter of the network, or a moving average.
struct Wanted {
    /// Its path in the module.
    path: String,
    /// The dimensions that it has in a file.
    shape: Vec<usize>,
}

pub(crate) fn load<N: ConvNet>(
    network: N,
    path: &Path,
    options: LoadOptions,
) -> Result<N, WeightsError> {
    let unreadable = |reason: String| WeightsError::Unreadable { path: path.to_owned(), reason };
    let format = Format::of(path).map_err(unreadable)?;
    let entries = format.read(path).map_err(unreadable)?;

    let mut names = Names::new(&network, format);
    network.visit(&mut names);
    let prefix = prefix(&entries, &names.wanted).map_err(unreadable)?;
    let plan = Plan::new(&network, &entries, &prefix, names, options).map_err(|mismatch| {
        WeightsError::Mismatch { path: path.to_owned(), mismatch: Box::new(mismatch) }
    })?;

    let mut filler = Filler { walk: Walk::default(), entries, plan, error: None };
    let network = settled(network).map(&mut filler);
    match filler.error {
        None => Ok(network),
        Some(reason) => Err(unreadable(reason)),
    }
}

/// The network without what its moving averages have yet to take up: Burn would put a batch of the past
/// over averages that were loaded. A network that never computed has nothing of the kind, and stays as
/// it is, its weights not drawn.
fn settled<N: ConvNet>(network: N) -> N {
    struct HasComputed(bool);
    impl ModuleVisitor for HasComputed {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= D > 1 && param.is_initialized();
        }
    }
    let mut computed = HasComputed(false);
    network.visit(&mut computed);
    match computed.0 {
        false => network,
        true if network.devices().iter().any(Device::is_autodiff) => network.valid().train(),
        true => network.valid(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    PyTorch,
    Safetensors,
    Burnpack,
}

impl Format {
    fn of(path: &Path) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |with: &[&str]| with.iter().any(|end| name.ends_with(end));
        match () {
            () if ends(&[".pth", ".pt", ".pth.tar", ".bin", ".ckpt"]) => Ok(Self::PyTorch),
            () if ends(&[".safetensors"]) => Ok(Self::Safetensors),
            () if ends(&[".bpk"]) => Ok(Self::Burnpack),
            () => Err("expected a file named .pth, .pt, .safetensors or .bpk".to_owned()),
        }
    }

    fn read(self, path: &Path) -> Result<Entries, String> {
        // Opened once here, so that a missing file reads the same for all formats.
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        if length == 0 {
            return Err("the file is empty".to_owned());
        }
        match self {
            Self::PyTorch => read_pytorch(path),
            Self::Safetensors => read_safetensors(path),
            Self::Burnpack => read_burnpack(path),
        }
    }
}

/// Reads the pickle as data: it names tensors, and nothing that it would call is called.
fn read_pytorch(path: &Path) -> Result<Entries, String> {
    use pytorch_reader::DType as Theirs;
    let reader = PytorchReader::new(path).map_err(|error| error.to_string())?;
    let entries = reader.into_tensors().into_iter().map(|(name, tensor)| {
        let dtype = match tensor.dtype() {
            Theirs::F64 => Some(DType::F64),
            Theirs::F32 => Some(DType::F32),
            Theirs::F16 => Some(DType::F16),
            Theirs::BF16 => Some(DType::BF16),
            _ => None,
        };
        let shape = tensor.shape().to_vec();
        (name, Entry { shape, dtype, read: Box::new(move || tensor.read()) })
    });
    Ok(entries.collect())
}

fn read_safetensors(path: &Path) -> Result<Entries, String> {
    let bytes = Arc::new(fs::read(path).map_err(|error| error.to_string())?);
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let entries = tensors.iter().map(|(name, view)| {
        let dtype = match view.dtype() {
            Dtype::F64 => Some(DType::F64),
            Dtype::F32 => Some(DType::F32),
            Dtype::F16 => Some(DType::F16),
            Dtype::BF16 => Some(DType::BF16),
            _ => None,
        };
        let (shape, bytes) = (view.shape().to_vec(), Arc::clone(&bytes));
        let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let range = start..start + view.data().len();
        let read = Box::new(move || Ok(bytes[range.clone()].to_vec()));
        (name.to_owned(), Entry { shape, dtype, read })
    });
    Ok(entries.collect())
}

fn read_burnpack(path: &Path) -> Result<Entries, String> {
    let reader = burn_pack::Reader::from_file(path).map_err(|error| error.to_string())?;
    let tensors = reader.into_tensors().map_err(|error| error.to_string())?;
    let entries = tensors.into_iter().map(|tensor| {
        let dtype = tensor.dtype.is_float().then_some(tensor.dtype);
        let (name, shape) = (tensor.name.clone(), tensor.shape.to_vec());
        let read = move || Ok(tensor.to_bytes().map_err(io::Error::other)?.to_vec());
        (name, Entry { shape, dtype, read: Box::new(read) })
    });
    Ok(entries.collect())
}

/// Where a walk through a module is. Variants of enums do not count.
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

    /// Whether this is the weight of a fully connected layer, `[inputs, outputs]`: in PyTorch it
    /// lies the other way round.
    pub(crate) fn is_linear_weight(&self) -> bool {
        self.containers.last().is_some_and(|container| container == "Struct:Linear")
            && self.path.last().is_some_and(|name| name == "weight")
    }
}

/// The names that a network's parameters have in a file.
struct Names<'a, N> {
    network: &'a N,
    format: Format,
    walk: Walk,
    wanted: BTreeMap<String, Wanted>,
}

impl<'a, N: ConvNet> Names<'a, N> {
    fn new(network: &'a N, format: Format) -> Self {
        Self { network, format, walk: Walk::default(), wanted: BTreeMap::new() }
    }
}

/// The name in a file of PyTorch of the parameter at this path of the module.
pub(crate) fn pytorch_name<N: ConvNet>(network: &N, path: &str) -> String {
    let (layer, parameter) = path.rsplit_once('.').unwrap_or(("", path));
    let parameter = match parameter {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    };
    format!("{}.{parameter}", network.torchvision_name(layer))
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
        let name = match self.format {
            Format::Burnpack => path.clone(),
            _ => pytorch_name(self.network, &path),
        };
        if self.format != Format::Burnpack && self.walk.is_linear_weight() {
            shape.reverse();
        }
        self.wanted.insert(name, Wanted { path, shape });
    }
}

/// Which entry of the file goes where: the path in the module, and the name in the file.
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
        let Names { format, wanted, .. } = names;
        // The file's names as this network has them, and as they are.
        let mut found: BTreeMap<String, &String> = BTreeMap::new();
        for name in entries.keys() {
            if let Some(own) = name.strip_prefix(prefix) {
                found.insert(current_name(own), name);
            }
        }

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
            let entry = found.remove(name);
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
            let is_replaced = options.new_classifier && is_under(&name, network.classifier());
            let is_optional = network.optional().iter().any(|start| name.starts_with(start));
            // What is not made of floating-point numbers holds no weights: settings, counters such as
            // PyTorch's `num_batches_tracked`.
            if !is_replaced && !is_optional && entries[source].dtype.is_some() {
                mismatch.unexpected.push(name);
            }
        }
        match mismatch.is_empty() {
            true => Ok(Self { sources, transposed: format != Format::Burnpack }),
            false => Err(mismatch),
        }
    }
}

/// What stands before the network's own names in the file: training programs save the weights
/// beside other things, `state_dict.`, or wrapped, `module.`.
///
/// # Errors
///
/// If the file has the network more than once.
fn prefix(entries: &Entries, wanted: &BTreeMap<String, Wanted>) -> Result<String, String> {
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    for name in entries.keys() {
        let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
        for start in std::iter::once(0).chain(starts) {
            if wanted.contains_key(&current_name(&name[start..])) {
                *hits.entry(&name[..start]).or_default() += 1;
            }
        }
    }
    let most = hits.values().copied().max().unwrap_or_default();
    // Some names are common to all networks.
    if 2 * most < wanted.len() || hits.get("") == Some(&most) {
        return Ok(String::new());
    }
    let found: Vec<&str> =
        hits.into_iter().filter(|&(_, count)| count == most).map(|(prefix, _)| prefix).collect();
    match found[..] {
        [prefix] => Ok(prefix.to_owned()),
        _ => Err(format!("it has the network more than once, under {}", found.join(" and "))),
    }
}

/// torchvision's first DenseNets wrote `norm.1` for `norm1`.
fn current_name(name: &str) -> String {
    match name.contains(".denselayer") {
        false => name.to_owned(),
        true => ["norm.1", "norm.2", "conv.1", "conv.2"]
            .iter()
            .fold(name.to_owned(), |name, old| name.replace(old, &old.replace('.', ""))),
    }
}

/// Puts the file's values into the module.
struct Filler {
    walk: Walk,
    entries: Entries,
    plan: Plan,
    error: Option<String>,
}

impl ModuleMapper for Filler {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(source) = self.plan.sources.get(&self.walk.path()) else { return param };
        let entry = &self.entries[source];
        let dtype = entry.dtype.expect("checked in the plan");
        let data = (entry.read)().map_err(|error| error.to_string()).and_then(|bytes| {
            let (bytes, shape) = (Bytes::from_bytes_vec(bytes), Shape::from(entry.shape.clone()));
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
        // Colour weights for grey images.
        let value = match D == 4 && value.dims()[1] != param.lazy_shape()[1] {
            true => value.sum_dim(1),
            false => value,
        };
        let id = param.id;
        param.transform_for_load(value, id)
    }
}

pub(crate) fn save<N: ConvNet>(network: &N, path: &Path) -> Result<(), WeightsError> {
    /// Gathers names, shapes and bytes, as PyTorch has them.
    struct Gather<'a, N> {
        network: &'a N,
        walk: Walk,
        entries: Vec<(String, Vec<usize>, Vec<u8>)>,
    }
    impl<N: ConvNet> ModuleVisitor for Gather<'_, N> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.walk.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.walk.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = match self.walk.is_linear_weight() {
                true => param.val().swap_dims(0, 1),
                false => param.val(),
            };
            let data = value.into_data().convert::<f32>();
            let name = pytorch_name(self.network, &self.walk.path());
            self.entries.push((name, data.shape().to_vec(), data.into_bytes().to_vec()));
        }
    }

    let unwritable = |reason: String| WeightsError::Unwritable { path: path.to_owned(), reason };
    if Format::of(path) != Ok(Format::Safetensors) {
        return Err(unwritable("expected a file named .safetensors".to_owned()));
    }
    // valid() takes up the moving averages' last batch.
    let network = network.valid();
    let mut gather = Gather { network: &network, walk: Walk::default(), entries: Vec::new() };
    network.visit(&mut gather);

    let views = gather.entries.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        Ok((name, view.map_err(|error| error.to_string())?))
    });
    let views = views.collect::<Result<Vec<_>, String>>().map_err(unwritable)?;
    // Under another name at first, so that no half of a file is ever taken for a whole one.
    let part = path.with_extension("safetensors.part");
    safetensors::serialize_to_file(views, None, &part)
        .map_err(|error| error.to_string())
        .and_then(|()| fs::rename(&part, path).map_err(|error| error.to_string()))
        .map_err(|reason| {
            // What is left of it is of no use; that it stays is no further failure.
            let _ = fs::remove_file(&part);
            unwritable(reason)
        })
}
