use fashion_mnist::PIXELS;

use super::*;

fn settings(network: &str) -> Settings {
    Settings {
        network: network.to_owned(),
        optimizer: "sgd".to_owned(),
        learning_rate: 0.1,
        momentum: 0.9,
        batch_size: 64,
        images: 640,
        seed: 0,
    }
}

fn session(settings: Settings) -> Session {
    Session::new(&Data::synthetic(), settings).unwrap()
}

#[test]
fn a_network_learns_and_its_weights_predict_the_same_elsewhere() {
    let data = Data::synthetic();
    let mut trained = Session::new(&data, settings("lenet_bn")).unwrap();
    let first = trained.step().unwrap();
    for _ in 1..40 {
        trained.step().unwrap();
    }
    assert_eq!(trained.epoch(), (4, 1.0));
    let scores = trained.validate(500).unwrap();
    assert!(scores.loss < first.loss / 2.0 && scores.accuracy > 0.7, "{first:?}, {scores:?}");

    let (pixels, _) = data.test_image(3);
    let expected = trained.predict(pixels).unwrap();
    assert!((expected.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let mut other = Session::new(&data, Settings { seed: 7, ..settings("lenet_bn") }).unwrap();
    assert_ne!(other.predict(pixels).unwrap(), expected);
    other.load("mine.safetensors", trained.weights()).unwrap();
    for (found, expected) in other.predict(pixels).unwrap().iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    }
}

#[test]
fn the_same_seed_gives_the_same_losses() {
    let losses = |seed| {
        let mut session = session(Settings { seed, ..settings("lenet") });
        (0..12).map(|_| session.step().unwrap().loss).collect::<Vec<_>>()
    };
    assert_eq!(losses(1), losses(1));
    assert_ne!(losses(1), losses(2));
}

#[test]
fn settings_out_of_range_are_refused_with_a_sentence() {
    let data = Data::synthetic();
    let base = || settings("lenet_bn");
    for (settings, part) in [
        (Settings { network: "lenet_6".to_owned(), ..base() }, "no network `lenet_6`"),
        (Settings { optimizer: "sdg".to_owned(), ..base() }, "no optimizer `sdg`"),
        (Settings { learning_rate: 0.0, ..base() }, "learning rate"),
        (Settings { learning_rate: f64::NAN, ..base() }, "learning rate"),
        (Settings { momentum: 1.0, ..base() }, "momentum"),
        (Settings { images: 55_001, ..base() }, "55000 images"),
        (Settings { batch_size: 0, ..base() }, "batch size"),
        (Settings { batch_size: 641, ..base() }, "batch size"),
        (Settings { images: 641, ..base() }, "one image"),
        (Settings { batch_size: 1, ..base() }, "one image"),
    ] {
        let error = Session::new(&data, settings).err().expect(part);
        assert!(error.contains(part), "{error}");
    }
    // Without batch normalization, one image is enough.
    assert!(Session::new(&data, Settings { images: 641, ..settings("lenet") }).is_ok());
}

#[test]
fn a_loss_that_is_not_finite_ends_the_training() {
    let mut session = session(Settings { learning_rate: 1e38, ..settings("lenet") });
    let error = (0..20).find_map(|_| session.step().err()).expect("an error");
    assert!(error.contains("learning rate is too high"), "{error}");
}

#[test]
fn weights_of_another_network_and_damaged_files_change_nothing() {
    let mut session = session(settings("lenet_bn"));
    let image = [9; PIXELS];
    let before = session.predict(&image).unwrap();
    let other = self::session(settings("lenet")).weights();
    for (name, contents, part) in [
        ("lenet.safetensors", other, "it holds the weights of lenet (d2l), not of lenet_bn (d2l)"),
        ("cut.safetensors", session.weights()[..900].to_vec(), "cannot read"),
        ("photo.jpg", vec![0xff; 100], "expected a file name ending in"),
        ("evil.pth", vec![0x80; 100], "save the weights as .safetensors"),
    ] {
        let error = session.load(name, contents).unwrap_err();
        assert!(error.contains(part), "{name}: {error}");
    }
    // The published weights are for other classes.
    let published = include_bytes!("../../../assets/weights/lenet_bn.safetensors").to_vec();
    let error = session.load("lenet_bn.safetensors", published).unwrap_err();
    assert!(error.contains("its classes are not those of these images"), "{error}");
    assert_eq!(session.predict(&image).unwrap(), before);
    assert!(session.predict(&[0; 10]).unwrap_err().contains("784 pixels"));
}

#[test]
fn a_snapshot_shows_filters_feature_maps_and_running_statistics() {
    let data = Data::synthetic();
    let mut session = Session::new(&data, settings("lenet_bn")).unwrap();
    session.step().unwrap();
    let Snapshot { filters, features, statistics } =
        Snapshot::new(&session, data.test_image(0).0).unwrap();
    assert_eq!((filters.size, filters.pictures.len()), ([5, 5], 6));
    let shapes: Vec<_> = features.iter().map(|it| (it.size, it.pictures.len())).collect();
    assert_eq!(shapes, [([24, 24], 6), ([8, 8], 16)]);
    let channels: Vec<_> = statistics.iter().map(|it| (&it.layer[..], it.mean.len())).collect();
    assert_eq!(channels, [("bn1", 6), ("bn2", 16), ("bn3", 120), ("bn4", 84)]);
    assert!(statistics.iter().all(|it| it.variance.len() == it.mean.len()));
    // A step has changed them.
    assert!(statistics[0].mean.iter().any(|&mean| mean != 0.0));
    for picture in features.iter().chain([&filters]).flat_map(|it| &it.pictures) {
        assert!(!picture.is_empty());
    }
    let all = features[0].pictures.concat();
    assert_eq!((all.iter().min(), all.iter().max()), (Some(&0), Some(&255)));
}
