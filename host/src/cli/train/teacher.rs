//! A teacher's answers to the training rows, computed before the training as `hospes evaluate` computes them.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::data::{self, DataSet, LabelKind, Options, write_npz};
use crate::evaluate::{Answers, Evaluator, FeedError, Preparation};
use crate::host::inference_settings;
use crate::onnx::Told;
use crate::tensor::{DataType, Tensor};
use crate::training::Native;
use crate::training::native::Teacher;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::Screen;

use super::MakeRuntime;
use crate::cli::evaluate::subject::Model;

/// The file with the answers, in the trainer's folder.
const FILE: &str = "teacher.npz";

/// What a teacher's answers are computed from.
pub(super) struct Lesson<'l> {
    pub config: &'l Config,
    pub native: &'l Native,
    /// The recipe's folder.
    pub beside: &'l Path,
    /// The rows of `train`.
    pub rows: &'l Path,
    /// The trainer's folder.
    pub folder: &'l Path,
}

impl Lesson<'_> {
    /// Computes the answers, if the recipe has a teacher, and returns their file.
    ///
    /// # Errors
    /// If the teacher cannot be read or does not fit the rows, or if its answers are no scores of classes.
    pub(super) fn give(
        &self,
        make_runtime: MakeRuntime,
        screen: Screen,
    ) -> Result<Option<PathBuf>, Failure> {
        let Some(teacher) = &self.native.teacher else { return Ok(None) };
        let path = self.beside.join(&teacher.model);
        let named = path.display().to_string();
        let Model::File { bytes, .. } = Model::read(&named)? else {
            return Err(Failure::new(format!("the teacher `{named}` is not a file"))
                .fix("name an ONNX file or a bundle; the path is seen from the recipe's folder"));
        };
        let rows = self.rows(Told::of_bytes(&bytes).text_columns())?;
        let preparation = Preparation { divide: teacher.divide, ..Preparation::default() };
        let runtime = make_runtime().during(|| "cannot start threads".into())?;
        let progress = screen.spinner("asking the teacher");
        let answers = runtime.block_on(async {
            let evaluator = Evaluator::start(inference_settings(self.config)).await?;
            let backend = evaluator.usable().into_iter().next().ok_or_else(|| {
                Failure::new("no backend can be used here").fix("run `hospes doctor`")
            })?;
            let loaded = evaluator.load(bytes, backend).await?;
            let feed = loaded.feed(&rows, &preparation);
            let feed = feed.map_err(|error| match error {
                FeedError::Scale { .. } => Failure::new(format!(
                    "the teacher `{named}` takes fractions, and the pictures are bytes"
                ))
                .fix("say what to divide them by: `divide = 255` in `teacher` for 0 to 1, `divide = 1` to leave them"),
                FeedError::Bytes { .. } => Failure::new(format!(
                    "the teacher `{named}` takes bytes, and the recipe has `divide` in `teacher`"
                ))
                .fix("leave `divide` out: the model takes the bytes and prepares them itself"),
                error => Failure::from(error)
                    .during(format!("the rows do not fit the teacher `{named}`")),
            })?;
            let count = rows.rows();
            let told = |done| progress.step(&format!("asking the teacher: {done} of {count} rows"));
            Ok::<_, Failure>(loaded.answers(&feed, told).await?)
        });
        runtime.shutdown_background();
        let tensor = scores(&answers?, teacher)?;
        let file = write_npz([("answers", &tensor)]).map_err(Failure::from)?;
        let path = self.folder.join(FILE);
        super::write(&path, &file)?;
        Ok(Some(path))
    }

    /// The rows as the trainer reads them, without columns that it ignores.
    fn rows(&self, text: Vec<String>) -> Result<DataSet, Failure> {
        let (label, labels) = (self.native.target.clone(), LabelKind::Classes);
        let read = data::read(self.rows, &Options { label, labels, text, ..Options::default() })?;
        let ignored: Vec<&str> = self.native.ignore.iter().map(String::as_str).collect();
        Ok(read.without(&ignored))
    }
}

/// The first output with several numbers a row.
fn scores(answers: &Answers, teacher: &Teacher) -> Result<Tensor, Failure> {
    let of = |name: &str| {
        let (shape, numbers) = answers.output_numbers(name)?;
        let classes = shape.iter().product::<usize>();
        (classes > 1).then_some((classes, numbers))
    };
    let found = answers.names().into_iter().find_map(of);
    let (classes, numbers) = found.ok_or_else(|| {
        let name = teacher.model.display();
        Failure::new(format!("the teacher `{name}` gives no scores for each class"))
            .fix("export it with logits or probabilities as an output")
    })?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
    let tensor = Tensor::new(DataType::F32, vec![answers.rows(), classes], bytes.into());
    Ok(tensor.expect("invariant: so many numbers a row"))
}
