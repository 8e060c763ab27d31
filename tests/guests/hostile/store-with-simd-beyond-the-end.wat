;; expect: 502 plugin-failed trap
(module (memory (export "memory") 1) (func (export "run") (v128.store (i32.const 65530) (v128.const i64x2 1 2))))
