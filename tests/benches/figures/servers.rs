//! Servers that do only the necessary work, with the host's HTTP library: no accounts, agreements,
//! sandboxes or receipts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hospes::inference::backend::Model;
use hospes::tensor::{DataType, Tensor};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use system_tests::computed;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::SERVER_THREADS;

/// What a bare server does with a request.
#[derive(Clone)]
pub enum Work {
    /// Answers every request with the same word.
    Hello,
    /// Runs a model with one input and one output on the thread that has read the request.
    Compute { model: Arc<dyn Model>, shape: Vec<usize> },
}

impl Work {
    async fn answer(self, request: Request<Incoming>) -> Bytes {
        match self {
            Work::Hello => Bytes::from_static(b"hello"),
            Work::Compute { model, shape } => {
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let input = Tensor::new(DataType::F32, shape, body).expect("an input");
                let outputs = computed(&*model, &[Some(input)]);
                outputs.first().expect("an output").data().clone()
            }
        }
    }
}

/// A server. It is stopped when dropped.
pub struct Bare {
    _runtime: Runtime,
    address: SocketAddr,
}

impl Bare {
    /// Starts one on a free port of loopback.
    pub fn start(work: Work) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SERVER_THREADS)
            .enable_all()
            .build()
            .expect("threads");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("bound");
        runtime.spawn(serve(listener, work));
        Self { _runtime: runtime, address }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, work: Work) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a TCP connection");
        let work = work.clone();
        let service = service_fn(move |request| {
            let work = work.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::new(work.answer(request).await))) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
