;; expect: refused deadline
(module (memory (export "memory") 256)
  (func $s (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000)) (br $l))) (start $s)
  (func (export "run")))
