//! Saving.

use std::{io::Write, path::Path};

use burn::{
    module::{ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};
use burn_pack::AtomicFile;
use safetensors::{Dtype, tensor::TensorView};

use super::{
    error::WeightsError,
    formats::{Format, Metadata},
    names::{Naming, Walk},
};
use crate::layer_names::LayerNames;

pub(crate) fn save<N: LayerNames>(
    network: &N,
    path: &Path,
    metadata: &Metadata,
) -> Result<(), WeightsError> {
    let unwritable = |reason: String| WeightsError::Unwritable { path: path.to_owned(), reason };
    // valid() applies the pending update of the running means and variances.
    let network = network.valid();
    let written = match Format::of(path) {
        Ok(Format::Safetensors) => write_whole(&to_safetensors(&network, metadata), path),
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

impl<'a, N: LayerNames> Gather<'a, N> {
    fn from(network: &'a N, naming: Naming) -> Vec<(String, TensorData)> {
        let mut gather = Self { network, naming, walk: Walk::default(), tensors: Vec::new() };
        network.visit(&mut gather);
        gather.tensors
    }
}

impl<N: LayerNames> ModuleVisitor for Gather<'_, N> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.walk.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.walk.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.transform_for_save().val();
        let value = if self.naming != Naming::Burn && self.walk.is_linear_weight() {
            value.swap_dims(0, 1)
        } else {
            value
        };
        let name = self.naming.name(self.network, &self.walk.path()).expect("every layer is named");
        self.tensors.push((name, value.into_data().convert::<f32>()));
    }
}

/// The contents of a `.safetensors` file with the network's weights.
pub(crate) fn to_safetensors<N: LayerNames>(network: &N, metadata: &Metadata) -> Vec<u8> {
    // As in `save`.
    let network = network.valid();
    let tensors = Gather::from(&network, Naming::Torchvision).into_iter().map(|(name, data)| {
        let shape = data.shape().to_vec();
        (name, shape, data.into_bytes())
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("the shapes are those of the values"))
    });
    let metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    safetensors::serialize(views, metadata).expect("the tensors have different names")
}

fn write_whole(bytes: &[u8], path: &Path) -> Result<(), String> {
    // Written under a temporary name and synced first, so that no incomplete file has the final
    // name.
    let (part, mut file) = AtomicFile::create(path).map_err(|error| error.to_string())?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| error.to_string())?;
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
