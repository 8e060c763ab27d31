//! Keys and values of the sequences: one row each, in place, so that a run of rows is computed at once.

/// Sizes of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Each has a buffer for keys and one for values.
    pub layers: usize,
    pub rows: usize,
    /// Heads of keys and values.
    pub heads: usize,
    /// Most tokens of a row.
    pub length: usize,
    /// Numbers of a head.
    pub size: usize,
}

impl CacheShape {
    /// Numbers of a token in all buffers.
    pub fn token(&self) -> usize {
        2 * self.layers * self.heads * self.size
    }

    /// Numbers of a row in one buffer.
    fn row(&self) -> usize {
        self.heads * self.length * self.size
    }
}

/// The rows of all layers. A buffer is `[rows, heads, length, size]`. Fresh pages are zero and take no memory until they are written.
#[derive(Debug)]
pub struct Cache {
    shape: CacheShape,
    buffers: Vec<Vec<f32>>,
}

/// Keys and values of some tokens, taken out of a row: `[buffer, head, token, size]`.
pub type Saved = Box<[f32]>;

impl Cache {
    pub fn new(shape: CacheShape) -> Self {
        let buffer = || vec![0.0; shape.rows * shape.row()];
        Self { shape, buffers: (0..2 * shape.layers).map(|_| buffer()).collect() }
    }

    pub fn shape(&self) -> &CacheShape {
        &self.shape
    }

    /// The part of every buffer that belongs to consecutive rows: keys and values of each layer in turn.
    pub fn parts(&mut self, first: usize, count: usize) -> impl Iterator<Item = &mut [f32]> {
        let row = self.shape.row();
        let part = first * row..(first + count) * row;
        self.buffers.iter_mut().map(move |buffer| buffer.get_mut(part.clone()).unwrap_or_default())
    }

    /// A copy of a row's tokens.
    pub fn save(&self, row: usize, tokens: std::ops::Range<usize>) -> Saved {
        let mut saved = Vec::with_capacity(tokens.len() * self.shape.token());
        for buffer in &self.buffers {
            for head in 0..self.shape.heads {
                saved.extend_from_slice(&buffer[self.place(row, head, &tokens)]);
            }
        }
        saved.into()
    }

    /// Writes tokens that were saved into a row, from a place on.
    pub fn restore(&mut self, row: usize, from: usize, saved: &[f32]) {
        let count = saved.len() / self.shape.token();
        let tokens = from..from + count;
        let mut parts = saved.chunks_exact((count * self.shape.size).max(1));
        for number in 0..self.buffers.len() {
            for head in 0..self.shape.heads {
                let place = self.place(row, head, &tokens);
                if let Some(part) = parts.next() {
                    self.buffers[number][place].copy_from_slice(part);
                }
            }
        }
    }

    /// Copies the first tokens of a row to another.
    pub fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        for head in 0..self.shape.heads {
            let (source, target) =
                (self.place(from, head, &(0..tokens)), self.place(to, head, &(0..tokens)));
            for buffer in &mut self.buffers {
                buffer.copy_within(source.clone(), target.start);
            }
        }
    }

    /// Exchanges two rows, of which so many tokens are in use.
    pub fn swap(&mut self, one: usize, other: usize, tokens: usize) {
        let kept = self.save(one, 0..tokens);
        self.copy(other, one, tokens);
        self.restore(other, 0, &kept);
    }

    fn place(
        &self,
        row: usize,
        head: usize,
        tokens: &std::ops::Range<usize>,
    ) -> std::ops::Range<usize> {
        let CacheShape { heads, length, size, .. } = self.shape;
        let start = (row * heads + head) * length;
        (start + tokens.start) * size..(start + tokens.end) * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape { layers: 2, rows: 3, heads: 2, length: 5, size: 2 };

    /// Every number says where it is.
    fn numbered() -> Cache {
        let mut cache = Cache::new(SHAPE);
        let mut next = 0.0;
        for number in cache.buffers.iter_mut().flatten() {
            *number = next;
            next += 1.0;
        }
        cache
    }

    #[test]
    fn what_was_saved_comes_back_at_any_row_and_touches_no_other() {
        let mut cache = numbered();
        let saved = cache.save(1, 1..4);
        assert_eq!(saved.len(), 3 * SHAPE.token());
        let others = (cache.save(0, 0..5), cache.save(2, 0..1), cache.save(2, 4..5));
        cache.restore(2, 1, &saved);
        assert_eq!(cache.save(2, 1..4), saved);
        assert_eq!((cache.save(0, 0..5), cache.save(2, 0..1), cache.save(2, 4..5)), others);
    }

    #[test]
    fn rows_are_exchanged_and_copied() {
        let mut cache = numbered();
        let (one, two) = (cache.save(0, 0..4), cache.save(2, 0..4));
        cache.swap(0, 2, 4);
        assert_eq!((cache.save(2, 0..4), cache.save(0, 0..4)), (one, two.clone()));
        cache.copy(0, 1, 4);
        assert_eq!(cache.save(1, 0..4), two);
        let row = SHAPE.heads * SHAPE.length * SHAPE.size;
        assert!(cache.parts(1, 2).all(|part| part.len() == 2 * row));
        assert_eq!(cache.parts(1, 2).count(), 4);
    }
}
