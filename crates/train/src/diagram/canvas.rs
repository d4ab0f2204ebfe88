//! Drawing: a canvas of fixed width that grows downward.

use maud::{Markup, PreEscaped, html};

use super::graph::{Kind, Node};
use crate::format::grouped;

/// All coordinates are in pixels. The width fits a phone.
pub const WIDTH: i32 = 420;
const MARGIN: i32 = 14;

/// The boxes of the column, and where the texts beside them are.
const BOX: i32 = 230;
const SHAPE: i32 = MARGIN + BOX + 12;
const GAP: i32 = 16;

/// The frame of an opened block.
pub const FRAME: [i32; 2] = [MARGIN, WIDTH - MARGIN];

/// A row of the column.
#[derive(Debug)]
pub struct Row {
    /// `None` for a block.
    pub kind: Option<Kind>,
    pub name: String,
    pub note: String,
    pub output: Vec<usize>,
    pub parameters: usize,
    /// How many neighboring blocks it stands for.
    pub times: usize,
}

impl Row {
    pub fn of_node(node: &Node) -> Self {
        let name = match (node.kind, &node.size[..]) {
            (_, "") => node.name.clone(),
            (_, size) => format!("{}, {size}", node.name),
        };
        Self {
            kind: Some(node.kind),
            name,
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
    }
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

    pub fn heading(&mut self, text: &str) {
        self.y += 30;
        self.text([MARGIN, self.y], "heading", text);
    }

    pub fn note(&mut self, text: &str) {
        self.y += 19;
        self.text([MARGIN, self.y], "note", text);
    }

    /// The headings of the columns, and the image.
    pub fn columns(&mut self, image: &[usize]) {
        self.y += 30;
        self.text([SHAPE, self.y], "note", "output");
        self.text([FRAME[1], self.y], "note end", "parameters");
        self.y += 20;
        self.text([MARGIN + BOX / 2, self.y], "label middle", "image");
        self.text([SHAPE, self.y], "label", &shape(image));
        self.y += 6;
    }

    pub fn row(&mut self, row: &Row) {
        let height = if row.note.is_empty() { 28 } else { 42 };
        let top = self.y + GAP;
        let middle = MARGIN + BOX / 2;
        self.arrow(&[[middle, self.y], [middle, top]]);
        let class = row.kind.map_or("block", class);
        if row.times > 1 {
            self.rect([MARGIN + 4, top + 4], [BOX, height], class);
        }
        self.rect([MARGIN, top], [BOX, height], class);
        let name = match row.times {
            1 => row.name.clone(),
            times => format!("{} × {times}", row.name),
        };
        self.text([middle, top + 18], "name middle", &name);
        if !row.note.is_empty() {
            self.text([middle, top + 34], "note middle", &row.note);
        }
        let baseline = top + height / 2 + 4;
        self.text([SHAPE, baseline], "label", &shape(&row.output));
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

    pub fn text(&mut self, [x, y]: [i32; 2], class: &str, text: &str) {
        self.parts.push(html! { text x=(x) y=(y) class=(class) { (text) } });
    }

    pub fn rect(&mut self, [x, y]: [i32; 2], [width, height]: [i32; 2], class: &str) {
        self.parts.push(html! {
            rect x=(x) y=(y) width=(width) height=(height) rx="5" class=(class) {}
        });
    }

    /// The circle of an addition.
    pub fn plus(&mut self, [x, y]: [i32; 2]) {
        self.parts.push(html! {
            circle cx=(x) cy=(y) r="10" class="add" {}
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
