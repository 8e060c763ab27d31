;; expect: refused does not compile
(module (memory (export "memory") i64 1) (func (export "run")))
