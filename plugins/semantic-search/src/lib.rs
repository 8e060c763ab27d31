//! Embeds texts with all-MiniLM-L6-v2: splits them into tokens ([`tokens`]), runs the model, and takes the mean of the tokens' vectors.

use hospes_sdk::{Graph, Tensor};

mod tokens;
mod vocabulary;

// The model's output for a long text is some hundred kilobytes, which are freed before the next text.
hospes_sdk::plugin!("hospes:semantic-search/semantic-search", default_allocator);

use exports::hospes::plugin::embeddings;

/// The length of a vector.
const WIDTH: usize = 384;

/// Maximum texts of one call.
const TEXTS_MAX: usize = 2048;

/// The plugin.
struct SemanticSearch;

impl embeddings::Guest for SemanticSearch {
    fn embed(texts: Vec<String>) -> Result<embeddings::Embedded, String> {
        let embedded = embed(&texts)?;
        let tokens = embedded.iter().map(|(_, tokens)| *tokens as u64).sum();
        let vectors = embedded.into_iter().map(|(vector, _)| vector).collect();
        Ok(embeddings::Embedded { vectors, tokens })
    }
}

impl Guest for SemanticSearch {
    fn search(query: String, documents: Vec<String>, top: u32) -> Result<Vec<Hit>, String> {
        let (question, _) = embed(&[query])?.swap_remove(0);
        let documents = embed(&documents)?;
        let mut hits: Vec<Hit> = (0..)
            .zip(&documents)
            .map(|(document, (vector, _))| Hit { document, score: cosine(&question, vector) })
            .collect();
        // Equal documents keep their order.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
        hits.truncate(top as usize);
        Ok(hits)
    }
}

export!(SemanticSearch);

/// The vector of each text, and its number of tokens.
///
/// The model gets one text at a time. Its arithmetic scales with the largest number in its input, so in a batch the vector of a
/// text would depend on the other texts.
fn embed(texts: &[String]) -> Result<Vec<(Vec<f32>, usize)>, String> {
    if texts.len() > TEXTS_MAX {
        return Err(format!("{} texts, more than the {TEXTS_MAX} of one call", texts.len()));
    }
    let model = Graph::load("minilm")?;
    texts.iter().map(|text| one(&model, text)).collect()
}

fn one(model: &Graph, text: &str) -> Result<(Vec<f32>, usize), String> {
    let tokens = tokens::of(text);
    let shape = [1, tokens.len()];
    let (mask, kinds) = (vec![1_i64; tokens.len()], vec![0_i64; tokens.len()]);
    let outputs = model.compute([
        ("input_ids", Tensor::new(&shape, &tokens)?),
        ("attention_mask", Tensor::new(&shape, &mask)?),
        ("token_type_ids", Tensor::new(&shape, &kinds)?),
    ])?;
    let states: Vec<f32> = outputs.get("last_hidden_state")?.to_vec()?;
    Ok((unit(mean(&states)), tokens.len()))
}

/// The mean of the tokens' vectors.
fn mean(states: &[f32]) -> Vec<f32> {
    let rows = states.chunks_exact(WIDTH);
    let count = rows.len().max(1) as f32;
    let mut sum = vec![0.0; WIDTH];
    for row in rows {
        for (sum, number) in sum.iter_mut().zip(row) {
            *sum += number;
        }
    }
    sum.iter().map(|sum| sum / count).collect()
}

/// The vector of length 1 in the same direction.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(1e-12);
    vector.iter_mut().for_each(|number| *number /= length);
    vector
}

/// The cosine similarity of vectors of length 1.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_means_of_length_one() {
        let mut states = vec![0.0; 2 * WIDTH];
        (states[0], states[WIDTH]) = (3.0, 1.0);
        (states[1], states[WIDTH + 1]) = (1.0, 1.0);
        let vector = mean(&states);
        assert_eq!((vector[0], vector[1], vector[2]), (2.0, 1.0, 0.0));
        let vector = unit(vector);
        assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-6);
        assert_eq!(unit(vec![0.0; 3]), [0.0; 3]);
    }
}
