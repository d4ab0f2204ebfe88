//! Line charts over epochs or steps, as SVG with the colors of the page's style.

use std::{error::Error, ops::Range};

use maud::{Markup, PreEscaped, html};
use plotters::{coord::Shift, prelude::*};

use crate::format;

/// A line of a chart.
pub struct Line<'a> {
    /// For the legend.
    pub name: &'a str,
    /// Epoch or step, and value. Values that are not finite are left out.
    pub points: Vec<(usize, f64)>,
}

/// In SVG units. Large, because plotters rounds all positions to whole units; the page shows a
/// chart at a third to a quarter of this size.
const SIZE: (u32, u32) = (1280, 760);
const SWATCH: (u32, u32) = (150, 40);

/// A line with more points is reduced to means of neighboring points.
const MAX_POINTS: usize = 400;

/// A line of at most this many points has a mark at each point.
const MAX_MARKED: usize = 30;

/// Larger values are treated as infinite: the run has diverged.
const MAX_VALUE: f64 = 1e30;

/// A chart with more lines has no legend.
const MAX_LEGEND: usize = 8;

/// The style has a variable `--line-N` for each.
const COLORS: usize = 7;

/// Dash patterns, to distinguish lines without colors.
const DASHES: [&str; 4] = ["none", "26 12", "4 12", "26 12 4 12"];

/// One for each dash pattern: a disk, a square, a triangle, a diamond.
const MARKS: [&[(i32, i32)]; 4] = [
    &[(4, -11), (11, -4), (11, 4), (4, 11), (-4, 11), (-11, 4), (-11, -4), (-4, -11)],
    &[(-9, -9), (9, -9), (9, 9), (-9, 9)],
    &[(0, -13), (13, 10), (-13, 10)],
    &[(0, -14), (14, 0), (0, 14), (-14, 0)],
];

/// After this many lines, the combinations of color and dashes repeat.
const LINES: usize = COLORS * DASHES.len();

// plotters cannot use named colors. `paint` replaces these placeholders with the page's colors.
const INK: RGBColor = RGBColor(0, 0, 0);
const RULE: RGBColor = RGBColor(0, 0, 1);

fn color(line: usize) -> RGBColor {
    RGBColor(1, 0, (line % LINES) as u8)
}

type Drawn = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A figure with a chart, and a legend of up to [`MAX_LEGEND`] lines. Empty if there is no point.
pub fn figure(caption: &str, lines: &[Line]) -> Markup {
    let given = || lines.iter().flat_map(|line| &line.points);
    let finite: Vec<Vec<_>> = lines
        .iter()
        .map(|line| line.points.iter().copied().filter(|at| at.1.abs() < MAX_VALUE).collect())
        .collect();
    let left_out = given().count() - finite.iter().flatten().count();
    let together = finite.iter().map(|points| points.len().div_ceil(MAX_POINTS)).max();
    let together = together.unwrap_or(1).max(1);
    let points: Vec<_> = finite.iter().map(|points| means(points, together)).collect();
    let Some(values) = values(&points) else {
        return html! {};
    };
    let last = given().map(|at| at.0).max().unwrap_or(1).max(1);
    let label = description(caption, lines, &points);
    html! {
        figure {
            figcaption {
                (caption)
                @if together > 1 { ", means of " (together) }
                @if left_out > 0 { ", without " (left_out) " non-finite values" }
            }
            (svg(SIZE, "chart", Some(&label), |area| draw(area, 0..last, values, &points)))
            @if (2..=MAX_LEGEND).contains(&lines.len()) {
                ul.legend {
                    @for (index, line) in lines.iter().enumerate() {
                        li { (swatch(index)) (line.name) }
                    }
                }
            }
        }
    }
}

/// A sample of the line with this number.
pub fn swatch(line: usize) -> Markup {
    svg(SWATCH, "swatch", None, |area| {
        let middle = SWATCH.1 as i32 / 2;
        let ends = vec![(0, middle), (SWATCH.0 as i32, middle)];
        area.draw(&PathElement::new(ends, color(line).stroke_width(6)))?;
        area.draw(&(EmptyElement::at((SWATCH.0 as i32 / 2, middle)) + mark(line)))?;
        Ok(())
    })
}

/// The means of `together` points each.
fn means(points: &[(usize, f64)], together: usize) -> Vec<(usize, f64)> {
    let means = points.chunks(together).map(|bucket| {
        let (x, y) = bucket.iter().fold((0, 0.0), |sum, at| (sum.0 + at.0 as u128, sum.1 + at.1));
        ((x / bucket.len() as u128) as usize, y / bucket.len() as f64)
    });
    means.collect()
}

/// The range of the value axis, never empty. `None` if there is no point.
fn values(lines: &[Vec<(usize, f64)>]) -> Option<Range<f64>> {
    let values = || lines.iter().flatten().map(|at| at.1);
    let low = values().reduce(f64::min)?;
    let high = values().reduce(f64::max)?;
    let size = low.abs().max(high.abs());
    let room = if size == 0.0 {
        1.0
    } else if high - low < 1e-4 * size {
        0.05 * size
    } else {
        0.05 * (high - low)
    };
    // The axis of non-negative values does not go below 0.
    let bottom = if low < 0.0 { low - room } else { (low - room).max(0.0) };
    Some(bottom..high + room)
}

/// A description of the chart for screen readers.
fn description(caption: &str, lines: &[Line], points: &[Vec<(usize, f64)>]) -> String {
    let mut text = format!("Chart: {caption}.");
    for (line, points) in lines.iter().zip(points) {
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let (first, last) = (format::number(first.1), format::number(last.1));
            text += &format!(" {}: from {first} to {last}.", line.name);
        }
    }
    text
}

fn draw(area: &Area, x: Range<usize>, y: Range<f64>, lines: &[Vec<(usize, f64)>]) -> Drawn {
    let text = ("sans-serif", 50).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin_top(30)
        .margin_right(90)
        .x_label_area_size(75)
        .y_label_area_size(155)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE.stroke_width(2))
        .axis_style(INK.stroke_width(2))
        .label_style(text)
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|x| format::grouped(*x))
        .y_label_formatter(&|y| tick(*y))
        .draw()?;
    for (index, points) in lines.iter().enumerate() {
        let style = color(index).stroke_width(5);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        if points.len() <= MAX_MARKED {
            chart.draw_series(points.iter().map(|&at| EmptyElement::at(at) + mark(index)))?;
        }
    }
    Ok(())
}

/// The mark of the line of this number, around the origin.
fn mark(line: usize) -> Polygon<(i32, i32)> {
    Polygon::new(MARKS[line % MARKS.len()], color(line))
}

/// An axis label with as many digits as needed, without the rounding errors of binary fractions.
fn tick(value: f64) -> String {
    let value: f64 = format!("{value:.5e}").parse().expect("the number was just formatted");
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// An SVG as wide as the page allows. Without a label it is hidden from screen readers.
fn svg(
    size: (u32, u32),
    class: &str,
    label: Option<&str>,
    draw: impl FnOnce(&Area) -> Drawn,
) -> Markup {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?)).expect("drawing into a string cannot fail");
    }
    // plotters' own tag fixes the size in pixels.
    let content = svg.split_once('>').map_or("", |(_, content)| content);
    let content = paint(content.trim_end().trim_end_matches("</svg>"));
    let view_box = format!("0 0 {} {}", size.0, size.1);
    html! {
        svg class=(class) viewBox=(view_box) role=[label.map(|_| "img")] aria-label=[label]
            aria-hidden=[label.is_none().then_some("true")] { (PreEscaped(content)) }
    }
}

/// Replaces the placeholder colors with the page's, and adds the dashes that plotters cannot draw.
fn paint(svg: &str) -> String {
    let mut svg = svg.replace(" opacity=\"1\"", "");
    svg = svg.replace(&hex(INK), "var(--ink)").replace(&hex(RULE), "var(--rule)");
    for line in 0..LINES {
        let hex = hex(color(line));
        if svg.contains(&hex) {
            let path = format!("<polyline fill=\"none\" stroke=\"{hex}\"");
            let dashes = DASHES[line % DASHES.len()];
            svg = svg.replace(&path, &format!("{path} stroke-dasharray=\"{dashes}\""));
            svg = svg.replace(&hex, &format!("var(--line-{})", line % COLORS));
        }
    }
    svg
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
