//! Drawing: a canvas of fixed width that grows downward.

use maud::{Markup, PreEscaped, html};

use super::graph::{Kind, Node};
use crate::format::{capitalized, grouped};

/// The width of a drawing in pixels, as all numbers here: a phone shows it almost unscaled.
pub const WIDTH: i32 = 400;
const MARGIN: i32 = 10;

/// The width of a row's box.
const ROW: i32 = 216;
/// Where a row's output shape starts.
const OUTPUT: i32 = MARGIN + ROW + 10;
/// The space between two rows, which has an arrow.
const GAP: i32 = 16;

/// The left and the right edge of an opened block's frame.
pub const FRAME: [i32; 2] = [MARGIN, WIDTH - MARGIN];

/// A row of the column.
#[derive(Debug)]
pub struct Row {
    /// `None` for a block.
    pub kind: Option<Kind>,
    /// The first line of its box.
    pub name: String,
    /// The second line, or nothing.
    pub note: String,
    /// The shape of its output.
    pub output: Vec<usize>,
    pub parameters: usize,
    /// How many neighboring blocks it stands for.
    pub times: usize,
}

impl Row {
    pub fn of_node(node: &Node) -> Self {
        Self {
            kind: Some(node.kind),
            name: titled(node),
            note: node.after.clone(),
            output: node.output.clone(),
            parameters: node.parameters,
            times: 1,
        }
    }

    /// Whether it is a block like this one.
    pub fn repeats(&self, other: &Self) -> bool {
        self.kind.is_none()
            && other.kind.is_none()
            && (&self.name, &self.note, &self.output) == (&other.name, &other.note, &other.output)
            && self.parameters == self.times * other.parameters
    }
}

/// A box's title and size, such as `conv 3 × 3, 64, stride 2`.
pub fn titled(node: &Node) -> String {
    let comma = if node.size.is_empty() { "" } else { ", " };
    format!("{}{comma}{}", node.title(), node.size)
}

/// `64 × 24 × 24`.
pub fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

/// What has been drawn so far.
pub struct Canvas {
    /// Where the next part starts.
    pub y: i32,
    parts: Vec<Markup>,
}

impl Canvas {
    pub fn new() -> Self {
        Self { y: 0, parts: Vec::new() }
    }

    /// The drawing's title.
    pub fn heading(&mut self, text: &str) {
        self.y += 30;
        self.text([MARGIN, self.y], "heading", text);
    }

    /// A line below the title.
    pub fn note(&mut self, text: &str) {
        self.y += 19;
        self.text([MARGIN, self.y], "note", text);
    }

    /// The head of the column: what is beside the rows, and the image.
    pub fn column(&mut self, image: &[usize]) {
        self.y += 30;
        self.text([OUTPUT, self.y], "note", "output");
        self.text([FRAME[1], self.y], "note end", "parameters");
        self.y += 20;
        self.text([MARGIN + ROW / 2, self.y], "label middle", "image");
        self.text([OUTPUT, self.y], "label", &shape(image));
        self.y += 6;
    }

    /// A layer or a block, below the one before.
    pub fn row(&mut self, row: &Row) {
        let height = if row.note.is_empty() { 28 } else { 42 };
        let top = self.y + GAP;
        let middle = MARGIN + ROW / 2;
        self.arrow(&[[middle, self.y], [middle, top]]);
        let class = row.kind.map_or("block", class);
        if row.times > 1 {
            self.rect([MARGIN + 4, top + 4], [ROW, height], class);
        }
        self.rect([MARGIN, top], [ROW, height], class);
        let name = match (row.times, row.kind) {
            (1, None) => capitalized(&row.name),
            (1, Some(_)) => row.name.clone(),
            (times, _) => format!("{times} × {}", row.name),
        };
        self.text([middle, top + 18], "name middle", &name);
        if !row.note.is_empty() {
            self.text([middle, top + 34], "note middle", &row.note);
        }
        let baseline = top + height / 2 + 4;
        self.text([OUTPUT, baseline], "label", &shape(&row.output));
        if row.parameters > 0 {
            self.text([FRAME[1], baseline], "label end", &grouped(row.parameters));
        }
        self.y = top + height;
    }

    /// The heading of an opened block.
    pub fn panel(&mut self, name: &str, shapes: &str) {
        self.y += 44;
        self.text([MARGIN, self.y], "name", name);
        self.text([FRAME[1], self.y], "note end", shapes);
        self.y += 8;
    }

    /// A line of text; its baseline starts, ends or is centered there.
    pub fn text(&mut self, [x, y]: [i32; 2], class: &str, text: &str) {
        self.parts.push(html! { text x=(x) y=(y) class=(class) { (text) } });
    }

    /// A box.
    pub fn rect(&mut self, [x, y]: [i32; 2], [width, height]: [i32; 2], class: &str) {
        self.parts.push(html! {
            rect x=(x) y=(y) width=(width) height=(height) rx="5" class=(class) {}
        });
    }

    /// The circle of an addition.
    pub fn plus(&mut self, [x, y]: [i32; 2], radius: i32) {
        self.parts.push(html! {
            circle cx=(x) cy=(y) r=(radius) class="add" {}
            path d=(format!("M{} {y}h10M{x} {}v10", x - 5, y - 5)) class="line" {}
        });
    }

    /// A line through these points, with an arrow at its end.
    pub fn arrow(&mut self, points: &[[i32; 2]]) {
        let points: Vec<_> = points.iter().map(|[x, y]| format!("{x},{y}")).collect();
        self.parts.push(html! {
            polyline points=(points.join(" ")) class="line" marker-end="url(#arrow)" {}
        });
    }

    /// The whole drawing.
    pub fn finish(self, title: &str) -> String {
        let height = self.y + 20;
        let svg = html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(WIDTH) height=(height)
                viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(title) {
                style { (PreEscaped(include_str!("style.css"))) }
                defs {
                    marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
                        markerHeight="7" orient="auto" {
                        path d="M0 0L8 4L0 8z" class="head" {}
                    }
                }
                rect width=(WIDTH) height=(height) class="paper" {}
                @for part in &self.parts { (part) "\n" }
            }
        };
        svg.into_string() + "\n"
    }
}

/// The style of a box.
pub fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Convolution => "convolution",
        Kind::Pool => "pool",
        Kind::Linear => "linear",
        Kind::Norm => "norm",
        Kind::Concatenate | Kind::Add => "add",
    }
}
