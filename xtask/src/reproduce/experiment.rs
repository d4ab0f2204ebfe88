//! The configs that are trained, and their runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use models::{Architecture, ConvNet};
use train::{
    Config, Error,
    run::{RunFiles, record::RunResult},
    training::Epoch,
};

use crate::assets::root;

/// The folders of `configs` whose configs are trained.
pub const SETS: [&str; 3] = ["d2l", "cpu", "best"];

/// A config to train.
pub struct Experiment {
    /// The folder of the config within `configs`.
    pub set: &'static str,
    pub path: PathBuf,
    pub config: Config,
    pub epochs: usize,
    /// The number of trainable parameters.
    pub parameters: usize,
    /// Multiply-adds of the whole training. The backward pass counts as two forward passes, because
    /// it computes the gradients of the weights and those of the features.
    pub work: u64,
}

/// The run of an experiment.
pub struct Run {
    /// `None` if it has not started.
    pub files: Option<RunFiles>,
    /// Whether it was started with the experiment's current config.
    pub is_current: bool,
}

/// All experiments, the cheapest first.
pub fn experiments() -> Result<Vec<Experiment>, Error> {
    let mut experiments = Vec::new();
    for set in SETS {
        let folder = root().join("configs").join(set);
        let paths = || -> io::Result<Vec<PathBuf>> {
            fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect()
        };
        let paths = paths()
            .map_err(|error| Error::Usage(format!("cannot read {}: {error}", folder.display())))?;
        for path in paths {
            experiments.push(Experiment::load(set, path)?);
        }
    }
    experiments.sort_by_key(|experiment| (experiment.work, experiment.name()));
    Ok(experiments)
}

impl Experiment {
    fn load(set: &'static str, path: PathBuf) -> Result<Self, Error> {
        let config = Config::load(Some(&path), &[])?;
        let Some(epochs) = config.epochs.map(usize::from) else {
            // The schedule of a run with `minutes` depends on elapsed time.
            let why = format!(
                "{}: a run limited by `minutes` cannot be reproduced; set `epochs` instead",
                path.display()
            );
            return Err(Error::Usage(why));
        };
        let network = config.network_config().init(&Device::flex());
        let summary = network.summary([1, config.side(), config.side()]);
        let macs = summary.map_err(|error| Error::Usage(error.to_string()))?.macs();
        let images = (config.training_images() * epochs) as u64;
        let parameters = network.parameters();
        Ok(Self { set, path, config, epochs, parameters, work: 3 * macs * images })
    }

    /// Returns the name of the run's folder.
    pub fn name(&self) -> String {
        format!("{}-{}", self.set, self.config.network)
    }

    /// Returns the test accuracy to beat and a short name of its source.
    pub fn to_beat(&self) -> Option<(f64, &'static str)> {
        use Architecture::{
            AlexNet, DenseNet, DenseNetBc, GoogLeNet, LeNetBn, Nin, ResNet18, Vgg11, Vgg16Bn,
            Wrn40_4,
        };
        let figure = match (self.set, self.config.network) {
            ("best", Vgg16Bn) => (0.935, ZALANDO),
            ("best", GoogLeNet) => (0.937, ZALANDO),
            ("best", ResNet18) => (0.949, ZALANDO),
            ("best", DenseNetBc) => (0.954, ZALANDO),
            ("best", Wrn40_4) => (0.967, ZALANDO),
            (_, LeNetBn) => (0.843, D2L),
            ("d2l", AlexNet) => (0.881, D2L),
            ("d2l", Vgg11) => (0.919, D2L),
            ("d2l", Nin) => (0.844, D2L),
            ("d2l", GoogLeNet) => (0.888, D2L),
            ("d2l", ResNet18) => (0.913, D2L),
            ("d2l", DenseNet) => (0.882, D2L),
            _ => return None,
        };
        Some(figure)
    }
}

/// Dive into Deep Learning.
pub const D2L: &str = "D2L";
/// Zalando's benchmark table.
pub const ZALANDO: &str = "Zalando";

impl Run {
    /// Reads the folder of an experiment's run, as far as its files exist.
    pub fn read(dir: &Path, config: &Config) -> Result<Self, Error> {
        let files =
            if dir.join("config.toml").exists() { Some(RunFiles::read(dir)?) } else { None };
        let is_current = Config::of_run(dir, &[]).is_ok_and(|began| {
            // The device does not matter.
            let (device, devices) = (config.device.clone(), config.devices.clone());
            Config { device, devices, ..began } == *config
        });
        Ok(Self { files, is_current })
    }

    /// The completed epochs.
    pub fn epochs(&self) -> &[Epoch] {
        self.files.as_ref().map_or(&[], |files| &files.epochs)
    }

    /// The results, if the run has finished.
    pub fn result(&self) -> Option<&RunResult> {
        self.files.as_ref()?.result.as_ref()
    }

    pub fn is_synthetic(&self) -> bool {
        self.files.as_ref().is_some_and(RunFiles::is_synthetic)
    }

    /// A remark if the config has changed since the run started.
    pub fn remark(&self) -> &'static str {
        if self.files.is_some() && !self.is_current {
            ", with a config that has changed since"
        } else {
            ""
        }
    }
}
