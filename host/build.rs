//! Compiles the protocol buffers of the gRPC front, without `protoc`: nothing has to be installed.

use std::error::Error;
use std::path::PathBuf;

const PROTO: &str = "proto/inference.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let files = protox::compile([PROTO], ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo says where")?);
    // For reflection.
    std::fs::write(out.join("inference.bin"), prost::Message::encode_to_vec(&files))?;
    let mut config = prost_build::Config::new();
    // Contents of tensors are parts of the message, not copies.
    config.bytes(["."]).compile_fds(files)?;
    Ok(())
}
