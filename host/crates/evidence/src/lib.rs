//! What figures prove: intervals, paired bounds, agreement, profiles of data, charts.
