//! How weights change: SGD with momentum, Adam, AdamW, and what the learning rate is at a step.
//!
//! As PyTorch has them (`torch.optim`), so that a recipe's numbers mean what they mean there.

use burn_tensor::Tensor;
use hospes_training::native::{Optimizer, Rule, Schedule};

/// For Adam: how slowly its averages change, and what keeps it from dividing by 0.
const BETA: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

/// What a rule remembers of each parameter: nothing, a velocity, or two averages.
pub type Memory = Vec<Vec<Tensor<1>>>;

/// How many numbers a rule remembers of a weight.
pub fn remembered(optimizer: &Optimizer) -> usize {
    match optimizer.kind {
        Rule::Sgd => usize::from(optimizer.momentum > 0.0),
        Rule::Adam | Rule::Adamw => 2,
    }
}

/// The learning rate of a step, counted from 0, where an epoch has `each` steps.
pub fn rate(optimizer: &Optimizer, epochs: u32, each: usize, step: usize) -> f64 {
    let Optimizer { lr, schedule, warmup, step: after, .. } = *optimizer;
    let at = step as f64 / each as f64;
    if at < warmup {
        // The first step is not wasted.
        return lr * ((step + 1) as f64 / (warmup * each as f64)).min(1.0);
    }
    match schedule {
        Schedule::Constant => lr,
        Schedule::Step => lr * 0.1_f64.powi((at / f64::from(after)) as i32),
        Schedule::Cosine => {
            let part = (at - warmup) / (f64::from(epochs) - warmup).max(f64::MIN_POSITIVE);
            lr * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
        }
    }
}

/// A weight after a step, the step counted from 1.
pub fn update(
    optimizer: &Optimizer,
    (rate, step): (f64, usize),
    weight: Tensor<1>,
    gradient: Tensor<1>,
    memory: &mut [Tensor<1>],
) -> Tensor<1> {
    let decay = optimizer.weight_decay;
    let in_gradient = decay > 0.0 && optimizer.kind != Rule::Adamw;
    let gradient = if in_gradient { gradient + weight.clone() * decay } else { gradient };
    match (optimizer.kind, memory) {
        (Rule::Sgd, [velocity]) => {
            *velocity = velocity.clone() * optimizer.momentum + gradient;
            weight - velocity.clone() * rate
        }
        (Rule::Adam | Rule::Adamw, [mean, square]) => {
            *mean = mean.clone() * BETA.0 + gradient.clone() * (1.0 - BETA.0);
            *square = square.clone() * BETA.1 + gradient.clone() * gradient * (1.0 - BETA.1);
            let exponent = i32::try_from(step).unwrap_or(i32::MAX);
            let (mean_part, square_part) =
                (1.0 - BETA.0.powi(exponent), 1.0 - BETA.1.powi(exponent));
            let by = (square.clone() / square_part).sqrt() + EPSILON;
            let weight = match optimizer.kind {
                Rule::Adamw => weight * (1.0 - rate * decay),
                Rule::Sgd | Rule::Adam => weight,
            };
            weight - mean.clone() / by * (rate / mean_part)
        }
        (_, _) => weight - gradient * rate,
    }
}

#[cfg(test)]
mod tests {
    use burn_tensor::{Device, TensorData};

    use super::*;

    fn after_three(optimizer: &Optimizer) -> f32 {
        let device = Device::flex();
        let tensor =
            |number: f32| Tensor::<1>::from_data(TensorData::new(vec![number], [1]), &device);
        let mut memory: Vec<_> = (0..remembered(optimizer)).map(|_| tensor(0.0)).collect();
        let mut weight = tensor(1.0);
        for step in 1..4 {
            // The gradient of the square.
            let gradient = weight.clone() * 2.0;
            weight = update(optimizer, (optimizer.lr, step), weight, gradient, &mut memory);
        }
        weight.try_into_vec_as::<f32>().expect("read")[0]
    }

    #[test]
    fn three_steps_are_those_of_pytorch() {
        // From torch.optim of PyTorch's documentation, computed by hand in double precision for f(w) = w², w = 1.
        let sgd = Optimizer { kind: Rule::Sgd, lr: 0.1, momentum: 0.9, ..Optimizer::default() };
        assert!((after_three(&sgd) - 0.062).abs() < 1e-6, "{}", after_three(&sgd));
        let plain = Optimizer { momentum: 0.0, ..sgd };
        assert!((after_three(&plain) - 0.512).abs() < 1e-6);
        let adam = Optimizer { kind: Rule::Adam, ..plain };
        assert!((after_three(&adam) - 0.701_586).abs() < 1e-4, "{}", after_three(&adam));
        let adamw = Optimizer { kind: Rule::Adamw, weight_decay: 0.5, ..plain };
        assert!(after_three(&adamw) < after_three(&adam));
    }

    #[test]
    fn rates_follow_their_schedules() {
        let optimizer = Optimizer { lr: 1.0, schedule: Schedule::Cosine, ..Optimizer::default() };
        let at = |optimizer: &Optimizer, step| rate(optimizer, 10, 4, step);
        assert_eq!(at(&optimizer, 0), 1.0);
        assert!((at(&optimizer, 20) - 0.5).abs() < 1e-12 && at(&optimizer, 39) < 0.01);
        let warm = Optimizer { warmup: 1.0, ..optimizer };
        assert_eq!([0, 1, 3, 4].map(|step| at(&warm, step)), [0.25, 0.5, 1.0, 1.0]);
        let steps = Optimizer { schedule: Schedule::Step, step: 2, ..optimizer };
        assert_eq!([0, 7].map(|step| at(&steps, step)), [1.0, 1.0]);
        assert!((at(&steps, 8) - 0.1).abs() < 1e-12);
    }
}
