;; expect: 502 plugin-failed trap
(module (memory (export "memory") 1) (func (export "run") (memory.fill (i32.const 65535) (i32.const 0) (i32.const -1))))
