use base64::{Engine, engine::general_purpose::STANDARD};
use fashion_mnist::Source;

use super::{
    charts::{self, Line},
    pictures,
};
use crate::{
    format,
    run::{
        RunFiles,
        record::{
            Environment, FeatureMaps, Filters, LayerMaps, Mistake, Picture, RunResult, TestReport,
            Weight,
        },
        scores::{Scores, scores},
    },
    sweep::{Mean, Spread},
    training::{Epoch, Seconds, Step},
};

#[test]
fn a_page_needs_nothing_else() {
    for page in [page(&[finished(3, 100)]), page(&[finished(3, 100), under_way(2, 50)])] {
        for other in ["<script", "http://", "https://", "url(", "@import", "<iframe"] {
            assert!(!page.contains(other), "{other}");
        }
        for address in [" src=\"", " href=\""].iter().flat_map(|key| page.split(key).skip(1)) {
            assert!(address.starts_with("data:"), "{:.40}", address);
        }
    }
}

#[test]
fn every_color_is_one_of_the_style() {
    let lines: Vec<_> = (0..60).map(|_| Line { name: "", points: vec![(1, 0.5)] }).collect();
    let figure = charts::figure("", &lines).into_string();
    let page = page(&[finished(3, 100)]);
    for svg in svgs(&figure).chain(svgs(&page)) {
        assert!(!svg.contains("=\"#"), "{svg}");
    }
    let style = include_str!("style.css");
    for variable in (figure + &page).split("var(").skip(1).filter_map(|rest| rest.split(')').next())
    {
        assert!(
            variable == "--shade" || style.matches(&format!("  {variable}: ")).count() >= 2,
            "{variable} in light and dark"
        );
    }
}

#[test]
fn what_a_run_holds_is_text() {
    let hostile = "</pre></title><script>alert(\"1\")</script>&";
    let mut run = finished(2, 10);
    run.name = hostile.to_owned();
    run.config = hostile.to_owned();
    let test = run.test.as_mut().expect("tested");
    test.classes = vec![hostile.to_owned(); 10];
    test.weights[0].name = hostile.to_owned();
    run.environment.as_mut().expect("an environment").data_source =
        Source::FashionMnist(hostile.into());
    run.result.as_mut().expect("a result").network = hostile.to_owned();
    let escaped =
        "&lt;/pre&gt;&lt;/title&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;";
    let alone = page(std::slice::from_ref(&run));
    let compared = page(&[run, under_way(1, 10)]);
    for page in [alone, compared] {
        assert!(page.contains(escaped));
        assert!(!page.contains("<script") && !page.contains("\"1\""));
    }
}

#[test]
fn large_runs_make_pages_of_less_than_two_megabytes() {
    let mut run = finished(400, 200_000);
    let test = run.test.as_mut().expect("tested");
    // Noise cannot be compressed.
    let pixels: Vec<u8> = noise(784).iter().map(|value| (value * 1e6) as i32 as u8).collect();
    let mistake = Mistake { pixels: encoded(&pixels), ..test.mistakes[0].clone() };
    test.mistakes = vec![mistake; 2000];
    test.filters = Some(Filters { shape: [512, 3, 11, 11], values: noise(512 * 3 * 11 * 11) });
    test.weights = vec![test.weights[0].clone(); 500];
    assert!(page(&[run]).len() < 2_000_000);

    let runs: Vec<_> = (0..50).map(|_| finished(400, 0)).collect();
    assert!(page(&runs).len() < 2_000_000);
}

#[test]
fn what_is_not_finite_is_left_out_of_the_charts() {
    let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300];
    let mut run = finished(10, 20);
    for (position, &bad) in bad.iter().enumerate() {
        let epoch = &mut run.epochs[3 + position];
        epoch.train_loss = bad;
        epoch.validation_accuracy = bad;
        epoch.gradient_norm = bad;
        epoch.weight_norm = bad;
        epoch.seconds.data = bad;
        run.steps[position].loss = bad;
        run.steps[position].learning_rate = bad;
    }
    let page = page(&[run]);
    for svg in svgs(&page) {
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("e300"), "{svg}");
    }
    assert!(page.contains("Training loss by step, without 5 non-finite values"));

    let points: Vec<_> = bad.iter().chain(&[0.5, 0.25]).map(|&value| (1, value)).collect();
    let figure = charts::figure("Loss", &[Line { name: "Training", points }]).into_string();
    assert_eq!(figure.matches("<polygon").count(), 2, "{figure}");

    let none = charts::figure("Loss", &[Line { name: "Training", points: vec![(1, f64::NAN)] }]);
    assert_eq!(none.into_string(), "");
}

/// A file may contain values that this program never writes.
#[test]
fn numbers_that_do_not_fit_each_other_are_refused_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), "").unwrap();
    let read = |change: fn(&mut TestReport)| {
        let mut test = finished(1, 0).test.unwrap();
        change(&mut test);
        let test = serde_json::to_vec(&test).unwrap();
        std::fs::write(folder.path().join("test.json"), test).unwrap();
        RunFiles::read(folder.path())
    };
    read(|_| ()).unwrap();
    type Change = fn(&mut TestReport);
    let changes: [(Change, &str); 5] = [
        (|test| test.confusion[3] = vec![1], "does not fit the 10 classes"),
        (|test| drop(test.confusion.pop()), "does not fit the 10 classes"),
        (|test| test.confusion[3] = vec![u32::MAX; 10], "too many images: 42949"),
        (
            |test| test.filters.as_mut().unwrap().shape[0] = 7,
            "filters of [7, 1, 5, 5] cannot have 150",
        ),
        (|test| test.filters.as_mut().unwrap().shape[0] = usize::MAX, "cannot have 150 values"),
    ];
    for (change, expected) in changes {
        let error = read(change).unwrap_err().to_string();
        assert!(error.contains("test.json: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn steps_of_any_number_are_averaged() {
    let points = (0..801).map(|step| (usize::MAX - step, 0.5)).collect();
    let figure = charts::figure("Loss", &[Line { name: "Training", points }]).into_string();
    assert!(figure.contains("Loss, means of 3"));
}

#[test]
fn a_single_point_is_marked() {
    for value in [0.0, 1e-9, 0.3, -7.0, 1e12] {
        let line = Line { name: "Training", points: vec![(1, value)] };
        assert_eq!(charts::figure("", &[line]).into_string().matches("<polygon").count(), 1);
    }
}

#[test]
fn many_points_are_averaged() {
    let points = (1..=800).map(|step| (step, (step % 2) as f64)).collect();
    let figure = charts::figure("Loss", &[Line { name: "Training", points }]).into_string();
    assert!(figure.contains("Loss, means of 2"));
    // Each 0 and the 1 next to it have the same mean.
    let (_, path) = figure.split_once("stroke=\"var(--line-0)\"").expect("a line");
    let (_, points) = path.split_once("points=\"").expect("with points");
    let points: Vec<_> = points.split('"').next().unwrap_or("").split_whitespace().collect();
    let heights = points.iter().filter_map(|at| at.split(',').nth(1));
    assert_eq!(points.len(), 400);
    assert_eq!(heights.collect::<std::collections::HashSet<_>>().len(), 1);
}

#[test]
fn precision_and_recall_by_hand() {
    let [first, second] = scores(&[vec![8, 2], vec![1, 9]])[..] else { panic!("two classes") };
    let by_hand = |precision, recall, f1| Scores {
        precision: Some(precision),
        recall: Some(recall),
        f1: Some(f1),
        images: 10,
    };
    assert_eq!(first, by_hand(8.0 / 9.0, 8.0 / 10.0, 16.0 / 19.0));
    assert_eq!(second, by_hand(9.0 / 11.0, 9.0 / 10.0, 18.0 / 21.0));

    // No image was predicted as the second class.
    let scores = scores(&[vec![3, 0], vec![2, 0]]);
    assert_eq!(scores[0].precision, Some(0.6));
    assert_eq!((scores[1].precision, scores[1].recall), (None, Some(0.0)));
}

#[test]
fn pictures_hold_the_pixels() {
    let pixels: Vec<u8> = (0..784).map(|pixel| (pixel % 251) as u8).collect();
    let mut mistake =
        Mistake { pixels: encoded(&pixels), ..finished(1, 0).test.unwrap().mistakes.remove(0) };
    assert_eq!(
        decoded(&pictures::mistake(&mistake).expect("a picture")).to_luma8().into_raw(),
        pixels
    );
    mistake.pixels = encoded(&pixels[1..]);
    assert_eq!(pictures::mistake(&mistake), None);
    assert_eq!(pictures::attention(&mistake), None);
}

/// 2 x 2 pixels.
fn square(pixels: &[u8; 4]) -> Picture {
    Picture { size: [2, 2], pixels: encoded(pixels) }
}

#[test]
fn attention_is_orange_over_the_image() {
    let mistake = finished(1, 0).test.unwrap().mistakes.remove(0);
    let picture = decoded(&pictures::attention(&mistake).expect("a picture")).to_rgb8();
    // The highest value is at the lower left; the image is gray 7.
    assert_eq!(picture.get_pixel(0, 27).0, [193, 92, 2]);
    assert_eq!(picture.get_pixel(27, 0).0, [7, 7, 7]);
    assert_eq!(
        decoded(&pictures::picture(&square(&[0, 1, 2, 255])).unwrap()).to_luma8().as_raw(),
        &[0, 1, 2, 255]
    );
    // Files may hold anything.
    for size in [[2, 3], [0, 0], [usize::MAX, 2]] {
        let bad = Picture { size, pixels: encoded(&[0; 4]) };
        assert_eq!(pictures::picture(&bad), None);
        let attention = Some(bad);
        assert_eq!(pictures::attention(&Mistake { attention, ..mistake.clone() }), None);
    }
}

#[test]
fn feature_maps_are_shown_with_their_layers() {
    let page = page(&[finished(1, 0)]);
    assert!(page.contains("Feature maps") && page.contains("the first 8 of 16 channels"));
    assert!(page.contains("Where the network sees Class 1"));
    // Reports of earlier versions have neither.
    let mut run = finished(1, 0);
    let test = run.test.as_mut().unwrap();
    test.feature_maps = None;
    test.mistakes[0].attention = None;
    let page = self::page(&[run]);
    assert!(!page.contains("Feature maps") && !page.contains("Grad-CAM"));
}

#[test]
fn filters_are_stretched_each_to_its_own_range() {
    let picture = |channels, values: &[f32]| {
        let shape = [2, channels, 1, 2];
        let pictures = pictures::filters(&Filters { shape, values: values.to_vec() }, 64);
        pictures.iter().map(|address| decoded(address)).collect::<Vec<_>>()
    };
    let gray = picture(1, &[-1.0, 1.0, 5.0, 4.0]);
    assert_eq!(gray[0].to_luma8().as_raw(), &[0, 255]);
    assert_eq!(gray[1].to_luma8().as_raw(), &[255, 0]);
    // Red, green and blue of the left and the right pixel; the second filter is constant.
    let [first, second] =
        &picture(3, &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0])[..]
    else {
        panic!("two filters")
    };
    assert_eq!(first.to_rgb8().as_raw(), &[0, 102, 204, 51, 153, 255]);
    assert_eq!(second.to_rgb8().as_raw(), &[128; 6]);
    // Means 2 and 3.
    let mean = picture(2, &[0.0, 6.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(mean[0].to_luma8().as_raw(), &[0, 255]);

    let none = Filters { shape: [0, 0, 0, 0], values: Vec::new() };
    assert!(pictures::filters(&none, 64).is_empty());
}

#[test]
fn a_run_under_way_says_so() {
    for run in [under_way(1, 20), under_way(0, 3), under_way(0, 0)] {
        assert!(page(&[run]).contains("No result yet."));
    }
    assert!(!page(&[finished(1, 20)]).contains("No result yet."));
}

#[test]
fn synthetic_images_are_announced() {
    let mut synthetic = finished(1, 20);
    synthetic.result.as_mut().expect("a result").data_source = Source::Synthetic;
    let banner = "Synthetic images.";
    assert!(!page(&[finished(1, 20)]).contains(banner));
    assert!(
        !page(&[finished(1, 20), finished(1, 20)])
            .contains("<th class=\"text\" scope=\"col\">Images")
    );
    let compared = page(&[synthetic, finished(1, 20)]);
    assert!(compared.contains(banner));
    assert!(compared.contains("<th class=\"text\" scope=\"col\">Images"));
}

#[test]
fn numbers_are_short() {
    assert_eq!(format::grouped(7), "7");
    assert_eq!(format::grouped(11_172_810), "11,172,810");
    assert_eq!(format::number(0.261_34), "0.2613");
    assert_eq!(format::number(132.456), "132.5");
    assert_eq!(format::number(0.000_123_4), "1.23e-4");
    assert_eq!(format::number(0.0), "0");
    assert_eq!(format::percent(0.9234), "92.34\u{a0}%");
}

#[test]
fn what_was_not_tested_says_nothing_of_a_test() {
    let untested = || {
        let mut run = finished(1, 20);
        let result = run.result.as_mut().expect("a result");
        (result.test_accuracy, result.test_loss, run.test) = (None, None, None);
        run
    };
    for page in [page(&[untested()]), page(&[untested(), untested()])] {
        assert!(!page.contains("Test accuracy") && !page.contains("Test loss"));
        assert!(page.contains("88.00\u{a0}%") && page.contains("0.3500"));
    }
    // A sweep in which only the best was tested.
    let page = page(&[untested(), finished(1, 20)]);
    assert!(page.contains("Test accuracy") && page.contains("90.00\u{a0}%"));
}

#[test]
fn means_over_seeds_have_their_deviation() {
    let spread = |mean, deviation| Spread { mean, deviation };
    let mean = Mean {
        name: "learning_rate=0.1".to_owned(),
        runs: 3,
        validation_accuracy: spread(0.8765, Some(0.0123)),
        validation_loss: spread(0.4, Some(0.01)),
        test_accuracy: None,
        test_loss: None,
    };
    let alone = Mean { runs: 1, validation_loss: spread(0.5, None), ..mean.clone() };
    let page = super::page(&[finished(1, 20)], &[mean, alone], false);
    assert!(page.contains("Means over seeds") && page.contains("learning_rate=0.1"));
    assert!(page.contains("87.65\u{a0}% ± 1.23\u{a0}%") && page.contains("0.4000 ± 0.01000"));
    assert!(page.contains("<td>0.5000</td>"), "{page}");
}

fn page(runs: &[RunFiles]) -> String {
    super::page(runs, &[], false)
}

/// The SVGs of a page.
fn svgs(page: &str) -> impl Iterator<Item = &str> {
    page.split("<svg").skip(1).filter_map(|rest| rest.split("</svg>").next())
}

fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decoded(address: &str) -> image::DynamicImage {
    let png = address.strip_prefix("data:image/png;base64,").expect("a PNG");
    image::load_from_memory(&STANDARD.decode(png).expect("base64")).expect("a PNG")
}

/// Reproducible numbers from -1 to 1.
fn noise(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index as f32 * 12.9898).sin()).collect()
}

fn under_way(epochs: usize, steps: usize) -> RunFiles {
    RunFiles { result: None, test: None, ..finished(epochs, steps) }
}

fn finished(epochs: usize, steps: usize) -> RunFiles {
    let device = "flex".to_owned();
    let data_source = Source::FashionMnist("data".into());
    let epoch = |epoch| Epoch {
        epoch,
        step: epoch * 100,
        train_loss: 1.0 / epoch as f64,
        train_accuracy: 1.0 - 0.3 / epoch as f64,
        validation_loss: 1.1 / epoch as f64,
        validation_accuracy: 1.0 - 0.4 / epoch as f64,
        learning_rate: 0.1 / epoch as f64,
        gradient_norm: 1.0,
        weight_norm: 20.0 + epoch as f64,
        images_per_second: 1000.0,
        seconds: Seconds {
            data: 1.0,
            forward: 5.0,
            backward: 10.0,
            optimizer: 2.0,
            training: 19.0,
            validation: 1.0,
        },
        resident_memory: Some(1 << 30),
    };
    let step = |step| Step {
        step,
        epoch: 1,
        loss: 2.0 + (step as f64).sin(),
        learning_rate: 0.1,
        gradient_norm: 1.0,
    };
    RunFiles {
        name: "lenet-1".to_owned(),
        config: "network = \"lenet\"\n".to_owned(),
        environment: Some(Environment {
            train: "0.1.0".to_owned(),
            burn: "0.22.1".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            threads: 2,
            device: device.clone(),
            backend: "flex".to_owned(),
            device_model: None,
            data_source: data_source.clone(),
        }),
        epochs: (1..=epochs).map(epoch).collect(),
        steps: (1..=steps).map(step).collect(),
        result: Some(RunResult {
            network: "lenet".to_owned(),
            preset: "fashion-mnist".to_owned(),
            parameters: 61_706,
            device,
            backend: "flex".to_owned(),
            device_model: None,
            data_source,
            epochs,
            stopped: None,
            seed: 1,
            tested_epoch: epochs,
            validation_accuracy: 0.88,
            validation_loss: 0.35,
            test_accuracy: Some(0.9),
            test_loss: Some(0.3),
            train_images_per_second: 1000.0,
            seconds: 20.0 * epochs as f64,
        }),
        test: Some(TestReport {
            classes: (0..10).map(|class| format!("Class {class}")).collect(),
            confusion: (0..10).map(|_| vec![100; 10]).collect(),
            losses: vec![Some(0.25); 10],
            mistakes: vec![Mistake {
                index: 3,
                label: 0,
                predicted: 1,
                probability: 0.98,
                pixels: encoded(&[7; 784]),
                attention: Some(square(&[0, 0, 255, 0])),
            }],
            feature_maps: Some(FeatureMaps {
                index: 0,
                label: 9,
                image: Picture { size: [28, 28], pixels: encoded(&[7; 784]) },
                layers: vec![LayerMaps {
                    layer: "conv1".to_owned(),
                    channels: 16,
                    size: [2, 2],
                    maps: vec![square(&[0, 1, 2, 255]); 8],
                }],
            }),
            filters: Some(Filters { shape: [6, 1, 5, 5], values: noise(150) }),
            weights: vec![Weight {
                name: "conv1.weight".to_owned(),
                norm: 2.0,
                gradient_norm: 0.1,
            }],
        }),
    }
}
