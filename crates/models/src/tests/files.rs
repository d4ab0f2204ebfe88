//! Loading and saving of weights. `tests/files.py` makes the files in `tests/files`.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    pickles::{key, pickled, tensor},
    *,
};
use crate::{
    DenseNet, DenseNetConfig, Initialization, LoadOptions, Metadata, ResNetConfig, VggConfig,
    WeightsError, read_metadata,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

/// The narrow DenseNet whose weights are in the files.
fn config() -> DenseNetConfig {
    DenseNetConfig::new(vec![2, 2], 4, 8, Initialization::XAVIER).with_classes(10)
}

fn network() -> DenseNet {
    config().init(&Device::flex())
}

#[derive(Deserialize)]
struct Expected {
    images: Vec<f64>,
    logits: Vec<f64>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../../tests/files/expected.json")).unwrap()
}

fn images() -> Tensor<4> {
    let images = TensorData::new(expected().images, [2, 3, 32, 32]).convert::<f32>();
    Tensor::from_data(images, &Device::flex())
}

fn refused(name: &str) -> String {
    network().load(file(name)).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn every_form_of_a_file_leads_to_pytorchs_logits() {
    for (name, tolerance) in [
        ("zip.pth", 1e-5),
        ("legacy.pth", 1e-5),
        ("old_names.pth", 1e-5),
        ("nested.pth", 1e-5),
        ("plain.safetensors", 1e-5),
        ("half.pth", 2e-2),
    ] {
        let network = network().load(file(name)).unwrap();
        assert_near(name, &values(network.forward(images())), &expected().logits, tolerance);
    }
}

/// Weights load into a network on an autodiff device, and into a [`Network`].
#[test]
fn weights_load_wherever_the_network_is() {
    let device = Device::flex().autodiff();
    let network = config().init(&device).load(file("zip.pth")).unwrap();
    assert!(network.classifier.weight.val().is_require_grad());
    let logits = network.valid().forward(images());
    assert_near("trains", &values(logits), &expected().logits, 1e-5);

    let any = NetworkConfig::DenseNet(config()).init(&Device::flex());
    let any = any.load(file("plain.safetensors")).unwrap();
    assert_near("any", &values(any.forward(images())), &expected().logits, 1e-5);
}

#[test]
fn saved_weights_load_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    network().load(file("zip.pth")).unwrap().save(&path).unwrap();
    let again = network().load(&path).unwrap();
    assert_near("saved", &values(again.forward(images())), &expected().logits, 1e-5);

    // The same names and bytes as PyTorch's own file, except for the counters of batches.
    let entries = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut entries: Vec<_> = tensors
            .iter()
            .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
            .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec()))
            .collect();
        entries.sort();
        entries
    };
    assert_eq!(entries(&path), entries(&file("plain.safetensors")));

    // The format that a run saves: Burn's own, with its names.
    let path = folder.path().join("weights.bpk");
    again.clone().into_record().save(&path).unwrap();
    let again = network().load(&path).unwrap();
    assert_near("burnpack", &values(again.forward(images())), &expected().logits, 1e-5);
}

/// Weights that are loaded during training are those of the file, including running means and
/// variances, and a clone keeps its own.
#[test]
fn weights_load_over_those_of_training() {
    let device = Device::flex().autodiff();
    let network = config().init(&device);
    network.forward(Tensor::from_inner(images() * 3.0 + 1.0));
    let clone = network.clone();
    let before = values(clone.valid().forward(images()));

    let network = network.load(file("zip.pth")).unwrap();
    assert_near("loaded", &values(network.valid().forward(images())), &expected().logits, 1e-5);
    assert_near("clone", &values(clone.valid().forward(images())), &before, 1e-5);
    let logits = network.forward(Tensor::from_inner(images()));
    let gradients = logits.sum().backward();
    assert!(network.classifier.weight.val().grad(&gradients).is_some(), "trains");
}

/// Loading into one clone does not change the running means and variances of another, although a
/// network that has not computed anything yet shares them with its clones.
#[test]
fn clones_of_a_fresh_network_load_apart() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.safetensors");
    let device = Device::flex().autodiff();
    let trained = config().init(&device);
    trained.forward(Tensor::from_inner(images() * 3.0 + 1.0));
    trained.save(&other).unwrap();
    // Its last tensor is damaged: the error occurs after all others are loaded.
    let broken = folder.path().join("broken.pth");
    std::fs::write(&broken, without_last_storage(&std::fs::read(file("zip.pth")).unwrap()))
        .unwrap();

    for device in [Device::flex(), device] {
        let fresh = config().init(&device);
        let first = fresh.clone().load(file("zip.pth")).unwrap();
        let predict = |network: &DenseNet| values(network.valid().forward(images()));
        let expected = predict(&first);
        let second = fresh.clone().load(&other).unwrap();
        assert_eq!(predict(&first), expected, "after another clone was loaded");

        let expected = predict(&second);
        let again = second.clone();
        second.clone().load(&broken).unwrap_err();
        assert_eq!(predict(&again), expected, "after a load that failed");
        let untouched = config().init(&device);
        let clone = untouched.clone();
        clone.load(&broken).unwrap_err();
        let mean = |network: &DenseNet| network.norm5.running_mean.value().into_data();
        assert_eq!(mean(&untouched), mean(&config().init(&device)), "a fresh clone");
    }
}

/// Returns PyTorch's zip file with a damaged header of its last tensor.
fn without_last_storage(file: &[u8]) -> Vec<u8> {
    let name = |at: usize| {
        let length = u16::from_le_bytes([file[at + 26], file[at + 27]]);
        std::str::from_utf8(&file[at + 30..][..usize::from(length)]).unwrap()
    };
    let number = |at: usize| name(at).split_once("/data/")?.1.parse::<usize>().ok();
    let headers = (0..file.len()).filter(|&at| file[at..].starts_with(b"PK\x03\x04"));
    let (_, last) = headers.filter_map(|at| Some((number(at)?, at))).max().unwrap();
    let mut file = file.to_vec();
    file[last] = 0;
    file
}

/// A file that is replaced during loading gives the tensors of one of the two networks, not a mix.
#[test]
fn a_file_that_is_replaced_is_one_of_the_two() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.bpk");
    let networks = [network(), network()];
    let all = [0, 1].map(|index| {
        let path = folder.path().join(format!("{index}.bpk"));
        networks[index].clone().into_record().save(&path).unwrap();
        path
    });
    std::fs::copy(&all[0], &path).unwrap();
    let logits = networks.map(|network| values(network.forward(images())));

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let replace = || {
            let next = folder.path().join("next");
            for from in all.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                std::fs::copy(from, &next).unwrap();
                std::fs::rename(&next, &path).unwrap();
            }
        };
        scope.spawn(replace);
        let mut mixed = 0;
        for _ in 0..100 {
            let found = values(network().load(&path).unwrap().forward(images()));
            mixed += usize::from(!logits.contains(&found));
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(mixed, 0, "of 100 networks had weights of both files");
    });
}

/// Running means and variances saved during training include the last batch.
#[test]
fn saved_weights_know_the_last_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let device = Device::flex().autodiff();
    let network = config().init(&device);
    network.forward(Tensor::from_inner(images()));
    network.save(&path).unwrap();
    let again = self::network().load(&path).unwrap();
    let expected = values(network.valid().forward(images()));
    assert_near("saved", &values(again.forward(images())), &expected, 1e-5);
}

/// Metadata is read as it was written, in both formats; files without metadata give none.
#[test]
fn text_beside_the_weights_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let network = network().load(file("zip.pth")).unwrap();
    let metadata = [("network", "densenet"), ("note", "\"quoted\", and\nüber")];
    let metadata: Metadata =
        metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    for name in ["weights.safetensors", "weights.bpk"] {
        let path = folder.path().join(name);
        network.save_with(&path, &metadata).unwrap();
        assert_eq!(read_metadata(&path).unwrap(), metadata, "{name}");
        let again = self::network().load(&path).unwrap();
        assert_near(name, &values(again.forward(images())), &expected().logits, 1e-5);
        network.save(&path).unwrap();
        assert_eq!(read_metadata(&path).unwrap(), Metadata::new(), "{name}");
    }
    for name in ["zip.pth", "plain.safetensors"] {
        assert_eq!(read_metadata(file(name)).unwrap(), Metadata::new(), "{name}");
    }
    let error = read_metadata(folder.path().join("none.bpk")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the weights"), "{error}");
}

/// A network of each family loads its own file: tests the names.
#[test]
fn every_family_loads_what_it_saves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let device = Device::flex();
    for (architecture, preset) in [
        (Architecture::LeNetBn, Preset::D2l),
        (Architecture::Vgg16Bn, Preset::Small),
        (Architecture::Nin, Preset::D2l),
        (Architecture::GoogLeNet, Preset::Imagenet),
        (Architecture::ResNet50, Preset::Imagenet),
        (Architecture::Wrn16_4, Preset::Small),
        (Architecture::DenseNet, Preset::D2l),
    ] {
        let config = architecture.config(preset).unwrap().with_classes(10);
        let (network, _) = fill(&config, &device);
        network.save(&path).unwrap();
        let again = config.init(&device).load(&path).unwrap();
        let images = reference::of(architecture, preset).images(&device);
        let expected = values(network.forward(images.clone()));
        assert_eq!(values(again.forward(images)), expected, "{architecture}");
    }
}

/// torchvision publishes GoogLeNet's weights with the auxiliary classifiers.
#[test]
fn auxiliary_classifiers_in_a_file_may_be_left_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let config = crate::GoogLeNetConfig::imagenet().with_classes(10);
    let with_heads = config.clone().with_auxiliary(true).init(&Device::flex());
    with_heads.save(&path).unwrap();
    config.init(&Device::flex()).load(&path).unwrap();
    // If the network has them and the file does not, they are missing.
    config.init(&Device::flex()).save(&path).unwrap();
    let error = with_heads.load(&path).unwrap_err().to_string();
    assert!(error.contains("missing (18): aux1.conv.bn.bias"), "{error}");
}

#[test]
fn the_classifier_may_be_replaced() {
    let seven = config().with_classes(7);
    let error = seven.init(&Device::flex()).load(file("zip.pth")).unwrap_err();
    let message = error.to_string();
    for part in [
        "different shape (2)",
        "classifier.weight is [10, 16] in the file, [7, 16] in the network",
        "with_new_classifier",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let WeightsError::Mismatch { mismatch, .. } = error else { panic!("{error}") };
    assert_eq!(mismatch.shapes.len(), 2);

    let options = LoadOptions::default().with_new_classifier();
    let fresh = seven.init(&Device::flex());
    let loaded = fresh.clone().load_with(file("zip.pth"), options).unwrap();
    assert_eq!(loaded.forward(images()).dims(), [2, 7]);
    // The classifier in the file may have a different structure.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other_head.safetensors");
    let bytes = std::fs::read(file("plain.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let renamed = tensors.iter().map(|(name, view)| {
        (format!("module.{}", name.replace("classifier.", "classifier.0.")), view)
    });
    safetensors::serialize_to_file(renamed.collect::<Vec<_>>(), None, &path).unwrap();
    fresh.clone().load_with(&path, options).unwrap();
    assert!(network().load(&path).is_err());

    // The backbone has the file's weights, the classifier does not.
    let trunk = network().load(file("zip.pth")).unwrap();
    let features = |network: &DenseNet| network.features(images()).into_data();
    assert_eq!(features(&loaded), features(&trunk));
    assert_eq!(loaded.classifier.weight.to_data(), fresh.classifier.weight.to_data());
}

/// A grayscale image gives the same logits as a color image with three equal channels.
#[test]
fn color_weights_accept_grayscale_images() {
    let gray = config().with_channels(1);
    let error = gray.init(&Device::flex()).load(file("zip.pth")).unwrap_err().to_string();
    assert!(error.contains("the weights are for color images"), "{error}");

    let options = LoadOptions::default().with_grayscale();
    let loaded = gray.init(&Device::flex()).load_with(file("zip.pth"), options).unwrap();
    let images = images().narrow(1, 0, 1);
    let as_color = Tensor::cat(vec![images.clone(), images.clone(), images.clone()], 1);
    let expected = values(network().load(file("zip.pth")).unwrap().forward(as_color));
    assert_near("grayscale", &values(loaded.forward(images)), &expected, 1e-5);
}

#[test]
fn another_networks_weights_are_refused_with_a_list() {
    let network = ResNetConfig::resnet18().init(&Device::flex());
    let error = network.load(file("zip.pth")).unwrap_err();
    let message = error.to_string();
    for part in ["missing (102): bn1.bias, ", "unexpected (", "do not fit this network", " more"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(message.lines().count() <= 4, "{message}");
    let WeightsError::Mismatch { mismatch, .. } = error else { panic!("{error}") };
    assert_eq!(mismatch.missing.len(), 102);
    assert!(mismatch.unexpected.contains(&"features.norm5.weight".to_owned()));

    // Variants of one family differ in some names or shapes.
    let deeper = DenseNetConfig::new(vec![2, 3], 4, 8, Initialization::XAVIER).with_classes(10);
    let error = deeper.init(&Device::flex()).load(file("zip.pth")).unwrap_err().to_string();
    assert!(error.contains("denseblock2.denselayer3.conv1.weight"), "{error}");
    assert!(error.contains("classifier.weight is [10, 16] in the file, [10, 20]"), "{error}");
}

/// A pickle can name any function to call; none is called.
#[test]
fn a_hostile_file_runs_nothing() {
    for name in ["hostile.pth", "hostile.pt"] {
        // The first file also contains the network's weights, which may load.
        match network().load(file(name)) {
            Ok(network) => {
                assert_near(name, &values(network.forward(images())), &expected().logits, 1e-5);
            }
            Err(error) => assert!(error.to_string().starts_with("cannot read the weights")),
        }
        for folder in [".", env!("CARGO_MANIFEST_DIR"), "../.."] {
            let trace = PathBuf::from(folder).join("executed-by-a-weights-file");
            assert!(!trace.exists(), "{name} was executed");
        }
    }
}

/// A tensor of 10^15 values in a few bytes, by a stride of zero. No such memory is allocated.
#[test]
fn a_vast_tensor_is_refused() {
    let error = refused("vast.pth");
    assert!(error.contains("vast.pth"), "{error}");

    // The header of a safetensors file may contain any size.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vast.safetensors");
    let header =
        r#"{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert!(network().load(&path).is_err());
    std::fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
    assert!(network().load(&path).is_err());
}

#[test]
fn names_that_no_network_has_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let start = std::time::Instant::now();
        let error = network().load(&path).map(|_| ()).unwrap_err().to_string();
        assert!(start.elapsed().as_secs() < 10, "{name}: {:?}", start.elapsed());
        assert!(error.len() < 1000, "{} bytes of error", error.len());
        error
    };

    // The reader can read the files of `pickled`: it finds the tensor.
    let sound = pickled(&[key("a"), tensor(&[1])].concat());
    let error = load("sound.pth", &sound);
    assert!(error.contains("unexpected (1): a"), "{error}");

    let dots = ".".repeat(1_000_000);
    let error = load("dots.pth", &pickled(&[key(&dots), tensor(&[1])].concat()));
    assert!(error.contains("a name of 1000000 bytes"), "{error}");
    let header = format!(r#"{{"{dots}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    let error = load("dots.safetensors", &file);
    assert!(error.contains("a name of 1000000 bytes"), "{error}");

    // One key of a megabyte above many tensors: their names would take 2 GB.
    let inner: Vec<u8> =
        (0..2000).flat_map(|n| [key(&format!("{n:0>4}")), tensor(&[1])].concat()).collect();
    let items = [&key(&"k".repeat(1_000_000))[..], b"}(", &inner, b"u"].concat();
    let error = load("key.pth", &pickled(&items));
    assert!(error.contains("a name of 1000005 bytes"), "{error}");
    // The same with many nested short keys.
    let deep = (0..900).flat_map(|_| [&key(&"k".repeat(100))[..], b"}("].concat());
    let items = [deep.collect::<Vec<u8>>(), inner, b"u".repeat(900)].concat();
    let error = load("deep.pth", &pickled(&items));
    assert!(error.contains("a name of 90904 bytes"), "{error}");
    // Each name is short enough, but all together are too long.
    let many = (0..15_000).flat_map(|n| [key(&format!("{n:0>900}")), tensor(&[1])].concat());
    let error = load("many.pth", &pickled(&many.collect::<Vec<u8>>()));
    assert!(error.contains("names take more than 10 MB"), "{error}");
}

/// It would be ambiguous which of the two to load.
#[test]
fn two_tensors_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8], expected: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = network().load(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    // `{"a.b": tensor, "a": {"b": tensor}}`
    let tensor = tensor(&[1]);
    let items = [&key("a.b"), &tensor, &key("a"), &b"}("[..], &key("b"), &tensor, b"u"].concat();
    refused("flat.pth", &pickled(&items), "two tensors called `a.b`");

    // torchvision's old name of a tensor, and the new one.
    let bytes = std::fs::read(file("plain.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = "features.denseblock1.denselayer1.norm1.weight";
    let both = tensors.iter().map(|(name, view)| (name.to_owned(), view));
    let both = both.chain([(name.replace("norm1", "norm.1"), tensors.tensor(name).unwrap())]);
    let both = safetensors::serialize(both.collect::<Vec<_>>(), None).unwrap();
    refused("both.safetensors", &both, &format!("two tensors called `{name}`"));
}

#[test]
fn what_is_no_weights_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in [
        ("empty.pth", &b""[..], "the file is empty"),
        ("text.pth", b"not a checkpoint at all", "cannot read the weights"),
        ("text.safetensors", b"not a checkpoint at all", "cannot read the weights"),
        ("text.bpk", b"not a checkpoint at all", "cannot read the weights"),
        ("weights.onnx", b"?", "expected a file name ending in .pth, .pt, .safetensors or .bpk"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = network().load(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
    let error = network().load(folder.path().join("none.pth")).unwrap_err().to_string();
    assert!(error.contains("No such file") || error.contains("cannot find"), "{error}");
    std::fs::create_dir(folder.path().join("folder.pth")).unwrap();
    assert!(network().load(folder.path().join("folder.pth")).is_err());
}

/// A truncated file is an error. A file with a flipped bit is an error or, if the bit is in a
/// weight or in an unused name, a network. Neither panics.
#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let bpk = folder.path().join("whole.bpk");
    network().into_record().save(&bpk).unwrap();
    for whole in [file("zip.pth"), file("legacy.pth"), file("plain.safetensors"), bpk] {
        let bytes = std::fs::read(&whole).unwrap();
        let extension = whole.extension().unwrap().to_str().unwrap();
        let path = folder.path().join("damaged").with_extension(extension);
        for cut in (0..40).chain((40..bytes.len()).step_by(bytes.len() / 60)) {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let error = network().load(&path).map(|_| ());
            assert!(error.is_err(), "{} cut to {cut} bytes was accepted", whole.display());
        }
        let positions = uniform("positions", 150);
        for (round, position) in positions.into_iter().enumerate() {
            let mut damaged = bytes.clone();
            // Half of them near the beginning, where a header would be.
            let range = if round % 2 == 0 { bytes.len() } else { bytes.len().min(2000) };
            let index = ((position + 1.0) / 2.0 * range as f64) as usize;
            damaged[index] ^= 1 << (round % 8);
            std::fs::write(&path, &damaged).unwrap();
            let _ = network().load(&path);
        }
    }
}

#[test]
fn weights_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let error = network().save(folder.path().join("weights.pth")).unwrap_err().to_string();
    assert!(error.contains("expected a file name ending in .safetensors"), "{error}");
    let error = network().save(folder.path().join("none/weights.safetensors")).unwrap_err();
    assert!(error.to_string().starts_with("cannot write the weights"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A folded `vgg11_bn` is a `vgg11`, and so is its file.
#[test]
fn a_folded_vgg_is_one_without_normalization() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let config = |batch_norm| VggConfig::vgg11(batch_norm).with_classes(10).with_units(Some(16));
    let (network, _) = fill(&NetworkConfig::Vgg(config(true)), &Device::flex());
    let images = images();
    let expected = values(network.forward(images.clone()));
    network.prepare_for_prediction().save(&path).unwrap();
    let plain = config(false).init(&Device::flex()).load(&path).unwrap();
    assert_near("folded", &values(plain.forward(images)), &expected, 1e-4);
}
