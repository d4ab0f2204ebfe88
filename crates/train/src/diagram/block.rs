//! One block, opened: branches side by side, from the top to the bottom.

use super::{
    canvas::{Canvas, FRAME, WIDTH, class, titled},
    graph::{Block, Graph, Kind, Node},
};

/// The widest box.
const BOX: i32 = 216;
/// A box that is narrower has its texts below each other.
const NARROW: i32 = 150;
/// The space between branches.
const SPACE: i32 = 8;
/// The width of a shortcut without a box.
const SHORTCUT: i32 = 40;
/// The space between two rows of boxes.
const GAP: i32 = 24;
/// The radius of a sum's circle.
const RADIUS: i32 = 10;

/// The boxes of a block, and what each reads; `None` is the input of the block.
struct Boxes<'a> {
    nodes: &'a [Node],
    inputs: Vec<Vec<Option<usize>>>,
}

/// Where the boxes of a block are.
#[derive(Debug, PartialEq)]
pub struct Places {
    /// The branch of each box, and its row.
    pub at: Vec<[usize; 2]>,
    pub branches: usize,
    pub rows: usize,
    /// Whether the block's input is also read at its end, without a box in between.
    pub has_shortcut: bool,
}

/// Draws a block in a frame.
pub fn draw_block(canvas: &mut Canvas, graph: &Graph, block: &Block) {
    let boxes = Boxes::of(graph, block);
    let Boxes { nodes, inputs } = &boxes;
    let places = boxes.places();

    let inside = FRAME[1] - FRAME[0] - 2 * SPACE;
    let branches = inside - if places.has_shortcut { SHORTCUT } else { 0 };
    let lane = branches / places.branches as i32;
    let width = (lane - SPACE).min(BOX);
    let center = |branch: usize| FRAME[0] + SPACE + lane * branch as i32 + lane / 2;
    let shortcut = FRAME[1] - SPACE - SHORTCUT / 2;

    // The top and the height of each row.
    let frame = canvas.y;
    let mut rows = vec![[0, 0]; places.rows];
    let mut y = frame + 16 + GAP;
    for (row, place) in rows.iter_mut().enumerate() {
        let in_row = nodes.iter().zip(&places.at).filter(|(_, at)| at[1] == row);
        let height = in_row.map(|(node, _)| lines(node, width).len() as i32).max().unwrap_or(1);
        *place = [y, 12 + 15 * height];
        y += place[1] + GAP;
    }
    let bottom = y - GAP + 14;
    canvas.rect([FRAME[0], frame], [FRAME[1] - FRAME[0], bottom - frame], "frame");

    // The input is above the branch that the others leave, or in the middle of all branches.
    let has_main = places.has_shortcut || nodes.iter().any(|node| node.kind == Kind::Add);
    let entry = [if has_main { center(0) } else { WIDTH / 2 }, frame + 22];
    canvas.text([entry[0], frame + 16], "label middle", "input");
    // The end of a box, where its output leaves it.
    let end = |index: usize| {
        let [branch, row] = places.at[index];
        let [y, height] = rows[row];
        let is_sum = nodes[index].kind == Kind::Add;
        [center(branch), if is_sum { y + height / 2 + RADIUS } else { y + height }]
    };
    for (index, node) in nodes.iter().enumerate() {
        let [branch, row] = places.at[index];
        let [y, height] = rows[row];
        let (x, middle) = (center(branch), y + height / 2);
        for (number, input) in inputs[index].iter().enumerate() {
            let from = input.map_or(entry, end);
            let turn = from[1] + SPACE;
            let across = if input.is_none() && row > 0 { shortcut } else { from[0] };
            let start = [from, [from[0], turn], [across, turn]];
            let rest = match node.kind {
                Kind::Add if number > 0 => vec![[across, middle], [x + RADIUS + 1, middle]],
                Kind::Add => vec![[x, middle - RADIUS - 1]],
                Kind::Concatenate => vec![[across, y]],
                _ => vec![[x, turn], [x, y]],
            };
            canvas.arrow(&[&start[..], &rest].concat());
        }
        match node.kind {
            Kind::Add => {
                canvas.plus([x, middle], RADIUS);
                if !node.after.is_empty() {
                    canvas.text([x + 16, middle + 18], "note", &node.after);
                }
            }
            Kind::Concatenate => {
                let left = FRAME[0] + SPACE + SPACE / 2;
                canvas.rect([left, y], [WIDTH - 2 * left, height], class(node.kind));
                canvas.text([WIDTH / 2, middle + 4], "name middle", &titled(node));
            }
            kind => {
                canvas.rect([x - width / 2, y], [width, height], class(kind));
                let small = if width < NARROW { " small" } else { "" };
                for (number, line) in lines(node, width).iter().enumerate() {
                    let style = if number == 0 { "name middle" } else { "note middle" };
                    let y = y + 18 + 15 * number as i32;
                    canvas.text([x, y], &format!("{style}{small}"), line);
                }
            }
        }
    }
    canvas.y = bottom;
}

/// The lines of text in a box of this width.
fn lines(node: &Node, width: i32) -> Vec<String> {
    let lines = match node.kind {
        Kind::Add | Kind::Concatenate => vec![titled(node)],
        _ if width >= NARROW => vec![titled(node), node.after.clone()],
        Kind::Pool => vec![node.name.clone(), node.window.clone(), node.size.clone()],
        _ => vec![node.title(), node.size.clone(), node.after.replace("batch norm", "BN")],
    };
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}

impl<'a> Boxes<'a> {
    fn of(graph: &'a Graph, block: &Block) -> Self {
        let nodes = &graph.nodes[block.nodes.clone()];
        let inputs = nodes.iter().map(|node| {
            let inputs = node.inputs.iter();
            inputs.map(|&input| block.inside(input)).collect()
        });
        Self { nodes, inputs: inputs.collect() }
    }

    /// Each box is in the branch of the one that it continues, or in a new one, and in the row after
    /// everything that it reads.
    fn places(&self) -> Places {
        let Self { nodes, inputs } = self;
        // The boxes on the longest way to the end.
        let mut length = vec![1; nodes.len()];
        for index in (0..nodes.len()).rev() {
            for input in inputs[index].iter().flatten() {
                length[*input] = length[*input].max(length[index] + 1);
            }
        }
        // In a residual block the shortcut is on the right; parallel branches keep their order.
        let adds = nodes.iter().any(|node| node.kind == Kind::Add);
        let mut at = vec![[0, 0]; nodes.len()];
        let mut branches = 0;
        for source in [None].into_iter().chain((0..nodes.len()).map(Some)) {
            let reads = |&index: &usize| inputs[index].first() == Some(&source);
            let mut readers: Vec<usize> = (0..nodes.len()).filter(reads).collect();
            if adds {
                readers.sort_by_key(|&index| std::cmp::Reverse(length[index]));
            }
            for (number, &index) in readers.iter().enumerate() {
                at[index][0] = match source {
                    Some(source) if number == 0 => at[source][0],
                    _ => {
                        branches += 1;
                        branches - 1
                    }
                };
            }
        }
        let mut rows = 0;
        for index in 0..nodes.len() {
            let after = inputs[index].iter().flatten().map(|&input| at[input][1] + 1);
            at[index][1] = after.max().unwrap_or(0);
            rows = rows.max(at[index][1] + 1);
        }
        let has_shortcut = inputs.iter().any(|inputs| inputs.len() > 1 && inputs.contains(&None));
        Places { at, branches, rows, has_shortcut }
    }
}

/// Where the boxes of a block are, for the tests.
#[cfg(test)]
pub fn places(graph: &Graph, block: &Block) -> Places {
    Boxes::of(graph, block).places()
}
