;; expect: 502 plugin-failed trap
(module (memory (export "memory") 1) (data $d "abcd")
  (func (export "run") (data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 4))))
