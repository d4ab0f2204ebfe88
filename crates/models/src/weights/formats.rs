//! Reads weights files of PyTorch, safetensors and Burn.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use burn::tensor::{Bytes, DType};
use pytorch_reader::{PickleValue, PytorchReader};
use safetensors::{Dtype, SafeTensors};

/// Text stored in a file with the weights, by key: for example, the name of the network and of the
/// classes. The program that writes the file defines the keys; this crate does not interpret them.
pub type Metadata = BTreeMap<String, String>;

/// The maximum length of a tensor's name, in bytes. Names in real networks have about 50.
const LONGEST_NAME: usize = 1000;
/// The maximum length of all names of a file together, in bytes. The largest network here has
/// about 50 kB.
const ALL_NAMES: usize = 10_000_000;

/// The contents of a file.
#[derive(Default)]
pub(super) struct Contents {
    pub entries: Entries,
    /// The text stored with the tensors.
    pub metadata: Metadata,
}

/// A file's tensors, by their [current names](current_name).
pub(super) type Entries = BTreeMap<String, Entry>;

/// A tensor of a file, not read yet. The file is open or in memory, so later changes at its path
/// have no effect.
pub(super) struct Entry {
    pub shape: Vec<usize>,
    /// `None` if the values are not floating-point numbers.
    pub dtype: Option<DType>,
    pub read: Box<dyn Fn() -> io::Result<Vec<u8>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    PyTorch,
    Safetensors,
    Burnpack,
}

impl Format {
    pub fn of(path: &Path) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |with: &[&str]| with.iter().any(|end| name.ends_with(end));
        match () {
            () if ends(&[".pth", ".pt", ".pth.tar", ".bin", ".ckpt"]) => Ok(Self::PyTorch),
            () if ends(&[".safetensors"]) => Ok(Self::Safetensors),
            () if ends(&[".bpk"]) => Ok(Self::Burnpack),
            () => Err("expected a file name ending in .pth, .pt, .safetensors or .bpk".to_owned()),
        }
    }

    pub fn read(self, path: &Path) -> Result<Contents, String> {
        // Opened here, so that the error for a missing file is the same for all formats.
        let mut file = File::open(path).map_err(reason)?;
        if file.metadata().map_err(reason)?.len() == 0 {
            return Err("the file is empty".to_owned());
        }
        if self == Self::PyTorch {
            return read_pytorch(path);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(reason)?;
        self.read_bytes(bytes)
    }

    /// Reads a file that is in memory.
    pub fn read_bytes(self, bytes: Vec<u8>) -> Result<Contents, String> {
        match self {
            Self::Safetensors => read_safetensors(bytes),
            Self::Burnpack => read_burnpack(bytes),
            Self::PyTorch => Err("a PyTorch file is not read from memory: save the weights as \
                                  .safetensors instead"
                .to_owned()),
        }
    }
}

/// Reads the pickle as data: takes the tensors, and calls none of the functions that it names.
fn read_pytorch(path: &Path) -> Result<Contents, String> {
    use pytorch_reader::DType as Theirs;
    check_names(&PytorchReader::read_pickle_data(path, None).map_err(reason)?)?;
    let reader = PytorchReader::new(path).map_err(reason)?;
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
    Ok(Contents { entries: collect(entries)?, metadata: Metadata::new() })
}

/// Checks the tensors' names before the reader builds them. The reader joins the keys on the path
/// to each tensor: one long key above many tensors would take unlimited memory. Of two tensors with
/// the same name, the reader would keep an arbitrary one.
fn check_names(root: &PickleValue) -> Result<(), String> {
    #[derive(Default)]
    struct Names<'a> {
        keys: Vec<Cow<'a, str>>,
        /// The length of the keys, in bytes.
        length: usize,
        total: usize,
        names: BTreeSet<String>,
    }
    impl<'a> Names<'a> {
        fn walk(&mut self, value: &'a PickleValue) -> Result<(), String> {
            match value {
                PickleValue::Dict(items) => {
                    items.iter().try_for_each(|(key, item)| self.under(key.into(), item))
                }
                PickleValue::List(items) => {
                    let mut items = items.iter().enumerate();
                    items.try_for_each(|(index, item)| self.under(index.to_string().into(), item))
                }
                PickleValue::Unsupported(kind) if kind == "torch.Tensor" => {
                    let dots = self.keys.len().saturating_sub(1);
                    check_length(self.length + dots, &mut self.total)?;
                    match self.names.replace(self.keys.join(".")) {
                        Some(name) => Err(twice(&name)),
                        None => Ok(()),
                    }
                }
                _ => Ok(()),
            }
        }

        fn under(&mut self, key: Cow<'a, str>, item: &'a PickleValue) -> Result<(), String> {
            let length = key.len();
            self.length += length;
            self.keys.push(key);
            self.walk(item)?;
            self.keys.pop();
            self.length -= length;
            Ok(())
        }
    }
    Names::default().walk(root)
}

fn read_safetensors(bytes: Vec<u8>) -> Result<Contents, String> {
    let bytes = Arc::new(bytes);
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(reason)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let tensors = SafeTensors::deserialize(&bytes).map_err(reason)?;
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
    Ok(Contents { entries: collect(entries)?, metadata })
}

/// Reads from memory: Burn's reader would open the file again for each tensor, and panic if it does
/// not exist any more.
fn read_burnpack(bytes: Vec<u8>) -> Result<Contents, String> {
    let reader = burn_pack::Reader::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(reason)?;
    let metadata = reader.metadata().clone();
    let tensors = reader.into_tensors().map_err(reason)?;
    let entries = tensors.into_iter().map(|tensor| {
        let dtype = tensor.dtype.is_float().then_some(tensor.dtype);
        let (name, shape) = (tensor.name.clone(), tensor.shape.to_vec());
        let read = move || Ok(tensor.to_bytes().map_err(io::Error::other)?.to_vec());
        (name, Entry { shape, dtype, read: Box::new(read) })
    });
    Ok(Contents { entries: collect(entries)?, metadata })
}

fn collect(tensors: impl Iterator<Item = (String, Entry)>) -> Result<Entries, String> {
    let (mut entries, mut total) = (Entries::new(), 0);
    for (name, entry) in tensors {
        check_length(name.len(), &mut total)?;
        let name = current_name(name);
        if entries.contains_key(&name) {
            return Err(twice(&name));
        }
        entries.insert(name, entry);
    }
    Ok(entries)
}

/// Adds the length of a name to the total, and checks both limits.
fn check_length(name: usize, total: &mut usize) -> Result<(), String> {
    if name > LONGEST_NAME {
        return Err(format!(
            "a tensor has a name of {name} bytes (limit {LONGEST_NAME}): this is not a weights file"
        ));
    }
    *total += name;
    if *total > ALL_NAMES {
        Err(format!(
            "the tensors' names take more than {} MB: this is not a weights file",
            ALL_NAMES / 1_000_000
        ))
    } else {
        Ok(())
    }
}

fn twice(name: &str) -> String {
    format!("it has two tensors called `{}`", printable(name))
}

/// Replaces the names of torchvision's first DenseNets, such as `norm.1`, with the current ones.
fn current_name(name: String) -> String {
    match name.contains(".denselayer") {
        false => name,
        true => ["norm.1", "norm.2", "conv.1", "conv.2"]
            .iter()
            .fold(name, |name, old| name.replace(old, &old.replace('.', ""))),
    }
}

fn reason(error: impl Display) -> String {
    printable(&error.to_string())
}

/// Escapes and shortens text from a file for messages: it is untrusted and may contain terminal
/// control characters.
pub(super) fn printable(text: &str) -> String {
    const SHOWN: usize = 300;
    let shown = text.chars().take(SHOWN).map(|char| match char {
        '\'' | '"' => char.to_string(),
        _ => char.escape_debug().to_string(),
    });
    let more = if text.chars().nth(SHOWN).is_some() { " ..." } else { "" };
    shown.collect::<String>() + more
}
