;; expect: 504 plugin-deadline deadline
(module (memory (export "memory") 1) (data $d "0123456789abcdef")
  (func (export "run") (loop $l (memory.init $d (i32.const 0) (i32.const 0) (i32.const 16)) (br $l))))
