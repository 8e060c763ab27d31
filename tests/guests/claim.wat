;; world: export run: func(at: u32, bytes: u32) -> list<u8>;
;; Returns `bytes` bytes at `at`, whatever is there.
(module
  (memory (export "memory") 2048)
  (func (export "run") (param $at i32) (param $bytes i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $bytes))
    (i32.const 0)))
