//! The fuzz targets: the readers, and the valid files that are damaged.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use burn::{module::Module, tensor::Device};
use clap::ValueEnum;
use fashion_mnist::Files;
use flate2::{Compression, GzBuilder};
use models::{ConvNet, DenseNet, DenseNetConfig, Initialization};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use train::{
    Config, Error,
    run::{RunFiles, checkpoint},
};

/// A reader to fuzz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Image and label files in the IDX format.
    Idx,
    /// The same, compressed with gzip.
    Gzip,
    /// Config files.
    Config,
    /// Values of `--set`, one per line.
    Set,
    /// Weights in PyTorch's format.
    Pth,
    /// Weights in the safetensors format.
    Safetensors,
    /// Weights in Burn's format.
    Bpk,
    /// Checkpoints, as `train resume` reads them.
    Checkpoint,
    /// Run folders, as `train report` and `train evaluate` read them.
    Run,
}

/// The file with the checksums of a folder's files.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// A file of the folder: its path within the folder, and its bytes.
pub type File = (PathBuf, Vec<u8>);

impl Target {
    /// Returns the name for the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no target is hidden").get_name().to_owned()
    }

    /// Whether the target reads a whole folder, not one file.
    pub fn is_folder(self) -> bool {
        matches!(self, Self::Checkpoint | Self::Run)
    }

    /// Returns the valid files; each case damages one of them.
    pub fn good_files(self) -> Vec<File> {
        let named = |name: &str, bytes: &[u8]| (name.into(), bytes.to_vec());
        match self {
            Self::Idx => vec![named("images", &images()), named("labels", &labels())],
            Self::Gzip => [("images.gz", images()), ("labels.gz", labels())]
                .map(|(name, bytes)| named(name, &pack(&bytes)))
                .into(),
            Self::Config => {
                let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
                let mut files = read_all(&configs);
                files.push(named("everything.toml", EVERYTHING.as_bytes()));
                files
            }
            Self::Set => SETS
                .iter()
                .enumerate()
                .map(|(index, sets)| named(&format!("{index}.set"), sets.as_bytes()))
                .collect(),
            Self::Pth => {
                let files =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/models/tests/files");
                let mut files: Vec<File> = read_all(&files)
                    .into_iter()
                    .filter(|(name, _)| name.extension() == Some(OsStr::new("pth")))
                    .collect();
                // Copies without checksums, so that the reader does not refuse every damage at
                // once.
                let unchecked = files.iter().map(|(name, bytes)| {
                    (name.with_extension("unchecked.pth"), without_checksums(bytes))
                });
                let unchecked: Vec<File> = unchecked.collect();
                files.extend(unchecked);
                files
            }
            Self::Safetensors => {
                let folder = TempDir::new().expect("a temporary folder");
                let path = folder.path().join("weights.safetensors");
                narrow().save(&path).expect("weights are saved");
                read_all(folder.path())
            }
            Self::Bpk => {
                let bytes = narrow().into_record().into_bytes().expect("weights are saved");
                vec![named("weights.bpk", &bytes)]
            }
            Self::Checkpoint => {
                let is_kept = |(name, _): &File| {
                    name.starts_with("checkpoints") || name.ends_with("config.toml")
                };
                run().into_iter().filter(is_kept).collect()
            }
            Self::Run => {
                let is_kept = |(name, _): &File| {
                    !name.starts_with("checkpoints") && !name.ends_with("report.html")
                };
                run().into_iter().filter(is_kept).collect()
            }
        }
    }

    /// Reads the folder, in which one file is damaged. Returns `Ok` if the reader does not notice
    /// the damage.
    pub fn read(self, folder: &Path, damaged: &Path) -> Result<(), String> {
        let path = folder.join(damaged);
        match self {
            Self::Idx | Self::Gzip => {
                let is_images = damaged.to_string_lossy().starts_with("images");
                let name = if is_images { "images" } else { "labels" };
                Files::read_small(folder, name).map(drop).map_err(|error| error.to_string())
            }
            Self::Config => {
                let config = Config::load(Some(&path), &[]).map_err(|error| error.to_string())?;
                use_config(&config)
            }
            Self::Set => {
                let sets = fs::read(&path).map_err(|error| error.to_string())?;
                let sets = String::from_utf8_lossy(&sets);
                let sets: Vec<(String, String)> =
                    sets.lines().map(|set| ("--set".to_owned(), set.to_owned())).collect();
                let config = Config::load(None, &sets).map_err(|error| error.to_string())?;
                use_config(&config)
            }
            Self::Pth | Self::Safetensors | Self::Bpk => {
                let network = if self == Self::Pth { wide() } else { narrow() };
                network.load(&path).map(drop).map_err(|error| error.to_string())
            }
            Self::Checkpoint => read_checkpoint(folder).map_err(|error| error.to_string()),
            Self::Run => read_run(folder).map_err(|error| error.to_string()),
        }
    }
}

/// Does everything that depends on the config before the first computation. A run writes its config
/// at the start, and reads it again when it resumes.
fn use_config(config: &Config) -> Result<(), String> {
    config.network_config();
    config.side();
    config.steps_per_epoch();
    let text = toml::to_string(config).expect("a config can be written");
    let again: Config = toml::from_str(&text).expect("a config that was written can be read");
    assert_eq!(&again, config, "a config changes when it is written and read again");
    Ok(())
}

/// Two images.
fn images() -> Vec<u8> {
    let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28];
    header.into_iter().chain((0..2 * 784).map(|pixel| (pixel % 251) as u8)).collect()
}

/// Twelve labels.
fn labels() -> Vec<u8> {
    [0, 0, 8, 1, 0, 0, 0, 12].into_iter().chain([9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9]).collect()
}

/// A gzip file whose header has all optional fields.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().filename("name").comment("comment").extra("extra");
    let mut packed = builder.write(Vec::new(), Compression::best());
    packed.write_all(bytes).and_then(|()| packed.finish()).expect("writing to a vector cannot fail")
}

/// The network that crates/models/tests/files.py writes.
fn wide() -> DenseNet {
    DenseNetConfig::new(vec![2, 2], 4, 8, Initialization::XAVIER)
        .with_classes(10)
        .init(&Device::flex())
}

/// As small as a network can be, so that reading it is fast.
fn narrow() -> DenseNet {
    DenseNetConfig::new(vec![1], 1, 2, Initialization::XAVIER)
        .with_channels(1)
        .with_classes(10)
        .with_small_stem(true)
        .init(&Device::flex())
}

/// Removes the checksums from the central directory of a zip file; PyTorch can write such files.
fn without_checksums(zip: &[u8]) -> Vec<u8> {
    let mut zip = zip.to_vec();
    for start in 0..zip.len().saturating_sub(20) {
        // The signature of a directory entry; the checksum is at offset 16.
        if zip[start..].starts_with(b"PK\x01\x02") {
            zip[start + 16..start + 20].fill(0);
        }
    }
    zip
}

/// Arguments for a short run that writes all kinds of files.
const QUICK: [&str; 13] = [
    "--device=flex",
    "--epochs=1",
    "--set=network=lenet",
    "--set=batch_size=128",
    "--set=label_smoothing=0.1",
    "--set=data.source=synthetic",
    "--set=data.limit=512",
    "--set=data.validation=64",
    "--set=optimizer.momentum=0.9",
    "--set=optimizer.learning_rate=0.01",
    "--set=optimizer.clip_norm=1",
    "--set=schedule.name=cosine",
    "--set=ema.decay=0.9",
];

/// The files of such a run.
fn run() -> Vec<File> {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("run");
    let run_dir = format!("--run-dir={}", path.display());
    train::cli::run_with(["train", &run_dir].into_iter().chain(QUICK));
    let files = read_all(&path);
    assert!(files.iter().any(|(name, _)| name.ends_with("result.json")), "the run did not finish");
    files
}

/// Updates the checksum of a damaged file, if its folder has checksums, so that the reader does not
/// refuse the damage at once. The format is that of `sha256sum`.
pub fn seal(folder: &Path, damaged: &Path) -> io::Result<()> {
    let path = folder.join(damaged).with_file_name(CHECKSUMS);
    let Ok(sums) = fs::read_to_string(&path) else { return Ok(()) };
    let file = damaged.file_name().unwrap_or_default().to_string_lossy();
    let digest = Sha256::digest(fs::read(folder.join(damaged))?);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = |line: &str| match line.ends_with(&format!("  {file}")) {
        true => format!("{digest}  {file}\n"),
        false => format!("{line}\n"),
    };
    fs::write(path, sums.lines().map(line).collect::<String>())
}

/// What `train resume` reads.
fn read_checkpoint(run: &Path) -> Result<(), Error> {
    let config = Config::of_run(run, &[])?;
    let Some(checkpoint) = checkpoint::latest(run)? else { return Ok(()) };
    checkpoint.state.best_epoch();
    checkpoint.model(&config, &Device::flex().autodiff())?;
    Ok(())
}

/// What `train report`, `train evaluate` and `train export` read.
fn read_run(run: &Path) -> Result<(), Error> {
    train::report_page(&[RunFiles::read(run)?]);
    let config = Config::of_run(run, &[])?;
    let network = config.network_config().init(&Device::flex());
    network.load(run.join("model.bpk")).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(())
}

/// Reads every file in the folder and its subfolders, sorted by name.
pub fn read_all(folder: &Path) -> Vec<File> {
    fn walk(folder: &Path, inside: &Path, files: &mut Vec<File>) -> io::Result<()> {
        for entry in fs::read_dir(folder.join(inside))? {
            let name = inside.join(entry?.file_name());
            if folder.join(&name).is_dir() {
                walk(folder, &name, files)?
            } else {
                files.push((name.clone(), fs::read(folder.join(name))?))
            }
        }
        Ok(())
    }
    let mut files = Vec::new();
    walk(folder, Path::new(""), &mut files).expect("the folder can be read");
    files.sort();
    files
}

/// A config with every key.
const EVERYTHING: &str = r#"network = "densenet"
preset = "small"
seed = 7
devices = ["flex", "flex:0"]
minutes = 1.5
batch_size = 64
accumulate = 2
label_smoothing = 0.1
weights = "last"
kernels = "burn"

[pretrained]
weights = "weights.safetensors"
new_classifier = true
grayscale = true

[data]
source = "auto"
validation = 5000
limit = 1000
normalization = "standard"

[augment]
crop = 4
flip = true
erase = 0.5
mixup = 0.2
cutmix = 1.0

[optimizer]
name = "rmsprop"
learning_rate = 1e-3
momentum = 0.9
beta2 = 0.99
weight_decay = 1e-4
decay = "all"
clip_norm = 1.0

[schedule]
name = "step"
warmup = 0.05
milestones = [0.5, 0.75]
factor = 0.1

[ema]
decay = 0.999

[early_stopping]
patience = 5
"#;

/// Values of `--set`, each group as for one command.
const SETS: [&str; 8] = [
    "network=vgg11\nseed=3\nbatch_size=32\n",
    "optimizer.learning_rate=0.5\noptimizer.momentum=0.9\noptimizer.nesterov=true\n",
    "optimizer={ name = \"adam\", learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999 }\n",
    "schedule={ name = \"step\", milestones = [0.5, 0.75], factor = 0.1 }\n",
    "augment={ crop = 2, flip = true, erase = 0.3, mixup = 0.2, cutmix = 1.0 }\n",
    "minutes=2\ndevices=[\"flex\", \"wgpu:0\"]\nearly_stopping.patience=4\n",
    "data.source=synthetic\ndata.limit=640\ndata.validation=100\ndata.normalization=standard\n",
    "pretrained.weights=a.pth\npretrained.new_classifier=true\nema.decay=0.99\nweights=last\n",
];
