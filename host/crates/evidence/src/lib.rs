//! What figures prove: intervals around shares, bounds on a paired loss, figures of classes and of numbers, profiles of data, and charts.
//!
//! Pure: numbers in, numbers out. A share without its interval says nothing about the rows that nobody has measured.

pub mod chart;
mod classes;
mod interval;
mod measures;
mod paired;
mod profile;
mod special;

pub use classes::{Class, Confusion, ConfusionError};
pub use interval::{Interval, clopper_pearson, wilson};
pub use measures::{
    Agreement, Apart, R2Loss, ROUNDING, cosine, farthest, mean_absolute_error, quantile, r2,
    r2_interval, r2_loss, root_mean_square_error,
};
pub use paired::Paired;
pub use profile::{
    BINS, CATEGORIES_MAX, Counts, Distribution, FEATURES_MAX, PROFILE_FORMAT, PROFILE_ROWS_MIN,
    Profile, ProfileError, of_numbers, of_texts,
};
