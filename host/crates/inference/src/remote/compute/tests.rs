//! Tests computations in the threads of a worker, over its sockets and shared memory, but in this process.

use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::{Layout, SharedMemory, Watched, Windows, hear};
use super::*;
use crate::backend::{Context, Model};
use crate::figures::Figures;
use crate::signature::ModelSignature;
use crate::strikes::Owned;
use crate::worker::here;
use hospes_admission::Priority;
use hospes_core::id::Digest;
use hospes_core::tensor::DataType;
use hospes_worker::End;

/// A row: its account, whom it may meet, and what it is.
type Row = [u64; 3];

const WIDTH: usize = size_of::<Row>();

/// A row for which the model fails.
const POISON: u64 = u64::MAX;

fn tensor(rows: &[Row]) -> Tensor {
    let data: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    Tensor::new(DataType::U64, vec![rows.len(), 3], data.into()).expect("fits")
}

fn rows(tensor: &Tensor) -> Vec<Row> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let row = |row: &[u8]| [0, 1, 2].map(|place| number(&row[place * 8..place * 8 + 8]));
    tensor.data().chunks(WIDTH).map(row).collect()
}

fn meets(number: u64) -> Meets {
    [Meets::Nobody, Meets::Own, Meets::Others][number as usize % 3]
}

/// Answers each row with its numbers plus one, and watches who meets whom.
struct Watcher {
    signature: ModelSignature,
    broken: Arc<Mutex<Vec<String>>>,
}

impl Model for Watcher {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(&self, inputs: &[Option<Tensor>], _: &Context<'_>) -> Result<Vec<Tensor>, BackendError> {
        let seen = rows(inputs[0].as_ref().expect("there"));
        std::thread::sleep(Duration::from_micros(100));
        for one in &seen {
            for other in seen.iter().filter(|other| other[0] != one[0]) {
                if !Meets::together((one[0], meets(one[1])), (other[0], meets(other[1]))) {
                    self.broken.lock().expect("whole").push(format!("{one:?} with {other:?}"));
                }
            }
        }
        if seen.iter().any(|row| row[2] == POISON) {
            return Err(BackendError::Failed("poison".into()));
        }
        let answers: Vec<Row> = seen.iter().map(|row| row.map(|number| number + 1)).collect();
        Ok(vec![tensor(&answers)])
    }
}

/// The host's side of a worker with two threads, whose model 1 is a [`Watcher`].
fn worker(figures: &Arc<Figures>, broken: &Arc<Mutex<Vec<String>>>) -> Arc<Inner> {
    let layout = Layout::new(4, 1 << 12).and_for_newcomers(1);
    let bytes = layout.bytes().expect("countable");
    let memory = SharedMemory::create(bytes).expect("memory");
    let file = memory.file().try_clone_to_owned().expect("a file");
    let (work, its_work) = End::pair().expect("a pair");
    let (control, its_control) = End::pair().expect("a pair");
    let signature = ModelSignature { inputs: Vec::new(), outputs: Vec::new() };
    let model = Arc::new(Watcher { signature, broken: Arc::clone(broken) });
    let theirs = SharedMemory::open(file, bytes).expect("the same memory");
    here::start((layout, 2), (its_work, its_control), theirs, model);
    let ends = (Watched::new(work).expect("a socket"), Watched::new(control).expect("a socket"));
    let windows = Windows::new(layout, 2, Arc::clone(figures));
    let ready = oneshot::channel().0;
    let inner = Inner::new(ends, (memory, layout), (Arc::default(), ready), (windows, 0));
    let inner = Arc::new(inner);
    tokio::spawn(hear(Arc::clone(&inner)));
    inner
}

/// Computes these rows as a loaded model does: alone, if its batch fails.
async fn compute(inner: Arc<Inner>, own: Vec<Row>, priority: Priority) -> Fare {
    let publisher = "acme".parse().expect("a name");
    let culprit = Culprit::computing(Owned { publisher, model: Digest::of(b"model") }, own[0][0]);
    let call = Call::of_nobody(Instant::now() + Duration::from_secs(60));
    let call = Call { caller: Caller::new(own[0][0]), meets: meets(own[0][1]), priority, ..call };
    let task = |axis| Task {
        model: 1,
        call,
        wish: call.wish(None),
        culprit: &culprit,
        alone: false,
        axis,
    };
    let inputs = [Some(tensor(&own))];
    match inner.compute(task(Some(0)), &inputs).await {
        Err(RemoteError::Alone { for_good }) => {
            assert!(!for_good, "there was a row for each");
            inner.compute(task(None), &inputs).await
        }
        computed => computed,
    }
}

/// A small generator of numbers (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % most
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_thousand_schedules_every_row_comes_back_to_its_caller_and_accounts_meet_by_permission()
 {
    let (figures, broken) = (Arc::<Figures>::default(), Arc::<Mutex<Vec<String>>>::default());
    let inner = worker(&figures, &broken);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut unique = 1000;
    for schedule in 0..1000 {
        let mut all = JoinSet::new();
        for _ in 0..4 + random.below(10) {
            let (account, meets) = (random.below(3), random.below(3));
            let poisons = random.below(25) == 0;
            let own: Vec<Row> = (0..1 + random.below(3))
                .map(|_| {
                    unique += 1;
                    [account, meets, if poisons { POISON } else { unique }]
                })
                .collect();
            let priority = Priority::of(random.below(10));
            let patience = Duration::from_micros(20 + random.below(400));
            let (leaves, inner) = (random.below(6) == 0, Arc::clone(&inner));
            all.spawn(async move {
                let computing = compute(inner, own.clone(), priority);
                let computed = if leaves {
                    tokio::time::timeout(patience, computing).await.ok()
                } else {
                    Some(computing.await)
                };
                (own, poisons, leaves, computed)
            });
        }
        while let Some(ended) = all.join_next().await {
            let (own, poisons, leaves, computed) = ended.expect("no panic");
            match computed {
                None => assert!(leaves, "{schedule}: {own:?}"),
                Some(Ok((outputs, _))) => {
                    let right: Vec<Row> = own.iter().map(|row| row.map(|one| one + 1)).collect();
                    assert!(!poisons && rows(&outputs[0]) == right, "{schedule}: {own:?}");
                }
                Some(Err(RemoteError::Compute(ComputeError::Backend(_)))) => {
                    assert!(poisons, "{schedule}: {own:?} failed for another's row");
                }
                Some(Err(error)) => panic!("{schedule}: {own:?}: {error:?}"),
            }
        }
    }
    assert_eq!(*broken.lock().expect("whole"), Vec::<String>::new());
    let batches = figures.snapshot().batches;
    assert!(batches.iter().all(|batches| *batches > 0), "all sizes were tested: {batches:?}");
    // Whoever left has taken no window along.
    let began = Instant::now();
    while inner.windows.free() < 5 {
        assert!(began.elapsed().as_secs() < 30, "{} of 5 windows are free", inner.windows.free());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
