//! The settings of Hospes' own trainer: `[native]` of a recipe.

use std::path::PathBuf;

use hospes_core::id::ModelName;
use serde::{Deserialize, Serialize};

use crate::recipe::RecipeError;

/// Most epochs, layers, and units of a layer.
const EPOCHS_MAX: u32 = 10_000;
const LAYERS_MAX: usize = 32;
const UNITS_MAX: usize = 16_384;
const BATCH_MAX: usize = 65_536;
/// Highest temperature of a teacher. Above it, all classes look the same.
const TEMPERATURE_MAX: f64 = 100.0;

/// What the names of metrics begin with that are of the network without its teacher, and before its pruning.
pub const ALONE: &str = "alone_";
pub const UNPRUNED: &str = "unpruned_";

/// What is trained, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Native {
    pub task: Task,
    pub architecture: Architecture,
    /// Channels of each convolution, or units of each hidden layer. Empty: the architecture's own.
    #[serde(default)]
    pub widths: Vec<usize>,
    #[serde(default)]
    pub optimizer: Optimizer,
    #[serde(default = "ten")]
    pub epochs: u32,
    /// Rows of a step.
    #[serde(default = "sixty_four")]
    pub batch: usize,
    /// Decides the first weights, the order of the rows and the augmentation. The same seed, with one thread, gives the same bytes.
    #[serde(default)]
    pub seed: u64,
    /// Tables and texts: the column that is predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Tables and texts: what the target is. Without it, texts and whole numbers from 0 to 999 are classes, other numbers are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predict: Option<Predict>,
    /// Tables: columns that are not read, such as an identifier.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Texts: the column with the text. Other columns are not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Texts: the published model that turns them into vectors, `publisher/model` or `publisher/model@version`. The network learns
    /// from the vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<String>,
    /// Pictures: changes that keep what they show.
    #[serde(default)]
    pub augment: Augment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stop: Option<EarlyStop>,
    /// A larger model whose answers are learnt from, too. The same network is also trained without it, for comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Teacher>,
    /// What is removed from the trained network, which is then trained further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<Prune>,
}

/// What kind of rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Pictures, each of one class.
    Image,
    /// Rows of a table, with a class or a number to predict.
    Table,
    /// Texts, with a class or a number to predict, by the embeddings of a published model.
    Text,
}

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Predict {
    Class,
    Number,
}

/// Which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Two convolutions of 5x5, each with pooling, and three linear layers.
    Lenet,
    /// Convolutions of 3x3, each with pooling, and one linear layer.
    Cnn,
    /// Linear layers with ReLU between them.
    Mlp,
    /// One linear layer.
    Head,
}

/// How weights change at a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table: write `{ kind = \"adam\", lr = 0.01 }`"
)]
pub struct Optimizer {
    pub kind: Rule,
    /// The learning rate.
    pub lr: f64,
    /// For SGD.
    pub momentum: f64,
    pub weight_decay: f64,
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises from 0, which may be a part of one.
    pub warmup: f64,
    /// `step`: after this many epochs the learning rate is a tenth.
    pub step: u32,
}

/// A rule of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    Sgd,
    /// Weight decay is part of the gradient.
    Adam,
    /// Weight decay acts on the weights.
    Adamw,
}

/// How the learning rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    #[default]
    Constant,
    /// A tenth after each `step` epochs.
    Step,
    /// Half a cosine, down to 0 at the end.
    Cosine,
}

/// Changes of pictures at each epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table: write `{ shift = 2, flip = true }`")]
pub struct Augment {
    /// Moved by up to this many pixels, in each direction; the edge is filled with zeros.
    #[serde(default)]
    pub shift: usize,
    /// Half of them mirrored, left to right.
    #[serde(default)]
    pub flip: bool,
    /// A part of the picture that has lost up to this many pixels of each side, enlarged again.
    #[serde(default)]
    pub crop: usize,
}

/// When training ends before its last epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table: write `{ patience = 3 }`")]
pub struct EarlyStop {
    /// After this many epochs without a better loss on held-out rows.
    pub patience: u32,
    /// The part of the training rows that is held out for it.
    #[serde(default = "tenth")]
    pub validation: f64,
}

/// A model that teaches (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table: write `{ model = \"large.onnx\" }`")]
pub struct Teacher {
    /// An ONNX file or a bundle with the same inputs and classes, seen from the recipe's folder.
    pub model: PathBuf,
    /// What the logits of both are divided by, so that small probabilities count. 1 leaves them.
    #[serde(default = "four")]
    pub temperature: f64,
    /// The teacher's part of the loss. The rest is the labels'.
    #[serde(default = "half")]
    pub weight: f64,
    /// What the bytes of pictures are divided by for the teacher: 255 for 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divide: Option<f64>,
}

/// Structured pruning: whole channels and units, so that the model is smaller and faster on every backend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table: write `{ share = 0.5, epochs = 3 }`")]
pub struct Prune {
    /// The part of each hidden layer's channels or units that is removed.
    pub share: f64,
    /// Epochs of training afterwards.
    #[serde(default = "three")]
    pub epochs: u32,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            kind: Rule::Adam,
            lr: 0.001,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            warmup: 0.0,
            step: ten(),
        }
    }
}

impl Native {
    /// The metrics that it reports on test data.
    pub fn metrics(&self) -> &'static [&'static str] {
        match (self.task, self.predict) {
            (Task::Image, _) | (_, Some(Predict::Class)) => &["accuracy"],
            (_, Some(Predict::Number)) => &["r2"],
            // Which of the two there is depends on the column.
            (Task::Table | Task::Text, None) => &["accuracy", "r2"],
        }
    }

    pub(crate) fn metrics_in_words(&self) -> &'static str {
        match (self.task, self.predict) {
            (Task::Image, _) | (_, Some(Predict::Class)) => "`accuracy`",
            (_, Some(Predict::Number)) => "`r2`",
            (Task::Table | Task::Text, None) => "`accuracy` for a class, `r2` for a number",
        }
    }

    /// The epochs of all parts together, if none stops early: without the teacher, with it, and after pruning.
    pub fn epochs_in_all(&self) -> u32 {
        let trainings = if self.teacher.is_some() { 2 } else { 1 };
        self.epochs * trainings + self.prune.map_or(0, |prune| prune.epochs)
    }

    /// Checks each value by itself and with the others.
    pub(crate) fn check(&self) -> Result<(), RecipeError> {
        self.optimizer.check(self.epochs)?;
        self.check_sizes()?;
        self.teacher.as_ref().map_or(Ok(()), |teacher| teacher.check(self))?;
        self.prune.map_or(Ok(()), |prune| prune.check(self))?;
        self.check_task()
    }

    fn check_sizes(&self) -> Result<(), RecipeError> {
        let narrow = self.widths.iter().find(|width| !(1..=UNITS_MAX).contains(*width));
        require(
            (1..=EPOCHS_MAX).contains(&self.epochs),
            "epochs",
            self.epochs,
            "it must be from 1 to 10000",
        )?;
        require(
            (1..=BATCH_MAX).contains(&self.batch),
            "batch",
            self.batch,
            "it must be from 1 to 65536",
        )?;
        let layers = self.widths.len();
        require(layers <= LAYERS_MAX, "widths", layers, "at most 32 layers may be given")?;
        require(
            narrow.is_none(),
            "widths",
            narrow.copied().unwrap_or_default(),
            "each must be from 1 to 16384",
        )?;
        let four =
            "`lenet` has four: two of convolutions and two of linear layers, as [6, 16, 120, 84]";
        let is_lenet = self.architecture == Architecture::Lenet;
        require(!is_lenet || layers == 0 || layers == 4, "widths", layers, four)?;
        let hidden = "`head` has no hidden layer: leave it out, or use `mlp`";
        require(self.architecture != Architecture::Head || layers == 0, "widths", layers, hidden)?;
        let Some(EarlyStop { patience, validation }) = self.early_stop else { return Ok(()) };
        require(patience > 0, "early_stop.patience", patience, "it must be at least 1")?;
        let part = validation > 0.0 && validation <= 0.5;
        require(part, "early_stop.validation", validation, "it must be above 0 and at most 0.5")
    }

    fn check_task(&self) -> Result<(), RecipeError> {
        let is_text = self.task == Task::Text;
        let no_text = "only `task = \"text\"` has it: leave it out";
        require(is_text || self.text.is_none(), "text", "given", no_text)?;
        require(is_text || self.embeddings.is_none(), "embeddings", "given", no_text)?;
        if self.task == Task::Image {
            let class = "a picture is of a class: leave it out";
            require(self.predict.is_none(), "predict", "given", class)?;
            let columns = self.target.is_some() || !self.ignore.is_empty();
            return require(
                !columns,
                "target",
                "given",
                "pictures have no columns: leave out `target` and `ignore`",
            );
        }
        let convolves = matches!(self.architecture, Architecture::Lenet | Architecture::Cnn);
        let flat = "there are no pictures to convolve: use `mlp` or `head`";
        require(!convolves, "architecture", "of pictures", flat)?;
        let column = "name the column that is predicted, as in target = \"species\"";
        require(self.target.is_some(), "target", "missing", column)?;
        let augment = "only pictures are augmented: leave it out";
        require(self.augment == Augment::default(), "augment", "given", augment)?;
        if !is_text {
            return Ok(());
        }
        let text = "name the column with the text, as in text = \"review\"";
        require(self.text.is_some(), "text", "missing", text)?;
        require(self.text != self.target, "text", "the target", "predict another column")?;
        let embeddings =
            "name a published model that embeds texts, as in embeddings = \"acme/minilm\"";
        require(self.embeddings.is_some(), "embeddings", "missing", embeddings)?;
        let named = self.embeddings.as_deref().unwrap_or_default();
        let is_name = "it must be `publisher/model` or `publisher/model@version`";
        require(published(named).is_some(), "embeddings", named, is_name)?;
        let ignore = "only the columns `text` and `target` are read: leave it out";
        require(self.ignore.is_empty(), "ignore", "given", ignore)?;
        let teacher = "a teacher of texts would need their vectors: leave it out";
        require(self.teacher.is_none(), "teacher", "given", teacher)
    }
}

/// A published model and its version, if one is named.
pub fn published(text: &str) -> Option<(ModelName, Option<&str>)> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    let is_version = |version: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        !version.is_empty() && version.chars().all(allowed)
    };
    Some((name.parse().ok()?, version)).filter(|(_, version)| version.is_none_or(is_version))
}

impl Teacher {
    fn check(&self, native: &Native) -> Result<(), RecipeError> {
        let Self { temperature, weight, divide, .. } = *self;
        let classes = "a teacher teaches classes: leave it out";
        require(native.predict != Some(Predict::Number), "teacher", "given", classes)?;
        require(
            (1.0..=TEMPERATURE_MAX).contains(&temperature),
            "teacher.temperature",
            temperature,
            "it must be from 1 to 100, often 2 to 5",
        )?;
        let part = "it must be above 0 and at most 1";
        require(weight > 0.0 && weight <= 1.0, "teacher.weight", weight, part)?;
        let by = divide.unwrap_or(1.0);
        require(by.is_finite() && by > 0.0, "teacher.divide", by, "it must be above 0, often 255")
    }
}

impl Prune {
    fn check(self, native: &Native) -> Result<(), RecipeError> {
        let Self { share, epochs } = self;
        let part = "it must be above 0 and below 1, such as 0.5";
        require(share > 0.0 && share < 1.0, "prune.share", share, part)?;
        let after = "the network must be trained again after pruning, for 1 to 10000 epochs";
        require((1..=EPOCHS_MAX).contains(&epochs), "prune.epochs", epochs, after)?;
        let hidden = "`head` has no hidden layer to remove units from: use `mlp`";
        require(native.architecture != Architecture::Head, "prune", "given", hidden)
    }
}

impl Optimizer {
    fn check(&self, epochs: u32) -> Result<(), RecipeError> {
        let Self { lr, momentum, weight_decay, warmup, step, .. } = *self;
        let part = "it must be at least 0 and below 1";
        require(
            lr.is_finite() && lr > 0.0,
            "optimizer.lr",
            lr,
            "it must be above 0, often 0.001 to 0.1",
        )?;
        require((0.0..1.0).contains(&momentum), "optimizer.momentum", momentum, part)?;
        let of_sgd = momentum == 0.0 || self.kind == Rule::Sgd;
        require(
            of_sgd,
            "optimizer.momentum",
            momentum,
            "only `sgd` has it: leave it out for the others",
        )?;
        require((0.0..1.0).contains(&weight_decay), "optimizer.weight_decay", weight_decay, part)?;
        let warm = (0.0..=f64::from(epochs)).contains(&warmup);
        require(warm, "optimizer.warmup", warmup, "it must be at least 0 and at most `epochs`")?;
        require(step > 0, "optimizer.step", step, "it must be at least 1")
    }
}

/// An error, unless it holds.
fn require(
    holds: bool,
    setting: &'static str,
    found: impl std::fmt::Display,
    wanted: &'static str,
) -> Result<(), RecipeError> {
    let refused = || RecipeError::Value { setting, found: found.to_string(), wanted };
    holds.then_some(()).ok_or_else(refused)
}

fn three() -> u32 {
    3
}

fn four() -> f64 {
    4.0
}

fn half() -> f64 {
    0.5
}

fn ten() -> u32 {
    10
}

fn sixty_four() -> usize {
    64
}

fn tenth() -> f64 {
    0.1
}
