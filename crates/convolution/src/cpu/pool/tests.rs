use super::*;

/// Values with few levels, so that windows have equal ones.
fn values(count: usize, salt: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 37 + salt) % 101) as f32 / 64.0 - 0.7;
    (0..count).map(|i| value(i * i + i / 7)).collect()
}

/// Converts row-major values to a memory order.
fn in_order(values: &[f32], [n, c, h, w]: [usize; 4], order: Order) -> Vec<f32> {
    if order == Order::ChannelsFirst {
        return values.to_vec();
    }
    let mut to = vec![0.0; values.len()];
    for (index, value) in values.iter().enumerate() {
        let (sample, channel, pixel) = (index / (c * h * w), index / (h * w) % c, index % (h * w));
        to[(sample * h * w + pixel) * c + channel] = *value;
    }
    assert_eq!(to.len(), n * c * h * w);
    to
}

/// The image positions of one output position, and the divisor.
type Window = (Vec<(usize, usize)>, f64);

/// The windows of a pooling, as PyTorch's documentation defines them.
fn windows([h, w]: [usize; 2], pool: &Pool2d, include_padding: bool) -> Vec<Window> {
    let mut windows = Vec::new();
    let [rows, columns] = pool.output_size([h, w]);
    let [[kh, kw], [sh, sw], [ph, pw]] = [pool.kernel, pool.stride, pool.padding];
    for i in 0..rows {
        for j in 0..columns {
            let (mut inside, mut padded) = (Vec::new(), 0);
            for y in i * sh..i * sh + kh {
                for x in j * sw..j * sw + kw {
                    padded += usize::from(y < h + 2 * ph && x < w + 2 * pw);
                    if (ph..h + ph).contains(&y) && (pw..w + pw).contains(&x) {
                        inside.push((y - ph, x - pw));
                    }
                }
            }
            let count = if include_padding { padded } else { inside.len() };
            windows.push((inside, count.max(1) as f64));
        }
    }
    windows
}

fn adaptive_windows([h, w]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<Window> {
    let range = |index: usize, size: usize, count: usize| {
        let from = (index as f64 * size as f64 / count as f64).floor() as usize;
        from..((index + 1) as f64 * size as f64 / count as f64).ceil() as usize
    };
    let mut windows = Vec::new();
    for i in 0..rows {
        for j in 0..columns {
            let xs = range(j, w, columns);
            let inside = range(i, h, rows).flat_map(|y| xs.clone().map(move |x| (y, x)));
            let inside: Vec<_> = inside.collect();
            let count = inside.len() as f64;
            windows.push((inside, count));
        }
    }
    windows
}

/// Output and input gradient of a row-major tensor, by simple loops: of max pooling if `largest`,
/// else of average pooling.
fn plainly(
    x: &[f32],
    g: &[f32],
    [n, c, h, w]: [usize; 4],
    windows: &[Window],
    largest: bool,
) -> [Vec<f64>; 2] {
    let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
    for plane in 0..n * c {
        for (inside, divisor) in windows {
            let at = |(row, column): (usize, usize)| plane * h * w + row * w + column;
            let gradient = f64::from(g[y.len()]);
            if largest {
                let mut best = None;
                for index in inside.iter().map(|position| at(*position)) {
                    let wins = best.is_none_or(|best: usize| x[index] > x[best]);
                    if wins || x[index].is_nan() {
                        best = Some(index);
                    }
                }
                y.push(best.map_or(f64::NEG_INFINITY, |best| f64::from(x[best])));
                if let Some(best) = best {
                    dx[best] += gradient;
                }
            } else {
                let sum: f64 = inside.iter().map(|position| f64::from(x[at(*position)])).sum();
                inside.iter().for_each(|position| dx[at(*position)] += gradient / divisor);
                y.push(sum / divisor);
            }
        }
    }
    [y, dx]
}

#[track_caller]
fn assert_close(actual: &[f32], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let actual = f64::from(*actual);
        let close = (actual - expected).abs() <= 2e-6 * (1.0 + expected.abs());
        let same = close || actual == *expected || (actual.is_nan() && expected.is_nan());
        assert!(same, "{what}: {actual} at {index} for {expected}");
    }
}

/// Both layers in both orders against simple loops; the orders must give the same bits.
fn check_pool(x: &[f32], shape: [usize; 4], pool: &Pool2d) {
    let [n, c, h, w] = shape;
    let [rows, columns] = pool.output_size([h, w]);
    let output_shape = [n, c, rows, columns];
    let g = values(n * c * rows * columns, 5);
    let what = format!("{shape:?} {pool:?}");
    let mut bits = Vec::new();
    for order in [Order::ChannelsFirst, Order::ChannelsLast] {
        let x_here = in_order(x, shape, order);
        let g_here = in_order(&g, output_shape, order);
        let mut check = |kind: &str, actual: &[f32], shape: [usize; 4], expected: &[f64]| {
            let expected: Vec<_> = expected.iter().map(|value| *value as f32).collect();
            let expected = in_order(&expected, shape, order);
            let expected: Vec<_> = expected.into_iter().map(f64::from).collect();
            assert_close(actual, &expected, &format!("{kind} {what} {order:?}"));
            let first = match order {
                Order::ChannelsFirst => in_order(actual, shape, Order::ChannelsLast),
                Order::ChannelsLast => actual.to_vec(),
            };
            bits.push(first.into_iter().map(f32::to_bits).collect::<Vec<_>>());
        };
        let [y, dx] = plainly(x, &g, shape, &windows([h, w], pool, true), true);
        check("max", &max(&x_here, shape, order, pool), output_shape, &y);
        let actual = max_backward(&x_here, &g_here, shape, order, pool);
        check("max backward", &actual, shape, &dx);
        for include in [false, true] {
            let [y, dx] = plainly(x, &g, shape, &windows([h, w], pool, include), false);
            let actual = average(&x_here, shape, order, pool, include);
            check("average", &actual, output_shape, &y);
            let actual = average_backward(&g_here, shape, order, pool, include);
            check("average backward", &actual, shape, &dx);
        }
    }
    let (first, last) = bits.split_at(bits.len() / 2);
    assert!(first == last, "the orders differ: {what}");
}

fn pool(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], ceil: bool) -> Pool2d {
    Pool2d { kernel, stride, padding, ceil }
}

fn pools() -> Vec<Pool2d> {
    let square = |k: usize, s: usize, p: usize, ceil| pool([k; 2], [s; 2], [p; 2], ceil);
    vec![
        square(2, 2, 0, false),
        square(2, 2, 0, true),
        square(3, 2, 1, false),
        square(3, 2, 0, true),
        square(3, 2, 1, true),
        square(3, 1, 1, false),
        square(3, 3, 1, false),
        square(1, 1, 0, false),
        square(1, 2, 0, false),
        square(5, 2, 2, true),
        square(2, 3, 1, true),
        square(4, 4, 2, false),
        // Whole windows in the padding.
        square(2, 1, 3, false),
        pool([3, 2], [1, 3], [1, 0], false),
        pool([1, 4], [2, 1], [0, 2], true),
        pool([4, 1], [3, 1], [1, 0], true),
    ]
}

#[test]
fn pooling_is_what_plain_loops_compute_in_both_orders() {
    for channels in [1, 3, 6, 16, 17, 64] {
        for pool in pools() {
            for [height, width] in [[5, 7], [8, 8], [4, 21]] {
                let shape = [2, channels, height, width];
                check_pool(&values(shape.iter().product(), channels), shape, &pool);
            }
        }
    }
}

#[test]
fn images_of_one_pixel_and_empty_batches_are_pooled() {
    for pool in
        pools().iter().filter(|pool| (0..2).all(|i| pool.kernel[i] <= 1 + 2 * pool.padding[i]))
    {
        check_pool(&values(3 * 17, 1), [3, 17, 1, 1], pool);
    }
    check_pool(&[], [0, 3, 4, 4], &pools()[0]);
    for order in [Order::ChannelsFirst, Order::ChannelsLast] {
        assert!(adaptive_average(&[], [0, 3, 4, 4], order, [1, 1]).is_empty());
        assert!(adaptive_average_backward(&[], [0, 3, 4, 4], order, [1, 1]).is_empty());
    }
}

#[test]
fn large_tensors_are_pooled_in_many_tasks() {
    for (shape, pool) in [
        ([3, 6, 120, 60], pool([3; 2], [2; 2], [1; 2], false)),
        ([40, 16, 8, 8], pool([2; 2], [2; 2], [0; 2], false)),
        ([1, 17, 90, 70], pool([3; 2], [1; 2], [1; 2], false)),
        ([1, 64, 57, 30], pool([5; 2], [3; 2], [2; 2], true)),
    ] {
        check_pool(&values(shape.iter().product(), 3), shape, &pool);
    }
}

#[test]
fn nan_and_infinities_and_ties_are_treated_as_in_pytorch() {
    let special = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 0.0, -0.0, 1.0, 1.0];
    for channels in [1, 3, 16, 17] {
        let shape = [2, channels, 6, 9];
        let count = shape.iter().product();
        let mut mixed = values(count, 3);
        for (index, value) in mixed.iter_mut().enumerate().filter(|(index, _)| index % 5 == 2) {
            *value = special[(index * index / 5 + index / 11) % special.len()];
        }
        let pools = pools();
        for pool in &pools {
            let none = vec![f32::NEG_INFINITY; count];
            let ties = vec![1.0; count];
            let nan = vec![f32::NAN; count];
            for x in [&mixed, &none, &ties, &nan] {
                check_max(x, shape, pool);
            }
        }
    }
}

/// Only max pooling: averages of infinities are not of interest.
fn check_max(x: &[f32], shape: [usize; 4], pool: &Pool2d) {
    let [n, c, h, w] = shape;
    let [rows, columns] = pool.output_size([h, w]);
    let g = values(n * c * rows * columns, 5);
    let [y, dx] = plainly(x, &g, shape, &windows([h, w], pool, true), true);
    let [y, dx] = [y, dx].map(|values| values.into_iter().map(|v| v as f32).collect::<Vec<_>>());
    for order in [Order::ChannelsFirst, Order::ChannelsLast] {
        let x = in_order(x, shape, order);
        let g = in_order(&g, [n, c, rows, columns], order);
        let widen = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        let y = widen(in_order(&y, [n, c, rows, columns], order));
        let dx = widen(in_order(&dx, shape, order));
        let what = format!("{shape:?} {pool:?} {order:?}");
        assert_close(&max(&x, shape, order, pool), &y, &what);
        assert_close(&max_backward(&x, &g, shape, order, pool), &dx, &what);
    }
}

#[test]
fn adaptive_averages_are_what_plain_loops_compute_in_both_orders() {
    for channels in [1, 3, 6, 16, 17, 64] {
        for (image, size) in [
            ([7, 7], [1, 1]),
            ([5, 7], [2, 3]),
            ([13, 11], [6, 6]),
            ([4, 6], [4, 6]),
            ([3, 2], [5, 7]),
            ([1, 1], [1, 1]),
            ([70, 90], [1, 1]),
            ([300, 5], [2, 1]),
        ] {
            let shape = [2, channels, image[0], image[1]];
            let output_shape = [2, channels, size[0], size[1]];
            let x = values(shape.iter().product(), 2);
            let g = values(output_shape.iter().product(), 7);
            let [y, dx] = plainly(&x, &g, shape, &adaptive_windows(image, size), false);
            let mut bits = Vec::new();
            for order in [Order::ChannelsFirst, Order::ChannelsLast] {
                let actual = adaptive_average(&in_order(&x, shape, order), shape, order, size);
                let g = in_order(&g, output_shape, order);
                let gradient = adaptive_average_backward(&g, shape, order, size);
                for (actual, shape, expected) in
                    [(actual, output_shape, &y), (gradient, shape, &dx)]
                {
                    let expected: Vec<_> = expected.iter().map(|value| *value as f32).collect();
                    let expected = in_order(&expected, shape, order);
                    let expected: Vec<_> = expected.into_iter().map(f64::from).collect();
                    assert_close(&actual, &expected, &format!("{shape:?} {size:?} {order:?}"));
                    let last = match order {
                        Order::ChannelsFirst => in_order(&actual, shape, Order::ChannelsLast),
                        Order::ChannelsLast => actual,
                    };
                    bits.push(last);
                }
            }
            assert!(bits[..2] == bits[2..], "the orders differ: {shape:?} {size:?}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = [2, 6, 120, 90];
    let pool = pool([3; 2], [2; 2], [1; 2], false);
    let x = values(shape.iter().product(), 2);
    let [rows, columns] = pool.output_size([shape[2], shape[3]]);
    let g = values(shape[0] * shape[1] * rows * columns, 3);
    for order in [Order::ChannelsFirst, Order::ChannelsLast] {
        let all = || {
            [
                max(&x, shape, order, &pool),
                max_backward(&x, &g, shape, order, &pool),
                average(&x, shape, order, &pool, true),
                average_backward(&g, shape, order, &pool, false),
                adaptive_average(&x, shape, order, [7, 5]),
                adaptive_average_backward(&g[..2 * 6 * 35], shape, order, [7, 5]),
            ]
            .map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
        };
        let results = [1, 2, 5].map(|threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all)
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{order:?}");
    }
}

#[test]
fn a_pass_of_a_millisecond_has_many_tasks_even_of_one_image() {
    let tasks = std::sync::atomic::AtomicUsize::new(0);
    let image = Planes { planes: 1, height: 224, width: 224, inner: 64 };
    let output = image.with_size([112, 112]);
    write_rows(output, image.elements(), |_, values| {
        tasks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        values.fill(MaybeUninit::new(0.0));
    });
    assert!(tasks.into_inner() >= 32);
}

#[test]
fn the_last_window_starts_inside_the_image_or_the_padding_before_it() {
    let pool = |k, s, p, ceil| pool([k; 2], [s; 2], [p; 2], ceil);
    assert_eq!(pool(2, 2, 0, false).output_size([5, 6]), [2, 3]);
    assert_eq!(pool(2, 2, 0, true).output_size([5, 6]), [3, 3]);
    // The third window would start at position 6 of 1 + 5: in the padding after the image.
    assert_eq!(pool(2, 3, 1, true).output_size([5, 6]), [2, 3]);
}

#[test]
#[should_panic(expected = "does not fit into images")]
fn windows_larger_than_the_padded_image_are_refused() {
    pool([3; 2], [1; 2], [0; 2], true).output_size([2, 8]);
}

/// PyTorch: `F.max_pool2d(torch.ones(1, 1, 2, 2), 3, 2, ceil_mode=True)` has one value.
#[test]
fn rounding_up_lets_a_window_end_outside_the_image() {
    let pool = Pool2d { kernel: [3, 3], stride: [2, 2], padding: [0, 0], ceil: true };
    assert_eq!(pool.output_size([2, 2]), [1, 1]);
    let input = [1.0, 3.0, 2.0, 0.5];
    assert_eq!(max(&input, [1, 1, 2, 2], Order::ChannelsLast, &pool), [3.0]);
    let gradient = max_backward(&input, &[2.0], [1, 1, 2, 2], Order::ChannelsLast, &pool);
    assert_eq!(gradient, [0.0, 2.0, 0.0, 0.0]);
}
