//! Lines over epochs or steps, as SVG that takes its colours from the page's style.

use std::{error::Error, ops::Range};

use maud::{Markup, PreEscaped, html};
use plotters::{coord::Shift, prelude::*};

use super::format;

/// A line of a chart.
pub struct Line<'a> {
    /// For the legend.
    pub name: &'a str,
    /// Epoch or step, and value. Values that are not finite are left out.
    pub points: Vec<(usize, f64)>,
}

/// In units of the SVG. Large, for plotters puts everything on whole ones; the page shows a chart at
/// a third to a fourth of it.
const SIZE: (u32, u32) = (1280, 760);
const SWATCH: (u32, u32) = (150, 40);

/// More points than this are averaged, as many together as it takes.
const MAX_POINTS: usize = 400;

/// Up to so many points are marked one by one.
const MAX_MARKED: usize = 30;

/// Larger values are as good as infinite: those of a run that diverged.
const MAX_VALUE: f64 = 1e30;

/// More lines than this have no legend.
const MAX_LEGEND: usize = 8;

/// The style has a variable `--line-N` for each.
const COLORS: usize = 7;

/// Tell lines apart without colours.
const DASHES: [&str; 4] = ["none", "26 12", "4 12", "26 12 4 12"];

/// As many as there are dashes: a disk, a square, a triangle, a diamond.
const MARKS: [&[(i32, i32)]; 4] = [
    &[(4, -11), (11, -4), (11, 4), (4, 11), (-4, 11), (-11, 4), (-11, -4), (-4, -11)],
    &[(-9, -9), (9, -9), (9, 9), (-9, 9)],
    &[(0, -13), (13, 10), (-13, 10)],
    &[(0, -14), (14, 0), (0, 14), (-14, 0)],
];

/// After so many lines a colour meets the same dashes again.
const LINES: usize = COLORS * DASHES.len();

// plotters has no names for colours. These numbers stand for the page's, see `paint`.
const INK: RGBColor = RGBColor(0, 0, 0);
const RULE: RGBColor = RGBColor(0, 0, 1);

fn color(line: usize) -> RGBColor {
    RGBColor(1, 0, (line % LINES) as u8)
}

type Drawn = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A figure with a chart, and a legend of up to [`MAX_LEGEND`] lines. Nothing if there is no point.
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
                @if left_out > 0 { ", without " (left_out) " that are not finite" }
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

/// How the line of this number looks in a chart.
pub fn swatch(line: usize) -> Markup {
    svg(SWATCH, "swatch", None, |area| {
        let middle = SWATCH.1 as i32 / 2;
        let ends = vec![(0, middle), (SWATCH.0 as i32, middle)];
        area.draw(&PathElement::new(ends, color(line).stroke_width(6)))?;
        area.draw(&(EmptyElement::at((SWATCH.0 as i32 / 2, middle)) + mark(line)))?;
        Ok(())
    })
}

/// Each point stands for so many.
fn means(points: &[(usize, f64)], together: usize) -> Vec<(usize, f64)> {
    let means = points.chunks(together).map(|bucket| {
        let (x, y) = bucket.iter().fold((0, 0.0), |sum, at| (sum.0 + at.0 as u128, sum.1 + at.1));
        ((x / bucket.len() as u128) as usize, y / bucket.len() as f64)
    });
    means.collect()
}

/// What the axis of the values spans, never nothing. `None` if there is no point.
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
    // What is never negative has no axis below 0.
    let bottom = if low < 0.0 { low - room } else { (low - room).max(0.0) };
    Some(bottom..high + room)
}

/// For those who do not see the chart.
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

/// A label of an axis: as many digits as it takes, without the noise of binary fractions.
fn tick(value: f64) -> String {
    let value: f64 = format!("{value:.5e}").parse().expect("a number as it was just written");
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// An SVG as wide as the page lets it be. Without a label it is for the eye only.
fn svg(
    size: (u32, u32),
    class: &str,
    label: Option<&str>,
    draw: impl FnOnce(&Area) -> Drawn,
) -> Markup {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?)).expect("a string takes every drawing");
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

/// Puts the page's colours for those that stand for them, and the dashes that plotters cannot draw.
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
