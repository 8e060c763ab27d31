//! What is done to a row before the network sees it: computed here while training, and written into the graph, so that what is served
//! is what was trained.

use hospes_onnx::model::{ElementType, Graph, Node, Size, Tensor, ValueInfo};
use hospes_training::native::Augment;
use hospes_training::weights::Scaling;
use serde::{Deserialize, Serialize};

use crate::augment;
use crate::data::{Inputs, Rows};
use crate::random::{Random, Use};

/// How inputs become the network's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Preparation {
    /// A channel's pixel is multiplied and moved, and channels become planes.
    Pictures { height: usize, width: usize, names_channels: bool, scales: Vec<Scale> },
    /// A number is multiplied and moved; a category becomes a 1 among zeros.
    Cells(Vec<Cell>),
}

/// `x * by + plus`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    pub by: f32,
    pub plus: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Cell {
    Number(Scale),
    Category { count: usize },
}

/// Why a stated scaling does not fit the rows.
#[derive(Debug, thiserror::Error)]
pub enum ScalingError {
    #[error(
        "`--{what}` has {found} numbers: give one for all, or {wanted}, one for each channel or column of numbers"
    )]
    Count { what: &'static str, found: usize, wanted: usize },
}

/// The mean becomes 0 and the standard deviation 1. What never varies becomes 0.
fn scale(values: impl Iterator<Item = f32> + Clone, count: usize) -> Scale {
    let mean = values.clone().map(f64::from).sum::<f64>() / count as f64;
    let variance =
        values.map(|value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count as f64;
    let by = if variance.sqrt() < 1e-9 { 0.0 } else { 1.0 / variance.sqrt() };
    Scale { by: by as f32, plus: (-mean * by) as f32 }
}

impl Preparation {
    /// As the training rows are distributed.
    pub fn of(rows: &Rows) -> Self {
        match &rows.inputs {
            Inputs::Pictures { shape, pixels } => {
                let of_channel = |channel: usize| {
                    let values = pixels[channel..]
                        .iter()
                        .step_by(shape.channels)
                        .map(|pixel| f32::from(*pixel));
                    scale(values, pixels.len() / shape.channels)
                };
                Self::Pictures {
                    height: shape.height,
                    width: shape.width,
                    names_channels: shape.names_channels,
                    scales: (0..shape.channels).map(of_channel).collect(),
                }
            }
            Inputs::Cells { columns, cells } => {
                let of_column =
                    |(at, column): (usize, &crate::data::Column)| match column.categories.len() {
                        0 => Cell::Number(scale(
                            cells[at..].iter().step_by(columns.len()).copied(),
                            rows.count(),
                        )),
                        count => Cell::Category { count },
                    };
                Self::Cells(columns.iter().enumerate().map(of_column).collect())
            }
        }
    }

    /// The same with these scales instead of those of the training rows.
    ///
    /// # Errors
    /// [`ScalingError`] unless there is one mean and one deviation for all, or one for each.
    pub fn stated(mut self, scaling: &Scaling) -> Result<Self, ScalingError> {
        let Scaling { divide, mean, deviation } = scaling;
        let scales: Vec<&mut Scale> = match &mut self {
            Self::Pictures { scales, .. } => scales.iter_mut().collect(),
            Self::Cells(cells) => cells.iter_mut().filter_map(Cell::scale_mut).collect(),
        };
        let wanted = scales.len();
        for (what, list) in [("mean", mean), ("deviation", deviation)] {
            if ![0, 1, wanted].contains(&list.len()) {
                return Err(ScalingError::Count { what, found: list.len(), wanted });
            }
        }
        let nth = |list: &[f64], at: usize, usual| match *list {
            [] => usual,
            [one] => one,
            ref all => all[at],
        };
        for (at, scale) in scales.into_iter().enumerate() {
            let (mean, deviation) = (nth(mean, at, 0.0), nth(deviation, at, 1.0));
            let (by, plus) = (1.0 / (divide * deviation), -mean / deviation);
            *scale = Scale { by: by as f32, plus: plus as f32 };
        }
        Ok(self)
    }

    /// The shape of a prepared row.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Pictures { height, width, scales, .. } => vec![scales.len(), *height, *width],
            Self::Cells(cells) => vec![cells.iter().map(Cell::width).sum()],
        }
    }

    /// What the columns of a table with texts become. `None` if every column is one number.
    pub fn widened(&self) -> Option<String> {
        let Self::Cells(cells) = self else { return None };
        let of_texts = cells.iter().filter_map(|cell| match cell {
            Cell::Category { count } => Some(*count),
            Cell::Number(_) => None,
        });
        let (texts, categories) = of_texts.fold((0, 0), |(n, sum), count| (n + 1, sum + count));
        let numbers = cells.len() - texts;
        (texts > 0).then(|| {
            format!(
                "the recipe's columns become {} inputs: columns of numbers: {numbers}; of texts: {texts}, with {categories} categories in all",
                numbers + categories
            )
        })
    }

    /// The numbers of some rows, one row after another. `change` says how pictures are changed first, and with which seed.
    pub fn apply(
        &self,
        rows: &Rows,
        chosen: &[usize],
        change: Option<(Augment, u64, u64)>,
    ) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(chosen.len() * self.shape().iter().product::<usize>());
        match (self, &rows.inputs) {
            (Self::Pictures { scales, .. }, Inputs::Pictures { shape, pixels }) => {
                let each = shape.pixels();
                for row in chosen {
                    let picture = &pixels[row * each..(row + 1) * each];
                    let changed = change
                        .filter(|(augment, ..)| *augment != Augment::default())
                        .map(|(augment, seed, epoch)| {
                            let mut random =
                                Random::new(seed, Use::Change { epoch, row: *row as u64 });
                            augment::change(picture, *shape, augment, &mut random)
                        });
                    let picture = changed.as_deref().unwrap_or(picture);
                    for (channel, Scale { by, plus }) in scales.iter().enumerate() {
                        let plane = picture[channel..].iter().step_by(scales.len());
                        numbers.extend(plane.map(|pixel| f32::from(*pixel) * by + plus));
                    }
                }
            }
            (Self::Cells(kinds), Inputs::Cells { cells, .. }) => {
                for row in chosen {
                    for (kind, cell) in kinds.iter().zip(&cells[row * kinds.len()..]) {
                        match kind {
                            Cell::Number(Scale { by, plus }) => numbers.push(cell * by + plus),
                            Cell::Category { count } => {
                                numbers.extend(
                                    (0..*count)
                                        .map(|place| f32::from(u8::from(place as f32 == *cell))),
                                );
                            }
                        }
                    }
                }
            }
            (Self::Pictures { .. }, _) | (Self::Cells(_), _) => {
                unreachable!("rows are of the kind that the preparation was made of")
            }
        }
        numbers
    }

    /// Adds the same to a graph: its input, and nodes that give `prepared`.
    pub fn write(&self, graph: &mut Graph) {
        match self {
            Self::Pictures { height, width, names_channels, scales } => {
                let (height, width, channels) =
                    (*height as i64, *width as i64, scales.len() as i64);
                let mut shape =
                    vec![Size::Named("batch".into()), Size::Fixed(height), Size::Fixed(width)];
                shape.extend(names_channels.then_some(Size::Fixed(channels)));
                graph.inputs.push(ValueInfo::tensor("image", ElementType::UINT8, &shape));
                graph.nodes.push(
                    Node::new("Cast", &["image"], &["pixels"])
                        .with("to", i64::from(ElementType::FLOAT.0)),
                );
                if *names_channels {
                    graph.nodes.push(
                        Node::new("Transpose", &["pixels"], &["planes"])
                            .with("perm", vec![0_i64, 3, 1, 2]),
                    );
                } else {
                    graph.initialisers.push(Tensor::new("plane_axis", &[1], &[1_i64]));
                    graph.nodes.push(Node::new(
                        "Unsqueeze",
                        &["pixels", "plane_axis"],
                        &["planes"],
                    ));
                }
                let by: Vec<f32> = scales.iter().map(|scale| scale.by).collect();
                let plus: Vec<f32> = scales.iter().map(|scale| scale.plus).collect();
                write_scale(graph, "planes", "prepared", &[1, channels, 1, 1], (&by, &plus));
            }
            Self::Cells(cells) => write_cells(graph, cells),
        }
    }
}

impl Cell {
    fn scale_mut(&mut self) -> Option<&mut Scale> {
        match self {
            Self::Number(scale) => Some(scale),
            Self::Category { .. } => None,
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Category { count } => *count,
        }
    }
}

fn write_scale(
    graph: &mut Graph,
    from: &str,
    to: &str,
    dims: &[i64],
    (by, plus): (&[f32], &[f32]),
) {
    let (scale, shift, scaled) =
        (format!("{to}_scale"), format!("{to}_shift"), format!("{to}_scaled"));
    graph.initialisers.push(Tensor::new(&*scale, dims, by));
    graph.initialisers.push(Tensor::new(&*shift, dims, plus));
    graph.nodes.push(Node::new("Mul", &[from, &scale], &[&scaled]));
    graph.nodes.push(Node::new("Add", &[&scaled, &shift], &[to]));
}

/// Columns in their order: runs of numbers together, each category by itself.
fn write_cells(graph: &mut Graph, cells: &[Cell]) {
    let columns = cells.len() as i64;
    graph.inputs.push(ValueInfo::tensor(
        "row",
        ElementType::FLOAT,
        &[Size::Named("batch".into()), Size::Fixed(columns)],
    ));
    let is_number = |cell: &Cell| matches!(cell, Cell::Number(_));
    let mut parts = Vec::new();
    let mut at = 0;
    for run in cells.chunk_by(|one, next| is_number(one) && is_number(next)) {
        let part = match cells.len() == run.len() {
            true => "prepared".to_owned(),
            false => format!("part_{}", parts.len()),
        };
        let columns: Vec<i64> = (at..at + run.len() as i64).collect();
        at += run.len() as i64;
        let (indices, chosen) = (format!("{part}_columns"), format!("{part}_chosen"));
        graph.initialisers.push(Tensor::new(&*indices, &[columns.len() as i64], &columns));
        graph.nodes.push(Node::new("Gather", &["row", &indices], &[&chosen]).with("axis", 1_i64));
        match run {
            [Cell::Category { count }] => {
                let (places, equal) = (format!("{part}_places"), format!("{part}_equal"));
                let numbers: Vec<f32> = (0..*count).map(|place| place as f32).collect();
                graph.initialisers.push(Tensor::new(&*places, &[1, *count as i64], &numbers));
                graph.nodes.push(Node::new("Equal", &[&chosen, &places], &[&equal]));
                graph.nodes.push(
                    Node::new("Cast", &[&equal], &[&part])
                        .with("to", i64::from(ElementType::FLOAT.0)),
                );
            }
            numbers => {
                let scales = numbers.iter().filter_map(|cell| match cell {
                    Cell::Number(scale) => Some((scale.by, scale.plus)),
                    Cell::Category { .. } => None,
                });
                let (by, plus): (Vec<f32>, Vec<f32>) = scales.unzip();
                write_scale(graph, &chosen, &part, &[1, by.len() as i64], (&by, &plus));
            }
        }
        parts.push(part);
    }
    if parts.len() > 1 {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.nodes.push(Node::new("Concat", &parts, &["prepared"]).with("axis", 1_i64));
    }
}
