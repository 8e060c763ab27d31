;; expect: refused trap
;; A segment that does not fit.
(module (memory (export "memory") 1) (data (i32.const 65535) "abc") (func (export "run")))
